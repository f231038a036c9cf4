//! What this person has seen of a vault: the newest keyring and the newest version of each name.
//!
//! A store that later says less was rolled back, or its history forked; the client then says so instead of trusting it.
//! One small text file per vault in the state folder; losing it only loses this memory.

use crate::error::{ClientError, Result};
use crate::store::directory::write_private;
use cas_core::id::{SnapshotId, VaultId};
use cas_core::keyring::KeyringRef;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What was seen of one vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    path: PathBuf,
    keyring: Option<KeyringRef>,
    names: BTreeMap<String, (u64, SnapshotId)>,
    changed: bool,
}

impl Memory {
    /// Reads it; a missing file remembers nothing.
    pub fn open(folder: &Path, vault: &VaultId) -> Result<Self> {
        let path = folder.join(format!("{vault}.seen"));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(ClientError::io(format!("read {}", path.display()), e)),
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut memory = Self { path, keyring: None, names: BTreeMap::new(), changed: false };
        for line in text.lines() {
            memory.read_line(line);
        }
        Ok(memory)
    }

    /// A line that cannot be read remembers nothing.
    fn read_line(&mut self, line: &str) {
        let mut parts = line.splitn(4, ' ');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("keyring"), Some(version), Some(hash), None) => {
                if let (Ok(version), Ok(hash)) = (version.parse(), hash.parse()) {
                    self.keyring = Some(KeyringRef { version, hash });
                }
            }
            (Some("name"), Some(seq), Some(id), Some(name)) => {
                if let (Ok(seq), Ok(id)) = (seq.parse(), id.parse()) {
                    self.names.insert(name.to_owned(), (seq, id));
                }
            }
            _ => {}
        }
    }

    /// The newest keyring seen.
    pub fn keyring(&self) -> Option<KeyringRef> {
        self.keyring
    }

    /// Remembers a keyring that was accepted.
    pub fn see_keyring(&mut self, keyring: KeyringRef) {
        self.changed |= self.keyring.replace(keyring) != Some(keyring);
    }

    /// Compares the newest version of a name (also a removed one) with the newest seen, and remembers it.
    pub fn see_name(&mut self, name: &str, seq: u64, id: SnapshotId) -> Result<()> {
        if let Some((seen_seq, seen_id)) = self.names.get(name)
            && (seq < *seen_seq || (seq == *seen_seq && id != *seen_id))
        {
            return Err(ClientError::RolledBack {
                what: format!("the history of {name}"),
                seen: format!("version {seen_seq} ({})", seen_id.short()),
                found: format!("version {seq} ({})", id.short()),
            });
        }
        self.changed |= self.names.insert(name.to_owned(), (seq, id)) != Some((seq, id));
        Ok(())
    }

    /// The same for a history that may be empty.
    pub fn see_name_if_any(&mut self, name: &str, seq: u64, id: SnapshotId) -> Result<()> {
        if seq > 0 || self.names.contains_key(name) { self.see_name(name, seq, id) } else { Ok(()) }
    }

    /// Forgets everything: the store is as it is on purpose.
    pub fn clear(&mut self) {
        self.keyring = None;
        self.names.clear();
        self.changed = true;
    }

    /// Writes what is new.
    pub fn save(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let mut text = self.keyring.map_or(String::new(), |k| format!("keyring {} {}\n", k.version, k.hash));
        for (name, (seq, id)) in &self.names {
            text.push_str(&format!("name {seq} {id} {name}\n"));
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|e| ClientError::io(format!("create {}", folder.display()), e))?;
        }
        let unfinished = self.path.with_extension("new");
        write_private(&unfinished, text.as_bytes())?;
        fs::rename(&unfinished, &self.path)
            .map_err(|e| ClientError::io(format!("rename {}", self.path.display()), e))?;
        self.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn going_back_is_noticed_after_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        let vault = VaultId([1; 16]);
        let mut memory = Memory::open(dir.path(), &vault).unwrap();
        let keyring = KeyringRef { version: 3, hash: cas_core::id::Sum([3; 32]) };
        memory.see_keyring(keyring);
        memory.see_name("a name", 7, SnapshotId([7; 32])).unwrap();
        memory.save().unwrap();
        let mut memory = Memory::open(dir.path(), &vault).unwrap();
        assert_eq!(memory.keyring(), Some(keyring));
        assert!(memory.see_name("a name", 6, SnapshotId([6; 32])).is_err());
        assert!(memory.see_name("a name", 7, SnapshotId([8; 32])).is_err());
        memory.see_name("a name", 8, SnapshotId([8; 32])).unwrap();
        memory.see_name("another", 1, SnapshotId([8; 32])).unwrap();
    }
}
