//! The node's answers: checks what comes in, finds what is asked for, leaves deciding and writing to the writer.
//!
//! Promise: what cannot be read for want of files or rights is an error, never "not here" and never "damaged": else a block
//! would be stored anew beside good bytes.

use crate::compact;
use crate::group::Looked;
use crate::index::Place;
use crate::listing;
use crate::options::MAX_SEGMENT_BYTES;
use crate::order::Order;
use crate::record::{HEADER_LEN, Record};
use crate::scrub;
use crate::segment::MAX_SEGMENT;
use crate::store::Store;
use crate::verify::verify;
use cas_core::id::{BlockId, DomainId};
use cas_core::limits::MAX_FRAME;
use cas_net::{
    Delete, Deleted, Found, Grant, Node, NodeId, NodeStats, PendingReceipt, PutBlock, Receipt, Received, Result,
    Scrubbed, ServiceError, StoredBlock,
};
use std::sync::PoisonError;
use std::sync::mpsc::sync_channel;

/// Bytes of one put, with [`HEADER_LEN`] for each block.
pub const MAX_PUT_BYTES: usize = 128 << 20;
/// Ids in one offer.
const MAX_OFFER: usize = 1 << 20;
/// Deletes written together.
const DELETE_STEP: usize = 65_536;
/// How often a read looks again because compaction moved the block meanwhile.
const READ_ATTEMPTS: usize = 8;

const _: () = assert!(MAX_FRAME + HEADER_LEN <= MAX_PUT_BYTES);
const _: () = assert!(MAX_OFFER * HEADER_LEN <= MAX_PUT_BYTES);
const _: () = assert!(MAX_SEGMENT_BYTES + 4 * (MAX_PUT_BYTES as u64) < MAX_SEGMENT);

