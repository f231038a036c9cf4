//! The last step of a push: seal the details, sign the record, put the object, move the name.

use super::upload::Uploader;
use super::{Counts, PushOptions, Source, Version};
use crate::attributes::{Owners, entry_of, xattrs};
use crate::entropy::random;
use crate::error::{ClientError, Result};
use crate::store::Store;
use crate::vault::Vault;
use cas_core::id::{Kind, SnapshotId};
use cas_core::limits::MAX_INLINE_XATTRS;
use cas_core::manifest::{Root, encode_xattrs};
use cas_core::snapshot::{Details, Name, NewSnapshot, SnapshotObject, Stats};
use cas_net::{Commit, ServiceError, SessionId};
use rustix::fs::{AtFlags, CWD, statx};
use std::os::unix::ffi::OsStrExt;

/// How often a commit starts over because somebody else was first.
const ATTEMPTS: usize = 8;

/// What is known of a push at its end.
pub(super) struct Facts<'a> {
    pub options: &'a PushOptions,
    pub sources: &'a [Source],
    pub root: &'a Root,
    pub counts: Counts,
    pub problems: u64,
    pub time_ns: i64,
    pub elapsed_ms: u64,
}

/// Makes the new version visible.
pub(super) fn commit(
    store: &Store,
    vault: &mut Vault,
    session: SessionId,
    uploader: &Uploader,
    facts: &Facts<'_>,
) -> Result<Version> {
    let name = facts.options.name.parse::<Name>().map_err(|e| ClientError::Usage(e.to_string()))?;
    let details = details(vault, facts);
    let key = random();
    let mut attempt = 1;
    loop {
        let head = store.index().head(&vault.id(), name.as_str())?;
        let (last, previous) = head.unwrap_or((0, SnapshotId::ZERO));
        vault.see_head(store, name.as_str(), last, previous)?;
        let new = NewSnapshot {
            vault: vault.id(),
            name: name.clone(),
            seq: last + 1,
            previous,
            root: facts.root.id,
            time_ns: facts.time_ns,
            keyring: vault.keyring().reference(),
        };
        let recipients = vault.keyring().snapshot_recipients();
        let built = SnapshotObject::build(&new, &details, &random(), &recipients, vault.device());
        let object = built.map_err(|e| ClientError::Usage(e.to_string()))?;
        let bytes = object.encode();
        let receipts = uploader.put_object(Kind::Snapshot, &bytes)?;
        match store.index().commit(session, &Commit { object: bytes, receipts, key }) {
            Err(ServiceError::Conflict { .. } | ServiceError::Stale(_)) if attempt < ATTEMPTS => {
                attempt += 1;
                vault.refresh(store)?;
            }
            Err(e) => return Err(e.into()),
            Ok(done) => {
                vault.memory().see_name(name.as_str(), done.seq, done.snapshot)?;
                vault.memory().save()?;
                let parent = (previous != SnapshotId::ZERO).then_some(previous);
                return Ok(Version { seq: done.seq, snapshot: done.snapshot, parent });
            }
        }
    }
}

fn details(vault: &Vault, facts: &Facts<'_>) -> Details {
    let (options, counts) = (facts.options, facts.counts);
    let mut details = Details::new(facts.root.key.clone(), vault.keys().secret().clone(), vault.record().clone());
    details.host.clone_from(&options.host);
    details.user.clone_from(&options.user);
    details.paths = facts.sources.iter().map(|s| s.path.as_os_str().as_bytes().to_vec()).collect();
    details.tags.clone_from(&options.tags);
    details.stats = Stats {
        files: counts.files(),
        directories: counts.dirs(),
        others: counts.others,
        bytes: counts.bytes,
        new_blocks: counts.data_blocks + counts.tree_blocks,
        new_stored_bytes: counts.bytes_stored,
    };
    details.entry = root_entry(facts.sources);
    details.program.clone_from(&options.program);
    details.errors = facts.problems;
    details.duration_ms = facts.elapsed_ms;
    details
}

/// The entry of the one directory whose contents are the root; empty if there is none.
fn root_entry(sources: &[Source]) -> Vec<u8> {
    let [Source { path, place: None }] = sources else { return Vec::new() };
    let looked = statx(CWD, path, AtFlags::empty(), super::walk::wanted_stat());
    let Some(mut entry) = looked.ok().and_then(|stat| entry_of(&stat, &Owners::default())) else { return Vec::new() };
    let found = xattrs(path).unwrap_or_default();
    if encode_xattrs(&found).len() <= MAX_INLINE_XATTRS {
        entry.xattrs = found;
    }
    entry.encode()
}
