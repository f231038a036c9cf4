//! What a cluster said last, kept in the state folder, so that what was seen before can be read while its index is away.
//!
//! ```text
//! cluster-KEY/layout  vaults  keyring-VAULT  versions-VAULT  ticket-DOMAIN  object-SNAPSHOT
//! file: "CASK" ‖ version u8 ‖ when it was told i64 ‖ the value as on the wire ‖ BLAKE3 of all before
//! ```
//! Promise: a file is replaced in one step and believed only whole; one that is damaged, of another version or too long is as good as
//! none. What is kept is no more trusted than what an index says: whoever reads it verifies it. Nothing here is secret: keyrings
//! and records are sealed, a ticket is of no use without the device's key. Losing all of it loses nothing.

use super::directory::{sync_dir, write_private};
use crate::error::{ClientError, Result};
use cas_core::id::Sum;
use cas_net::limits::{MAX_ANSWER, MAX_ANSWER_ITEMS};
use cas_net::wire::{Wire, decode, encode};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: [u8; 4] = *b"CASK";
const VERSION: u8 = 1;
const HEAD: usize = MAGIC.len() + 1 + 8;
/// The longest value that is kept, in bytes.
const MAX_VALUE: usize = 64 << 20;
/// A value that has not changed is not written again before its time is so much older, in nanoseconds.
const FRESH_NS: i64 = 60_000_000_000;

const _: () = assert!(MAX_VALUE <= MAX_ANSWER);

/// A folder with what one cluster said last.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    /// For names of files that are not complete yet.
    written: AtomicU64,
}

/// Something that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told<T> {
    /// What was said.
    pub value: T,
    /// When, nanoseconds since 1970, by this machine's clock.
    pub at_ns: i64,
}

impl Kept {
    /// In this folder, which is made when something is kept.
    pub fn in_folder(folder: PathBuf) -> Self {
        Self { folder, written: AtomicU64::new(0) }
    }

    /// Whether something was kept under a name; whether it is whole is not looked at.
    pub fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// What was kept under a name, if it is whole.
    pub fn get<T: Wire>(&self, name: &str) -> Option<Told<T>> {
        let path = self.folder.join(name);
        let size = fs::metadata(&path).ok()?.len();
        if size > (HEAD + MAX_VALUE + Sum::LEN) as u64 {
            return None;
        }
        let told = unsealed(&fs::read(&path).ok()?);
        if told.is_none() {
            tracing::warn!("{} is damaged; it is not used", path.display());
        }
        told
    }

    /// Keeps a value. That it cannot be kept is no reason to fail.
    pub fn keep<T: Wire>(&self, name: &str, value: &T, now_ns: i64) {
        if let Err(why) = self.try_keep(name, &encode(value), now_ns, true) {
            tracing::warn!("what the index said is not kept: {why}");
        }
    }

    /// Keeps something that hardly ever changes, and of which there are many: it is not worth a wait for the disk (a torn file is
    /// none), and its time is that of its last change.
    pub fn keep_lightly<T: Wire>(&self, name: &str, value: &T, now_ns: i64) {
        let encoded = encode(value);
        let stands = fs::read(self.folder.join(name)).ok();
        if stands.as_deref().and_then(opened).is_some_and(|(stands, _)| stands == encoded) {
            return;
        }
        if let Err(why) = self.try_keep(name, &encoded, now_ns, false) {
            tracing::warn!("what the index said is not kept: {why}");
        }
    }

    fn try_keep(&self, name: &str, value: &[u8], now_ns: i64, durable: bool) -> Result<()> {
        let path = self.folder.join(name);
        if value.len() > MAX_VALUE || self.is_fresh(&path, value, now_ns) {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)
            .map_err(|e| ClientError::io(format!("create {}", self.folder.display()), e))?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let made = self.folder.join(format!("{name}.new-{}-{number}", std::process::id()));
        if durable {
            write_private(&made, &sealed(value, now_ns))?;
        } else {
            fs::write(&made, sealed(value, now_ns))
                .map_err(|e| ClientError::io(format!("write {}", made.display()), e))?;
        }
        fs::rename(&made, &path).map_err(|e| ClientError::io(format!("write {}", path.display()), e))?;
        if durable { sync_dir(&self.folder) } else { Ok(()) }
    }

    /// Whether the same value stands there, from just now.
    fn is_fresh(&self, path: &Path, value: &[u8], now_ns: i64) -> bool {
        let Ok(bytes) = fs::read(path) else { return false };
        let Some((stands, at_ns)) = opened(&bytes) else { return false };
        stands == value && (at_ns..at_ns.saturating_add(FRESH_NS)).contains(&now_ns)
    }
}

fn sealed(value: &[u8], at_ns: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + value.len() + Sum::LEN);
    bytes.extend_from_slice(&MAGIC);
    bytes.push(VERSION);
    bytes.extend_from_slice(&at_ns.to_le_bytes());
    bytes.extend_from_slice(value);
    let sum = Sum::of(&bytes);
    bytes.extend_from_slice(sum.as_bytes());
    bytes
}

/// The value and its time, if the file is whole.
fn opened(bytes: &[u8]) -> Option<(&[u8], i64)> {
    let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(Sum::LEN)?)?;
    let (head, value) = body.split_at_checked(HEAD)?;
    if head[..4] != MAGIC || head[4] != VERSION || Sum::of(body).as_bytes()[..] != *sum {
        return None;
    }
    Some((value, i64::from_le_bytes(head[5..].try_into().ok()?)))
}

fn unsealed<T: Wire>(bytes: &[u8]) -> Option<Told<T>> {
    let (value, at_ns) = opened(bytes)?;
    decode(value, MAX_ANSWER_ITEMS).ok().map(|value| Told { value, at_ns })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_given_back_with_its_time_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::in_folder(dir.path().join("deep"));
        assert_eq!(kept.get::<Vec<u64>>("some"), None);
        for (value, at_ns) in [(vec![1u64, 2], 5), (vec![3], 6)] {
            kept.keep("some", &value, at_ns);
            assert_eq!(kept.get("some"), Some(Told { value, at_ns }));
        }
        kept.keep("some", &vec![3u64], 6 + FRESH_NS - 1);
        assert_eq!(kept.get::<Vec<u64>>("some").unwrap().at_ns, 6, "nothing new");
        kept.keep("some", &vec![3u64], 6 + FRESH_NS);
        assert_eq!(kept.get::<Vec<u64>>("some").unwrap().at_ns, 6 + FRESH_NS);
        kept.keep_lightly("some", &vec![3u64], 0);
        assert_eq!(kept.get::<Vec<u64>>("some").unwrap().at_ns, 6 + FRESH_NS, "nothing new");
        kept.keep_lightly("some", &vec![4u64], 0);
        assert_eq!(kept.get("some"), Some(Told { value: vec![4u64], at_ns: 0 }));
        assert_eq!(fs::read_dir(dir.path().join("deep")).unwrap().count(), 1, "nothing half done is left");
    }

    #[test]
    fn a_file_that_is_cut_or_changed_anywhere_is_none() {
        let whole = sealed(&encode(&vec![7u64, 8]), 9);
        assert_eq!(unsealed(&whole), Some(Told { value: vec![7u64, 8], at_ns: 9 }));
        for at in 0..whole.len() {
            assert_eq!(unsealed::<Vec<u64>>(&whole[..at]), None, "cut at {at}");
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(unsealed::<Vec<u64>>(&changed), None, "changed at {at}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_none() {
        let bytes = sealed(&encode(&vec![u64::MAX; 3]), 9);
        assert_eq!(unsealed::<String>(&bytes), None);
    }
}
