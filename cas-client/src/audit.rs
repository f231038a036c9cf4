//! The audit log of a cluster, read and verified here, without believing the index.
//!
//! Promise: a log that is another than the one that was verified last time on this machine is noticed, because its head is
//! kept here. Bytes of the file: `CASH` ‖ version u8 ‖ seq u64 LE ‖ hash, 32 bytes.
//! Not here: the chain itself (`cas_net::rights::audit`).

use crate::error::{ClientError, Result};
use crate::store::directory::write_private;
use cas_core::id::{PublicKey, Sum};
use cas_net::rights::audit::{AuditPage, Chain, Entry, Head, Verdict};
use cas_net::rights::{MAX_AUDIT_PAGE, Rights};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

const MAGIC: &[u8; 5] = b"CASH\x01";

/// The head that was seen last of the log of one index.
#[derive(Debug, Clone)]
pub struct SeenHead(PathBuf);

impl SeenHead {
    /// Of the index with this key, in the state folder of a person.
    pub fn of(state: &Path, index: &PublicKey) -> Self {
        Self(state.join(format!("audit-{index}")))
    }

    /// What was kept; `None` before the first time.
    ///
    /// # Errors
    /// The file is damaged: removing it begins anew.
    pub fn read(&self) -> Result<Option<Head>> {
        let bytes = match fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(ClientError::io(format!("read {}", self.0.display()), e)),
        };
        let head = parse(&bytes).ok_or_else(|| ClientError::Untrusted {
            what: format!("the head of the audit log in {}", self.0.display()),
            why: "it is damaged".to_owned(),
        })?;
        Ok(Some(head))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self, head: &Head) -> Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder).map_err(|e| ClientError::io(format!("create {}", folder.display()), e))?;
        }
        let bytes = [&MAGIC[..], &head.seq.to_le_bytes(), head.hash.as_bytes()].concat();
        let unfinished = self.0.with_extension("new");
        write_private(&unfinished, &bytes)?;
        fs::rename(&unfinished, &self.0).map_err(|e| ClientError::io(format!("write {}", self.0.display()), e))
    }
}

fn parse(bytes: &[u8]) -> Option<Head> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (seq, hash) = rest.split_first_chunk::<8>()?;
    Some(Head { seq: u64::from_le_bytes(*seq), hash: Sum(hash.try_into().ok()?) })
}

/// Reads the log from after a number on, page by page.
///
/// # Errors
/// The index refuses or is away, or `each` fails.
pub fn read(
    rights: &dyn Rights,
    mut after: u64,
    stop: &AtomicBool,
    each: &mut dyn FnMut(&AuditPage) -> Result<()>,
) -> Result<()> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(ClientError::Interrupted);
        }
        let page = rights.audit(after, MAX_AUDIT_PAGE)?;
        each(&page)?;
        if !page.more || page.next <= after {
            return Ok(());
        }
        after = page.next;
    }
}

/// The entries of a page.
///
/// # Errors
/// [`ClientError::Format`] for bytes that are no entry.
pub fn entries(page: &AuditPage) -> Result<Vec<Entry>> {
    let decode = |bytes: &[u8], seq| {
        Entry::decode(bytes)
            .map_err(|cause| ClientError::Format { what: format!("entry {seq} of the audit log"), cause })
    };
    page.entries.iter().map(|entry| decode(&entry.bytes, entry.seq)).collect()
}

/// Verifies the whole log here, against heads that were remembered.
///
/// # Errors
/// As [`Rights::verify_audit`]: who does not see all of it cannot verify it.
pub fn verify(rights: &dyn Rights, known: &[Head], stop: &AtomicBool) -> Result<Verdict> {
    let told = rights.verify_audit()?;
    let (mut chain, mut head) = (Chain::new(known), Head::default());
    read(rights, 0, stop, &mut |page| {
        page.entries.iter().for_each(|entry| chain.take(entry));
        head = page.head;
        Ok(())
    })?;
    let mut verdict = chain.finish(head);
    let more = told.faults.into_iter().filter(|fault| !verdict.faults.contains(fault)).collect::<Vec<_>>();
    verdict.faults.extend(more);
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_kept_and_a_damaged_one_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let seen = SeenHead::of(&dir.path().join("deep"), &PublicKey([3; 32]));
        assert_eq!(seen.read().unwrap(), None);
        for seq in [7, 8] {
            let head = Head { seq, hash: Sum([9; 32]) };
            seen.keep(&head).unwrap();
            assert_eq!(seen.read().unwrap(), Some(head));
        }
        fs::write(&seen.0, b"CASH\x01short").unwrap();
        assert!(matches!(seen.read(), Err(ClientError::Untrusted { .. })));
    }
}
