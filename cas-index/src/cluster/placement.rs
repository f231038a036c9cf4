//! Which copies count, which are missing, and whether they are enough: asked by registration, `have` and `locate`.

use super::heal::{HealRow, heal_row};
use super::nodes::{NodeRow, Want, nodes};
use super::partition::{Count, Entry, Partition, pool};
use crate::state::interned::{self, Interned};
use crate::state::{Meta, damaged};
use crate::tables::Tables;
use cas_core::id::{BlockId, Epoch};
use cas_core::layout::Pool;
use cas_net::Result;
use std::collections::{HashMap, hash_map};

/// What one node says of a block: that it has the bytes of the row, under this grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Its number.
    pub node: u32,
    /// The epoch of the grant.
    pub grant: Epoch,
}

/// What follows from such words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether there are as many copies as an acknowledgement needs.
    pub enough: bool,
    /// The heal row from now on.
    pub heal: Option<HealRow>,
    /// Whether that is another than before.
    pub changed: bool,
    /// A grant to write what is missing must not be older.
    pub not_older: Epoch,
}

/// The layout as a command finds it: partitions are read as they are asked for.
pub struct Placement(Option<Placed>);

struct Placed {
    pool: Pool,
    nodes: HashMap<u32, NodeRow>,
    partitions: HashMap<u16, Partition>,
}

impl Placement {
    /// Without a layout it costs nothing.
    pub fn load(tables: &impl Tables, meta: &Meta) -> Result<Self> {
        if meta.layout == 0 {
            return Ok(Self(None));
        }
        let Some(pool) = pool(tables)? else { return Ok(Self(None)) };
        let nodes = nodes(tables)?.into_iter().map(|(_, row)| (row.number, row)).collect();
        Ok(Self(Some(Placed { pool, nodes, partitions: HashMap::new() })))
    }

    /// Whether there is no layout: then every known node may have everything, and one copy is enough.
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Copies that an acknowledgement needs of a set of so many members.
    pub fn minimum(&self, members: usize) -> usize {
        self.0.as_ref().map_or(1, |placed| placed.pool.minimum().min(members))
    }

    /// Whether the node's copies may count at all.
    pub fn node_counts(&self, node: u32) -> bool {
        self.0.as_ref().is_none_or(|placed| placed.nodes.get(&node).is_some_and(NodeRow::counts))
    }

    /// Whether the node is given up: it will not come back with what it had.
    pub fn is_lost(&self, node: u32) -> bool {
        self.node(node).is_none_or(|row| row.want == Want::Lost)
    }

    /// The members of a partition; none without a layout.
    pub fn partition(&mut self, tables: &impl Tables, number: u16) -> Result<Option<&Partition>> {
        let Some(placed) = &mut self.0 else { return Ok(None) };
        Ok(Some(match placed.partitions.entry(number) {
            hash_map::Entry::Occupied(known) => known.into_mut(),
            hash_map::Entry::Vacant(vacant) => {
                let row = Partition::of(tables, number)?;
                vacant.insert(row.ok_or_else(|| damaged(format!("partition {number}"), "is missing"))?)
            }
        }))
    }

    /// Who has to answer a delete before the row may go: all members that are not away.
    pub fn deleters(&mut self, tables: &impl Tables, number: u16) -> Result<Vec<u32>> {
        let Some(partition) = self.partition(tables, number)? else {
            return Ok((1..=interned::all(tables, Interned::Node)?.len() as u32).collect());
        };
        let all: Vec<u32> = partition.entries.iter().map(|entry| entry.node).collect();
        Ok(all.into_iter().filter(|node| self.node_counts(*node)).collect())
    }

    /// Nodes that may hold what they were given once, and show it to a rebuild: all that were not given up, whether they are
    /// members of anything now or away; none without a layout.
    pub fn keepers(&self) -> Vec<u32> {
        let may_return = |row: &&NodeRow| match row.want {
            Want::Lost => false,
            // It has given away everything and was switched off.
            Want::Removed => !row.down,
            Want::Member | Want::Draining | Want::New => true,
        };
        let rows = self.0.iter().flat_map(|placed| placed.nodes.values());
        rows.filter(may_return).map(|row| row.number).collect()
    }

