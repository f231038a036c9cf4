//! The directory of an embedded store: which file lies where. FORMAT §10.

use crate::entropy::random;
use crate::error::{ClientError, Result};
use cas_net::ServiceError;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const DESCRIPTOR: &str = "cas-store";
const FIRST_LINE: &str = "cas store";
const VERSION: u32 = 1;
const UNFINISHED: &str = "cas-store.new";
/// What [`Directory::create`] leaves when it is interrupted.
const PARTS: [&str; 8] = ["index", "node", "lock", "reached", "door", "door.new", "guests", UNFINISHED];

/// A store's directory.
#[derive(Clone)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Prepares an empty or missing directory. It is no store before [`Self::seal`].
    pub fn create(root: &Path) -> Result<Self> {
        let made = Self(root.to_owned());
        make_dir(root)?;
        if !made.holds_only(&PARTS)? || root.join(DESCRIPTOR).exists() {
            return Err(ClientError::NotEmpty(root.to_owned()));
        }
        made.ensure_keys()?;
        sync_dir(root)?;
        Ok(made)
    }

    fn holds_only(&self, names: &[&str]) -> Result<bool> {
        let failed = |e| ClientError::io(format!("read {}", self.0.display()), e);
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if !names.iter().any(|known| name == *known) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes the descriptor: from now on there is a store.
    pub fn seal(&self, id: [u8; 16]) -> Result<()> {
        let id = cas_core::id::DomainId(id);
        let text = format!("{FIRST_LINE}\nversion {VERSION}\nid {id}\n");
        let unfinished = self.0.join(UNFINISHED);
        write_private(&unfinished, text.as_bytes())?;
        let path = self.0.join(DESCRIPTOR);
        fs::rename(&unfinished, &path).map_err(|e| ClientError::io(format!("rename {}", path.display()), e))?;
        sync_dir(&self.0)
    }

    /// Finds the store in a directory and checks its version.
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(DESCRIPTOR);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(ClientError::NoStore(root.to_owned()));
            }
            Err(e) => return Err(ClientError::io(format!("read {}", path.display()), e)),
        };
        check_version(&path, &String::from_utf8_lossy(&bytes))?;
        Ok(Self(root.to_owned()))
    }

    /// The same where the descriptor may be damaged or lost but segments are there: a new one is written, and lost keys are made.
    pub fn open_to_rebuild(root: &Path) -> Result<Self> {
        match Self::open(root) {
            Err(ClientError::Service(ServiceError::Damaged { .. }) | ClientError::NoStore(_))
                if root.join("node/segments").is_dir() =>
            {
                Self(root.to_owned()).seal(random())?;
            }
            opened => drop(opened?),
        }
        let directory = Self(root.to_owned());
        directory.ensure_keys()?;
        Ok(directory)
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The lock file.
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Where other commands read how to use the store through the one that has it open.
    pub fn door(&self) -> PathBuf {
        self.0.join("door")
    }

    /// Locked by those who do.
    pub fn guests(&self) -> PathBuf {
        self.0.join("guests")
    }

    /// The index's directory.
    pub fn index(&self) -> PathBuf {
        self.0.join("index")
    }

    /// The node's directory.
    pub fn node(&self) -> PathBuf {
        self.0.join("node")
    }

    /// How far the index is known to have come.
    pub fn reached(&self) -> PathBuf {
        self.0.join("reached")
    }

    /// The seed of the index's key.
    pub fn index_seed(&self) -> Result<[u8; 32]> {
        read_seed(&self.index().join("key"))
    }

    /// The seed of the node's key.
    pub fn node_seed(&self) -> Result<[u8; 32]> {
        read_seed(&self.node().join("key"))
    }

    /// Makes keys where they are lost or damaged. The index's comes back from an index that was set aside by a rebuild that did
    /// not end, if there is one. The keys open nothing that a user stored.
    pub fn ensure_keys(&self) -> Result<()> {
        if is_lost(self.index_seed())? {
            let aside = (0..).map(|n| self.0.join(format!("index.old{n}"))).take_while(|p| p.exists()).last();
            let seed = aside.and_then(|aside| read_seed(&aside.join("key")).ok()).unwrap_or_else(random);
            make_dir(&self.index())?;
            write_private(&self.index().join("key"), &seed)?;
        }
        if is_lost(self.node_seed())? {
            make_dir(&self.node())?;
            write_private(&self.node().join("key"), &random::<32>())?;
        }
        Ok(())
    }

    /// Moves the index's directory aside and makes an empty one with the same key, or a new key if that is lost.
    pub fn set_index_aside(&self) -> Result<PathBuf> {
        let seed = self.index_seed().or_else(|_| Ok::<_, ClientError>(random()))?;
        let aside = (0..).map(|n| self.0.join(format!("index.old{n}"))).find(|p| !p.exists());
        let aside = aside.expect("the numbers do not run out");
        if self.index().exists() {
            fs::rename(self.index(), &aside).map_err(|e| ClientError::io("set the old index aside", e))?;
        }
        make_dir(&self.index())?;
        write_private(&self.index().join("key"), &seed)?;
        Ok(aside)
    }

    /// Undoes [`Self::set_index_aside`].
    pub fn put_index_back(&self, aside: &Path) -> Result<()> {
        if !aside.exists() {
            return Ok(());
        }
        fs::remove_dir_all(self.index()).map_err(|e| ClientError::io("remove the unfinished index", e))?;
        fs::rename(aside, self.index()).map_err(|e| ClientError::io("put the old index back", e))
    }
}

