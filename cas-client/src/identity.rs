//! The identity file of a person or a machine: an age identity, readable by its owner only.

use crate::entropy::random;
use crate::error::{ClientError, Result};
use crate::store::directory::{sync_dir, write_private};
use cas_core::agebox::Identity;
use cas_core::identity::{IdentityError, is_locked, lock, parse, print, unlock};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// scrypt work for a new lock: about a second.
const LOCK_WORK: u8 = cas_core::agebox::LOCK_WORK;

/// Reads an identity file; `passphrase` is needed if it is locked.
pub fn read(path: &Path, passphrase: Option<&str>) -> Result<Vec<Identity>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Err(ClientError::NoIdentity(path.to_owned())),
        Err(e) => return Err(ClientError::io(format!("read the identity {}", path.display()), e)),
    };
    let parsed = match (is_locked(&bytes), passphrase) {
        (false, _) => parse(&bytes),
        (true, Some(passphrase)) => unlock(&bytes, passphrase),
        (true, None) => return Err(ClientError::LockedIdentity(path.to_owned())),
    };
    parsed.map_err(|e| refused(path, &e))
}

/// Makes a new identity in a file that must not exist.
pub fn create(path: &Path, comment: &str) -> Result<Identity> {
    let identity = Identity::from_random(&random());
    write(path, &identity, comment)?;
    Ok(identity)
}

/// Writes an identity into a file that must not exist.
pub fn write(path: &Path, identity: &Identity, comment: &str) -> Result<()> {
    if path.exists() {
        return Err(ClientError::NotEmpty(path.to_owned()));
    }
    let public = format!("public key: {}", identity.recipient());
    place(path, print(identity, &[comment, &public]).as_bytes())
}

/// Locks the file with a passphrase, or unlocks it for good.
pub fn relock(path: &Path, old: Option<&str>, new: Option<&str>) -> Result<()> {
    let identities = read(path, old)?;
    let [identity] = &identities[..] else {
        return Err(ClientError::Usage("a file with several identities is changed with age itself".to_owned()));
    };
    let text = print(identity, &[&format!("public key: {}", identity.recipient())]);
    match new {
        None => place(path, text.as_bytes()),
        Some(passphrase) => place(path, &lock(&text, passphrase, LOCK_WORK).map_err(|e| refused(path, &e))?),
    }
}

/// Replaces the file in one step.
fn place(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|e| ClientError::io(format!("create {}", folder.display()), e))?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    write_private(Path::new(&unfinished), bytes)?;
    fs::rename(&unfinished, path).map_err(|e| ClientError::io(format!("write {}", path.display()), e))?;
    sync_dir(folder)
}

fn refused(path: &Path, error: &IdentityError) -> ClientError {
    ClientError::Untrusted { what: format!("the identity {}", path.display()), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_identity_is_read_again_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/identity");
        assert!(matches!(read(&path, None), Err(ClientError::NoIdentity(_))));
        let identity = create(&path, "test").unwrap();
        assert_eq!(read(&path, None).unwrap(), [identity]);
        assert!(matches!(create(&path, "test"), Err(ClientError::NotEmpty(_))));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
