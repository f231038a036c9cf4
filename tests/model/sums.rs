//! Two encodings of one block race: two clients compress the same bytes differently, each on its way to two nodes.
//!
//! A node keeps its first bytes unless a grant says replace; then it keeps both, side by side. A row has one sum, and a
//! node that has other bytes has a heal row: a reader could use either, but shards of different encodings do not mix,
//! and scrub could not tell them from damage. Session `s` writes encoding `s`.

use crate::epoch::{Epoch, Epochs, Messages, renumber};
use crate::rules::Rules;
use crate::{check, epochs, without};
use stateright::{Model, Property};

const NODES: usize = 2;
const SESSIONS: usize = 2;
const SUMS: usize = SESSIONS;

#[derive(Clone, Debug)]
struct Sums {
    rules: Rules,
    /// Copies that an acknowledgement needs.
    minimum: usize,
    sessions_expire: bool,
    /// How many deletes are under way at most.
    messages: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    // The index.
    now: Epoch,
    row: Option<Row>,
    sessions: [Option<Session>; SESSIONS],
    committed: bool,

    clients: [Client; SESSIONS],
    /// Copies by node and sum, with their put_epoch.
    nodes: [[Option<Epoch>; SUMS]; NODES],
    deletes: [Messages<1>; NODES],
}
epochs!(State { now, row, sessions, clients, nodes, deletes });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Row {
    sum: usize,
    count: u8,
    zero: Epoch,
    condemned: Option<Epoch>,
    answered: [bool; NODES],
    missing: [Option<Epoch>; NODES],
}
epochs!(Row { zero, condemned, missing });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Session {
    start: Epoch,
    /// Its receipts disagreed: the next grant says replace.
    disputed: bool,
}
epochs!(Session { start });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Client {
    #[default]
    Nothing,
    Writing {
        grant: Epoch,
        replace: bool,
        /// The sum that each node's receipt names.
        receipts: [Option<usize>; NODES],
    },
    Promised,
}

impl Epochs for Client {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        if let Self::Writing { grant, .. } = self {
            visit(grant);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Start(usize),
    Expire(usize),
    Have(usize),
    Put(usize, usize),
    Register(usize),
    Commit(usize),
    Forget,
    Condemn,
    SendDelete(usize),
    DeleteArrives(usize),
    DeleteIsLost(usize),
    DeletedRowGoes,
    Sweep(usize),
    Heal(usize),
}

impl State {
    fn live(&self) -> Option<&Row> {
        self.row.as_ref().filter(|row| row.condemned.is_none())
    }

    fn counts(&self, n: usize) -> bool {
        self.live().is_some_and(|row| row.missing[n].is_none())
    }

    fn copies(&self) -> usize {
        (0..NODES).filter(|&n| self.counts(n)).count()
    }

    fn oldest_session(&self) -> Option<Epoch> {
        self.sessions.iter().flatten().map(|session| session.start).min()
    }

    fn under_way(&self) -> usize {
        self.deletes.iter().filter(|deletes| deletes.read(0).is_some()).count()
    }

