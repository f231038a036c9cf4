//! A store: a folder with an index and one node, opened by the command itself, or a cluster at an address ([`cluster`]).
//!
//! Promise of a folder: one process at a time; whatever an index or a node acknowledged is there at the next
//! opening. The two are joined through the traits of `cas-net` alone, as they are over the network. An index that lost its
//! end is refused, or opened for reading alone by who asks for that. Bytes: FORMAT §10.

mod away;
pub mod cluster;
pub(crate) mod directory;
mod kept;
pub mod lock;
pub mod reached;
pub mod served;
pub(crate) mod witness;

pub use away::Away;

use crate::error::{ClientError, Result};
use crate::nodes::Nodes;
use cas_core::id::{Epoch, Kind};
use cas_core::signing::SigningKey;
use cas_net::{Index, Node, ServiceError};
use cluster::Cluster;
use directory::Directory;
use lock::{Lock, Patience};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Memory the index's tables may use as cache, in bytes.
const INDEX_CACHE: usize = 16 << 20;
/// Memory the index's changes may take before they are put into its tables, in bytes.
const INDEX_CHANGES: usize = 32 << 20;
/// Places of blocks that the node keeps in memory before they are put into its table; about 100 bytes each.
const NODE_CHANGES: usize = 128 << 10;

/// How to open a store.
pub struct Access<'a> {
    /// What to do when somebody else holds it.
    pub patience: Patience<'a>,
    /// Who we are, for those who wait for us.
    pub label: String,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// Whether an index that lost its end may be read as it is: see [`Store::lost_end`].
    pub despite_lost_end: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Create,
    ReadWrite,
    ReadOnly,
}

/// An open store.
pub struct Store {
    index: Arc<dyn Index>,
    nodes: Arc<Nodes>,
    home: Home,
    /// Over an index that may be away.
    watch: Option<Arc<away::Watch>>,
}

/// Where it is.
enum Home {
    Folder(Folder),
    Cluster(Cluster),
}

/// An embedded store.
struct Folder {
    dir: PathBuf,
    node: Arc<dyn Node>,
    lost_end: Option<ServiceError>,
    /// Before the lock, so that it is written under it.
    _reached: Option<reached::Note>,
    _lock: Lock,
}

impl Store {
    /// Makes a new store in an empty or missing directory.
    pub fn create(dir: &Path, label: &str) -> Result<Self> {
        let directory = Directory::create(dir)?;
        let lock = Lock::take(&directory.lock(), label, Patience::None)?;
        let store = Self::join(&directory, lock, Mode::Create, false)?;
        // What an interrupted creation leaves has keyrings at most. A new index beside more would take it for orphans.
        if store.index.vaults()?.is_empty() && store.node()?.list(None, 64)?.iter().any(|b| b.kind != Kind::Keyring) {
            return Err(ClientError::NotEmpty(dir.to_owned()));
        }
        directory.seal(crate::entropy::random())?;
        Ok(store)
    }

    /// Opens an existing store.
    pub fn open(dir: &Path, access: Access<'_>) -> Result<Self> {
        let directory = Directory::open(dir)?;
        let lock = Lock::take(&directory.lock(), &access.label, access.patience)?;
        let mode = if access.read_only { Mode::ReadOnly } else { Mode::ReadWrite };
        Self::join(&directory, lock, mode, access.despite_lost_end)
    }

    /// Makes the index anew from what the node holds. The old one is kept beside it.
    pub fn rebuild_index(dir: &Path, access: Access<'_>) -> Result<(Self, cas_index::Rebuilt)> {
        let directory = Directory::open_to_rebuild(dir)?;
        let lock = Lock::take(&directory.lock(), &access.label, access.patience)?;
        let node = open_node(&directory, false)?;
        let aside = directory.set_index_aside()?;
        let options = index_options(&directory, false)?;
        let noted = options.reached;
        let rebuilt = cas_index::rebuild(&directory.index(), &options, &[&*node])
            .and_then(|report| Ok((cas_index::Index::open(&directory.index(), options)?, report)));
        match rebuilt {
            Ok((index, report)) => {
                let index = Arc::new(index);
                let reached = Some(reached::Note::keep(directory.reached(), index.clone(), noted));
                let folder = Folder { dir: dir.to_owned(), node, lost_end: None, _reached: reached, _lock: lock };
                Ok((Self::in_folder(index, folder), report))
            }
            Err(e) => {
                directory.put_index_back(&aside)?;
                Err(e.into())
            }
        }
    }

