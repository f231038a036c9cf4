//! Which of the stored snapshot and removal objects are the history of a name.
//!
//! From the newest version down: each names the one before it, so only the newest is a question, and versions below a
//! gap. There a removal decides (only what was committed is removed), else the object that was put last.
//!
//! A removal that a return names was taken back, in whatever order and on whatever nodes the two are found. As long as it
//! is stored its return is kept: the removal waits for the collector, and the return for its end.

use super::{FIRST, Work};
use crate::rights::domains::bind;
use crate::state::blocks::{Row, row};
use crate::state::interned::{Interned, intern};
use crate::state::snapshots::{Latest, Version, store_object, trash_key};
use crate::tables::{Table, Tables};
use cas_core::id::{BlockId, SnapshotId, VaultId};
use cas_core::snapshot::{SnapshotObject, What};
use cas_net::{Result, SnapshotState};
use std::collections::{BTreeMap, BTreeSet};

/// A stored object of kind snapshot.
pub(super) struct Candidate {
    id: BlockId,
    bytes: Vec<u8>,
    object: SnapshotObject,
}

/// A version with what removed it.
pub(super) struct Removed {
    snapshot: Candidate,
    removal: Candidate,
    /// Of its name.
    is_newest: bool,
}

impl Candidate {
    /// Reads it and verifies its signature.
    pub(super) fn parse(id: BlockId, bytes: Vec<u8>) -> std::result::Result<Self, String> {
        let object = SnapshotObject::parse(&bytes).map_err(|e| e.to_string())?;
        Ok(Self { id, bytes, object })
    }

    pub(super) fn name(&self) -> (VaultId, String) {
        (self.object.record().vault, self.object.record().name.as_str().to_owned())
    }

    fn chain_id(&self) -> SnapshotId {
        self.object.record().chain_id()
    }

    /// Whether only what was committed has it.
    fn is_witness(&self) -> bool {
        self.object.what() != What::Snapshot
    }
}

