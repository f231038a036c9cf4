//! What is done next: from the tables, and who is alive, to commands and orders. DESIGN §8.
//!
//! Everything is derived from the tables; what is remembered here (orders under way, a queue of blocks to heal) only keeps from
//! doing a thing twice, and is built anew after a restart. Blocks with the fewest copies come first.

use super::heal::{HealRow, decode, heal_row, id_of};
use super::partition::{Count, PARTITION_COUNT, Partition};
use super::placement::Placement;
use super::{Command, moves};
use crate::command::Packed;
use crate::state::blocks::{State, row, split_epoch_key};
use crate::state::{Meta, first_session, graves};
use crate::tables::{Table, Tables};
use cas_core::codec::Reader;
use cas_core::id::{BlockId, Epoch};
use cas_net::cluster::{CopyBlock, MAX_COPIES, MAX_ORDERS};
use cas_net::{Delete, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// How much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Partitions on their way to one node, however large they are.
    pub moves_per_node: usize,
    /// More of them, as long as they hold fewer blocks than this together: each takes some beats.
    pub moving_blocks: u64,
    /// Bytes of copies ordered from one node and not answered.
    pub bytes_per_node: u64,
    /// After so many nanoseconds without an answer a copy is ordered again. A node that still works on it does not begin anew.
    pub patience_ns: i64,
    /// Heal rows looked at in one step.
    pub look_step: usize,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            moves_per_node: 256,
            moving_blocks: 1 << 20,
            bytes_per_node: 256 << 20,
            patience_ns: 20_000_000_000,
            look_step: 20_000,
        }
    }
}

impl Throttle {
    /// Partitions on their way to one node.
    fn moves(&self, meta: &Meta) -> usize {
        let blocks_in_one = (meta.live / u64::from(PARTITION_COUNT)).max(1);
        self.moves_per_node.max(usize::try_from(self.moving_blocks / blocks_in_one).unwrap_or(usize::MAX))
    }
}

/// Blocks that wait for orders, per node.
const MAX_QUEUE: usize = 1 << 14;
/// While more blocks wait for a node than this, nothing more moves to it.
const FULL_QUEUE: usize = 1 << 12;
/// Partitions whose inventory is asked for at once, per node.
const MAX_LISTS: usize = 200;
/// Condemned rows looked at for deletes, per beat.
const DELETE_STEP: usize = 4096;
/// Orders to copy in one answer, each from other nodes.
const MAX_COPY_ORDERS: usize = 48;
/// Nodes that a copy may be fetched from.
const MAX_SOURCES: usize = 3;

const _: () = assert!(MAX_LISTS + MAX_COPY_ORDERS + 3 <= MAX_ORDERS);

/// Who is alive, as the planner needs it.
#[derive(Debug, Clone, Default)]
pub struct Alive {
    /// Numbers of nodes that beat.
    pub up: HashSet<u32>,
    /// Whether only last copies are healed.
    pub suspended: bool,
}

/// Something for one node to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Draft {
    /// Write floors.
    Floor(Vec<u16>),
    /// List a partition.
    Inventory {
        /// Which.
        partition: u16,
        /// The floor.
        floor: Epoch,
        /// Go on after this block.
        after: Option<BlockId>,
    },
    /// Copy from others, under a grant that is not older.
    Copy {
        /// Numbers of nodes that have the blocks.
        from: Vec<u32>,
        /// The blocks.
        blocks: Vec<CopyBlock>,
        /// Since when they are missing.
        not_older: Epoch,
    },
    /// Delete.
    Delete(Vec<Delete>),
}

/// Remembers what is under way.
#[derive(Debug, Default)]
pub struct Planner {
    throttle: Throttle,
    /// Blocks to heal, by node: with the number of copies.
    queues: BTreeMap<u32, BTreeSet<(u8, BlockId)>>,
    under_way: HashMap<(u32, BlockId), Flight>,
    /// Where the look at heal rows goes on.
    looked: Option<BlockId>,
    /// Where the look at condemned rows goes on, by node.
    deleted: HashMap<u32, Vec<u8>>,
    /// The same with objects that have no row.
    buried: HashMap<u32, Vec<u8>>,
    /// Blocks without any copy, as the last whole look found.
    lost: u64,
    lost_now: u64,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    until_ns: i64,
    len: u64,
}