    fn promised(&self) -> bool {
        (0..SESSIONS).any(|s| self.sessions[s].is_some() && self.clients[s] == Client::Promised)
    }
}

impl Sums {
    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Start(s) => {
                next.sessions[s].is_none().then_some(())?;
                next.sessions[s] = Some(Session { start: next.now.advance(), disputed: false });
            }
            Action::Expire(s) => {
                self.sessions_expire.then_some(())?;
                next.sessions[s].take()?;
                next.clients[s] = Client::Nothing;
                next.now.advance();
            }
            Action::Have(s) => self.have(&mut next, s)?,
            Action::Put(s, n) => put(&mut next, s, n)?,
            Action::Register(s) => self.register(&mut next, s)?,
            Action::Commit(s) => {
                next.sessions[s]?;
                (next.clients[s] == Client::Promised && !next.committed).then_some(())?;
                next.clients[s] = Client::Nothing;
                if let Some(row) = next.row.as_mut().filter(|row| row.condemned.is_none()) {
                    row.count += 1;
                    (next.committed, next.sessions[s]) = (true, None);
                    next.now.advance();
                }
            }
            Action::Forget => {
                std::mem::take(&mut next.committed).then_some(())?;
                let zero = next.now.advance();
                let row = next.row.as_mut()?;
                (row.count, row.zero) = (row.count - 1, zero);
            }
            Action::Condemn => {
                let row = *next.live()?;
                (row.count == 0 && next.oldest_session().is_none_or(|start| row.zero < start)).then_some(())?;
                let condemned = Some(next.now.advance());
                next.row = Some(Row { condemned, answered: [false; NODES], missing: [None; NODES], ..row });
            }
            Action::SendDelete(n) => {
                let condemned = next.row?.condemned?;
                (next.under_way() < self.messages).then_some(())?;
                next.deletes[n].send(condemned)?;
            }
            Action::DeleteArrives(n) => {
                let bound = next.deletes[n].read(0)?;
                next.nodes[n] = next.nodes[n].map(|copy| copy.filter(|put| *put >= bound));
                if let Some(row) = next.row.as_mut().filter(|row| row.condemned == Some(bound)) {
                    row.answered[n] = true;
                }
            }
            Action::DeleteIsLost(n) => next.deletes[n].lose(0)?,
            Action::DeletedRowGoes => {
                next.row.filter(|row| row.condemned.is_some() && row.answered == [true; NODES])?;
                next.row = None;
                next.now.advance();
            }
            Action::Sweep(n) => {
                let orphan = next.row.is_none() && next.nodes[n] != [None; SUMS];
                (orphan && next.under_way() < self.messages).then_some(())?;
                let bound = next.oldest_session().unwrap_or(next.now);
                next.deletes[n].send(bound)?;
            }
            Action::Heal(n) => heal(&mut next, n)?,
        }
        if let Some(row) = next.row.as_mut().filter(|row| row.count > 0 || row.condemned.is_some()) {
            row.zero = next.now; // Nobody asks.
        }
        renumber(&mut next);
        Some(next)
    }

    fn have(&self, state: &mut State, s: usize) -> Option<()> {
        let session = state.sessions[s]?;
        (state.clients[s] == Client::Nothing).then_some(())?;
        if state.live().is_some_and(|row| row.count == 0) {
            let zero = state.now.advance();
            state.row = state.row.map(|row| Row { zero, ..row });
        }
        state.clients[s] = if state.copies() >= self.minimum {
            Client::Promised
        } else {
            Client::Writing { grant: state.now, replace: session.disputed, receipts: [None; NODES] }
        };
        Some(())
    }

    /// A live row keeps its sum; a new one takes the sum with most receipts. Receipts of other bytes are no copies.
    fn register(&self, state: &mut State, s: usize) -> Option<()> {
        let session = state.sessions[s].as_mut()?;
        let Client::Writing { grant, receipts, .. } = state.clients[s] else { return None };
        let fresh = Some(grant) >= state.row.and_then(|row| row.condemned);
        let named = |sum: usize| receipts.iter().filter(|receipt| **receipt == Some(sum)).count();
        let most = if named(1) > named(0) { 1 } else { 0 };
        let live = state.row.filter(|row| row.condemned.is_none());
        let counting = if self.rules.other_sums_become_heal_rows { named(most) } else { named(0) + named(1) };
        if !(live.is_some() || (fresh && counting >= self.minimum)) {
            session.disputed |= named(0) > 0 && named(1) > 0 && self.rules.disagreeing_sums_are_replaced;
            state.clients[s] = Client::Nothing; // Told what is missing: it asks again.
            return Some(());
        }
        let zero = state.now.advance();
        let missing = [Some(zero); NODES];
        let new = Row { sum: most, count: 0, zero, condemned: None, answered: [false; NODES], missing };
        let mut row = live.map_or(new, |row| Row { zero, ..row });
        for (n, named) in receipts.into_iter().enumerate() {
            let same = named == Some(row.sum) || !self.rules.other_sums_become_heal_rows;
            let young = live.and_then(|row| row.missing[n]) <= Some(grant);
            row.missing[n] = row.missing[n].filter(|_| !(named.is_some() && same && young));
        }
        state.row = Some(row);
        state.clients[s] = Client::Promised;
        Some(())
    }
}

