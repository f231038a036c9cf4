//! What a node keeps in its directory beside the store: who it is, what its disk is called, what it knew last.
//!
//! ```text
//! key       the seed of its key, 32 bytes, made once
//! disk-id   record "CASD" 1: disk id [16]
//! cluster   record "CASM" 1: index address text ‖ capacity u64 ‖ listen text ‖ list of addresses (values as in PROTOCOL §4)
//! revoked   record "CASR" 1: index key [32] ‖ revocations as on the wire
//! layout    record "CASL" 1: index key [32] ‖ cluster time i64 LE ‖ layout as on the wire (PROTOCOL §7)
//! scrub     record "CASS" 1: where the scrub is: begun i64 LE ‖ (nothing | block id [32])
//! ```
//! Promise: a node has one key and one disk id for as long as its blocks are there. An empty node takes a new disk id: nobody
//! can have been told that it holds anything, and blocks that were lost with their folder are missed at once. Layout,
//! revocations and scrub are only remembered; damaged ones are as good as none. Records: see `record`.

use super::record::{self, What, damaged};
use cas_core::id::{BlockId, PublicKey};
use cas_net::address::Address;
use cas_net::cluster::{DiskId, Layout, MAX_ADDRESSES};
use cas_net::limits::MAX_ANSWER_ITEMS;
use cas_net::rights::Revocations;
use cas_net::wire;
use cas_net::{Result, ServiceError};
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const DISK_ID: What = What { magic: *b"CASD", version: 1 };
const CLUSTER: What = What { magic: *b"CASM", version: 1 };
const REVOKED: What = What { magic: *b"CASR", version: 1 };
const LAYOUT: What = What { magic: *b"CASL", version: 1 };
const SCRUB: What = What { magic: *b"CASS", version: 1 };

/// The directory of a node.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// Which cluster it belongs to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The index.
    pub index: Address,
    /// Bytes it may use; 0: what its disk has.
    pub capacity: u64,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others reach it, if that does not follow from where it listens.
    pub addresses: Vec<String>,
}

/// The layout that was known last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Whose layout.
    pub index: PublicKey,
    /// Cluster time when it was kept, nanoseconds since 1970.
    pub time_ns: i64,
    /// The layout.
    pub layout: Layout,
}

/// Where a round of scrubbing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrubPlace {
    /// When the round was begun, nanoseconds since 1970.
    pub begun_ns: i64,
    /// The block that was read last; `None`: none yet; the last id that there can be: the round is over.
    pub after: Option<BlockId>,
}

impl Home {
    /// In this directory, which is made if it is not there.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(dir: &Path) -> Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|e| ServiceError::io(format!("create {}", dir.display()), e))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The seed of the node's key; drawn and kept the first time.
    ///
    /// # Errors
    /// `Io`; `Damaged` for a file of another length: a node without its key is another node.
    pub fn seed(&self) -> Result<[u8; 32]> {
        let path = self.dir.join("key");
        loop {
            match fs::read(&path) {
                Ok(bytes) => {
                    let found = bytes.len();
                    return bytes.try_into().map_err(|_| damaged(&path, &format!("expected 32 bytes, found {found}")));
                }
                // Another process may have been first: then its key is read.
                Err(e) if e.kind() == ErrorKind::NotFound => record::write_first(&path, &drawn::<32>()?)?,
                Err(e) => return Err(ServiceError::io(format!("read {}", path.display()), e)),
            };
        }
    }

    /// The name of its disk: a new one if there is none, or if what was stored is not there. Only whoever has locked the store
    /// may ask.
    ///
    /// # Errors
    /// `Io`, `Version`; `Damaged` says what to do.
    pub fn disk(&self, is_lost: bool) -> Result<DiskId> {
        let path = self.dir.join("disk-id");
        let kept = match record::read(&path, DISK_ID) {
            Err(ServiceError::Damaged { what, detail }) => {
                let detail = format!("{detail}; if it is removed, the node joins with all it holds counted anew");
                return Err(ServiceError::Damaged { what, detail });
            }
            kept => kept?,
        };
        match kept {
            Some(bytes) if !is_lost => {
                bytes.try_into().map(DiskId).map_err(|_| damaged(&path, "a disk id has 16 bytes"))
            }
            _ => {
                let disk = DiskId(drawn()?);
                record::write(&path, DISK_ID, &disk.0)?;
                Ok(disk)
            }
        }
    }