impl Planner {
    /// Nothing is under way.
    pub fn new(throttle: Throttle) -> Self {
        Self { throttle, ..Self::default() }
    }

    /// Blocks without any copy that counts.
    pub fn lost(&self) -> u64 {
        self.lost.max(self.lost_now)
    }

    /// A copy was answered, made or not.
    pub fn answered(&mut self, node: u32, id: &BlockId) {
        self.under_way.remove(&(node, *id));
    }

    /// The node has no orders any more: it was started anew. What it was to copy is ordered again, without waiting for an answer.
    pub fn forget(&mut self, node: u32) {
        self.under_way.retain(|(to, _), _| *to != node);
    }

    /// What is to be commanded now: flips, beginnings, rows that turn out to be lost. Looks at some more heal rows.
    pub fn step(&mut self, tables: &impl Tables, meta: &Meta, alive: &Alive, now_ns: i64) -> Result<Vec<Command>> {
        self.under_way.retain(|_, flight| flight.until_ns > now_ns);
        let mut placement = Placement::load(tables, meta)?;
        if placement.is_open() {
            return Ok(Vec::new());
        }
        let mut commands = self.look(tables, meta, &mut placement, alive)?;
        let all = Partition::all(tables)?;
        let mut flips = Vec::new();
        for (partition, at) in all.iter().zip(0..).filter(|(partition, _)| partition.is_moving()) {
            if moves::can_flip(tables, meta, &mut placement, at, partition)? {
                flips.push(at);
            }
        }
        if !flips.is_empty() {
            commands.push(Command::Flip { partitions: flips });
        }
        let begin = self.beginnings(&all, self.throttle.moves(meta), &placement, alive);
        if !begin.is_empty() {
            commands.push(Command::Begin { partitions: begin });
        }
        Ok(commands)
    }

    /// Partitions whose next step can begin, those with the fewest copies within reach first.
    fn beginnings(&self, all: &[Partition], at_once: usize, placement: &Placement, alive: &Alive) -> Vec<u16> {
        let mut room: HashMap<u32, usize> = HashMap::new();
        for partition in all {
            if let Some(joining) = partition.joining() {
                *room.entry(joining.node).or_default() += 1;
            }
        }
        let reached = |partition: &Partition| {
            let counts = |entry: &&super::Entry| alive.up.contains(&entry.node) && placement.counts(entry);
            partition.entries.iter().filter(counts).count()
        };
        let waiting = all.iter().zip(0..PARTITION_COUNT).filter(|(p, _)| !p.is_moving() && !p.is_settled());
        let mut waiting: Vec<(usize, u16)> = waiting.map(|(partition, at)| (reached(partition), at)).collect();
        waiting.sort_unstable();
        waiting.retain(|(copies, _)| !alive.suspended || *copies <= 1);
        let mut fits = |at: &u16| {
            let Some(to) = all[usize::from(*at)].differs().1.first().copied() else { return true };
            let busy = self.queues.get(&to).is_some_and(|queue| queue.len() > FULL_QUEUE);
            let moving = room.entry(to).or_default();
            let fits = alive.up.contains(&to) && !busy && *moving < at_once;
            *moving += usize::from(fits);
            fits
        };
        waiting.into_iter().map(|(_, at)| at).filter(|at| fits(at)).collect()
    }