/// The node keeps what it has and names its sum, or keeps these bytes too if the grant says replace.
fn put(state: &mut State, s: usize, n: usize) -> Option<()> {
    let Client::Writing { grant, replace, receipts } = &mut state.clients[s] else { return None };
    receipts[n].is_none().then_some(())?;
    let own = state.nodes[n].iter().position(Option::is_some);
    let sum = own.filter(|_| !*replace).unwrap_or(s);
    state.nodes[n][sum] = state.nodes[n][sum].max(Some(*grant));
    receipts[n] = Some(sum);
    Some(())
}

/// The row's bytes come from a node that counts, under a fresh grant, beside what is there.
fn heal(state: &mut State, n: usize) -> Option<()> {
    let row = *state.live()?;
    (!state.counts(n) && state.counts(1 - n)).then_some(())?;
    state.nodes[1 - n][row.sum]?;
    state.nodes[n][row.sum] = Some(state.now);
    let row = state.row.as_mut()?;
    row.missing[n] = None;
    state.now.advance();
    Some(())
}

const KEPT: &str = "a committed or promised block has a copy of its row's bytes";
const THERE: &str = "a copy that counts has the row's bytes";

impl Model for Sums {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action::*;
        for s in 0..SESSIONS {
            actions.extend([Start(s), Expire(s), Have(s), Put(s, 0), Put(s, 1), Register(s), Commit(s)]);
        }
        for n in 0..NODES {
            actions.extend([SendDelete(n), DeleteArrives(n), DeleteIsLost(n), Sweep(n), Heal(n)]);
        }
        actions.extend([Forget, Condemn, DeletedRowGoes]);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                let whole = |row: &Row| state.nodes.iter().any(|copies| copies[row.sum].is_some());
                !(state.committed || state.promised()) || state.live().is_some_and(whole)
            }),
            Property::always(THERE, |_, state: &State| {
                let sum = state.live().map_or(0, |row| row.sum);
                (0..NODES).all(|n| !state.counts(n) || state.nodes[n][sum].is_some())
            }),
            Property::sometimes("both encodings are stored and one is committed", |_, state: &State| {
                let stored = |sum: usize| state.nodes.iter().any(|copies| copies[sum].is_some());
                state.committed && stored(0) && stored(1)
            }),
        ]
    }
}

fn everything_is_gone(state: &State) -> bool {
    state.row.is_none() && state.nodes == [[None; SUMS]; NODES]
}

fn model(rules: Rules, minimum: usize) -> Sums {
    Sums { rules, minimum, sessions_expire: true, messages: if check::long() { 2 } else { 1 } }
}

#[test]
fn two_encodings_survive_their_race() {
    check::holds("two encodings, acknowledged by one copy", model(Rules::ALL, 1));
    let two = Sums { sessions_expire: check::long(), ..model(Rules::ALL, 2) };
    check::holds("two encodings, acknowledged by two copies", two);
}

/// No session has to wait until another one expires: each race can end with a commit, and then with nothing left.
#[test]
fn a_push_gets_through_whatever_the_other_wrote() {
    let patient = |rules| Sums { sessions_expire: false, ..model(rules, 2) };
    check::always_possible("two encodings", &patient(Rules::ALL), "everything is collected", everything_is_gone);
    let (what, goal) = ("a push commits", |state: &State| state.committed);
    check::always_possible("two encodings", &patient(Rules::ALL), what, goal);
    let stubborn = patient(without!(disagreeing_sums_are_replaced));
    check::gets_stuck("disagreeing sums are replaced", &stubborn, what, goal);
}

#[test]
fn each_rule_is_needed() {
    let rules = without!(other_sums_become_heal_rows);
    check::breaks("other sums become heal rows", model(rules, 1), THERE);
    check::breaks("other sums become heal rows", model(rules, 2), THERE);
}
