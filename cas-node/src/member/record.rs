//! Small files of a node beside its segments, each one checked value that is replaced as a whole.
//!
//! Promise: after any crash the old value stands there or the new one. What does not verify is an error, never a value.
//! Bytes: `magic [4] ‖ version u8 ‖ length u32 LE ‖ value ‖ BLAKE3 of all before [32]`.

use cas_core::kdf;
use cas_net::{Result, ServiceError};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const HEAD: usize = 4 + 1 + 4;
const SUM: usize = 32;
/// No such file is longer, in bytes.
const MAX_RECORD: u64 = 64 << 20;

/// What a file is.
#[derive(Debug, Clone, Copy)]
pub struct What {
    /// Its first bytes.
    pub magic: [u8; 4],
    /// The version that this program writes, the only one it reads.
    pub version: u8,
}

/// Replaces a file, durably. Only its owner can read it.
///
/// # Errors
/// `Io`; then the old value stands.
pub fn write(path: &Path, what: What, value: &[u8]) -> Result<()> {
    let made = path.with_extension("new");
    let replace = || {
        write_file(&made, &encode(what, value))?;
        fs::rename(&made, path)?;
        sync_folder_of(path)
    };
    replace().map_err(|e| ServiceError::io(format!("write {}", path.display()), e))
}

/// The value in a file; `None` if there is no file.
///
/// # Errors
/// `Damaged`, `Version`, `Io`.
pub fn read(path: &Path, what: What) -> Result<Option<Vec<u8>>> {
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let len = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(e)),
    };
    if len > MAX_RECORD {
        return Err(damaged(path, &format!("it has {len} bytes, at most {MAX_RECORD} are expected")));
    }
    decode(path, what, &fs::read(path).map_err(failed)?).map(Some)
}

/// Writes a file that must not be there yet, durably; of two at once one wins. Answers whether it was this one.
///
/// # Errors
/// `Io`.
pub fn write_first(path: &Path, bytes: &[u8]) -> Result<bool> {
    let made = path.with_extension(format!("new-{}", std::process::id()));
    let link = || {
        write_file(&made, bytes)?;
        let linked = match fs::hard_link(&made, path) {
            Ok(()) => true,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            Err(e) => return Err(e),
        };
        fs::remove_file(&made)?;
        sync_folder_of(path)?;
        Ok(linked)
    };
    link().map_err(|e| ServiceError::io(format!("write {}", path.display()), e))
}

/// An error about such a file.
pub fn damaged(path: &Path, detail: &str) -> ServiceError {
    ServiceError::Damaged { what: path.display().to_string(), detail: detail.to_owned() }
}

fn encode(what: What, value: &[u8]) -> Vec<u8> {
    let len = u32::try_from(value.len()).expect("records are small");
    let mut out = [&what.magic[..], &[what.version], &len.to_le_bytes(), value].concat();
    let sum = kdf::hash(&out);
    out.extend_from_slice(&sum);
    out
}

fn decode(path: &Path, what: What, bytes: &[u8]) -> Result<Vec<u8>> {
    let bad = |detail: &str| Err(damaged(path, detail));
    if bytes.len() < HEAD + SUM {
        return bad(&format!("it has {} bytes, expected at least {}", bytes.len(), HEAD + SUM));
    }
    let (body, sum) = bytes.split_at(bytes.len() - SUM);
    if kdf::hash(body) != sum {
        return bad("its bytes are not those of its checksum");
    }
    if body[..4] != what.magic {
        return bad("it is another kind of file");
    }
    if body[4] != what.version {
        let (found, known) = (body[4].into(), what.version.into());
        return Err(ServiceError::Version { what: path.display().to_string(), found, known });
    }
    let len = u32::from_le_bytes(body[5..HEAD].try_into().expect("four bytes"));
    if len as usize != body.len() - HEAD {
        return bad("its length is not the one it names");
    }
    Ok(body[HEAD..].to_vec())
}

fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: What = What { magic: *b"TEST", version: 3 };

    #[test]
    fn a_record_has_golden_bytes_and_any_wrong_one_is_seen() {
        let path = Path::new("x");
        let bytes = encode(WHAT, b"ab");
        assert_eq!(bytes[..11], *b"TEST\x03\x02\0\0\0ab");
        assert_eq!(bytes[11..], kdf::hash(&bytes[..11]));
        assert_eq!(decode(path, WHAT, &bytes).unwrap(), b"ab");
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(decode(path, WHAT, &wrong).is_err(), "byte {at}");
            assert!(decode(path, WHAT, &bytes[..at]).is_err(), "cut at {at}");
        }
        let newer = encode(What { version: 4, ..WHAT }, b"ab");
        assert!(matches!(decode(path, WHAT, &newer), Err(ServiceError::Version { found: 4, known: 3, .. })));
    }

    #[test]
    fn a_record_is_replaced_as_a_whole_and_none_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert_eq!(read(&path, WHAT).unwrap(), None);
        write(&path, WHAT, b"old").unwrap();
        write(&path, WHAT, b"new and longer").unwrap();
        assert_eq!(read(&path, WHAT).unwrap().unwrap(), b"new and longer");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_two_that_write_first_one_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        assert!(write_first(&path, b"one").unwrap());
        assert!(!write_first(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