impl Node for Store {
    fn id(&self) -> NodeId {
        NodeId(self.key.public())
    }

    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)> {
        self.check_grant(grant)?;
        if ids.len() > MAX_OFFER {
            return Err(ServiceError::Denied(format!("{} blocks are offered, {MAX_OFFER} may be at once", ids.len())));
        }
        let places = self.places(ids.iter().copied())?;
        // What shall be replaced is wanted: only with the new bytes at hand can be told whether it must be.
        let here = ids.iter().zip(&places).enumerate().filter(|_| !grant.replace);
        let looked = here.filter_map(|(i, (id, place))| Some((i, *id, self.look(id, place.as_ref()?))));
        let looked = looked.map(|(i, id, looked)| Ok((i, id, looked?))).collect::<Result<Vec<_>>>()?;
        let held: Vec<(usize, BlockId, Looked)> = looked.into_iter().filter(|(.., l)| l.good.is_some()).collect();
        let mut wanted = vec![true; ids.len()];
        if held.is_empty() {
            let (answer, pending) = PendingReceipt::new();
            let _ = answer.send(Ok(Receipt::sign(&self.key, grant.epoch, Vec::new())));
            return Ok((wanted, pending));
        }
        let (here, told) = sync_channel(1);
        let asked = held.iter().map(|(_, id, looked)| (*id, *looked)).collect();
        let pending = self.order_receipt(|answer| Order::Offer { epoch: grant.epoch, held: asked, here, answer })?;
        // A refusal comes with the receipt: until then everything is wanted.
        let told = told.recv().unwrap_or_default();
        held.iter().zip(told).for_each(|((i, ..), is_here)| wanted[*i] = !is_here);
        Ok((wanted, pending))
    }

    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        self.check_grant(grant)?;
        let bytes: usize = blocks.iter().map(|block| block.bytes.len() + HEADER_LEN).sum();
        if bytes > MAX_PUT_BYTES {
            return Err(ServiceError::Denied(format!("{bytes} bytes are put, {MAX_PUT_BYTES} may be at once")));
        }
        blocks.iter().try_for_each(verify)?;
        let places = self.places(blocks.iter().map(|block| block.id))?;
        let look = |(block, place): (PutBlock, Option<Place>)| {
            let looked = place.map(|place| match grant.replace {
                true => self.look_to_replace(&block, &place),
                false => self.look(&block.id, &place),
            });
            Ok((block, looked.transpose()?))
        };
        let blocks = blocks.into_iter().zip(places).map(look).collect::<Result<Vec<_>>>()?;
        // Objects are small, and forgetting, which writes one, must work on a full disk.
        let is_new = |looked: &Option<Looked>| looked.is_none_or(|looked| looked.good.is_none());
        if blocks.iter().any(|(block, looked)| block.kind.is_sealed() && is_new(looked)) {
            self.check_space()?;
        }
        self.order_receipt(|answer| Order::Put { epoch: grant.epoch, blocks, answer })
    }

    fn get(&self, id: &BlockId) -> Result<Vec<u8>> {
        self.read(id).map(|block| block.bytes.into())
    }

    fn get_many(&self, ids: &[BlockId], byte_limit: u64) -> Result<Vec<Found>> {
        let mut bytes = 0;
        let mut get = |id: &BlockId| {
            if bytes >= byte_limit {
                return Ok(Found::Later);
            }
            match self.read(id) {
                Ok(block) => {
                    bytes += block.bytes.len() as u64 + 1;
                    Ok(Found::Here(block))
                }
                Err(ServiceError::NotFound { .. }) => Ok(Found::Absent),
                Err(e @ ServiceError::Damaged { .. }) => Ok(Found::Damaged(e.to_string())),
                Err(e) => Err(e),
            }
        };
        ids.iter().map(&mut get).collect()
    }

    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>> {
        let number = |place: Place| u64::from(place.at.segment) << 32 | u64::from(place.at.offset);
        Ok(self.places(ids.iter().copied())?.into_iter().map(|place| place.map(number)).collect())
    }

    fn delete(&self, deletes: &[Delete]) -> Result<Vec<Deleted>> {
        let mut answers = Vec::with_capacity(deletes.len());
        for step in deletes.chunks(DELETE_STEP) {
            answers.extend(compact::with_room(self, || {
                self.ask(|answer| Order::Delete { deletes: step.to_vec(), answer })
            })?);
        }
        let mut state = self.shared.write();
        if !state.damaged.is_empty() {
            for delete in deletes {
                if state.places.get(&delete.id)?.is_none() {
                    state.damaged.remove(&delete.id);
                }
            }
        }
        Ok(answers)
    }

    /// A page is one moment's truth; between pages the store goes on. All pages together hold every block that was there from
    /// the first to the last, none twice, also while compaction moves them; what comes or goes meanwhile may be in or not.
    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>> {
        listing::list(self, after, limit)
    }

    fn scrub(&self, after: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed> {
        scrub::scrub(self, after, byte_limit)
    }

    fn compact(&self, dead_share: f64) -> Result<u64> {
        compact::compact(self, dead_share)
    }

    fn stats(&self) -> Result<NodeStats> {
        let (usage, blocks) = {
            let places = &self.shared.read().places;
            (places.usage.clone(), places.blocks)
        };
        let live: u64 = usage.values().map(|u| u.live).sum();
        let total: u64 = usage.iter().map(|(number, usage)| compact::bytes_on_disk(self, *number, usage)).sum();
        Ok(NodeStats {
            blocks,
            live_bytes: live,
            dead_bytes: total.saturating_sub(live),
            segment_bytes: total,
            segments: usage.len() as u64,
        })
    }

    fn close(&self) -> Result<()> {
        if self.is_read_only() { Ok(()) } else { self.ask(|answer| Order::Close { answer }) }
    }
}

