//! Orders that wait or are under way: each thing once at a time, in lanes, so that slow work does not hold up quick work.
//!
//! Promise: what is under way is not begun a second time, however often it is ordered; what finds no room is dropped, because
//! the index gives it again. Not here: carrying it out.

use cas_core::id::BlockId;
use cas_net::cluster::{CopyOrder, Order};
use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Things that wait or are under way, in all.
const MAX_TASKS: usize = 1 << 18;
/// Blocks that are copied in one go; longer orders are cut, so that workers share them.
const COPY_STEP: usize = 256;

/// Which workers do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Copies: they wait for peers.
    Copies = 0,
    /// Floors and inventories: they go through whole partitions.
    Counting = 1,
    /// Deletes and looks at single blocks.
    Chores = 2,
}

const LANES: usize = 3;

/// One thing that is done once at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Task {
    Copy(BlockId),
    Floor(u16),
    Inventory(u16),
    Delete(BlockId),
    Verify(BlockId),
}

/// Orders that wait or are under way.
#[derive(Debug, Default)]
pub struct Desk {
    inside: Mutex<Inside>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    lanes: [VecDeque<Order>; LANES],
    tasks: HashSet<Task>,
    is_closed: bool,
}

/// An order that is being carried out; what it named may be ordered again when this goes.
#[derive(Debug)]
pub struct Taken<'a> {
    desk: &'a Desk,
    tasks: Vec<Task>,
    /// What to do. Taken out by whoever does it.
    pub order: Option<Order>,
}

impl Desk {
    /// Takes what of an order is not under way. Answers whether anything of it was new.
    pub fn give(&self, order: Order) -> bool {
        let mut inside = self.open();
        let Some(order) = inside.trim(order) else { return false };
        let lane = lane(&order);
        match order {
            Order::Copy(copy) => {
                for blocks in copy.blocks.chunks(COPY_STEP) {
                    let part = CopyOrder { blocks: blocks.to_vec(), ..copy.clone() };
                    inside.lanes[lane as usize].push_back(Order::Copy(part));
                }
            }
            order => inside.lanes[lane as usize].push_back(order),
        }
        self.changed.notify_all();
        true
    }

    /// Waits for the next order of a lane; `None` once the desk is closed.
    pub fn take(&self, lane: Lane) -> Option<Taken<'_>> {
        let mut inside = self.open();
        loop {
            if inside.is_closed {
                return None;
            }
            if let Some(order) = inside.lanes[lane as usize].pop_front() {
                return Some(Taken { desk: self, tasks: tasks(&order), order: Some(order) });
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives and takes nothing more; what waits is dropped.
    pub fn close(&self) {
        let mut inside = self.open();
        inside.is_closed = true;
        inside.lanes.iter_mut().for_each(VecDeque::clear);
        self.changed.notify_all();
    }

    /// Things that wait or are under way.
    pub fn under_way(&self) -> usize {
        self.open().tasks.len()
    }

    fn open(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut inside = self.desk.open();
        for task in &self.tasks {
            inside.tasks.remove(task);
        }
    }
}

impl Inside {
    /// Leaves of an order what is not under way, and notes it as under way.
    fn trim(&mut self, mut order: Order) -> Option<Order> {
        if self.is_closed {
            return None;
        }
        let mut is_new = |task| self.tasks.len() < MAX_TASKS && self.tasks.insert(task);
        let is_left = match &mut order {
            Order::Copy(copy) => keep(&mut copy.blocks, |block| is_new(Task::Copy(block.id))),
            Order::Floor { partitions, .. } => keep(partitions, |partition| is_new(Task::Floor(*partition))),
            Order::Inventory { partition, .. } => is_new(Task::Inventory(*partition)),
            Order::Delete(deletes) => keep(deletes, |delete| is_new(Task::Delete(delete.id))),
            Order::Verify(ids) => keep(ids, |id| is_new(Task::Verify(*id))),
        };
        is_left.then_some(order)
    }
}

fn keep<T>(list: &mut Vec<T>, is_kept: impl FnMut(&T) -> bool) -> bool {
    list.retain(is_kept);
    !list.is_empty()
}

fn lane(order: &Order) -> Lane {
    match order {
        Order::Copy(_) => Lane::Copies,
        Order::Floor { .. } | Order::Inventory { .. } => Lane::Counting,
        Order::Delete(_) | Order::Verify(_) => Lane::Chores,
    }
}

fn tasks(order: &Order) -> Vec<Task> {
    match order {
        Order::Copy(copy) => copy.blocks.iter().map(|block| Task::Copy(block.id)).collect(),
        Order::Floor { partitions, .. } => partitions.iter().map(|partition| Task::Floor(*partition)).collect(),
        Order::Inventory { partition, .. } => vec![Task::Inventory(*partition)],
        Order::Delete(deletes) => deletes.iter().map(|delete| Task::Delete(delete.id)).collect(),
        Order::Verify(ids) => ids.iter().map(|id| Task::Verify(*id)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::id::Epoch;

    fn floor(partitions: &[u16]) -> Order {
        Order::Floor { partitions: partitions.to_vec(), epoch: Epoch(4) }
    }

    fn partitions(order: Option<Order>) -> Vec<u16> {
        match order {
            Some(Order::Floor { partitions, .. }) => partitions,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_under_way_is_not_begun_again_until_it_is_over() {
        let desk = Desk::default();
        assert!(desk.give(floor(&[1, 2])));
        assert!(desk.give(floor(&[2, 3])));
        assert!(!desk.give(floor(&[1, 3])));
        let mut first = desk.take(Lane::Counting).unwrap();
        assert_eq!(partitions(first.order.take()), [1, 2]);
        assert!(!desk.give(floor(&[1])), "it is being done");
        drop(first);
        assert!(desk.give(floor(&[1])));
        assert_eq!(partitions(desk.take(Lane::Counting).unwrap().order.take()), [3]);
        assert_eq!(desk.under_way(), 1);
    }

    #[test]
    fn more_than_there_is_room_for_is_dropped_and_may_come_again() {
        let desk = Desk::default();
        let ids = |from: u32, n: u32| {
            let id = |i: u32| BlockId(std::array::from_fn(|at| i.to_le_bytes()[at % 4]));
            (from..from + n).map(id).collect::<Vec<_>>()
        };
        assert!(desk.give(Order::Verify(ids(0, MAX_TASKS as u32 - 1))));
        assert!(desk.give(Order::Verify(ids(1 << 20, 5))));
        assert_eq!(desk.under_way(), MAX_TASKS);
        assert!(!desk.give(floor(&[1])));
        drop(desk.take(Lane::Chores).unwrap());
        assert!(desk.give(floor(&[1])));
    }

    #[test]
    fn a_closed_desk_gives_nothing() {
        let desk = Desk::default();
        desk.give(floor(&[1]));
        desk.close();
        assert!(desk.take(Lane::Counting).is_none() && !desk.give(floor(&[2])));
    }
}
