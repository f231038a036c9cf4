//! From all roots through pages and lists: whether they are what a reader needs, and which blocks they reach.
//!
//! Every rule of the manifest is verified, also across pages (see [`Survey`]); every list against its file; every hardlink
//! against its target; every page's and list's clear children against the references inside and against those that the
//! index counts by. What cannot be opened for want of a key is followed by its clear children alone.

use super::fault::Fault;
use super::reached::Reached;
use super::{CheckReport, Findings, in_one_line};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use crate::store::Store;
use crate::vault::Vault;
use cas_core::frame::Header;
use cas_core::id::{BlockId, Kind, SnapshotId};
use cas_core::manifest::{
    BlockSource, EntryWithIds, FileType, List, Manifest, ManifestPath, Met, OpenedBlock, Reference, Survey,
};
use cas_core::secret::ContentKey;
use cas_core::snapshot::SnapshotObject;
use cas_net::{ServiceError, SnapshotRow};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Hardlinks that are looked up together.
const LINKS: usize = 1 << 16;

/// Walks from snapshots to blocks.
pub(super) struct Walk<'a> {
    pub store: &'a Store,
    /// `None` if nobody here can open it.
    pub vault: Option<&'a Vault>,
    pub stop: &'a AtomicBool,
}

/// A list, with the length of its file.
type KnownList = (BlockId, u64);

/// What one walk remembers.
struct Pass<'a> {
    reached: Reached,
    found: &'a mut Findings,
    /// Lists that fit their file.
    lists: HashSet<KnownList>,
    /// First path and path of hardlinks of one manifest.
    links: Vec<(Vec<u8>, Vec<u8>)>,
    failure: Option<ClientError>,
}