impl Work<'_> {
    /// Candidates come in the order in which they were put.
    pub(super) fn take_name(&mut self, vault: &VaultId, name: &str, candidates: Vec<Candidate>) -> Result<()> {
        let undone = self.take_returns(&candidates)?;
        let mut by_seq: BTreeMap<u64, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            by_seq.entry(candidate.object.record().seq).or_default().push(candidate);
        }
        let mut latest: Option<Latest> = None;
        let mut next: Option<(u64, SnapshotId)> = None;
        for (seq, candidates) in by_seq.into_iter().rev() {
            let named = next.filter(|(of, _)| *of == seq).map(|(_, id)| id);
            let Some(chosen) = self.choose(&candidates, named)? else { continue };
            let (mut snapshot, mut removal, mut previous) = (None, None, FIRST);
            for candidate in candidates.into_iter().filter(|c| c.chain_id() == chosen) {
                previous = candidate.object.record().previous;
                match candidate.object.what() {
                    What::Snapshot => snapshot = Some(candidate),
                    What::Removal if !undone.contains(&candidate.id) => removal = Some(candidate),
                    What::Removal | What::Return => {}
                }
            }
            next = seq.checked_sub(1).map(|before| (before, previous));
            let is_newest = latest.is_none();
            let newest = latest.get_or_insert(Latest { seq, snapshot: chosen, stub: None });
            match (snapshot, removal) {
                (Some(snapshot), Some(removal)) => self.removed.push(Removed { snapshot, removal, is_newest }),
                (Some(snapshot), None) => self.take_version(snapshot, None)?,
                (None, Some(removal)) if is_newest => {
                    newest.stub = Some((removal.id, BlockId::ZERO));
                    let domain = self.domain_of(&removal)?;
                    self.hold(&removal.id, domain)?;
                }
                (None, _) => {}
            }
        }
        if let Some(latest) = latest {
            latest.store(&mut self.tables, vault, name);
        }
        Ok(())
    }

    /// Versions that were removed, when everything that lives is known: in the trash, or just emptied from it. Of the latter
    /// nodes hold what the collector has not reached, or what they gave away and kept.
    pub(super) fn take_removed(&mut self) -> Result<()> {
        for Removed { snapshot, removal, is_newest } in std::mem::take(&mut self.removed) {
            if !self.is_gone(&snapshot.object.record().root)? {
                self.take_version(snapshot, Some(removal))?;
                continue;
            }
            let domain = self.domain_of(&removal)?;
            self.hold(&removal.id, domain)?;
            self.found.collected.push(snapshot.id);
            if is_newest {
                let (vault, name) = snapshot.name();
                let latest = Latest::of(&self.tables, &vault, &name)?;
                Latest { stub: Some((removal.id, snapshot.id)), ..latest }.store(&mut self.tables, &vault, &name);
            } else {
                self.keep_until_gone(&snapshot.id, &removal.id)?;
            }
            self.let_go(&snapshot.id)?;
        }
        Ok(())
    }

    /// What tells of an object that it counts no more is kept until that is gone.
    fn keep_until_gone(&mut self, object: &BlockId, stub: &BlockId) -> Result<()> {
        let mut waiting = self.tables.get(Table::Stubs, object.as_bytes())?.map_or_else(Vec::new, |v| v.into_owned());
        waiting.extend_from_slice(stub.as_bytes());
        self.tables.put(Table::Stubs, object.as_bytes(), waiting);
        Ok(())
    }

    /// An object has a row without references: the collector takes it.
    fn let_go(&mut self, object: &BlockId) -> Result<()> {
        if let Some(row) = row(&self.tables, object)? {
            self.put(object, Row { zero: self.meta.epoch, ..row });
        }
        Ok(())
    }

    /// Removals that were taken back. Each has a row without references, which the collector takes, and lets go of what
    /// took it back when it is gone.
    fn take_returns(&mut self, candidates: &[Candidate]) -> Result<BTreeSet<BlockId>> {
        let mut undone = BTreeSet::new();
        for (returning, removal) in candidates.iter().filter_map(|c| Some((c, c.object.record().undoes?))) {
            let is_it = |c: &&Candidate| c.id == removal && c.object.what() == What::Removal;
            let Some(found) = candidates.iter().find(is_it).filter(|c| c.chain_id() == returning.chain_id()) else {
                continue;
            };
            let domain = self.domain_of(returning)?;
            self.hold(&returning.id, domain)?;
            self.keep_until_gone(&found.id, &returning.id)?;
            self.let_go(&found.id)?;
            undone.insert(found.id);
        }
        Ok(undone)
    }

    /// Which version had this seq: what the next one names, else what was removed, else what was put last and is whole.
    fn choose(&mut self, candidates: &[Candidate], named: Option<SnapshotId>) -> Result<Option<SnapshotId>> {
        if let Some(named) = named {
            return Ok(candidates.iter().any(|c| c.chain_id() == named).then_some(named));
        }
        if let Some(removal) = candidates.iter().rev().find(|c| c.is_witness()) {
            return Ok(Some(removal.chain_id()));
        }
        let mut chosen = None;
        for candidate in candidates.iter().rev() {
            let (root, id) = (candidate.object.record().root, candidate.chain_id());
            if self.tables.get(Table::Blocks, root.as_bytes())?.is_some() {
                match *chosen.get_or_insert(id) {
                    chosen if chosen == id => {}
                    chosen => self.found.skipped.push((candidate.id, rival(candidate, &chosen))),
                }
                continue;
            }
            self.found.skipped.push((candidate.id, format!("its root {root} is not stored: it was never committed")));
        }
        Ok(chosen)
    }

    fn take_version(&mut self, snapshot: Candidate, removal: Option<Candidate>) -> Result<()> {
        let record = snapshot.object.record();
        let domain = self.domain_of(&snapshot)?;
        let mut row = crate::state::new_row(record, snapshot.chain_id(), snapshot.id);
        self.hold(&snapshot.id, domain)?;
        self.trace(&record.root, domain)?;
        if let Some(removal) = &removal {
            self.hold(&removal.id, domain)?;
            let since_ns = self.meta.time_ns;
            row.state = SnapshotState::Trash { since_ns, by: removal.object.record().device, removal: removal.id };
            self.tables.put(Table::Trash, &trash_key(since_ns, &row.snapshot), Vec::new());
            self.found.trash += 1;
        } else {
            self.found.live += 1;
        }
        let version = Version { row, committed_ns: None };
        bind(&mut self.tables, &record.vault, &record.domain)?;
        version.store(&mut self.tables);
        store_object(&mut self.tables, &version, &snapshot.bytes);
        Ok(())
    }

    fn domain_of(&mut self, candidate: &Candidate) -> Result<u32> {
        let domain = candidate.object.record().domain;
        intern(&mut self.tables, Interned::Domain, domain.as_bytes())
    }
}

/// What is said of the other of two pushes that stored the same version of a name.
fn rival(of: &Candidate, chosen: &SnapshotId) -> String {
    let record = of.object.record();
    format!("{}@{} may have been this one: {chosen} was stored after it", record.name.as_str(), record.seq)
}
