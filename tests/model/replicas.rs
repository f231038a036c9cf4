//! One block on two nodes: short acknowledgement, disks that are lost, healing, nodes that were away and return.
//!
//! One copy is enough to acknowledge; what is acknowledged short is a heal row. A disk is lost only while everything that
//! was acknowledged is believed to have another copy, so whatever is lost is the protocol's fault. The block is a root
//! page without children; a commit adds one to its count.

use crate::epoch::{Epoch, Epochs, Messages, renumber};
use crate::rules::Rules;
use crate::{check, epochs, without};
use stateright::{Model, Property};

const NODES: usize = 2;
const DELETES: usize = 1;

#[derive(Clone, Debug)]
struct Replicas {
    rules: Rules,
    /// Whether disks are lost, and whether nodes go away and return: two searches are smaller than one.
    disks_are_lost: bool,
    nodes_go_away: bool,
    /// How often that happens, and how many messages are under way at most.
    faults: u8,
    messages: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    // The index.
    now: Epoch,
    row: Option<Row>,
    session: Option<Epoch>,
    committed: bool,
    faults: u8,
    members: [Member; NODES],

    // The client: what it knows of the block, and the receipts it holds (by node).
    client: Client,
    receipts: [Option<Epoch>; NODES],

    nodes: [Node; NODES],

    // Under way to or from each node.
    deletes: [Messages<DELETES>; NODES],
    heal_copy: [Option<Epoch>; NODES],
    heal_answer: [Option<Epoch>; NODES],
    list: [Option<List>; NODES],
}
epochs!(State { now, row, session, members, client, receipts, nodes, deletes, heal_copy, heal_answer, list });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Row {
    count: u8,
    zero: Epoch,
    condemned: Option<Epoch>,
    /// Which nodes answered for this condemnation.
    answered: [bool; NODES],
    /// The heal row: since when a node's copy is known to be missing.
    missing: [Option<Epoch>; NODES],
}
epochs!(Row { zero, condemned, missing });

/// What the index knows of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Member {
    away: bool,
    /// Since when it is a member with the disk it has.
    since: Epoch,
}
epochs!(Member { since });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Node {
    disk_lost: bool,
    copy: Option<Epoch>,
    /// Deletes at or below are void.
    floor: Option<Epoch>,
}
epochs!(Node { copy, floor });

/// What a node found on its disk, listed after it wrote the FLOOR.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct List {
    floor: Epoch,
    found: bool,
}
epochs!(List { floor });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Client {
    #[default]
    Nothing,
    Granted(Epoch),
    Promised,
}

impl Epochs for Client {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        if let Self::Granted(epoch) = self {
            visit(epoch);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Start,
    Expire,
    Have,
    Put(usize),
    Register,
    Commit,
    Forget,
    Condemn,
    SendDelete(usize),
    DeleteArrives(usize),
    DeleteIsLost(usize),
    DeletedRowGoes,
    Sweep(usize),
    LoseDisk(usize),
    JoinWithEmptyDisk(usize),
    GoAway(usize),
    CountAsMissing(usize),
    Return(usize),
    FloorAndList(usize),
    ListArrives(usize),
    Heal(usize),
    HealCopyArrives(usize),
    HealAnswerArrives(usize),
}

impl State {
    fn live(&self) -> Option<&Row> {
        self.row.as_ref().filter(|row| row.condemned.is_none())
    }

    /// Whether the index relies on the node's copy.
    fn counts(&self, n: usize) -> bool {
        self.live().is_some_and(|row| row.missing[n].is_none())
    }

    fn under_way(&self) -> usize {
        let at = |n: usize| {
            [self.deletes[n].read(0), self.heal_copy[n], self.heal_answer[n], self.list[n].map(|list| list.floor)]
        };
        at(0).iter().chain(&at(1)).flatten().count()
    }

    fn live_mut(&mut self) -> Option<&mut Row> {
        self.row.as_mut().filter(|row| row.condemned.is_none())
    }