    /// Which cluster it has joined, if any.
    ///
    /// # Errors
    /// `Io`, `Version`, `Damaged`.
    pub fn membership(&self) -> Result<Option<Membership>> {
        let path = self.dir.join("cluster");
        let Some(value) = record::read(&path, CLUSTER)? else { return Ok(None) };
        parse_membership(&value).map(Some).ok_or_else(|| damaged(&path, "it names no index"))
    }

    /// Keeps which cluster it has joined, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep_membership(&self, member: &Membership) -> Result<()> {
        let Membership { index, capacity, listen, addresses } = member;
        let value = wire::encode(&((index.to_string(), *capacity), (listen.to_string(), addresses.clone())));
        record::write(&self.dir.join("cluster"), CLUSTER, &value)
    }

    /// Which tickets of this index were void when that was heard last.
    pub fn revocations(&self, index: &PublicKey) -> Option<Revocations> {
        let value = record::read(&self.dir.join("revoked"), REVOKED);
        let value = value.unwrap_or_else(|error| {
            tracing::warn!(%error, "the revocations that were kept are not used");
            None
        })?;
        let (of, list) = value.split_first_chunk::<32>()?;
        if of == &index.0 { wire::decode(list, MAX_ANSWER_ITEMS).ok() } else { None }
    }

    /// Keeps which tickets are void.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep_revocations(&self, index: &PublicKey, revoked: &Revocations) -> Result<()> {
        record::write(&self.dir.join("revoked"), REVOKED, &[&index.0[..], &wire::encode(revoked)].concat())
    }

    /// The layout that was kept last; none is as good as a damaged one.
    pub fn layout(&self) -> Option<Remembered> {
        let path = self.dir.join("layout");
        let read = record::read(&path, LAYOUT).and_then(|value| {
            let parsed = value.map(|value| parse_layout(&value).ok_or_else(|| damaged(&path, "it holds no layout")));
            parsed.transpose()
        });
        read.unwrap_or_else(|error| {
            tracing::warn!(%error, "the layout that was kept is not used");
            None
        })
    }

    /// Keeps a layout, durably.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep_layout(&self, kept: &Remembered) -> Result<()> {
        let value = [&kept.index.0[..], &kept.time_ns.to_le_bytes(), &wire::encode(&kept.layout)].concat();
        record::write(&self.dir.join("layout"), LAYOUT, &value)
    }

    /// Where the scrub was.
    pub fn scrub(&self) -> ScrubPlace {
        let value = record::read(&self.dir.join("scrub"), SCRUB).ok().flatten();
        value.and_then(|value| parse_scrub(&value)).unwrap_or_default()
    }

    /// Keeps where the scrub is.
    ///
    /// # Errors
    /// `Io`.
    pub fn keep_scrub(&self, place: &ScrubPlace) -> Result<()> {
        let after = place.after.map_or(Vec::new(), |id| id.0.to_vec());
        record::write(&self.dir.join("scrub"), SCRUB, &[&place.begun_ns.to_le_bytes()[..], &after].concat())
    }
}

fn parse_layout(value: &[u8]) -> Option<Remembered> {
    let (index, rest) = value.split_first_chunk::<32>()?;
    let (time, layout) = rest.split_first_chunk::<8>()?;
    let layout = wire::decode(layout, MAX_ANSWER_ITEMS).ok()?;
    Some(Remembered { index: PublicKey(*index), time_ns: i64::from_le_bytes(*time), layout })
}

fn parse_membership(value: &[u8]) -> Option<Membership> {
    let ((index, capacity), (listen, addresses)): ((String, u64), (String, Vec<String>)) =
        wire::decode(value, MAX_ADDRESSES).ok()?;
    Some(Membership { index: index.parse().ok()?, capacity, listen: listen.parse().ok()?, addresses })
}

