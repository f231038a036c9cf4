//! A guest in a store that another process has open: see [`super::door`].

use super::directory::Directory;
use super::door::{LetIn, Sign, open_seats};
use super::lock::holder;
use crate::error::{ClientError, Result};
use cas_net::{Identity, Index, Network, Node, RemoteIndex, RemoteNode, Settings};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// How long a host may take to answer that one has come in. It is on this machine: one that takes longer is not there.
const KNOCK: Duration = Duration::from_secs(2);
/// How long a call waits for a host that has stopped answering.
const RECONNECT: Duration = Duration::from_secs(1);
/// Bytes on their way to the host, at most.
const IN_FLIGHT: usize = 64 << 20;

/// What a guest has of the store.
pub(super) struct Guest {
    pub index: Arc<dyn Index>,
    pub node: Arc<dyn Node>,
    /// What the process that has it open calls itself.
    pub host: String,
    /// Last, so that it is given back when nothing is asked any more.
    pub seat: File,
}

impl Guest {
    /// Comes in, if there is a door that this one may use and somebody behind it. Whoever does not get in has lost nothing but a
    /// moment.
    pub fn enter(directory: &Directory, reads: bool) -> Option<Self> {
        if !directory.door().exists() {
            return None;
        }
        match try_enter(directory, reads) {
            Ok(guest) => guest,
            Err(why) => {
                tracing::debug!(%why, "the store has a door, and there is no way in");
                None
            }
        }
    }
}

fn try_enter(directory: &Directory, reads: bool) -> Result<Option<Guest>> {
    let seat = open_seats(&directory.guests())?;
    // First: a host that has removed its sign looks for guests afterwards.
    if flock(&seat, FlockOperation::NonBlockingLockShared).is_err() {
        return Ok(None);
    }
    let text = match std::fs::read_to_string(directory.door()) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ClientError::io("read the door", e)),
    };
    let Some(sign) = Sign::decode(&text).filter(|sign| reads || sign.let_in == LetIn::All) else { return Ok(None) };
    let identity = || Identity::from_seed(&sign.guest);
    let knock = Settings { patience: KNOCK, reconnect: Duration::ZERO, ..Settings::default() };
    let failed = |e| ClientError::io("open a socket", e);
    for address in [&sign.index, &sign.node] {
        Network::new(identity(), knock.clone()).map_err(failed)?.connection(address).connect(KNOCK)?;
    }
    let settings = Settings { reconnect: RECONNECT, in_flight: IN_FLIGHT, ..Settings::default() };
    let network = Network::new(identity(), settings).map_err(failed)?;
    let index = Arc::new(RemoteIndex::new(&network, &sign.index));
    let node = Arc::new(RemoteNode::new(&network, &sign.node).alone());
    let host = holder(&directory.lock());
    Ok(Some(Guest { index, node, host, seat }))
}