fn check_version(path: &Path, text: &str) -> Result<()> {
    let mut lines = text.lines();
    let damaged = |detail: &str| {
        ClientError::Service(ServiceError::Damaged { what: path.display().to_string(), detail: detail.to_owned() })
    };
    if lines.next() != Some(FIRST_LINE) {
        return Err(damaged("its first line is not \"cas store\""));
    }
    let version = lines.next().and_then(|line| line.strip_prefix("version ")).and_then(|v| v.parse().ok());
    match version.ok_or_else(|| damaged("its second line names no version"))? {
        VERSION => Ok(()),
        found => Err(ServiceError::Version { what: path.display().to_string(), found, known: VERSION }.into()),
    }
}

fn read_seed(path: &Path) -> Result<[u8; 32]> {
    let damaged = |detail| ServiceError::Damaged { what: path.display().to_string(), detail };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(damaged("is missing".to_owned()).into()),
        Err(e) => return Err(ClientError::io(format!("read {}", path.display()), e)),
    };
    let found = bytes.len();
    bytes.try_into().map_err(|_| damaged(format!("expected 32 bytes, found {found}")).into())
}

fn make_dir(path: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| ClientError::io(format!("create {}", path.display()), e))
}

/// Whether a key is not there or is none; any other failure to read it is an error.
fn is_lost(seed: Result<[u8; 32]>) -> Result<bool> {
    match seed {
        Ok(_) => Ok(false),
        Err(ClientError::Service(ServiceError::Damaged { .. })) => Ok(true),
        Err(e) => Err(e),
    }
}

/// Writes a new file that only its owner can read, durably.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|e| ClientError::io(format!("write {}", path.display()), e))
}

/// Makes renames and new files in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|e| ClientError::io(format!("sync {}", path.display()), e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_another_version_or_a_foreign_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(ClientError::NoStore(_))));
        Directory::create(dir.path()).unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(ClientError::NoStore(_))));
        let descriptor = dir.path().join(DESCRIPTOR);
        fs::write(&descriptor, "cas store\nversion 9\n").unwrap();
        let refused = Directory::open(dir.path()).err().unwrap();
        assert!(matches!(refused, ClientError::Service(ServiceError::Version { found: 9, known: 1, .. })));
        fs::write(&descriptor, "something else").unwrap();
        assert!(matches!(Directory::open(dir.path()), Err(ClientError::Service(ServiceError::Damaged { .. }))));
        assert!(matches!(Directory::create(dir.path()), Err(ClientError::NotEmpty(_))));
    }
}
