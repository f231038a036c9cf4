//! A page and its child: registration counts, condemnation uncounts, and a condemned page can come back.
//!
//! One node. The page is a root: a commit adds one to its count; the page, while it is live, adds one to the child's.
//! Answers to deletes arrive at once here: late ones are in the model of one block.

use crate::epoch::{Epoch, Epochs, Messages, renumber};
use crate::rules::Rules;
use crate::{check, epochs, without};
use stateright::{Model, Property};

const SESSIONS: usize = 2;
const PAGE: usize = 0;
const CHILD: usize = 1;
const BLOCKS: usize = 2;

#[derive(Clone, Debug)]
struct Pages {
    rules: Rules,
    sessions: usize,
    /// How many deletes are under way at most.
    messages: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    // The index.
    now: Epoch,
    rows: [Option<Row>; BLOCKS],
    /// The children of a condemned page still wait for a cursor to uncount them: only without the rule.
    cursor: bool,
    sessions: [Option<Epoch>; SESSIONS],
    committed: bool,

    clients: [[Knows; BLOCKS]; SESSIONS],
    copies: [Option<Epoch>; BLOCKS],
    deletes: [Messages<1>; BLOCKS],
}
epochs!(State { now, rows, sessions, clients, copies, deletes });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Row {
    count: u8,
    zero: Epoch,
    condemned: Option<Epoch>,
}
epochs!(Row { zero, condemned });

/// What a client knows about a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Knows {
    #[default]
    Nothing,
    /// Told so by `have`, or registered.
    Present,
    Granted(Epoch),
    Stored(Epoch),
}

impl Epochs for Knows {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        if let Self::Granted(epoch) | Self::Stored(epoch) = self {
            visit(epoch);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Start(usize),
    Expire(usize),
    Have(usize, usize),
    Put(usize, usize),
    Register(usize),
    Commit(usize),
    Forget,
    Condemn(usize),
    CursorUncounts,
    SendDelete(usize),
    DeleteArrives(usize),
    DeleteIsLost(usize),
    Sweep(usize),
}

impl State {
    fn live(&self, block: usize) -> Option<&Row> {
        self.rows[block].as_ref().filter(|row| row.condemned.is_none())
    }

    fn oldest_session(&self) -> Option<Epoch> {
        self.sessions.iter().flatten().min().copied()
    }

    fn under_way(&self) -> usize {
        self.deletes.iter().filter(|deletes| deletes.read(0).is_some()).count()
    }

    /// One parent less.
    fn uncount_child(&mut self, now: Epoch) {
        if let Some(child) = &mut self.rows[CHILD] {
            child.count = child.count.saturating_sub(1);
            child.zero = now;
        }
    }
}

impl Pages {
    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Start(s) => {
                next.sessions[s].is_none().then_some(())?;
                next.sessions[s] = Some(next.now.advance());
            }
            Action::Expire(s) => {
                next.sessions[s].take()?;
                next.clients[s] = Default::default();
                next.now.advance();
            }
            Action::Have(s, block) => self.have(&mut next, s, block)?,
            Action::Put(s, block) => {
                let Knows::Granted(grant) = next.clients[s][block] else { return None };
                next.copies[block] = Some(next.copies[block].map_or(grant, |put| put.max(grant)));
                next.clients[s][block] = Knows::Stored(grant);
            }
            Action::Register(s) => self.register(&mut next, s)?,
            Action::Commit(s) => self.commit(&mut next, s)?,
            Action::Forget => {
                std::mem::take(&mut next.committed).then_some(())?;
                let zero = next.now.advance();
                let page = next.rows[PAGE].as_mut()?;
                (page.count, page.zero) = (page.count - 1, zero);
            }
            Action::Condemn(block) => self.condemn(&mut next, block)?,
            Action::CursorUncounts => {
                std::mem::take(&mut next.cursor).then_some(())?;
                let now = next.now.advance();
                next.uncount_child(now);
            }
            Action::SendDelete(block) => {
                let condemned = next.rows[block]?.condemned?;
                (next.under_way() < self.messages).then_some(())?;
                next.deletes[block].send(condemned)?;
            }
            Action::DeleteArrives(block) => {
                let bound = next.deletes[block].read(0)?;
                next.copies[block] = next.copies[block].filter(|put| *put >= bound);
                if next.rows[block].is_some_and(|row| row.condemned == Some(bound)) {
                    next.rows[block] = None;
                    next.now.advance();
                }
            }
            Action::DeleteIsLost(block) => next.deletes[block].lose(0)?,
            Action::Sweep(block) => {
                let orphan = next.rows[block].is_none() && next.copies[block].is_some();
                (orphan && next.under_way() < self.messages).then_some(())?;
                let bound = next.oldest_session().unwrap_or(next.now);
                next.deletes[block].send(bound)?;
            }
        }
        for row in next.rows.iter_mut().flatten() {
            if row.count > 0 || row.condemned.is_some() {
                row.zero = next.now; // Nobody asks.
            }
        }
        renumber(&mut next);
        Some(next)
    }

    fn have(&self, state: &mut State, s: usize, block: usize) -> Option<()> {
        state.sessions[s]?;
        (state.clients[s][block] == Knows::Nothing).then_some(())?;
        state.clients[s][block] = match state.live(block).copied() {
            Some(row) => {
                if row.count == 0 && self.rules.have_touches {
                    let zero = state.now.advance();
                    state.rows[block] = Some(Row { zero, ..row });
                }
                Knows::Present
            }
            None => Knows::Granted(state.now),
        };
        Some(())
    }

    /// The page and its child, each a live row or covered by a receipt.
    fn register(&self, state: &mut State, s: usize) -> Option<()> {
        state.sessions[s]?;
        let [Knows::Stored(_), Knows::Present | Knows::Stored(_)] = state.clients[s] else { return None };
        let covered = |block: usize| match (state.rows[block], state.clients[s][block]) {
            (Some(Row { condemned: None, .. }), _) => true,
            (row, Knows::Stored(grant)) => Some(grant) >= row.and_then(|row| row.condemned),
            (_, Knows::Present) => !self.rules.commit_looks_again,
            _ => false,
        };
        if !(covered(PAGE) && covered(CHILD)) {
            state.clients[s] = Default::default(); // Told what is missing: it asks again.
            return Some(());
        }
        let zero = state.now.advance();
        if state.live(PAGE).is_none() {
            self.count_child(state, s, zero);
        }
        let count = state.live(PAGE).map_or(0, |page| page.count);
        state.rows[PAGE] = Some(Row { count, zero, condemned: None });
        state.clients[s] = [Knows::Present, Knows::Nothing];
        Some(())
    }

    /// A page that was not live counts on its child: also one that was condemned, since its condemnation uncounted.
    fn count_child(&self, state: &mut State, s: usize, zero: Epoch) {
        let returns = state.rows[PAGE].is_some();
        let still_counted = self.rules.returning_page_counts_again && !state.cursor;
        if let Some(&child) = state.live(CHILD) {
            let one = u8::from(!returns || still_counted);
            state.rows[CHILD] = Some(Row { count: child.count + one, ..child });
        } else if let Knows::Stored(_) = state.clients[s][CHILD] {
            state.rows[CHILD] = Some(Row { count: 1, zero, condemned: None });
        }
    }

    fn commit(&self, state: &mut State, s: usize) -> Option<()> {
        state.sessions[s]?;
        (state.clients[s][PAGE] == Knows::Present && !state.committed).then_some(())?;
        state.clients[s] = Default::default();
        if state.live(PAGE).is_some() || !self.rules.commit_looks_again {
            state.now.advance();
            state.sessions[s] = None;
            state.committed = true;
            if let Some(page) = &mut state.rows[PAGE] {
                page.count += 1;
            }
        }
        Some(())
    }

    fn condemn(&self, state: &mut State, block: usize) -> Option<()> {
        let row = *state.live(block)?;
        (row.count == 0 && state.oldest_session().is_none_or(|start| row.zero < start)).then_some(())?;
        let condemned = state.now.advance();
        state.rows[block] = Some(Row { condemned: Some(condemned), ..row });
        if block == PAGE {
            if self.rules.children_lose_their_count_at_once {
                state.uncount_child(condemned);
            } else {
                state.cursor = true;
            }
        }
        Some(())
    }
}