    /// Looks at the next heal rows and puts what they lack into the queues.
    fn look(
        &mut self,
        tables: &impl Tables,
        meta: &Meta,
        placement: &mut Placement,
        alive: &Alive,
    ) -> Result<Vec<Command>> {
        if meta.short == 0 {
            (self.lost, self.lost_now, self.looked) = (0, 0, None);
            self.queues.clear();
            return Ok(Vec::new());
        }
        let from = self.looked.map_or(Vec::new(), |id| id.0.to_vec());
        let (mut seen, mut last) = (Vec::new(), None);
        tables.scan(Table::Heal, &from, &mut |key, value| {
            let id = id_of(key)?;
            if self.looked == Some(id) {
                return Ok(true);
            }
            seen.push((id, decode(&id, value)?));
            last = Some(id);
            Ok(seen.len() < self.throttle.look_step)
        })?;
        self.looked = last.filter(|_| seen.len() == self.throttle.look_step);
        let mut lost: BTreeMap<u32, Vec<BlockId>> = BTreeMap::new();
        for (id, heal) in seen {
            let (there, _) = placement.copies_with(tables, id.partition(), &heal)?;
            if there.is_empty() {
                self.lost_now += 1;
                let is_live = row(tables, &id)?.is_some_and(|row| row.state == State::Live);
                let is_lost = is_live && placement.nobody_is_away(tables, &id)?;
                if let Some((node, _)) = heal.missing.first().filter(|_| is_lost) {
                    lost.entry(*node).or_default().push(id);
                }
                continue;
            }
            let copies = u8::try_from(there.len()).unwrap_or(u8::MAX);
            if alive.suspended && there.iter().filter(|node| alive.up.contains(node)).count() > 1 {
                continue;
            }
            for (node, _) in &heal.missing {
                let queue = self.queues.entry(*node).or_default();
                if alive.up.contains(node) && !self.under_way.contains_key(&(*node, id)) {
                    queue.insert((copies, id));
                    if queue.len() > MAX_QUEUE {
                        queue.pop_last();
                    }
                }
            }
        }
        if self.looked.is_none() {
            (self.lost, self.lost_now) = (self.lost_now, 0);
        }
        let mut keys = HashMap::new();
        for (key, row) in super::nodes(tables)? {
            keys.insert(row.number, key.0);
        }
        let missing = lost
            .into_iter()
            .filter_map(|(node, ids)| Some(Command::Missing { node: *keys.get(&node)?, ids: Packed::of_ids(&ids) }));
        Ok(missing.collect())
    }

    /// What a node is to do now.
    pub fn orders(
        &mut self,
        tables: &impl Tables,
        meta: &Meta,
        node: u32,
        alive: &Alive,
        now_ns: i64,
    ) -> Result<Vec<Draft>> {
        let mut drafts = Vec::new();
        let mut placement = Placement::load(tables, meta)?;
        if placement.is_open() {
            return Ok(drafts);
        }
        let mut floors = Vec::new();
        for (partition, at) in Partition::all(tables)?.iter().zip(0..PARTITION_COUNT) {
            match partition.entry(node).map(|entry| entry.count) {
                Some(Count::Floorless) => floors.push(at),
                Some(Count::Listing { floor, upto }) if drafts.len() < MAX_LISTS => {
                    drafts.push(Draft::Inventory { partition: at, floor, after: upto });
                }
                _ => {}
            }
        }
        if !floors.is_empty() {
            drafts.push(Draft::Floor(floors));
        }
        drafts.extend(self.copies(tables, meta, &mut placement, node, alive, now_ns)?);
        let mut deletes = self.deletes(tables, &mut placement, node)?;
        deletes.extend(self.graves(tables, meta, &placement, node)?);
        if !deletes.is_empty() {
            drafts.push(Draft::Delete(deletes));
        }
        Ok(drafts)
    }

