//! The door of an open store: while one command has a folder's store open for long, others of the same user go through it.
//!
//! ```text
//! host   opens the store · after a moment: listens on the loopback, writes the file `door`
//! guest  finds the store locked · sits down (a shared lock on `guests`) · reads `door` · works over the wire
//! host   is done · removes `door` · waits until nobody sits (its lock on `guests`) · ends
//! ```
//! Promise: whoever can read the folder's private files gets in, and nobody else. A store that is open for a moment pays nothing. The
//! host ends after its guests; killed, it leaves them with an error and nothing lost, and a door that leads nowhere, which
//! the next host replaces. Bytes: FORMAT §10.

use super::directory::Directory;
use crate::error::{ClientError, Result};
use cas_core::id::Sum;
use cas_core::signing::SigningKey;
use cas_net::address::Address;
use cas_net::calls::Family;
use cas_net::server::{IndexHandler, NodeHandler, Server, ServerSettings, Services};
use cas_net::{Identity, Index, Network, Node, ServiceError, Settings};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Who has a store open for less than this lets nobody in: whoever comes waits.
const MOMENT: Duration = Duration::from_millis(300);
/// Between two looks whether guests are there still.
const LOOK: Duration = Duration::from_millis(20);
/// How long answers under way may take when the last guest has gone.
const GRACE: Duration = Duration::from_secs(2);
/// Memory for requests and answers of guests, in bytes.
const GUEST_BYTES: usize = 192 << 20;
/// Connections of guests.
const GUESTS: usize = 64;

const FIRST_LINE: &str = "cas door";
const VERSION: &str = "version 1";

/// Who may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetIn {
    /// Those who only read.
    Readers,
    /// Those who push and forget, too.
    All,
}

/// What a guest reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sign {
    pub let_in: LetIn,
    pub index: Address,
    pub node: Address,
    /// The seed of the key that guests show.
    pub guest: [u8; 32],
}

impl Sign {
    pub fn encode(&self) -> String {
        let let_in = match self.let_in {
            LetIn::Readers => "readers",
            LetIn::All => "all",
        };
        let Self { index, node, .. } = self;
        let guest = Sum(self.guest);
        format!("{FIRST_LINE}\n{VERSION}\nfor {let_in}\nindex {index}\nnode {node}\nguest {guest}\n")
    }

    /// `None`: of another version, or torn.
    pub fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if (lines.next()?, lines.next()?) != (FIRST_LINE, VERSION) {
            return None;
        }
        let let_in = match lines.next()?.strip_prefix("for ")? {
            "readers" => LetIn::Readers,
            "all" => LetIn::All,
            _ => return None,
        };
        let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
        let node = lines.next()?.strip_prefix("node ")?.parse().ok()?;
        let guest: Sum = lines.next()?.strip_prefix("guest ")?.parse().ok()?;
        Some(Self { let_in, index, node, guest: guest.0 })
    }
}

