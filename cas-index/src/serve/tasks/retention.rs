//! Forgets what the rules of vaults do not keep, then empties the trash by age.
//!
//! Promise: the newest version of a name is never forgotten, nor what a lock keeps; what is forgotten lies in the trash for as long as
//! if somebody had forgotten it by hand, and stands in the audit log. A version's time is that of its commit in cluster time where it
//! is known: the time that a client says could push others out. Days and weeks are those of UTC. The removal that a rebuild needs
//! (FORMAT §6) is signed by the index itself.

use super::Job;
use super::objects::put_object;
use crate::rights::{lock, retention};
use crate::serve::history::End;
use crate::state::snapshots::{Version, versions};
use cas_core::id::{DomainId, VaultId};
use cas_core::retention::{self as rules, Moment};
use cas_core::snapshot::{SnapshotError, SnapshotObject};
use cas_net::{Index as _, Result, ServiceError, SessionId, SnapshotState, StartSession};
use std::collections::BTreeMap;

/// Versions forgotten in a whole step.
const FULL_STEP: usize = 64;
/// And in one beside a push.
const SMALL_STEP: usize = 8;
/// How often a removal is put again because something was collected meanwhile.
const ATTEMPTS: usize = 8;

/// What a run has done.
#[derive(Default)]
struct Tally {
    forgotten: u64,
    locked: u64,
    stopped: bool,
    /// Why some stayed that should go; the first.
    fault: Option<String>,
}

impl Tally {
    fn count(&mut self, version: &Version, done: Result<()>) {
        match done {
            Ok(()) => self.forgotten += 1,
            // Locked or forgotten by somebody since.
            Err(ServiceError::Retained(_)) => self.locked += 1,
            Err(ServiceError::NotFound { .. }) => {}
            Err(why) => {
                let row = &version.row;
                tracing::warn!(name = row.name, version = row.seq, %why, "could not be forgotten");
                self.fault.get_or_insert_with(|| format!("{}@{}: {why}", row.name, row.seq));
            }
        }
    }
}

pub(super) fn run(job: &mut Job<'_>) -> Result<End> {
    let mut tally = Tally::default();
    for vault in job.tools.index.vaults()? {
        if !tally.stopped {
            forget_in(job, &vault, &mut tally)?;
        }
    }
    let emptied = empty_trash(job)?;
    job.items = tally.forgotten + emptied;
    job.note = format!("{} versions forgotten, {emptied} left the trash", tally.forgotten);
    if tally.locked > 0 {
        job.note += &format!(", {} kept by a lock", tally.locked);
    }
    Ok(match tally.fault {
        _ if tally.stopped => End::Stopped,
        Some(why) => End::Held(why),
        None => End::Done,
    })
}

/// Answers how many versions went for good. What a retention lock keeps stays, whatever its age: the state machine looks.
pub(super) fn empty_trash(job: &Job<'_>) -> Result<u64> {
    let before_ns = job.tools.index.cluster_time_ns().saturating_sub(job.tools.options.trash_ns);
    Ok(job.tools.index.empty_trash(before_ns)?.len() as u64)
}

fn forget_in(job: &mut Job<'_>, vault: &VaultId, tally: &mut Tally) -> Result<()> {
    let due = due(job, vault, tally)?;
    let mut left = &due[..];
    while !left.is_empty() {
        let Some(is_full) = job.turn()? else {
            tally.stopped = true;
            return Ok(());
        };
        let step = if is_full { FULL_STEP } else { SMALL_STEP };
        let (some, others) = left.split_at(step.min(left.len()));
        forget_some(job, vault, some, tally)?;
        left = others;
    }
    Ok(())
}

/// What the rules of a vault do not keep, oldest name first.
fn due(job: &Job<'_>, vault: &VaultId, tally: &mut Tally) -> Result<Vec<Version>> {
    let index = job.tools.index;
    let (tables, now_ns) = (index.tables(), index.cluster_time_ns());
    if retention::retentions(&*tables, vault)?.is_empty() {
        return Ok(Vec::new());
    }
    let mut live = versions(&*tables, vault, None)?;
    live.retain(|version| version.row.state == SnapshotState::Live);
    let mut out = Vec::new();
    for history in live.chunk_by(|a, b| a.row.name == b.row.name) {
        let Some(policy) = retention::policy_of(&*tables, vault, &history[0].row.name)? else { continue };
        let judged = |version| rules::Version { key: version, made: made(version), tags: Vec::new() };
        for version in policy.plan(history.iter().map(judged).collect(), now_ns).removed() {
            match lock::keeps(&*tables, version, now_ns)? {
                true => tally.locked += 1,
                false => out.push((*version).clone()),
            }
        }
    }
    Ok(out)
}

fn made(version: &Version) -> Moment {
    Moment { time_ns: version.committed_ns.unwrap_or(version.row.time_ns), utc_offset_s: 0 }
}

/// Forgets these under one session for each domain among them: as a rule, one.
fn forget_some(job: &Job<'_>, vault: &VaultId, some: &[Version], tally: &mut Tally) -> Result<()> {
    let index = job.tools.index;
    let mut of_domains: BTreeMap<DomainId, Vec<(&Version, SnapshotObject)>> = BTreeMap::new();
    for version in some {
        match object_of(job, version) {
            Ok(object) => of_domains.entry(object.record().domain).or_default().push((version, object)),
            Err(why) => tally.count(version, Err(why)),
        }
    }
    for (domain, some) in of_domains {
        let (device, label) = (index.public_key(), "retention".to_owned());
        let session = index.start_session(&StartSession { vault: *vault, domain, device, label })?.session;
        for (version, object) in &some {
            tally.count(version, forget(job, session, object));
        }
        index.close_session(session)?;
    }
    Ok(())
}

fn object_of(job: &Job<'_>, version: &Version) -> Result<SnapshotObject> {
    let bytes = job.tools.index.snapshot_object(&version.row.snapshot)?;
    let damaged = |e: SnapshotError| ServiceError::Damaged { what: version.row.name.clone(), detail: e.to_string() };
    SnapshotObject::parse(&bytes).map_err(damaged)
}

fn forget(job: &Job<'_>, session: SessionId, object: &SnapshotObject) -> Result<()> {
    let (index, record) = (job.tools.index, object.record());
    let removal = SnapshotObject::removal(record, index.cluster_time_ns(), record.keyring, index.signing_key());
    let removal = removal.map_err(|e| ServiceError::Denied(e.to_string()))?.encode();
    let mut attempt = 1;
    loop {
        let receipts = put_object(job, index.grant(session)?, record.domain, &removal)?;
        match index.forget_by_rules(&removal, &receipts) {
            // Something was collected meanwhile.
            Err(ServiceError::Stale(_)) if attempt < ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}