    fn committed_or_promised(&self) -> bool {
        self.committed || (self.session.is_some() && self.client == Client::Promised)
    }
}

impl Replicas {
    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Start => {
                next.session.is_none().then_some(())?;
                next.session = Some(next.now.advance());
            }
            Action::Expire => {
                next.session.take()?;
                (next.client, next.receipts) = Default::default();
                next.now.advance();
            }
            Action::Have => self.have(&mut next)?,
            Action::Put(n) => {
                let Client::Granted(grant) = next.client else { return None };
                next.receipts[n].is_none().then_some(())?;
                self.store(&mut next, n, grant)?;
                next.receipts[n] = Some(grant);
            }
            Action::Register => self.register(&mut next)?,
            Action::Commit => commit(&mut next)?,
            Action::Forget => {
                std::mem::take(&mut next.committed).then_some(())?;
                let zero = next.now.advance();
                let row = next.row.as_mut()?;
                (row.count, row.zero) = (row.count - 1, zero);
            }
            Action::Condemn => self.condemn(&mut next)?,
            Action::SendDelete(n) => {
                let condemned = next.row?.condemned?;
                next.deletes[n].send(condemned)?;
            }
            Action::DeleteArrives(n) => self.delete(&mut next, n)?,
            Action::DeleteIsLost(n) => next.deletes[n].lose(0)?,
            Action::DeletedRowGoes => {
                let row = next.row.filter(|row| row.condemned.is_some())?;
                (0..NODES).all(|n| row.answered[n] || next.members[n].away).then_some(())?;
                next.row = None;
                next.now.advance();
            }
            Action::Sweep(n) => {
                (next.row.is_none() && next.nodes[n].copy.is_some()).then_some(())?;
                let bound = next.session.unwrap_or(next.now);
                next.deletes[n].send(bound)?;
            }
            Action::LoseDisk(n) => self.lose_disk(&mut next, n)?,
            Action::JoinWithEmptyDisk(n) => {
                next.nodes[n].disk_lost.then_some(())?;
                next.nodes[n].disk_lost = false;
                let since = next.now.advance();
                next.members[n].since = since;
                self.count_as_missing(&mut next, n, since);
            }
            Action::GoAway(n) => {
                (self.nodes_go_away && n == 1).then_some(())?; // One is enough: both are alike.
                (next.faults < self.faults).then_some(())?;
                next.faults += 1;
                next.members[n].away = true;
                next.now.advance();
            }
            Action::CountAsMissing(n) => {
                (next.members[n].away && next.counts(n)).then_some(())?;
                let since = next.now.advance();
                self.count_as_missing(&mut next, n, since);
            }
            Action::Return(n) => {
                std::mem::take(&mut next.members[n].away).then_some(())?;
                next.now.advance();
            }
            Action::FloorAndList(n) => self.floor_and_list(&mut next, n)?,
            Action::ListArrives(n) => self.list_arrives(&mut next, n)?,
            Action::Heal(n) => self.heal(&mut next, n)?,
            Action::HealCopyArrives(n) => {
                let grant = next.heal_copy[n].take()?;
                self.store(&mut next, n, grant)?;
                next.heal_answer[n] = Some(grant);
            }
            Action::HealAnswerArrives(n) => {
                let grant = next.heal_answer[n].take()?;
                if let Some(row) = next.live_mut() {
                    let heals = row.missing[n] <= Some(grant) || !self.rules.copies_count_from_their_grant;
                    row.missing[n] = row.missing[n].filter(|_| !heals);
                }
                next.now.advance();
            }
        }
        (next.under_way() <= self.messages.max(state.under_way())).then_some(())?;
        self.drop_what_nobody_asks(&mut next);
        renumber(&mut next);
        Some(next)
    }

    /// Epochs that no rule compares any more would only multiply the states.
    fn drop_what_nobody_asks(&self, state: &mut State) {
        let now = state.now;
        for member in &mut state.members {
            if !matches!(state.client, Client::Granted(_)) {
                member.since = now; // No receipt is older.
            }
        }
        if let Some(row) = &mut state.row {
            if row.count > 0 || row.condemned.is_some() {
                row.zero = now;
            }
            if row.condemned.is_some() && self.rules.returning_row_renews_its_heal_rows {
                row.missing = [None; NODES];
            }
        }
        let condemned = state.row.and_then(|row| row.condemned);
        for n in 0..NODES {
            let older = |bound: Option<Epoch>| bound.is_some() && bound <= state.nodes[n].floor;
            if !older(condemned) && !older(state.session) && !older(state.deletes[n].read(0)) {
                state.nodes[n].floor = None;
            }
        }
    }

    /// Present, if a member that is here has a copy that counts; otherwise absent, with leave to write.
    fn have(&self, state: &mut State) -> Option<()> {
        state.session?;
        (state.client == Client::Nothing).then_some(())?;
        let present = (0..NODES).any(|n| state.counts(n) && !state.members[n].away);
        let touches = present || self.rules.have_touches_damaged_rows;
        if touches && state.live().is_some_and(|row| row.count == 0) {
            let zero = state.now.advance();
            state.row = state.row.map(|row| Row { zero, ..row });
        }
        state.client = if present { Client::Promised } else { Client::Granted(state.now) };
        Some(())
    }

    fn store(&self, state: &mut State, n: usize, grant: Epoch) -> Option<()> {
        let node = &mut state.nodes[n];
        (!node.disk_lost).then_some(())?;
        node.copy = Some(node.copy.map_or(grant, |put| put.max(grant)));
        Some(())
    }

    /// A live row, or receipts that make one; nodes without a good receipt get a heal row.
    fn register(&self, state: &mut State) -> Option<()> {
        state.session?;
        let Client::Granted(_) = state.client else { return None };
        let good = |n: usize| {
            let member = state.members[n].since;
            let condemned = state.row.and_then(|row| row.condemned);
            let receipt = state.receipts[n];
            receipt.is_some()
                && (receipt >= Some(member) || !self.rules.receipt_ends_with_the_membership)
                && (receipt >= condemned || !self.rules.receipt_is_compared_with_the_condemnation)
        };
        let good = [good(0), good(1)];
        let here = |n: usize| good[n] && !state.members[n].away;
        let live = state.live().is_some();
        if !(live || here(0) || here(1)) {
            (state.client, state.receipts) = Default::default(); // Told what is missing: it asks again.
            return Some(());
        }
        let zero = state.now.advance();
        let old = state.row.unwrap_or(Row {
            count: 0,
            zero,
            condemned: None,
            answered: [false; NODES],
            missing: [Some(zero); NODES],
        });
        let mut row = Row { zero, condemned: None, answered: [false; NODES], ..old };
        for (n, good) in good.into_iter().enumerate() {
            let bound = old.missing[n].filter(|_| live && self.rules.copies_count_from_their_grant);
            row.missing[n] = match old.missing[n] {
                _ if good && state.receipts[n] >= bound => None,
                missing if live || !self.rules.returning_row_renews_its_heal_rows => missing,
                _ => Some(zero),
            };
        }
        state.row = Some(row);
        state.receipts = Default::default();
        state.client = Client::Promised;
        Some(())
    }

    fn condemn(&self, state: &mut State) -> Option<()> {
        let row = *state.live()?;
        (row.count == 0 && state.session.is_none_or(|start| row.zero < start)).then_some(())?;
        let condemned = Some(state.now.advance());
        state.row = Some(Row { condemned, answered: [false; NODES], ..row });
        Some(())
    }

    /// A node deletes what is older than the delete, unless its FLOOR makes the delete void. Its answer arrives at once:
    /// late answers are in the model of one block.
    fn delete(&self, state: &mut State, n: usize) -> Option<()> {
        let bound = state.deletes[n].read(0)?;
        let node = &mut state.nodes[n];
        (!node.disk_lost).then_some(())?;
        let void = node.floor >= Some(bound);
        node.copy = node.copy.filter(|put| void || *put >= bound);
        if let Some(row) = state.row.as_mut().filter(|row| row.condemned == Some(bound)) {
            row.answered[n] = true;
        }
        Some(())
    }

    /// Only what the index believes to be safe elsewhere can be lost without blame.
    fn lose_disk(&self, state: &mut State, n: usize) -> Option<()> {
        let other = 1 - n;
        let receipt_elsewhere = state.receipts[other] >= Some(state.members[other].since);
        let rows = state.live().is_none() || state.counts(other);
        let receipts = state.receipts[n].is_none() || receipt_elsewhere || state.counts(other);
        (self.disks_are_lost && rows && receipts && state.nodes.iter().all(|node| !node.disk_lost)).then_some(())?;
        (state.faults < self.faults).then_some(())?;
        state.faults += 1;
        state.nodes[n] = Node { disk_lost: true, copy: None, floor: None };
        Some(())
    }

    fn count_as_missing(&self, state: &mut State, n: usize, since: Epoch) {
        let heals_zero = self.rules.rows_at_zero_are_healed;
        if let Some(row) = state.live_mut().filter(|row| row.count > 0 || heals_zero) {
            row.missing[n] = Some(since);
        }
    }

    /// After a return: the node makes older deletes void, durably, and lists what it has.
    fn floor_and_list(&self, state: &mut State, n: usize) -> Option<()> {
        let here = !state.members[n].away && !state.nodes[n].disk_lost && state.list[n].is_none();
        (self.nodes_go_away && here && state.live().is_some() && !state.counts(n)).then_some(())?;
        let found = state.nodes[n].copy.is_some();
        state.list[n] = Some(List { floor: state.now, found });
        if self.rules.floor_before_counting {
            state.nodes[n].floor = Some(state.now);
        }
        Some(())
    }

    fn list_arrives(&self, state: &mut State, n: usize) -> Option<()> {
        let list = state.list[n].take()?;
        if let Some(row) = state.live_mut() {
            let counts = row.missing[n] <= Some(list.floor) || !self.rules.list_counts_up_to_its_floor;
            row.missing[n] = row.missing[n].filter(|_| !(list.found && counts));
        }
        state.now.advance();
        Some(())
    }

    fn heal(&self, state: &mut State, n: usize) -> Option<()> {
        let other = 1 - n;
        let wanted = state.live().is_some() && !state.counts(n) && state.heal_copy[n].is_none();
        let source = state.counts(other) && state.nodes[other].copy.is_some();
        let here = !state.members[n].away && !state.members[other].away;
        (wanted && source && here && state.heal_answer[n].is_none()).then_some(())?;
        state.heal_copy[n] = Some(state.now);
        Some(())
    }
}

