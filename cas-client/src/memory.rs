//! What this person has seen of a vault: the newest keyring and the newest version of each name.
//!
//! A store that later says less was rolled back, or its history forked; the client then says so instead of trusting it.
//! One small text file per vault in the state folder; losing it only loses this memory. One that is damaged is not
//! believed in part: it is said ([`Memory::damage`]), and begun anew.
//!
//! ```text
//! cas memory 1
//! keyring VERSION HASH
//! name SEQ SNAPSHOT FROM KEYRING NAME      for each name, ascending
//! sum BLAKE3 of all lines above
//! ```
//! FROM and KEYRING: versions after FROM came to be when this keyring version was known, so they name no older one.

use crate::error::{ClientError, Result};
use crate::store::directory::write_private;
use cas_core::codec::{FormatError, Reader};
use cas_core::id::{SnapshotId, Sum, VaultId};
use cas_core::keyring::KeyringRef;
use cas_net::ServiceError;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const FIRST_WORDS: &str = "cas memory ";
const VERSION: u32 = 1;

/// What was seen of one vault, with the file it is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    path: PathBuf,
    seen: Seen,
    changed: bool,
    damage: Option<FormatError>,
}

/// What was seen of one vault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    keyring: Option<KeyringRef>,
    names: BTreeMap<String, SeenName>,
}

/// What was seen of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeenName {
    seq: u64,
    id: SnapshotId,
    /// Versions after this one …
    from: u64,
    /// … name this version of the keyring or a later one.
    keyring: u32,
}

impl Memory {
    /// Reads it; a missing or damaged file remembers nothing. Errors: one of a later program, one that cannot be read.
    pub fn open(folder: &Path, vault: &VaultId) -> Result<Self> {
        let path = folder.join(format!("{vault}.seen"));
        let mut memory = Self { path, seen: Seen::default(), changed: false, damage: None };
        let bytes = match fs::read(&memory.path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(memory),
            Err(e) => return Err(ClientError::io(format!("read {}", memory.path.display()), e)),
        };
        match Seen::decode(&bytes) {
            Ok(seen) => memory.seen = seen,
            Err(why) => {
                if let Some(found) = later_version(&bytes) {
                    let what = memory.path.display().to_string();
                    return Err(ServiceError::Version { what, found, known: VERSION }.into());
                }
                (memory.changed, memory.damage) = (true, Some(why));
            }
        }
        Ok(memory)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was wrong with the file, if it was not believed.
    pub fn damage(&self) -> Option<&FormatError> {
        self.damage.as_ref()
    }

    /// The newest keyring seen.
    pub fn keyring(&self) -> Option<KeyringRef> {
        self.seen.keyring
    }

    /// Remembers a keyring that was accepted.
    pub fn see_keyring(&mut self, keyring: KeyringRef) {
        self.changed |= self.seen.keyring.replace(keyring) != Some(keyring);
    }

    /// The newest version of a name that was seen.
    pub fn name(&self, name: &str) -> Option<(u64, SnapshotId)> {
        self.seen.names.get(name).map(|seen| (seen.seq, seen.id))
    }

    /// Compares the newest version of a name (also a removed one) with the newest seen, and remembers it. The newest keyring must
    /// have been asked for before it.
    pub fn see_name(&mut self, name: &str, seq: u64, id: SnapshotId) -> Result<()> {
        let known = self.seen.keyring.map_or(0, |keyring| keyring.version);
        let before = self.seen.names.get(name).copied();
        if let Some(seen) = before
            && (seq < seen.seq || (seq == seen.seq && id != seen.id))
        {
            return Err(ClientError::RolledBack {
                what: format!("the history of {name}"),
                seen: format!("version {} ({})", seen.seq, seen.id.short()),
                found: format!("version {seq} ({})", id.short()),
            });
        }
        let (from, keyring) = match before {
            Some(seen) if seen.keyring >= known => (seen.from, seen.keyring),
            _ => (seq, known),
        };
        let now = SeenName { seq, id, from, keyring };
        if before != Some(now) {
            self.seen.names.insert(name.to_owned(), now);
            self.changed = true;
        }
        Ok(())
    }

    /// The same for a history that may be empty.
    pub fn see_name_if_any(&mut self, name: &str, seq: u64, id: SnapshotId) -> Result<()> {
        if seq > 0 || self.seen.names.contains_key(name) { self.see_name(name, seq, id) } else { Ok(()) }
    }

    /// Whether a version of a name may name this version of the keyring, as far as this client has seen both.
    pub fn fits(&self, name: &str, seq: u64, keyring: u32) -> bool {
        self.seen.names.get(name).is_none_or(|seen| seq <= seen.from || keyring >= seen.keyring)
    }

    /// Forgets everything: the store is as it is on purpose.
    pub fn clear(&mut self) {
        self.seen = Seen::default();
        self.changed = true;
    }

    /// Writes what is new.
    pub fn save(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(|e| ClientError::io(format!("create {}", folder.display()), e))?;
        }
        let unfinished = self.path.with_extension("new");
        write_private(&unfinished, self.seen.encode().as_bytes())?;
        fs::rename(&unfinished, &self.path)
            .map_err(|e| ClientError::io(format!("rename {}", self.path.display()), e))?;
        self.changed = false;
        Ok(())
    }
}

impl Seen {
    /// The text of the file.
    pub fn encode(&self) -> String {
        let mut text = format!("{FIRST_WORDS}{VERSION}\n");
        let mut line = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string grows");
        if let Some(keyring) = self.keyring {
            line(format_args!("keyring {} {}", keyring.version, keyring.hash));
        }
        for (name, SeenName { seq, id, from, keyring }) in &self.names {
            line(format_args!("name {seq} {id} {from} {keyring} {name}"));
        }
        let sum = Sum::of(text.as_bytes());
        text + &format!("sum {sum}\n")
    }

