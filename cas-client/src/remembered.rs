//! The store that a person chose by logging in: where commands go that name none. One line in the config folder.
//!
//! Promise: the file is replaced in one step; what stands in it is an address with its key or an error, never a guess.

use crate::error::{ClientError, Result};
use crate::store::directory::{sync_dir, write_private};
use cas_net::address::{Address, AddressError};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// The address in this file; `None` if there is no file.
///
/// # Errors
/// It holds something else, or cannot be read.
pub fn read(path: &Path) -> Result<Option<Address>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(ClientError::io(format!("read {}", path.display()), e)),
    };
    let parsed = text.trim().parse().map(Some);
    parsed.map_err(|e: AddressError| ClientError::Untrusted {
        what: format!("the address in {}", path.display()),
        why: e.to_string(),
    })
}

/// Puts an address there.
///
/// # Errors
/// It cannot be written; then the old one stands.
pub fn write(path: &Path, address: &Address) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| ClientError::io(format!("create {}", folder.display()), e))?;
    let unfinished = path.with_extension("new");
    write_private(&unfinished, format!("{address}\n").as_bytes())?;
    fs::rename(&unfinished, path).map_err(|e| ClientError::io(format!("write {}", path.display()), e))?;
    sync_dir(folder)
}

/// Removes it. Answers whether there was one.
///
/// # Errors
/// It cannot be removed.
pub fn forget(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(ClientError::io(format!("remove {}", path.display()), e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_read_again_replaced_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/store");
        assert_eq!(read(&path).unwrap(), None);
        for host in ["one", "two:7"] {
            let address: Address = format!("cas://{}@{host}", "ab".repeat(32)).parse().unwrap();
            write(&path, &address).unwrap();
            assert_eq!(read(&path).unwrap(), Some(address));
        }
        assert!(forget(&path).unwrap() && !forget(&path).unwrap());
        assert_eq!(read(&path).unwrap(), None);
    }

    #[test]
    fn what_is_no_address_is_said_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        fs::write(&path, "cas://host-without-a-key:1\n").unwrap();
        assert!(matches!(read(&path), Err(ClientError::Untrusted { .. })));
    }
}
