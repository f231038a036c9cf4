//! Receipts that wait for the pages they belong to, per session, in memory.
//!
//! Bounded: what does not fit is forgotten, and so is everything at a restart. Then registration names the blocks
//! as missing and the client offers them to the node again; no body is sent twice.

use super::Index;
use crate::command::ObjectCover;
use crate::state::interned::{Interned, number_of};
use crate::state::{self};
use cas_core::id::{BlockId, Epoch, PublicKey, Sum};
use cas_net::{NodeId, Receipt, Result, ServiceError, SessionId};
use std::collections::HashMap;

/// Blocks whose receipts wait, per session.
const MAX_WAITING: usize = 1 << 18;
/// And of all sessions together.
const MAX_WAITING_IN_ALL: usize = 1 << 20;

/// Receipts of one block that one registration uses.
const MAX_WORDS: usize = 8;

/// What is known of a session beside its row.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// When the client was last heard of, by the clock.
    pub seen_ns: i64,
    waiting: HashMap<BlockId, Vec<Word>>,
}

/// What one node said of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub node: PublicKey,
    pub grant: Epoch,
    pub sum: Sum,
    pub len: u32,
    /// Whether it is a page or a list: then only its own header makes it a row.
    pub has_children: bool,
}

impl Memory {
    /// A session of which nothing else is known.
    pub(super) fn seen_at(now_ns: i64) -> Self {
        Self { seen_ns: now_ns, ..Self::default() }
    }

    /// Takes what a verified receipt says, as far as there is room.
    fn take(&mut self, receipt: &Receipt, room: &mut usize) {
        for block in &receipt.blocks {
            if !self.waiting.contains_key(&block.id) {
                if self.waiting.len() >= MAX_WAITING || *room == 0 {
                    continue;
                }
                *room -= 1;
            }
            let (node, grant, has_children) = (receipt.node.0, receipt.grant_epoch, block.kind.has_children());
            let word = Word { node, grant, sum: block.sum, len: block.len, has_children };
            let words = self.waiting.entry(block.id).or_default();
            match words.iter_mut().find(|old| old.node == word.node) {
                Some(old) if old.grant <= word.grant => *old = word,
                Some(_) => {}
                None => words.push(word),
            }
        }
    }

    /// What nodes say of a block, of one sum: that of its row if anybody has it, else the one with most receipts. The word
    /// under the newest grant comes first.
    pub(super) fn words(&self, id: &BlockId, of_row: impl FnOnce() -> Result<Option<Sum>>) -> Result<Vec<Word>> {
        let Some(all) = self.waiting.get(id) else { return Ok(Vec::new()) };
        let votes = |sum: &Sum| all.iter().filter(|word| word.sum == *sum).count();
        let most = all.iter().map(|word| word.sum).max_by_key(|sum| (votes(sum), *sum)).unwrap_or(Sum::ZERO);
        // One sum is the rule: then nobody has to look.
        let wanted = if votes(&most) == all.len() { most } else { of_row()?.filter(|s| votes(s) > 0).unwrap_or(most) };
        let mut words: Vec<Word> = all.iter().filter(|word| word.sum == wanted).copied().collect();
        words.sort_by_key(|word| std::cmp::Reverse(word.grant));
        words.truncate(MAX_WORDS);
        Ok(words)
    }

    /// Nothing is said of anything.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets what was used.
    pub(super) fn forget<'a>(&mut self, ids: impl IntoIterator<Item = &'a BlockId>) {
        for id in ids {
            self.waiting.remove(id);
        }
    }
}

/// Takes what verified receipts of a session say.
pub(super) fn take_all(all: &mut HashMap<SessionId, Memory>, session: SessionId, receipts: &[Receipt]) {
    let waiting: usize = all.values().map(|memory| memory.waiting.len()).sum();
    let mut room = MAX_WAITING_IN_ALL.saturating_sub(waiting);
    let own = all.entry(session).or_default();
    receipts.iter().for_each(|receipt| own.take(receipt, &mut room));
}

impl Index {
    /// Refuses receipts that a known node did not sign.
    pub(super) fn verify(&self, receipt: &Receipt) -> Result<()> {
        let NodeId(key) = receipt.node;
        if number_of(&*self.tables(), Interned::Node, key.as_bytes())?.is_none() {
            return Err(ServiceError::Denied(format!("a receipt of the unknown node {key}")));
        }
        if !receipt.is_genuine() {
            return Err(ServiceError::Denied(format!("a receipt that node {key} did not sign")));
        }
        Ok(())
    }

    /// What receipts say of one object: at least one names it.
    pub(super) fn covers(&self, receipts: &[Receipt], id: &BlockId) -> Result<Vec<ObjectCover>> {
        if receipts.is_empty() {
            return Err(ServiceError::Denied(format!("no receipt names {id}")));
        }
        receipts.iter().map(|receipt| self.cover(receipt, id)).collect()
    }

    fn cover(&self, receipt: &Receipt, id: &BlockId) -> Result<ObjectCover> {
        self.verify(receipt)?;
        let block = receipt.blocks.iter().find(|block| block.id == *id);
        let block = block.ok_or_else(|| ServiceError::Denied(format!("the receipt does not name {id}")))?;
        let (node, grant) = (receipt.node.0.0, receipt.grant_epoch.0);
        Ok(ObjectCover { node, grant, sum: block.sum.0, len: block.len })
    }

    /// The session lives: its lease begins anew.
    pub(super) fn renew(&self, session: SessionId) -> Result<state::Session> {
        let found = state::session(&*self.tables(), session)?.ok_or(ServiceError::SessionGone(session))?;
        let now = self.now_ns();
        self.memory().entry(session).or_default().seen_ns = now;
        Ok(found)
    }
}
