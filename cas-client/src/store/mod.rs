//! A store: a folder with an index and one node, opened by the command itself, or a cluster at an address ([`cluster`]).
//!
//! Promise of a folder: one process at a time; whatever an index or a node acknowledged is there at the next
//! opening. The two are joined through the traits of `cas-net` alone, as they are over the network; so another process can
//! use them through the one that has them open (`door`). An index that lost its end is refused, or opened for reading
//! alone by who asks for that. Bytes: FORMAT §10.

mod away;
pub mod cluster;
pub(crate) mod directory;
mod door;
mod guest;
mod kept;
pub mod lock;
pub mod reached;
pub mod served;
pub(crate) mod witness;

pub use away::Away;
pub use door::LetIn;

use crate::error::{ClientError, Result};
use crate::nodes::Nodes;
use cas_core::id::{Epoch, Kind};
use cas_core::signing::SigningKey;
use cas_net::{Index, Node, ServiceError};
use cluster::Cluster;
use directory::Directory;
use door::{Door, Rooms};
use guest::Guest;
use lock::{Lock, Patience};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// Whether, and for what, a store that another process has open is used through that one, if it lets others in.
    pub as_guest: Option<Visit>,
}

/// What a guest does in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visit {
    /// It only reads.
    Reads,
    /// It pushes or forgets, too.
    Writes,
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
    Guest(Visited),
    Cluster(Cluster),
}

/// An embedded store that another process has open.
struct Visited {
    dir: PathBuf,
    node: Arc<dyn Node>,
    host: String,
    _seat: std::fs::File,
}

/// An embedded store.
struct Folder {
    /// First: it ends when its guests have gone.
    door: Mutex<Option<Door>>,
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
        let mut enter = || Guest::enter(&directory, access.as_guest? == Visit::Reads);
        let taken = Lock::take_unless(&directory.lock(), &access.label, access.patience, &mut enter)?;
        let lock = match taken {
            Ok(lock) => lock,
            Err(guest) => return Ok(Self::visiting(dir, guest)),
        };
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
                let folder = Folder {
                    door: Mutex::default(),
                    dir: dir.to_owned(),
                    node,
                    lost_end: None,
                    _reached: reached,
                    _lock: lock,
                };
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
        let (door, dir) = (Mutex::default(), directory.root().to_owned());
        let folder = Folder { door, dir, node, lost_end, _reached: reached, _lock: lock };
        Ok(Self::in_folder(index, folder))
    }

    fn visiting(dir: &Path, guest: Guest) -> Self {
        let Guest { index, node, host, seat } = guest;
        let home = Home::Guest(Visited { dir: dir.to_owned(), node: node.clone(), host, _seat: seat });
        Self { index, nodes: Nodes::one(node).into(), home, watch: None }
    }

    /// Lets other commands of this user use the store through this one from now on (that is: in a moment), instead of waiting.
    /// Closing or dropping the store waits for those who came; `waiting` is called once then. For a store in a folder that is open for
    /// writing; others stay as they are.
    pub fn let_in(&self, let_in: LetIn, waiting: Box<dyn Fn() + Send>) {
        let Home::Folder(folder) = &self.home else { return };
        if folder._reached.is_none() {
            return;
        }
        let Ok(directory) = Directory::open(&folder.dir) else { return };
        let (index, node) = (Arc::downgrade(&self.index), Arc::downgrade(&folder.node));
        let mut door = folder.door.lock().unwrap_or_else(PoisonError::into_inner);
        door.get_or_insert_with(|| Door::soon(directory, Rooms { index, node, let_in, waiting }));
    }

    /// What the process calls itself that has it open and through which it is used, if it is not this one.
    pub fn host(&self) -> Option<&str> {
        match &self.home {
            Home::Guest(visited) => Some(&visited.host),
            Home::Folder(_) | Home::Cluster(_) => None,
        }
    }

    fn in_folder(index: Arc<cas_index::Index>, folder: Folder) -> Self {
        Self { index, nodes: Nodes::one(folder.node.clone()).into(), home: Home::Folder(folder), watch: None }
    }

    /// The folder it lies in; `None` for a cluster.
    pub fn dir(&self) -> Option<&Path> {
        match &self.home {
            Home::Folder(folder) => Some(&folder.dir),
            Home::Guest(visited) => Some(&visited.dir),
            Home::Cluster(_) => None,
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        match &self.home {
            Home::Folder(folder) => folder.dir.display().to_string(),
            Home::Guest(visited) => visited.dir.display().to_string(),
            Home::Cluster(cluster) => cluster.address().to_string(),
        }
    }

    /// The cluster, if it is one.
    pub fn cluster(&self) -> Option<&Cluster> {
        match &self.home {
            Home::Folder(_) | Home::Guest(_) => None,
            Home::Cluster(cluster) => Some(cluster),
        }
    }

    /// Why versions may be missing from what the index tells, if it lost its end: then the store is open for reading alone.
    pub fn lost_end(&self) -> Option<&ServiceError> {
        match &self.home {
            Home::Folder(folder) => folder.lost_end.as_ref(),
            Home::Guest(_) | Home::Cluster(_) => None,
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
            Home::Guest(visited) => Ok(&visited.node),
            Home::Cluster(cluster) => Err(ClientError::Cluster(cluster.address().to_string())),
        }
    }

    /// Ends cleanly, when others that use it through this process have ended. A store that is only dropped, or killed, loses
    /// nothing either; its next opening takes longer.
    pub fn close(self) -> Result<()> {
        if let Home::Folder(folder) = &self.home {
            drop(folder.door.lock().unwrap_or_else(PoisonError::into_inner).take());
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