    fn join(directory: &Directory, lock: Lock, mode: Mode, despite_lost_end: bool) -> Result<Self> {
        let mut read_only = mode == Mode::ReadOnly;
        let node = open_node(directory, read_only)?;
        let mut options = index_options(directory, read_only)?;
        // An empty index beside a full node would take every block for an orphan.
        options.must_exist = mode != Mode::Create;
        let noted = options.reached;
        let opened = cas_index::Index::open(&directory.index(), options.clone());
        let (index, lost_end) = match opened {
            Err(why @ ServiceError::Damaged { .. }) if despite_lost_end => {
                // Damaged in another way, it does not open like this either.
                (options.read_only, options.reached) = (true, Epoch::ZERO);
                read_only = true;
                (cas_index::Index::open(&directory.index(), options)?, Some(why))
            }
            opened => (opened?, None),
        };
        let index = Arc::new(index);
        let mut reached = None;
        if !read_only {
            index.add_node(node.id())?;
            reached = Some(reached::Note::keep(directory.reached(), index.clone(), noted));
        }
        let folder = Folder { dir: directory.root().to_owned(), node, lost_end, _reached: reached, _lock: lock };
        Ok(Self::in_folder(index, folder))
    }

    fn in_folder(index: Arc<cas_index::Index>, folder: Folder) -> Self {
        Self { index, nodes: Nodes::one(folder.node.clone()).into(), home: Home::Folder(folder), watch: None }
    }

    /// The folder it lies in; `None` for a cluster.
    pub fn dir(&self) -> Option<&Path> {
        match &self.home {
            Home::Folder(folder) => Some(&folder.dir),
            Home::Cluster(_) => None,
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match &self.home {
            Home::Folder(folder) => folder.dir.display().to_string(),
            Home::Cluster(cluster) => cluster.address().to_string(),
        }
    }

    /// The cluster, if it is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.home {
            Home::Folder(_) => None,
            Home::Cluster(cluster) => Some(cluster),
        }
    }

    /// Why versions may be missing from what the index tells, if it lost its end: then the store is open for reading alone.
    pub fn lost_end(&self) -> Option<&ServiceError> {
        match &self.home {
            Home::Folder(folder) => folder.lost_end.as_ref(),
            Home::Cluster(_) => None,
        }
    }

    /// What is told in the place of an index that does not answer now, if anything was.
    pub fn away(&self) -> Option<Away> {
        self.watch.as_ref()?.away()
    }

    /// Its index.
    pub fn index(&self) -> &Arc<dyn Index> {
        &self.index
    }

    /// Its nodes as one.
    pub fn nodes(&self) -> &Arc<Nodes> {
        &self.nodes
    }

    /// The one node of a folder.
    ///
    /// # Errors
    /// It is a cluster: what this is wanted for, it does by itself.
    pub fn node(&self) -> Result<&Arc<dyn Node>> {
        match &self.home {
            Home::Folder(folder) => Ok(&folder.node),
            Home::Cluster(cluster) => Err(ClientError::Cluster(cluster.address().to_string())),
        }
    }

    /// Ends cleanly. A store that is only dropped, or killed, loses nothing either; its next opening takes longer.
    pub fn close(self) -> Result<()> {
        if let Home::Folder(folder) = &self.home {
            folder.node.close()?;
            self.index.close()?;
        }
        Ok(())
    }
}

/// Whether a store lies where this user cannot write.
pub fn is_read_only(dir: &Path) -> bool {
    use rustix::fs::{Access as Mode, access};
    use rustix::io::Errno;
    matches!(access(dir, Mode::WRITE_OK), Err(Errno::ROFS | Errno::ACCESS))
}

/// The time of this machine's clock, in nanoseconds since 1970.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

fn open_node(directory: &Directory, read_only: bool) -> Result<Arc<dyn Node>> {
    let index_key = SigningKey::from_seed(&directory.index_seed()?).public();
    let mut options = cas_node::Options::new(directory.node_seed()?, index_key);
    options.read_only = read_only;
    options.fresh = NODE_CHANGES;
    Ok(Arc::new(cas_node::Store::open(&directory.node(), options)?))
}

fn index_options(directory: &Directory, read_only: bool) -> Result<cas_index::Options> {
    let mut options = cas_index::Options::new(directory.index_seed()?);
    options.clock = Arc::new(now_ns);
    options.cache_bytes = INDEX_CACHE;
    options.checkpoint_weight = INDEX_CHANGES;
    options.lease_ns = crate::gc::RESUME_NS;
    options.read_only = read_only;
    options.reached = reached::read(&directory.reached());
    Ok(options)
}

impl From<std::convert::Infallible> for ClientError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// Whether a store's index cannot be used and can be made anew from the node.
pub fn wants_rebuild(error: &ClientError) -> bool {
    matches!(error, ClientError::Service(ServiceError::Damaged { .. } | ServiceError::Stopped(_)))
}
