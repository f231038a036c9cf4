//! A partition with one copy moves from one node to the other and back, while a client pushes and the collector runs.
//!
//! While it moves, an acknowledgement needs both nodes. What the new node already has counts after its FLOOR; what it
//! lacks is copied. Then one command flips the layout, and what lies on the node that is no member any more is deleted.
//! Nodes accept every put here, as one whose layout is old would.

use crate::epoch::{Epoch, Epochs, Messages, renumber};
use crate::rules::Rules;
use crate::{check, epochs, without};
use stateright::{Model, Property};

const NODES: usize = 2;

#[derive(Clone, Debug)]
struct Moving {
    rules: Rules,
    moves: u8,
    /// How many messages are under way at most.
    messages: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    // The index.
    now: Epoch,
    row: Option<Row>,
    session: Option<Epoch>,
    committed: bool,
    layout: Layout,
    moves: u8,
    /// Since when each node is a member.
    since: [Epoch; NODES],

    client: Client,
    receipts: [Option<Epoch>; NODES],

    nodes: [Node; NODES],

    // Under way to or from each node.
    deletes: [Messages<1>; NODES],
    copying: Option<Epoch>,
    list: Option<List>,
}
epochs!(State { now, row, session, since, client, receipts, nodes, deletes, copying, list });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Layout {
    /// Where readers go.
    old: usize,
    moving: bool,
}

impl Layout {
    fn target(self) -> Option<usize> {
        self.moving.then_some(1 - self.old)
    }