const KEPT: &str = "a committed page and its child are on the node";
const COUNTED: &str = "counts are true";
const PROTECTED: &str = "what a living session was promised is on the node, with all below it";

impl Model for Pages {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action::*;
        for s in 0..self.sessions {
            actions.extend([Start(s), Expire(s), Register(s), Commit(s)]);
            actions.extend([PAGE, CHILD].into_iter().flat_map(|block| [Have(s, block), Put(s, block)]));
        }
        for block in [PAGE, CHILD] {
            actions.extend([
                Condemn(block),
                SendDelete(block),
                DeleteArrives(block),
                DeleteIsLost(block),
                Sweep(block),
            ]);
        }
        actions.extend([Forget, CursorUncounts]);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                let whole = |block| state.live(block).is_some() && state.copies[block].is_some();
                !state.committed || (whole(PAGE) && whole(CHILD))
            }),
            Property::always(COUNTED, |_, state: &State| {
                let page = u8::from(state.committed);
                let child = u8::from(state.live(PAGE).is_some() || state.cursor);
                state.live(PAGE).is_none_or(|row| row.count == page)
                    && state.rows[CHILD].map_or(0, |row| row.count) == child
            }),
            Property::always(PROTECTED, |_, state: &State| {
                let promised = |block| state.clients.iter().any(|client| client[block] == Knows::Present);
                let there = |block: usize| state.copies[block].is_some();
                (!promised(PAGE) || (there(PAGE) && there(CHILD))) && (!promised(CHILD) || there(CHILD))
            }),
            Property::sometimes("a condemned page comes back", |_, state: &State| {
                let bound = state.deletes[PAGE].read(0);
                bound.is_some() && bound < state.copies[PAGE] && state.live(PAGE).is_some()
            }),
        ]
    }
}

fn everything_is_gone(state: &State) -> bool {
    state.rows == [None; BLOCKS] && state.copies == [None; BLOCKS]
}

fn model(rules: Rules) -> Pages {
    let (sessions, messages) = if check::long() { (2, 2) } else { (2, 1) };
    Pages { rules, sessions, messages }
}

#[test]
fn a_page_and_its_child_survive_two_sessions_and_the_collector() {
    check::holds("page and child, two sessions", model(Rules::ALL));
}

#[test]
fn garbage_can_always_be_collected_and_a_push_can_always_commit() {
    let model = Pages { sessions: 1, ..model(Rules::ALL) };
    check::always_possible("page and child, one session", &model, "everything is collected", everything_is_gone);
    check::always_possible("page and child, one session", &model, "a push commits", |state| state.committed);
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        ("children lose their count at once", without!(children_lose_their_count_at_once), KEPT),
        ("a returning page counts again", without!(returning_page_counts_again), KEPT),
        ("a returning page counts again", without!(returning_page_counts_again), COUNTED),
        ("have touches, register and commit look again", without!(have_touches, commit_looks_again), KEPT),
        ("have touches", without!(have_touches), PROTECTED),
    ];
    for (rule, rules, property) in cases {
        check::breaks(rule, model(rules), property);
    }
}