/// Opens a moment after it was made; closes, and waits for guests, when it is dropped.
pub(super) struct Door {
    open: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// What is behind a door.
pub(super) struct Rooms {
    pub index: Weak<dyn Index>,
    pub node: Weak<dyn Node>,
    pub let_in: LetIn,
    /// Called once if there are guests to wait for.
    pub waiting: Box<dyn Fn() + Send>,
}

impl Door {
    pub fn soon(directory: Directory, rooms: Rooms) -> Self {
        // One that another process left when it was killed leads nowhere.
        let _ = std::fs::remove_file(directory.door());
        let (open, closed) = channel();
        let keep = move || {
            if closed.recv_timeout(MOMENT) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            match Open::begin(&directory, &rooms) {
                Ok(open) => {
                    let _ = closed.recv();
                    open.close(&rooms);
                }
                Err(why) => tracing::debug!(%why, "others have to wait: the store has no door"),
            }
        };
        let keeper = std::thread::Builder::new().name("cas-door".to_owned()).spawn(keep).ok();
        Self { open: Some(open), keeper }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        drop(self.open.take());
        if let Some(keeper) = self.keeper.take() {
            keeper.join().expect("whoever keeps a door does not panic");
        }
    }
}

/// A door that is open.
struct Open {
    sign: PathBuf,
    seats: File,
    servers: [Server; 2],
}

impl Open {
    fn begin(directory: &Directory, rooms: &Rooms) -> Result<Self> {
        let guest: [u8; 32] = crate::entropy::random();
        let key = SigningKey::from_seed(&guest).public();
        let (index, node) = (rooms.index.clone(), rooms.node.clone());
        let to_index = IndexHandler::new(move |_| index.upgrade().ok_or_else(closed));
        let to_node = NodeHandler::new(move |_| node.upgrade().ok_or_else(closed));
        let services = || Services::new().admit(move |who| *who == key);
        let servers = [
            serve(&directory.index_seed()?, services().with(Family::Index, to_index))?,
            serve(&directory.node_seed()?, services().with(Family::Node, to_node))?,
        ];
        let seats = open_seats(&directory.guests())?;
        let address = |server: &Server| server.address().map_err(|e| ClientError::io("look at a socket", e));
        let sign =
            Sign { let_in: rooms.let_in, index: address(&servers[0])?, node: address(&servers[1])?, guest }.encode();
        put_up(&directory.door(), &sign).map_err(|e| ClientError::io("write the door", e))?;
        Ok(Self { sign: directory.door(), seats, servers })
    }

    /// Nobody finds it any more; those who did finish.
    fn close(self, rooms: &Rooms) {
        if let Err(why) = std::fs::remove_file(&self.sign)
            && why.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%why, path = %self.sign.display(), "not removed");
        }
        let mut said = false;
        while flock(&self.seats, FlockOperation::NonBlockingLockExclusive).is_err() {
            if !std::mem::replace(&mut said, true) {
                (rooms.waiting)();
            }
            std::thread::sleep(LOOK);
        }
        for server in self.servers {
            server.shutdown(GRACE);
        }
    }
}

fn closed() -> ServiceError {
    ServiceError::Stopped("the store is being closed".to_owned())
}

fn serve(seed: &[u8; 32], services: Services) -> Result<Server> {
    let failed = |e| ClientError::io("open a socket", e);
    let settings =
        ServerSettings { connections: GUESTS, bytes: GUEST_BYTES, window_bytes: 32 << 20, ..ServerSettings::default() };
    let network = Network::new(Identity::from_seed(seed), Settings::default()).map_err(failed)?;
    Server::start(&network, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), services, settings).map_err(failed)
}

/// The file on which guests sit.
pub(super) fn open_seats(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|e| ClientError::io(format!("open {}", path.display()), e))
}

/// Whole or not at all, for its owner's eyes only. It is of no use after a crash, so it is not synced.
fn put_up(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign() -> Sign {
        let address = |port| format!("cas://{}@127.0.0.1:{port}", "ab".repeat(32)).parse().unwrap();
        Sign { let_in: LetIn::All, index: address(7), node: address(8), guest: [0xc5; 32] }
    }

    #[test]
    fn a_sign_has_the_text_of_the_format_and_reads_back() {
        let key = "ab".repeat(32);
        let text = format!(
            "cas door\nversion 1\nfor all\nindex cas://{key}@127.0.0.1:7\nnode cas://{key}@127.0.0.1:8\nguest {}\n",
            "c5".repeat(32)
        );
        assert_eq!(sign().encode(), text);
        assert_eq!(Sign::decode(&text), Some(sign()));
        let readers = Sign { let_in: LetIn::Readers, ..sign() };
        assert_eq!(Sign::decode(&readers.encode()), Some(readers));
    }

    #[test]
    fn a_sign_that_is_cut_or_of_another_version_leads_nowhere() {
        let text = sign().encode();
        for end in 0..text.len() - 1 {
            assert_eq!(Sign::decode(&text[..end]), None, "cut at {end}");
        }
        assert_eq!(Sign::decode(&text.replace("version 1", "version 2")), None);
        assert_eq!(Sign::decode(&text.replace("c5c5", "+5c5")), None);
    }
}