    /// Reads it. Errors: anything but what [`Self::encode`] writes.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, FormatError> {
        let mut r = Reader::new("memory of a vault", bytes);
        let text = std::str::from_utf8(bytes).map_err(|_| r.error("UTF-8"))?;
        let mut seen = Self::default();
        let mut first = true;
        for line in text.split_inclusive('\n') {
            let at = r.clone();
            r.take(line.len())?;
            let line = line.strip_suffix('\n').ok_or_else(|| at.error("a whole line"))?;
            if std::mem::take(&mut first) {
                if line != format!("{FIRST_WORDS}{VERSION}") {
                    return Err(at.error("the line \"cas memory 1\""));
                }
            } else if !line.starts_with("sum ") {
                seen.read_line(line).ok_or_else(|| at.error("a keyring, a name or the sum"))?;
            }
        }
        // The sum, and that there is one way to write it.
        if seen.encode() == text { Ok(seen) } else { Err(r.error("the sum of the lines above")) }
    }

    fn read_line(&mut self, line: &str) -> Option<()> {
        if let Some(keyring) = line.strip_prefix("keyring ") {
            let (version, hash) = keyring.split_once(' ')?;
            self.keyring = Some(KeyringRef { version: version.parse().ok()?, hash: hash.parse().ok()? });
            return Some(());
        }
        let mut parts = line.strip_prefix("name ")?.splitn(5, ' ');
        let seq = parts.next()?.parse().ok()?;
        let id = parts.next()?.parse().ok()?;
        let from = parts.next()?.parse().ok()?;
        let keyring = parts.next()?.parse().ok()?;
        self.names.insert(parts.next()?.to_owned(), SeenName { seq, id, from, keyring });
        Some(())
    }
}

/// The version of a file that a later program wrote: its first line and its sum say so.
fn later_version(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    let version = text.lines().next()?.strip_prefix(FIRST_WORDS)?.parse().ok()?;
    let (above, sum) = text.split_at_checked(text.len().checked_sub("sum \n".len() + 64)?)?;
    (version > VERSION && sum == format!("sum {}\n", Sum::of(above.as_bytes()))).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: VaultId = VaultId([1; 16]);

    fn keyring(version: u32) -> KeyringRef {
        KeyringRef { version, hash: Sum([3; 32]) }
    }

    fn written(folder: &Path) -> PathBuf {
        let mut memory = Memory::open(folder, &VAULT).unwrap();
        memory.see_keyring(keyring(3));
        memory.see_name("a name", 7, SnapshotId([7; 32])).unwrap();
        memory.save().unwrap();
        memory.path
    }

    #[test]
    fn going_back_is_noticed_after_a_restart_too() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let mut memory = Memory::open(dir.path(), &VAULT).unwrap();
        assert_eq!((memory.keyring(), memory.damage()), (Some(keyring(3)), None));
        assert!(memory.see_name("a name", 6, SnapshotId([6; 32])).is_err());
        assert!(memory.see_name("a name", 7, SnapshotId([8; 32])).is_err());
        memory.see_name("a name", 8, SnapshotId([8; 32])).unwrap();
        memory.see_name("another", 1, SnapshotId([8; 32])).unwrap();
    }

    #[test]
    fn a_version_that_came_after_a_keyring_was_known_names_no_older_one() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path());
        let mut memory = Memory::open(dir.path(), &VAULT).unwrap();
        assert!(memory.fits("a name", 7, 1) && memory.fits("a name", 8, 3) && memory.fits("unknown", 8, 1));
        assert!(!memory.fits("a name", 8, 2));
        memory.see_name("a name", 9, SnapshotId([9; 32])).unwrap();
        assert!(!memory.fits("a name", 8, 2), "it stays known");
        memory.see_keyring(keyring(4));
        memory.see_name("a name", 11, SnapshotId([11; 32])).unwrap();
        assert!(memory.fits("a name", 11, 3) && memory.fits("a name", 12, 4) && !memory.fits("a name", 12, 3));
    }

    #[test]
    fn a_damaged_memory_is_said_and_begun_anew_never_believed_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 7);
            for bad in [&bad[..], &good[..at]] {
                fs::write(&path, bad).unwrap();
                let mut memory = Memory::open(dir.path(), &VAULT).unwrap();
                assert!(memory.damage().is_some() && memory.seen == Seen::default(), "byte {at}");
                memory.save().unwrap();
                assert_eq!(Memory::open(dir.path(), &VAULT).unwrap().damage(), None);
            }
        }
    }

    #[test]
    fn a_memory_of_a_later_program_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = written(dir.path());
        let text = "cas memory 2\nsomething else\n";
        fs::write(&path, format!("{text}sum {}\n", Sum::of(text.as_bytes()))).unwrap();
        let refused = Memory::open(dir.path(), &VAULT).unwrap_err();
        assert!(matches!(refused, ClientError::Service(ServiceError::Version { found: 2, known: 1, .. })));
    }

    #[test]
    fn the_text_is_that_of_the_module() {
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(written(dir.path())).unwrap();
        let above = format!("cas memory 1\nkeyring 3 {}\nname 7 {} 7 3 a name\n", "03".repeat(32), "07".repeat(32));
        assert_eq!(text, format!("{above}sum {}\n", Sum::of(above.as_bytes())));
    }
}
