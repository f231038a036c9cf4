//! How far the index is known to have come: a file beside it, so that an index that lost its end is seen. FORMAT §10.
//!
//! A log that is cut at a group, or an older copy of the index in its place, is whole in itself: no checksum shows what
//! is missing, and a collection by it would delete what only the lost commands knew. So whoever closes the store notes the last
//! epoch that was synced before; the note itself is never synced, and without it, or with a rotten one, only this
//! check is missing. It never says more than what was durable, so a power cut or a crash raises no false alarm.

use cas_core::codec::{FormatError, Reader};
use cas_core::id::Epoch;
use cas_core::kdf;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"CASE";
const VERSION: u8 = 1;
const CHECK_LEN: usize = 16;
const CHECKED: usize = 4 + 4 + 8;
/// Bytes of the file.
pub const LEN: usize = CHECKED + CHECK_LEN;

const _: () = assert!(LEN == 32);

/// The bytes of the file.
pub fn encode(epoch: Epoch) -> [u8; LEN] {
    let mut out = [0; LEN];
    out[..4].copy_from_slice(MAGIC);
    out[4] = VERSION;
    out[8..CHECKED].copy_from_slice(&epoch.0.to_le_bytes());
    let check = kdf::hash(&out[..CHECKED]);
    out[CHECKED..].copy_from_slice(&check[..CHECK_LEN]);
    out
}

/// Reads them. Errors: another length, version or checksum.
pub fn decode(bytes: &[u8]) -> Result<Epoch, FormatError> {
    let mut r = Reader::new("note of the epoch reached", bytes);
    r.expect(MAGIC, "the magic CASE")?;
    r.expect(&[VERSION, 0, 0, 0], "version 1")?;
    let epoch = Epoch(r.u64()?);
    r.expect(&kdf::hash(&bytes[..CHECKED])[..CHECK_LEN], "the checksum")?;
    r.finish()?;
    Ok(epoch)
}

/// What the file says; zero if there is none that can be believed.
pub(super) fn read(path: &Path) -> Epoch {
    match std::fs::read(path) {
        Ok(bytes) => decode(&bytes).unwrap_or_else(|why| {
            tracing::warn!(path = %path.display(), %why, "passed over");
            Epoch::ZERO
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Epoch::ZERO,
        Err(why) => {
            tracing::warn!(path = %path.display(), %why, "passed over");
            Epoch::ZERO
        }
    }
}

/// Notes, when it is dropped, how far an index has come.
pub(super) struct Note {
    path: PathBuf,
    index: Arc<cas_index::Index>,
    noted: Epoch,
}

impl Note {
    /// For an index that was opened for writing. `noted` is what the file says now.
    pub fn keep(path: PathBuf, index: Arc<cas_index::Index>, noted: Epoch) -> Self {
        Self { path, index, noted }
    }
}

impl Drop for Note {
    /// In place, by one write: a reader finds the old bytes or the new ones.
    fn drop(&mut self) {
        let durable = self.index.durable_epoch();
        if durable <= self.noted {
            return;
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path);
        let noted = file.and_then(|file| {
            file.write_all_at(&encode(durable), 0)?;
            file.set_len(LEN as u64)
        });
        if let Err(why) = noted {
            tracing::warn!(path = %self.path.display(), %why, "not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let bytes = encode(Epoch(0x0001_0000_0000_0203));
        assert_eq!(bytes[..16], *b"CASE\x01\0\0\0\x03\x02\0\0\0\0\x01\0");
        assert_eq!(bytes[16..], kdf::hash(&bytes[..16])[..16]);
        assert_eq!(decode(&bytes), Ok(Epoch(0x0001_0000_0000_0203)));
    }

    #[test]
    fn a_changed_or_cut_note_is_none() {
        let bytes = encode(Epoch(7));
        for at in 0..LEN {
            let mut bad = bytes;
            bad[at] ^= 1 << (at % 8);
            assert!(decode(&bad).is_err(), "byte {at}");
            assert!(decode(&bytes[..at]).is_err(), "cut at {at}");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