    /// What is there of a block, and what these words add. A block that is not live (new, bad or coming back from
    /// condemnation) has nothing but what they say, and for it both the old and the new members must have enough; for one that
    /// is live, the old ones.
    pub fn judge(
        &mut self,
        tables: &impl Tables,
        meta: &Meta,
        id: &BlockId,
        is_live: bool,
        words: &[Word],
    ) -> Result<Verdict> {
        if self.is_open() {
            return Ok(Verdict { enough: is_live || !words.is_empty(), ..Verdict::default() });
        }
        let recorded = heal_row(tables, meta, id)?;
        let before = if is_live { recorded.clone().unwrap_or_default() } else { HealRow::default() };
        let entries = self.partition(tables, id.partition())?.map(|row| row.entries.clone()).unwrap_or_default();
        let mut row = HealRow::default();
        let mut not_older = Epoch(meta.layout);
        let mut has = Vec::with_capacity(entries.len());
        for entry in &entries {
            let since = if is_live { before.missing_since(entry.node) } else { None };
            let bound = since.unwrap_or(Epoch::ZERO).max(entry.since);
            let proven = words.iter().any(|word| word.node == entry.node && word.grant >= bound);
            let known = is_live && since.is_none() && self.counts(entry);
            match since {
                Some(since) if !proven => row.missing.push((entry.node, since)),
                None if !proven && !is_live => row.missing.push((entry.node, meta.epoch)),
                _ => {}
            }
            not_older = not_older.max(bound);
            has.push(proven || known);
        }
        let is_member = |node: u32| entries.iter().any(|entry| entry.node == node);
        let said = words.iter().map(|word| (word.node, word.grant));
        for (node, grant) in before.elsewhere.iter().copied().chain(said) {
            let since = self.node(node).map(|row| row.since);
            let valid = since.is_some_and(|since| grant >= since) && !is_member(node) && self.node_counts(node);
            if valid && !row.elsewhere.iter().any(|(other, _)| *other == node) {
                row.elsewhere.push((node, grant));
            }
        }
        let extra = row.elsewhere.len();
        let enough = |of: &dyn Fn(&Entry) -> bool| {
            let set = entries.iter().zip(&has).filter(|(entry, _)| of(entry));
            let (size, copies) = set.fold((0, extra), |(size, n), (_, has)| (size + 1, n + usize::from(*has)));
            copies >= self.minimum(size)
        };
        let enough = enough(&Entry::is_old) && (is_live || enough(&Entry::is_new));
        let heal = Some(row).filter(|row| !row.missing.is_empty());
        let changed = heal != recorded;
        Ok(Verdict { enough, heal, changed, not_older })
    }

    /// Of a block that is live: `None` if it has enough copies, else the epoch that a grant to write it must not be older
    /// than. As [`Self::judge`] without words; quick where nothing is missing, which is the rule.
    pub fn lacks(&mut self, tables: &impl Tables, meta: &Meta, id: &BlockId) -> Result<Option<Epoch>> {
        if self.is_open() {
            return Ok(None);
        }
        if heal_row(tables, meta, id)?.is_none() && self.partition(tables, id.partition())?.is_some() {
            let placed = self.0.as_ref().expect("it is not open");
            let old = placed.partitions[&id.partition()].entries.iter().filter(|entry| entry.is_old());
            let (size, copies) =
                old.fold((0, 0), |(size, copies), entry| (size + 1, copies + usize::from(self.counts(entry))));
            if copies >= self.minimum(size) {
                return Ok(None);
            }
        }
        let verdict = self.judge(tables, meta, id, true, &[])?;
        Ok(Some(verdict.not_older).filter(|_| !verdict.enough))
    }

    /// Whose copies of a live row count, and whose are missing. Without a layout nobody knows whose.
    pub fn copies(&mut self, tables: &impl Tables, meta: &Meta, id: &BlockId) -> Result<(Vec<u32>, Vec<u32>)> {
        let heal = heal_row(tables, meta, id)?.unwrap_or_default();
        self.copies_with(tables, id.partition(), &heal)
    }

    /// The same with a heal row that is known.
    pub fn copies_with(
        &mut self,
        tables: &impl Tables,
        partition: u16,
        heal: &HealRow,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let entries = self.partition(tables, partition)?.map(|row| row.entries.clone()).unwrap_or_default();
        let (mut there, mut missing) = (Vec::new(), Vec::new());
        for entry in &entries {
            let lacks = heal.missing_since(entry.node).is_some();
            if !lacks && self.counts(entry) { there.push(entry.node) } else { missing.push(entry.node) }
        }
        for (node, grant) in &heal.elsewhere {
            let valid = self.node(*node).is_some_and(|row| row.counts() && *grant >= row.since);
            if valid && !entries.iter().any(|entry| entry.node == *node) {
                there.push(*node);
            }
        }
        Ok((there, missing))
    }

    /// Whether what a member has is known, and it is not away.
    pub fn counts(&self, entry: &Entry) -> bool {
        entry.count == Count::Counted && self.node_counts(entry.node)
    }

    /// Whether every member that may still have the block has been looked at, or is given up.
    pub fn nobody_is_away(&mut self, tables: &impl Tables, id: &BlockId) -> Result<bool> {
        let entries = self.partition(tables, id.partition())?.map(|row| row.entries.clone()).unwrap_or_default();
        Ok(!entries.iter().any(|entry| !self.is_lost(entry.node) && !self.counts(entry)))
    }

    fn node(&self, node: u32) -> Option<&NodeRow> {
        self.0.as_ref().and_then(|placed| placed.nodes.get(&node))
    }
}