fn commit(state: &mut State) -> Option<()> {
    state.session?;
    (state.client == Client::Promised && !state.committed).then_some(())?;
    (state.client, state.receipts) = Default::default();
    if let Some(row) = state.live_mut() {
        row.count += 1;
        state.committed = true;
        state.session = None;
        state.now.advance();
    }
    Some(())
}

const KEPT: &str = "a committed or promised block has a copy";
const THERE: &str = "a copy that counts is there";

impl Model for Replicas {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action::*;
        actions.extend([Start, Expire, Have, Register, Commit, Forget, Condemn, DeletedRowGoes]);
        for n in 0..NODES {
            actions.extend([Put(n), SendDelete(n), DeleteArrives(n), DeleteIsLost(n), Sweep(n)]);
            actions.extend([LoseDisk(n), JoinWithEmptyDisk(n), GoAway(n), CountAsMissing(n), Return(n)]);
            actions.extend([FloorAndList(n), ListArrives(n), Heal(n), HealCopyArrives(n), HealAnswerArrives(n)]);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                !state.committed_or_promised() || state.nodes.iter().any(|node| node.copy.is_some())
            }),
            Property::always(THERE, |_, state: &State| {
                (0..NODES).all(|n| !state.counts(n) || state.nodes[n].copy.is_some() || state.nodes[n].disk_lost)
            }),
            Property::sometimes("a push commits short", |_, state: &State| {
                state.committed && (0..NODES).any(|n| !state.counts(n))
            }),
        ]
    }
}