fn parse_scrub(value: &[u8]) -> Option<ScrubPlace> {
    let (begun, after) = value.split_first_chunk::<8>()?;
    let after = if after.is_empty() { None } else { Some(BlockId(after.try_into().ok()?)) };
    Some(ScrubPlace { begun_ns: i64::from_le_bytes(*begun), after })
}

/// Random bytes of the operating system.
fn drawn<const N: usize>() -> Result<[u8; N]> {
    const SOURCE: &str = "/dev/urandom";
    let mut out = [0; N];
    let read = File::open(SOURCE).and_then(|mut source| source.read_exact(&mut out));
    read.map(|()| out).map_err(|e| ServiceError::io(format!("read {SOURCE}"), e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::id::Epoch;

    fn home() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(&dir.path().join("deep/node")).unwrap();
        (dir, home)
    }

    #[test]
    fn a_node_has_one_key_and_one_disk_as_long_as_it_holds_blocks() {
        let (_dir, home) = home();
        assert_eq!(home.seed().unwrap(), home.seed().unwrap());
        let first = home.disk(true).unwrap();
        assert_eq!(home.disk(false).unwrap(), first);
        assert_ne!(home.disk(true).unwrap(), first, "its blocks went with their folder");
    }

    #[test]
    fn a_damaged_disk_id_or_key_is_said_and_not_replaced() {
        let (_dir, home) = home();
        home.disk(false).unwrap();
        fs::write(home.dir().join("disk-id"), b"something").unwrap();
        let said = home.disk(false).unwrap_err().to_string();
        assert!(said.contains("disk-id") && said.contains("counted anew"), "{said}");
        fs::write(home.dir().join("key"), b"short").unwrap();
        assert!(matches!(home.seed(), Err(ServiceError::Damaged { .. })));
    }

    #[test]
    fn a_membership_is_kept_as_it_was_said_and_damage_is_no_other_cluster() {
        let (_dir, home) = home();
        assert_eq!(home.membership().unwrap(), None);
        let index = Address::new(PublicKey([4; 32]), "[::1]:9474".parse().unwrap());
        let listen = "0.0.0.0:9475".parse().unwrap();
        let member = Membership { index, capacity: 7 << 40, listen, addresses: vec!["node-1.example:9475".into()] };
        home.keep_membership(&member).unwrap();
        assert_eq!(home.membership().unwrap(), Some(member));
        fs::write(home.dir().join("cluster"), b"rubbish").unwrap();
        assert!(matches!(home.membership(), Err(ServiceError::Damaged { .. })));
    }

    #[test]
    fn revocations_are_those_of_one_index() {
        let (_dir, home) = home();
        let (index, other) = (PublicKey([4; 32]), PublicKey([5; 32]));
        let revoked = Revocations { version: Epoch(9), all_before: Epoch(3), devices: vec![(other, Epoch(8))] };
        assert_eq!(home.revocations(&index), None);
        home.keep_revocations(&index, &revoked).unwrap();
        assert_eq!((home.revocations(&index), home.revocations(&other)), (Some(revoked), None));
    }

    #[test]
    fn what_is_only_remembered_may_be_damaged() {
        let (_dir, home) = home();
        let layout = Layout { version: 7, pool: 1, nodes: vec![], partitions: vec![vec![]; 3] };
        let kept = Remembered { index: PublicKey([4; 32]), time_ns: -5, layout };
        assert_eq!(home.layout(), None);
        home.keep_layout(&kept).unwrap();
        assert_eq!(home.layout(), Some(kept));
        let place = ScrubPlace { begun_ns: 8, after: Some(BlockId([3; 32])) };
        home.keep_scrub(&place).unwrap();
        assert_eq!(home.scrub(), place);
        for file in ["layout", "scrub"] {
            fs::write(home.dir().join(file), b"rubbish").unwrap();
        }
        assert_eq!((home.layout(), home.scrub()), (None, ScrubPlace::default()));
    }
}