    /// Takes blocks from the queue while there is room, those with the fewest copies first; each is looked at again.
    fn copies(
        &mut self,
        tables: &impl Tables,
        meta: &Meta,
        placement: &mut Placement,
        node: u32,
        alive: &Alive,
        now_ns: i64,
    ) -> Result<Vec<Draft>> {
        let mut bytes: u64 =
            self.under_way.iter().filter(|((to, _), _)| *to == node).map(|(_, flight)| flight.len).sum();
        let mut by_source: BTreeMap<Vec<u32>, (Vec<CopyBlock>, Epoch)> = BTreeMap::new();
        let mut count = 0;
        while bytes < self.throttle.bytes_per_node && count < MAX_COPIES {
            let Some((_, id)) = self.queues.get_mut(&node).and_then(BTreeSet::pop_first) else { break };
            let heal = heal_row(tables, meta, &id)?.unwrap_or_default();
            let Some(since) = heal.missing_since(node) else { continue };
            let Some(block) = row(tables, &id)?.filter(|row| !row.is_condemned()) else { continue };
            let is_leaving = placement
                .partition(tables, id.partition())?
                .and_then(|p| p.entry(node))
                .is_none_or(|entry| entry.leaves);
            let from = sources(placement, tables, &id, &heal, node, alive)?;
            if is_leaving || from.is_empty() || by_source.len() >= MAX_COPY_ORDERS && !by_source.contains_key(&from) {
                continue; // It comes back with the next look.
            }
            let len = u64::from(block.len);
            self.under_way.insert((node, id), Flight { until_ns: now_ns + self.throttle.patience_ns, len });
            (bytes, count) = (bytes + len, count + 1);
            let (blocks, not_older) = by_source.entry(from).or_default();
            blocks.push(CopyBlock { id, sum: block.sum, len: block.len });
            *not_older = since.max(*not_older);
        }
        let copy = |(from, (blocks, not_older))| Draft::Copy { from, blocks, not_older };
        Ok(by_source.into_iter().map(copy).collect())
    }

    /// Deletes that the node has not answered, some at a time, round and round.
    fn deletes(&mut self, tables: &impl Tables, placement: &mut Placement, node: u32) -> Result<Vec<Delete>> {
        let from = self.deleted.remove(&node).unwrap_or_default();
        let (mut seen, mut next) = (Vec::new(), None);
        tables.scan(Table::Condemned, &from, &mut |key, value| {
            if seen.len() == DELETE_STEP {
                next = Some(key.to_vec());
                return Ok(false);
            }
            let (epoch, id) = split_epoch_key(key)?;
            let mut r = Reader::new("condemned row", value);
            let mut answered = Vec::new();
            while let Ok(number) = r.varint() {
                answered.push(number as u32);
            }
            seen.push((Delete { id, epoch }, answered));
            Ok(true)
        })?;
        self.deleted.extend(next.map(|key| (node, key)));
        let mut out = Vec::new();
        for (delete, answered) in seen {
            let deleters = placement.deleters(tables, delete.id.partition())?;
            // If the last one who was waited for is no member any more, another answer ends it.
            let is_over = deleters.iter().all(|node| answered.contains(node));
            if deleters.contains(&node) && (is_over || !answered.contains(&node)) {
                out.push(delete);
            }
        }
        Ok(out)
    }

    /// Deletes of what has no row and may be anywhere, some at a time. No live session has put what they reach.
    fn graves(&mut self, tables: &impl Tables, meta: &Meta, placement: &Placement, node: u32) -> Result<Vec<Delete>> {
        let from = self.buried.remove(&node).unwrap_or_default();
        let (ids, next) = graves::asked(tables, &from, DELETE_STEP, node, &placement.keepers())?;
        self.buried.extend(next.map(|key| (node, key)));
        let epoch = first_session(tables)?.map_or(meta.epoch, |session| session.start());
        Ok(ids.into_iter().map(|id| Delete { id, epoch }).collect())
    }
}

/// Who can give a block: those that are alive, turned so that not all are asked for everything.
fn sources(
    placement: &mut Placement,
    tables: &impl Tables,
    id: &BlockId,
    heal: &HealRow,
    to: u32,
    alive: &Alive,
) -> Result<Vec<u32>> {
    let (mut there, _) = placement.copies_with(tables, id.partition(), heal)?;
    there.retain(|node| *node != to && alive.up.contains(node));
    let turn = usize::from(id.0[31]) % there.len().max(1);
    there.rotate_left(turn);
    there.truncate(MAX_SOURCES);
    Ok(there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_started_anew_waits_for_no_answer_of_the_one_it_was() {
        let mut planner = Planner::new(Throttle::default());
        let flight = Flight { until_ns: 60, len: 8 };
        for (node, id) in [(1, 5), (1, 6), (2, 5)] {
            planner.under_way.insert((node, BlockId([id; 32])), flight);
        }
        planner.forget(1);
        assert_eq!(planner.under_way.keys().copied().collect::<Vec<_>>(), [(2, BlockId([5; 32]))]);
    }
}