fn everything_is_gone(state: &State) -> bool {
    state.row.is_none() && state.nodes.iter().all(|node| node.copy.is_none())
}

fn all_copies_are_there(state: &State) -> bool {
    state.committed && (0..NODES).all(|n| state.counts(n) && state.nodes[n].copy.is_some())
}

fn loses_disks(rules: Rules) -> Replicas {
    let (faults, messages) = if check::long() { (3, 2) } else { (2, 2) };
    Replicas { rules, disks_are_lost: true, nodes_go_away: false, faults, messages }
}

fn goes_away(rules: Rules) -> Replicas {
    let (faults, messages) = if check::long() { (2, 2) } else { (1, 2) };
    Replicas { rules, disks_are_lost: false, nodes_go_away: true, faults, messages }
}

#[test]
fn two_copies_survive_lost_disks() {
    check::holds("two copies, lost disks", loses_disks(Rules::ALL));
}

#[test]
fn two_copies_survive_nodes_that_go_away_and_return() {
    check::holds("two copies, nodes away", goes_away(Rules::ALL));
}

#[test]
fn everything_can_always_be_healed_and_collected() {
    for (name, model) in [("lost disks", loses_disks(Rules::ALL)), ("nodes away", goes_away(Rules::ALL))] {
        let model = Replicas { messages: 1, ..model };
        check::always_possible(name, &model, "everything is collected", everything_is_gone);
        check::always_possible(name, &model, "a push commits and all its copies are there", all_copies_are_there);
    }
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        ("rows at zero are healed", loses_disks(without!(rows_at_zero_are_healed)), KEPT),
        ("receipt ends with the membership", loses_disks(without!(receipt_ends_with_the_membership)), KEPT),
        ("copies count from their grant", loses_disks(without!(copies_count_from_their_grant)), KEPT),
        ("returning row renews its heal rows", goes_away(without!(returning_row_renews_its_heal_rows)), THERE),
        ("FLOOR before counting", goes_away(without!(floor_before_counting)), THERE),
        ("list counts up to its FLOOR", goes_away(without!(list_counts_up_to_its_floor)), THERE),
        ("have touches rows that are short", goes_away(without!(have_touches_damaged_rows)), KEPT),
    ];
    for (rule, model, property) in cases {
        check::breaks(rule, model, property);
    }
}