impl Walk<'_> {
    /// Verifies all manifests, and collects what they reach.
    pub fn survey(
        &self,
        rows: &[SnapshotRow],
        into: Reached,
        report: &mut CheckReport,
        found: &mut Findings,
    ) -> Result<Reached> {
        let (lists, links) = Default::default();
        let mut pass = Pass { reached: into, found, lists, links, failure: None };
        let fetcher = self.fetcher();
        let mut survey = Survey::default();
        for row in rows {
            let key = match self.root_of(row) {
                Ok(key) => key,
                Err(e) => {
                    pass.found.snapshot(row, &in_one_line(&e));
                    None
                }
            };
            match (&fetcher, self.vault, key) {
                (Some(fetcher), Some(vault), Some(key)) => {
                    pass.reached.add(&row.root, Kind::Page, Some(&key));
                    let manifest = Manifest::new(fetcher, vault.keys(), vault.record(), row.root, key);
                    survey.walk(&manifest, |met| self.met(&manifest, row, met, &mut pass));
                    pass.check_links(&manifest, row);
                }
                _ => {
                    report.closed += 1;
                    self.follow(row.root, &mut pass.reached, &mut |id, fault| pass.found.fault(id, fault, false))?;
                }
            }
            match pass.failure.take() {
                Some(e) => return Err(e),
                None => self.go_on()?,
            }
        }
        let mut reached = pass.reached;
        reached.tidy();
        report.pages = reached.met();
        Ok(reached)
    }

    /// Collects what manifests reach in another part; what is wrong was said.
    pub fn gather(&self, rows: &[SnapshotRow], mut into: Reached) -> Result<Reached> {
        let fetcher = self.fetcher();
        for row in rows {
            let Some((fetcher, key)) = fetcher.as_ref().zip(self.root_of(row).ok().flatten()) else {
                self.follow(row.root, &mut into, &mut |_, _| {})?;
                continue;
            };
            into.add(&row.root, Kind::Page, Some(&key));
            let mut open = vec![(row.root, Kind::Page, key)];
            while let Some((id, kind, key)) = open.pop() {
                self.go_on()?;
                if !into.meet(&id) {
                    continue;
                }
                let Ok((references, children)) = self.references(fetcher, &id, kind, &key) else { continue };
                for (Reference { kind, key }, id) in references.into_iter().zip(children) {
                    into.add(&id, kind, Some(&key));
                    if kind.has_children() {
                        open.push((id, kind, key));
                    }
                }
            }
        }
        into.tidy();
        Ok(into)
    }

    fn go_on(&self) -> Result<()> {
        if self.stop.load(Relaxed) { Err(ClientError::Interrupted) } else { Ok(()) }
    }

    fn fetcher(&self) -> Option<Fetcher> {
        self.vault.map(|vault| Fetcher::new(self.store.nodes().clone(), vault.keys().clone()))
    }

    /// The key of a snapshot's root, from its signed record and sealed details; `None` if nobody here can open them.
    fn root_of(&self, row: &SnapshotRow) -> Result<Option<ContentKey>> {
        let object = match self.vault.filter(|vault| vault.id() == row.vault) {
            Some(vault) => vault.record_of(self.store, &row.snapshot)?,
            None => self.record_without_keyring(&row.snapshot)?,
        };
        let record = object.record();
        if (record.root, record.seq, record.name.as_str()) != (row.root, row.seq, &row.name[..]) {
            return Err(ClientError::Untrusted {
                what: format!("the index's row of {}@{}", row.name, row.seq),
                why: "its signed record says something else".to_owned(),
            });
        }
        let Some(vault) = self.vault.filter(|vault| vault.id() == row.vault) else { return Ok(None) };
        match vault.details(&object) {
            Ok(details) => Ok(Some(details.root)),
            Err(ClientError::WrongKey { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Its signature holds; whether that device may sign, the keyring would say.
    fn record_without_keyring(&self, id: &SnapshotId) -> Result<SnapshotObject> {
        let bytes = self.store.index().snapshot_object(id)?;
        let untrusted = |why: String| ClientError::Untrusted { what: format!("snapshot {}", id.short()), why };
        let object = SnapshotObject::parse(&bytes).map_err(|e| untrusted(in_one_line(&e)))?;
        if object.snapshot_id() != *id {
            return Err(untrusted("the index gave another snapshot".to_owned()));
        }
        Ok(object)
    }

    /// Goes by clear children alone.
    fn follow(&self, root: BlockId, reached: &mut Reached, wrong: &mut dyn FnMut(BlockId, Fault)) -> Result<()> {
        reached.add(&root, Kind::Page, None);
        let mut open = vec![root];
        while let Some(id) = open.pop() {
            self.go_on()?;
            if !reached.meet(&id) {
                continue;
            }
            let children = match self.clear_children(&id) {
                Ok(children) => children,
                Err(why) => {
                    wrong(id, why);
                    continue;
                }
            };
            let rows = self.store.index().rows(&children)?;
            for (id, row) in children.iter().zip(rows) {
                let kind = row.map_or(Kind::Data, |row| row.kind);
                reached.add(id, kind, None);
                if kind.has_children() {
                    open.push(*id);
                }
            }
        }
        Ok(())
    }

    /// The children in a block's header, which its id commits to and the index must count by.
    fn clear_children(&self, id: &BlockId) -> std::result::Result<Vec<BlockId>, Fault> {
        let frame = self.store.nodes().get(id).map_err(|e| Fault::of(e.into()))?;
        let (header, _) = Header::parse(&frame).map_err(|e| Fault::Damage(in_one_line(&e)))?;
        if header.id() != *id {
            return Err(Fault::Damage("its header is that of another block".to_owned()));
        }
        match self.store.index().children(id) {
            Ok(counted) if counted == header.children => Ok(header.children),
            Ok(_) => Err(Fault::Damage(COUNTED.to_owned())),
            Err(e) => Err(Fault::of(e.into())),
        }
    }

    /// Answers whether to go on.
    fn met(
        &self,
        manifest: &Manifest<&Fetcher>,
        row: &SnapshotRow,
        met: Met<'_, ClientError>,
        pass: &mut Pass<'_>,
    ) -> bool {
        match met {
            Met::Page { id, page, children } => {
                if pass.reached.meet(&id) {
                    self.check_children(&id, children, pass);
                    let lists = pass.add(page.references(), children);
                    lists.into_iter().for_each(|(id, key)| self.list(manifest.source(), id, key, pass));
                }
            }
            Met::Entry(entry) => {
                if let Some(list) = entry.list_id()
                    && pass.lists.insert((list, entry.entry.size))
                {
                    check_list(manifest, entry, pass.found);
                }
                if let Some(first) = &entry.entry.hardlink {
                    pass.links.push((first.clone(), entry.path.as_bytes().to_vec()));
                    if pass.links.len() >= LINKS {
                        pass.check_links(manifest, row);
                    }
                }
            }
            Met::Unusable(e) => {
                pass.found.unusable(e.block, *e.cause);
            }
        }
        pass.failure = self.go_on().err();
        pass.failure.is_none()
    }

    /// What a list reaches, its lists below included.
    fn list(&self, fetcher: &Fetcher, id: BlockId, key: ContentKey, pass: &mut Pass<'_>) {
        let mut open = vec![(id, key)];
        while let Some((id, key)) = open.pop() {
            if !pass.reached.meet(&id) {
                continue;
            }
            match self.references(fetcher, &id, Kind::List, &key) {
                Ok((references, children)) => {
                    self.check_children(&id, &children, pass);
                    open.extend(pass.add(&references, &children));
                }
                // Where its bytes are good, its file will say what is wrong with it.
                Err(e) => pass.found.fault(id, Fault::of(e), true),
            }
        }
    }

    fn check_children(&self, id: &BlockId, children: &[BlockId], pass: &mut Pass<'_>) {
        match self.store.index().children(id) {
            Ok(counted) if counted == children => {}
            Ok(_) => pass.found.block(*id, COUNTED.to_owned(), false),
            Err(e @ ServiceError::Damaged { .. }) => pass.found.block(*id, in_one_line(&e), false),
            Err(e) => pass.failure = Some(e.into()),
        }
    }

    /// What a page or list refers to.
    fn references(
        &self,
        fetcher: &Fetcher,
        id: &BlockId,
        kind: Kind,
        key: &ContentKey,
    ) -> Result<(Vec<Reference>, Vec<BlockId>)> {
        let OpenedBlock { plaintext, children } = fetcher.open(kind, id, key)?;
        let references = if kind == Kind::Page {
            let page = cas_core::manifest::Page::decode(plaintext).map_err(|e| ClientError::damaged(*id, e))?;
            page.match_children(fetcher.keys(), &children).then(|| page.references().to_vec())
        } else {
            let list = List::decode(&plaintext).map_err(|e| ClientError::damaged(*id, e))?;
            list.match_children(fetcher.keys(), &children).then(|| list.references().to_vec())
        };
        let references = references.ok_or_else(|| ClientError::damaged(*id, CLEAR.to_owned()))?;
        Ok((references, children))
    }
}

const COUNTED: &str = "the index counts by other children than it has";
const CLEAR: &str = "its clear list of children is not that of its references";

impl Pass<'_> {
    /// Adds references. Answers the lists among them.
    fn add(&mut self, references: &[Reference], children: &[BlockId]) -> Vec<(BlockId, ContentKey)> {
        let mut lists = Vec::new();
        for (reference, id) in references.iter().zip(children) {
            self.reached.add(id, reference.kind, Some(&reference.key));
            if reference.kind == Kind::List {
                lists.push((*id, reference.key.clone()));
            }
        }
        lists
    }

    /// Whether what hardlinks point to is there and holds content. That it comes first, the survey saw.
    fn check_links(&mut self, manifest: &Manifest<&Fetcher>, row: &SnapshotRow) {
        self.links.sort_unstable();
        for of_one in std::mem::take(&mut self.links).chunk_by(|a, b| a.0 == b.0) {
            let holds =
                |found: &EntryWithIds| found.entry.file_type == FileType::File && found.entry.hardlink.is_none();
            let found = ManifestPath::new(&of_one[0].0[..]).ok().map(|path| manifest.lookup(&path));
            match found {
                Some(Ok(Some(found))) if holds(&found) => {}
                Some(Err(_)) => {} // The page that it is in was named.
                _ => of_one.iter().for_each(|(first, path)| self.found.link(row, path, first)),
            }
        }
    }
}

/// Whether the lists of a file fit it and one another.
fn check_list(manifest: &Manifest<&Fetcher>, file: &EntryWithIds, found: &mut Findings) {
    for piece in manifest.pieces(file).into_iter().flatten() {
        if let Err(e) = piece {
            found.unusable(e.block, e.cause);
        }
    }
}