    fn has(self, n: usize) -> bool {
        self.moving || n == self.old
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Row {
    count: u8,
    zero: Epoch,
    condemned: Option<Epoch>,
    answered: [bool; NODES],
    /// Since when the new node's copy is missing.
    missing: Option<Epoch>,
}
epochs!(Row { zero, condemned, missing });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Node {
    copy: Option<Epoch>,
    floor: Option<Epoch>,
}
epochs!(Node { copy, floor });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct List {
    node: usize,
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
    /// Deletes a copy without a row, or one on a node that is not a member.
    Sweep(usize),
    BeginMove,
    FloorAndList,
    ListArrives,
    CopyToNew,
    CopyArrives,
    Flip,
}

impl State {
    fn live(&self) -> Option<&Row> {
        self.row.as_ref().filter(|row| row.condemned.is_none())
    }

    fn live_mut(&mut self) -> Option<&mut Row> {
        self.row.as_mut().filter(|row| row.condemned.is_none())
    }

    /// Whether the index relies on the node's copy.
    fn counts(&self, n: usize) -> bool {
        self.layout.has(n) && self.live().is_some_and(|row| n == self.layout.old || row.missing.is_none())
    }

    fn committed_or_promised(&self) -> bool {
        self.committed || (self.session.is_some() && self.client == Client::Promised)
    }

    fn under_way(&self) -> usize {
        let deletes = self.deletes.iter().filter(|deletes| deletes.read(0).is_some()).count();
        deletes + usize::from(self.copying.is_some()) + usize::from(self.list.is_some())
    }

    fn store(&mut self, n: usize, grant: Epoch) {
        let copy = &mut self.nodes[n].copy;
        *copy = Some(copy.map_or(grant, |put| put.max(grant)));
    }
}

impl Moving {
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
            Action::Have => have(&mut next)?,
            Action::Put(n) => {
                let Client::Granted(grant) = next.client else { return None };
                next.receipts[n].is_none().then_some(())?;
                next.store(n, grant);
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
            Action::Condemn => condemn(&mut next)?,
            Action::SendDelete(n) => {
                let condemned = next.row?.condemned?;
                next.deletes[n].send(condemned)?;
            }
            Action::DeleteArrives(n) => delete(&mut next, n)?,
            Action::DeleteIsLost(n) => next.deletes[n].lose(0)?,
            Action::DeletedRowGoes => {
                let row = next.row.filter(|row| row.condemned.is_some())?;
                (0..NODES).all(|n| row.answered[n] || !next.layout.has(n)).then_some(())?;
                next.row = None;
                next.now.advance();
            }
            Action::Sweep(n) => self.sweep(&mut next, n)?,
            Action::BeginMove => self.begin_move(&mut next)?,
            Action::FloorAndList => self.floor_and_list(&mut next)?,
            Action::ListArrives => self.list_arrives(&mut next)?,
            Action::CopyToNew => {
                let new = next.layout.target()?;
                (next.live().is_some() && !next.counts(new) && next.copying.is_none()).then_some(())?;
                next.nodes[next.layout.old].copy?;
                next.copying = Some(next.now);
            }
            Action::CopyArrives => copy_arrives(&mut next)?,
            Action::Flip => flip(&mut next)?,
        }
        (next.under_way() <= self.messages.max(state.under_way())).then_some(())?;
        drop_what_nobody_asks(&mut next);
        renumber(&mut next);
        Some(next)
    }

    /// New rows need a receipt from every member, under the layout of this moment.
    fn register(&self, state: &mut State) -> Option<()> {
        state.session?;
        let Client::Granted(_) = state.client else { return None };
        let condemned = state.row.and_then(|row| row.condemned);
        let good = |n: usize| {
            let member = !self.rules.receipt_ends_with_the_membership || state.receipts[n] >= Some(state.since[n]);
            state.receipts[n].is_some() && state.receipts[n] >= condemned && member
        };
        let covered = (0..NODES).all(|n| good(n) || !state.layout.has(n));
        if !(state.live().is_some() || covered) {
            (state.client, state.receipts) = Default::default(); // Told what is missing: it asks again.
            return Some(());
        }
        let zero = state.now.advance();
        let new = Row { count: 0, zero, condemned: None, answered: [false; NODES], missing: None };
        state.row = Some(state.live().map_or(new, |row| Row { zero, ..*row }));
        state.receipts = Default::default();
        state.client = Client::Promised;
        Some(())
    }

    /// What lies on a node that is no member can go up to now: a later member has a later FLOOR.
    fn sweep(&self, state: &mut State, n: usize) -> Option<()> {
        state.nodes[n].copy?;
        let bound = if !state.layout.has(n) {
            state.now
        } else if state.row.is_none() {
            state.session.unwrap_or(state.now)
        } else {
            return None;
        };
        state.deletes[n].send(bound)
    }

    fn begin_move(&self, state: &mut State) -> Option<()> {
        (!state.layout.moving && state.moves < self.moves).then_some(())?;
        state.moves += 1;
        state.layout.moving = true;
        let now = state.now.advance();
        state.since[1 - state.layout.old] = now;
        if let Some(row) = state.live_mut() {
            row.missing = Some(now);
        }
        Some(())
    }

    /// The new node makes older deletes void, durably, and lists what it has.
    fn floor_and_list(&self, state: &mut State) -> Option<()> {
        let node = state.layout.target()?;
        (state.list.is_none() && state.live().is_some() && !state.counts(node)).then_some(())?;
        state.list = Some(List { node, floor: state.now, found: state.nodes[node].copy.is_some() });
        if self.rules.floor_before_counting {
            state.nodes[node].floor = Some(state.now);
        }
        Some(())
    }

    fn list_arrives(&self, state: &mut State) -> Option<()> {
        let list = state.list.take()?;
        let new = state.layout.target();
        if let Some(row) = state.live_mut() {
            let counts = row.missing <= Some(list.floor) || !self.rules.list_counts_up_to_its_floor;
            row.missing = row.missing.filter(|_| !(list.found && counts && new == Some(list.node)));
        }
        state.now.advance();
        Some(())
    }
}

/// Present, or absent with leave to write to all members.
fn have(state: &mut State) -> Option<()> {
    state.session?;
    (state.client == Client::Nothing).then_some(())?;
    state.client = match state.live().copied() {
        Some(row) => {
            if row.count == 0 {
                let zero = state.now.advance();
                state.row = Some(Row { zero, ..row });
            }
            Client::Promised
        }
        None => Client::Granted(state.now),
    };
    Some(())
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

fn condemn(state: &mut State) -> Option<()> {
    let row = *state.live()?;
    (row.count == 0 && state.session.is_none_or(|start| row.zero < start)).then_some(())?;
    let condemned = Some(state.now.advance());
    state.row = Some(Row { condemned, answered: [false; NODES], ..row });
    Some(())
}

/// A node deletes what is older than the delete, unless its FLOOR makes the delete void.
fn delete(state: &mut State, n: usize) -> Option<()> {
    let bound = state.deletes[n].read(0)?;
    let node = &mut state.nodes[n];
    let void = node.floor >= Some(bound);
    node.copy = node.copy.filter(|put| void || *put >= bound);
    if let Some(row) = state.row.as_mut().filter(|row| row.condemned == Some(bound)) {
        row.answered[n] = true;
    }
    Some(())
}

/// The new node keeps the copy under the fresh grant and says so; the answer is the index's at once.
fn copy_arrives(state: &mut State) -> Option<()> {
    let new = state.layout.target()?;
    let grant = state.copying.take()?;
    state.store(new, grant);
    if let Some(row) = state.live_mut() {
        row.missing = row.missing.filter(|missing| *missing > grant);
    }
    state.now.advance();
    Some(())
}

/// Once everything counts on the new node it is the only member.
fn flip(state: &mut State) -> Option<()> {
    let new = state.layout.target()?;
    (state.live().is_none() || state.counts(new)).then_some(())?;
    state.layout = Layout { old: new, moving: false };
    state.copying = None;
    state.now.advance();
    Some(())
}

/// Epochs that no rule compares any more would only multiply the states.
fn drop_what_nobody_asks(state: &mut State) {
    let now = state.now;
    if let Some(row) = &mut state.row {
        if row.count > 0 || row.condemned.is_some() {
            row.zero = now;
        }
        if row.condemned.is_some() || !state.layout.moving {
            row.missing = None;
        }
    }
    let condemned = state.row.and_then(|row| row.condemned);
    for n in 0..NODES {
        if !matches!(state.client, Client::Granted(_)) {
            state.since[n] = now;
        }
        let older = |bound: Option<Epoch>| bound.is_some() && bound <= state.nodes[n].floor;
        if !older(condemned) && !older(state.session) && !older(state.deletes[n].read(0)) {
            state.nodes[n].floor = None;
        }
    }
}

const KEPT: &str = "a committed or promised block is where readers go";
const THERE: &str = "a copy that counts is there";

impl Model for Moving {
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
        }
        actions.extend([BeginMove, FloorAndList, ListArrives, CopyToNew, CopyArrives, Flip]);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                !state.committed_or_promised() || state.nodes[state.layout.old].copy.is_some()
            }),
            Property::always(THERE, |_, state: &State| {
                (0..NODES).all(|n| !state.counts(n) || state.nodes[n].copy.is_some())
            }),
            Property::sometimes("a committed block moves there and back", |model, state: &State| {
                state.committed && state.moves == model.moves && state.layout == Layout { old: 0, moving: false }
            }),
        ]
    }
}

fn everything_is_gone(state: &State) -> bool {
    state.row.is_none() && state.nodes.iter().all(|node| node.copy.is_none())
}

fn committed_at_rest(state: &State) -> bool {
    let elsewhere = state.nodes[1 - state.layout.old].copy.is_some();
    state.committed && !state.layout.moving && !elsewhere && state.nodes[state.layout.old].copy.is_some()
}

fn model(rules: Rules) -> Moving {
    Moving { rules, moves: 2, messages: if check::long() { 3 } else { 2 } }
}

#[test]
fn a_partition_survives_a_move_there_and_back() {
    check::holds("a move there and back", model(Rules::ALL));
}

#[test]
fn a_move_can_always_end_with_one_copy_and_no_garbage() {
    let model = Moving { messages: 1, ..model(Rules::ALL) };
    check::always_possible("a move", &model, "everything is collected", everything_is_gone);
    check::always_possible("a move", &model, "a push commits and the move ends", committed_at_rest);
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        ("FLOOR before counting", without!(floor_before_counting), KEPT),
        ("receipt ends with the membership", without!(receipt_ends_with_the_membership), KEPT),
    ];
    for (rule, rules, property) in cases {
        check::breaks(rule, model(rules), property);
    }
}
