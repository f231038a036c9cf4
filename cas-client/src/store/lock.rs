//! One process at a time on an embedded store. The second waits, and knows for whom.
//!
//! The lock is the kernel's (`flock`), so it ends with the process however that ends. The text in the
//! file is only for people.

use crate::error::{ClientError, Result};
use rustix::fs::{FlockOperation, flock};
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

const RETRY: Duration = Duration::from_millis(50);
/// One that did not say who it is.
const ANOTHER: &str = "another process";

/// What to do when somebody else holds the store.
pub enum Patience<'a> {
    /// Answer [`ClientError::Busy`].
    None,
    /// Wait; called once with who holds it, then asked again and again whether to go on waiting.
    Wait(&'a mut dyn FnMut(&str) -> bool),
}

/// A held lock.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock in `path`. `label` says who we are, for those who wait.
    pub fn take(path: &Path, label: &str, patience: Patience<'_>) -> Result<Self> {
        match Self::take_unless(path, label, patience, &mut || None::<Infallible>)? {
            Ok(lock) => Ok(lock),
            Err(never) => match never {},
        }
    }

    /// As [`Lock::take`]; as long as somebody else holds it, `otherwise` is asked for something that does as well, before
    /// every wait.
    pub fn take_unless<T>(
        path: &Path,
        label: &str,
        patience: Patience<'_>,
        otherwise: &mut dyn FnMut() -> Option<T>,
    ) -> Result<std::result::Result<Self, T>> {
        let file = open(path)?;
        if let Some(instead) = wait_for(&file, patience, otherwise)? {
            return Ok(Err(instead));
        }
        note_holder(&file, label);
        Ok(Ok(Self { _file: file }))
    }
}

fn open(path: &Path) -> Result<File> {
    let writable = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = match writable {
        Err(e) if is_read_only(&e) => File::open(path),
        other => other,
    };
    file.map_err(|e| ClientError::io(format!("open the lock {}", path.display()), e))
}

/// Whether the medium or the permissions forbid writing.
pub fn is_read_only(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

fn wait_for<T>(file: &File, mut patience: Patience<'_>, otherwise: &mut dyn FnMut() -> Option<T>) -> Result<Option<T>> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(ClientError::io("lock the store", e)),
        }
        if let Some(instead) = otherwise() {
            return Ok(Some(instead));
        }
        let holder = holder_of(file);
        let Patience::Wait(go_on) = &mut patience else { return Err(ClientError::Busy { holder }) };
        if !go_on(&holder) {
            return Err(ClientError::Interrupted);
        }
        std::thread::sleep(RETRY);
    }
}

/// What the process that holds a lock calls itself.
pub(super) fn holder(path: &Path) -> String {
    File::open(path).map_or_else(|_| ANOTHER.to_owned(), |file| holder_of(&file))
}

fn holder_of(mut file: &File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(1024).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => ANOTHER.to_owned(),
    }
}

/// Best effort: a store on a read-only medium has nothing to note.
fn note_holder(mut file: &File, label: &str) {
    let _ = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| file.write_all(label.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_learns_who_holds_it_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, "cas push (process 7)", Patience::None).unwrap();
        let refused = Lock::take(&path, "second", Patience::None).unwrap_err();
        assert!(matches!(refused, ClientError::Busy { holder } if holder == "cas push (process 7)"));
        let mut first = Some(first);
        let mut asked = 0;
        let mut wait = |holder: &str| {
            asked += 1;
            assert_eq!(holder, "cas push (process 7)");
            drop(first.take());
            true
        };
        Lock::take(&path, "second", Patience::Wait(&mut wait)).unwrap();
        assert_eq!(asked, 1);
    }
}