impl Store {
    /// A block as it was put: its bytes, verified, and whose it is.
    ///
    /// # Errors
    /// As [`Node::get`].
    pub fn read(&self, id: &BlockId) -> Result<PutBlock> {
        let mut place = self.place(id)?;
        for _ in 0..READ_ATTEMPTS {
            let error = match self.shared.files.read(id, &place) {
                Ok((record, bytes)) => {
                    let Record { domain, sum, .. } = record;
                    return Ok(PutBlock { id: *id, kind: place.kind, domain, sum, bytes: bytes.into() });
                }
                Err(e) => e,
            };
            // Moved by compaction between looking and reading?
            let now = self.place(id)?;
            if now.at == place.at {
                if let ServiceError::Damaged { detail, .. } = &error {
                    self.shared.write().mark_damaged(*id, place.at, detail.clone());
                }
                return Err(error);
            }
            place = now;
        }
        Err(ServiceError::Busy(format!("block {id} is being moved")))
    }

    /// Whose a block is that lies here, by its record; `None` if there is none that can be read.
    ///
    /// # Errors
    /// `Io`, `Stopped`.
    pub fn domain_of(&self, id: &BlockId) -> Result<Option<DomainId>> {
        let Some(place) = self.shared.read().places.get(id)? else { return Ok(None) };
        match self.shared.files.header(id, &place) {
            Ok(record) => Ok(Some(record.domain)),
            // Moved or damaged: nobody is told that it is here.
            Err(ServiceError::Damaged { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn check_grant(&self, grant: &Grant) -> Result<()> {
        let mut trusted = self.trusted.lock().unwrap_or_else(PoisonError::into_inner);
        if trusted.as_ref() != Some(grant) {
            if !grant.is_from(&self.index) {
                return Err(ServiceError::Denied("the grant is not signed by this node's index".into()));
            }
            *trusted = Some(*grant);
        }
        Ok(())
    }

    fn check_space(&self) -> Result<()> {
        let folder = self.shared.files.folder();
        let Ok(free) = self.shared.files.disk().free_bytes(folder) else { return Ok(()) };
        let free = free.saturating_sub(self.shared.waiting.bytes() as u64);
        if free >= self.soft_free {
            return Ok(());
        }
        let detail = format!("{free} bytes are free, {} are kept for deleting and compacting", self.soft_free);
        Err(ServiceError::Full { what: format!("the disk of {}", folder.display()), detail })
    }

    fn places(&self, ids: impl Iterator<Item = BlockId>) -> Result<Vec<Option<Place>>> {
        let state = self.shared.read();
        ids.map(|id| state.places.get(&id)).collect()
    }

    /// What a receipt can say of a block that lies here; nothing if its bytes are known to be wrong.
    fn look(&self, id: &BlockId, place: &Place) -> Result<Looked> {
        let is_damaged = self.shared.read().is_damaged(id, place.at);
        let good = if is_damaged { None } else { self.shared.files.received_if_good(id, place)? };
        Ok(Looked { at: place.at, good })
    }

    /// The same under a grant to replace: bytes are kept only if they verify and are the same as the new ones. The index gives
    /// such a grant when a block was found bad, be it that its bytes rotted or that they are well kept rubbish.
    fn look_to_replace(&self, block: &PutBlock, place: &Place) -> Result<Looked> {
        let good = match self.shared.files.read(&block.id, place) {
            Ok((Record { sum, len, .. }, _)) if sum == block.sum => {
                Some(Received { id: block.id, kind: place.kind, sum, len })
            }
            Ok(_) | Err(ServiceError::Damaged { .. }) => None,
            Err(e) => return Err(e),
        };
        Ok(Looked { at: place.at, good })
    }

    /// Where a block lies; why it does not.
    fn place(&self, id: &BlockId) -> Result<Place> {
        let state = self.shared.read();
        let why = || match state.damaged.get(id) {
            Some(damaged) => ServiceError::Damaged { what: format!("block {id}"), detail: damaged.why.clone() },
            None => ServiceError::NotFound { what: "block", name: id.to_string() },
        };
        state.places.get(id)?.ok_or_else(why)
    }
}
