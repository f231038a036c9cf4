//! One block, one node, one or two push sessions, the collector, and an index that can crash.
//!
//! The block is a root page without children: registering makes a row with count zero, each commit adds one. Everything
//! that is under way (puts, deletes, answers) can arrive late; deletes can arrive twice; clients die at any time, and
//! one that comes back may try the receipts it had.

use crate::epoch::{Epoch, Epochs, Messages, renumber};
use crate::rules::Rules;
use crate::{check, epochs, without};
use stateright::{Model, Property};

const SESSIONS: usize = 2;
const DELETES: usize = 2;

#[derive(Clone, Debug)]
struct OneBlock {
    rules: Rules,
    sessions: usize,
    snapshots: u8,
    /// Whether scrub finds damaged copies.
    damage: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    // The index: the number of commands applied, its row of the block, live sessions with their start.
    now: Epoch,
    row: Option<Row>,
    sessions: [Option<Epoch>; SESSIONS],
    /// Receipts it keeps for a session until a parent needs them; in memory only.
    receipts: [Option<Epoch>; SESSIONS],
    snapshots: u8,
    /// The newest condemnation of which a row has gone, where the rules ask for it.
    last_gone: Option<Epoch>,
    /// What a crash goes back to, if the last command (a register) is not synced yet.
    synced: Option<Synced>,

    // The clients, one per session.
    clients: [Client; SESSIONS],

    // The node's copy.
    copy: Option<Copy>,

    // Under way: a put whose client no longer waits for it, deletes, the answer to a delete.
    late_put: Option<Grant>,
    deletes: Messages<DELETES>,
    answer: Option<Epoch>,
}
epochs!(State { now, row, sessions, receipts, last_gone, synced, clients, copy, late_put, deletes, answer });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Row {
    count: u8,
    /// When the count last became zero, or the row was last touched at zero.
    zero: Epoch,
    condemned: Option<Epoch>,
    /// Since when its bytes are known to be damaged.
    bad: Option<Epoch>,
}
epochs!(Row { zero, condemned, bad });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Synced {
    now: Epoch,
    row: Option<Row>,
}
epochs!(Synced { now, row });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Copy {
    put: Epoch,
    /// The put_epoch that a crash of the node leaves.
    durable: Epoch,
    /// Somebody read it and found it damaged.
    damaged: bool,
}
epochs!(Copy { put, durable });

/// What a client knows about the block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Client {
    #[default]
    Nothing,
    ToldPresent,
    Granted(Grant),
    Stored(Epoch),
    SentReceipt,
    Registered,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Grant {
    epoch: Epoch,
    /// The node writes the client's bytes even if it has some.
    replace: bool,
}
epochs!(Grant { epoch });

impl Epochs for Client {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        match self {
            Self::Granted(Grant { epoch, .. }) | Self::Stored(epoch) => visit(epoch),
            Self::Nothing | Self::ToldPresent | Self::SentReceipt | Self::Registered => {}
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Start(usize),
    Expire(usize),
    Have(usize),
    Put(usize),
    GiveUpWaitingForPut(usize),
    LatePutArrives,
    SendReceipt(usize),
    Register(usize),
    Commit(usize),
    Forget,
    ScrubFindsDamage,
    Condemn,
    RepeatDelete,
    Sweep,
    DeleteArrives(usize),
    DeleteIsLost(usize),
    AnswerArrives,
    AnswerIsLost,
    IndexCrash,
    NodeCrash,
}

impl State {
    fn live(&self) -> Option<&Row> {
        self.row.as_ref().filter(|row| row.condemned.is_none())
    }

    /// A command whose answer leaves after its sync.
    fn command(&mut self) -> Epoch {
        self.synced = None;
        self.now.advance()
    }

    /// A command that a crash can still undo.
    fn unsynced_command(&mut self) -> Epoch {
        self.synced.get_or_insert(Synced { now: self.now, row: self.row });
        self.now.advance()
    }

    /// The epoch below which no live session needs anything.
    fn oldest_session(&self) -> Option<Epoch> {
        self.sessions.iter().flatten().min().copied()
    }

    fn accepts(&self, s: usize, rules: &Rules) -> bool {
        self.sessions[s].is_some() || !rules.expired_sessions_are_refused
    }

    fn store(&mut self, grant: Grant, rules: &Rules) {
        let put = self.copy.map_or(grant.epoch, |copy| copy.put.max(grant.epoch));
        let kept = self.copy.filter(|_| !grant.replace);
        let durable = kept.filter(|_| !rules.touches_are_durable).map_or(put, |copy| copy.durable);
        self.copy = Some(Copy { put, durable, damaged: kept.is_some_and(|copy| copy.damaged) });
    }
}

impl OneBlock {
    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Start(s) => self.start(&mut next, s)?,
            Action::Expire(s) => self.expire(&mut next, s)?,
            Action::Have(s) => self.have(&mut next, s)?,
            Action::Put(s) => {
                let Client::Granted(grant) = next.clients[s] else { return None };
                next.store(grant, &self.rules);
                next.clients[s] = Client::Stored(grant.epoch);
            }
            Action::GiveUpWaitingForPut(s) => {
                let Client::Granted(grant) = next.clients[s] else { return None };
                next.late_put.is_none().then_some(())?;
                next.late_put = Some(grant);
                next.clients[s] = Client::Nothing;
            }
            Action::LatePutArrives => {
                let grant = next.late_put.take()?;
                next.store(grant, &self.rules);
            }
            Action::SendReceipt(s) => self.send_receipt(&mut next, s)?,
            Action::Register(s) => self.register(&mut next, s)?,
            Action::Commit(s) => self.commit(&mut next, s)?,
            Action::Forget => self.forget(&mut next)?,
            Action::ScrubFindsDamage => self.scrub(&mut next)?,
            Action::Condemn => self.condemn(&mut next)?,
            Action::RepeatDelete => {
                let condemned = next.row?.condemned?;
                next.deletes.send(condemned)?;
            }
            Action::Sweep => self.sweep(&mut next)?,
            Action::DeleteArrives(i) => self.delete(&mut next, i)?,
            Action::DeleteIsLost(i) => next.deletes.lose(i)?,
            Action::AnswerArrives => self.answer(&mut next)?,
            Action::AnswerIsLost => drop(next.answer.take()?),
            Action::IndexCrash => {
                next.receipts = Default::default();
                if let Some(synced) = next.synced.take() {
                    (next.now, next.row) = (synced.now, synced.row);
                }
            }
            Action::NodeCrash => {
                let copy = next.copy.as_mut()?;
                copy.put = copy.durable;
            }
        }
        renumber(&mut next);
        Some(next)
    }

    /// A new session; a client that comes back may still hold the receipt of its old one.
    fn start(&self, state: &mut State, s: usize) -> Option<()> {
        state.sessions[s].is_none().then_some(())?;
        state.sessions[s] = Some(state.command());
        if !matches!(state.clients[s], Client::Stored(_)) {
            state.clients[s] = Client::Nothing;
        }
        Some(())
    }

    fn expire(&self, state: &mut State, s: usize) -> Option<()> {
        state.sessions[s].take()?;
        state.receipts[s] = None;
        state.command();
        Some(())
    }

    /// Present; or absent, with leave to write it. What is live at count zero is touched: if it is present, because the
    /// client relies on it; if it is damaged, because it could be condemned after the grant, and be gone together with
    /// the client's new copy before the receipt comes.
    fn have(&self, state: &mut State, s: usize) -> Option<()> {
        let start = state.sessions[s]?;
        (state.clients[s] == Client::Nothing).then_some(())?;
        let present = state.live().is_some_and(|row| row.bad.is_none());
        let touches = if present { self.rules.have_touches } else { self.rules.have_touches_damaged_rows };
        if touches && state.live().is_some_and(|row| row.count == 0) {
            let zero = state.unsynced_command();
            state.row = state.row.map(|row| Row { zero, ..row });
        }
        if self.rules.presence_leaves_after_sync {
            state.synced = None;
        }
        let replace = state.row.is_some_and(|row| row.bad.is_some());
        let durable = state.synced.map_or(state.now, |synced| synced.now);
        let epoch = if self.rules.grant_carries_the_epoch_of_its_answer { durable } else { start };
        state.clients[s] = if present { Client::ToldPresent } else { Client::Granted(Grant { epoch, replace }) };
        Some(())
    }

    /// The index remembers the receipt; the client forgets it.
    fn send_receipt(&self, state: &mut State, s: usize) -> Option<()> {
        let Client::Stored(grant) = state.clients[s] else { return None };
        let in_session = match state.sessions[s] {
            Some(start) => grant >= start || !self.rules.receipt_belongs_to_the_session,
            None => !self.rules.expired_sessions_are_refused,
        };
        state.clients[s] = Client::Nothing;
        if in_session {
            state.receipts[s] = Some(grant);
            state.clients[s] = Client::SentReceipt;
        }
        Some(())
    }

    /// A live row, or a receipt that makes one. This command is answered before it is synced.
    fn register(&self, state: &mut State, s: usize) -> Option<()> {
        (state.clients[s] == Client::SentReceipt).then_some(())?;
        let receipt = state.receipts[s];
        let (good_since, condemned) = state.row.map_or((None, None), |row| (row.bad, row.condemned));
        let heals = good_since.is_none_or(|since| receipt >= Some(since) || !self.rules.copies_count_from_their_grant);
        let revives = condemned
            .is_none_or(|since| receipt >= Some(since) || !self.rules.receipt_is_compared_with_the_condemnation);
        let live = state.live().is_some_and(|row| row.bad.is_none());
        let creates = state.row.is_some() || receipt >= state.last_gone;
        if !(state.accepts(s, &self.rules) && (live || (receipt.is_some() && heals && revives && creates))) {
            state.clients[s] = Client::Nothing; // Told what is missing: it asks again.
            return Some(());
        }
        let zero = state.unsynced_command();
        let count = state.live().map_or(0, |row| row.count);
        state.row = Some(Row { count, zero, condemned: None, bad: None });
        state.receipts[s] = None;
        state.clients[s] = Client::Registered;
        Some(())
    }

    fn commit(&self, state: &mut State, s: usize) -> Option<()> {
        (matches!(state.clients[s], Client::ToldPresent | Client::Registered) && state.snapshots < self.snapshots)
            .then_some(())?;
        state.clients[s] = Client::Nothing;
        if state.accepts(s, &self.rules) && (state.live().is_some() || !self.rules.commit_looks_again) {
            state.command();
            state.snapshots += 1;
            state.sessions[s] = None;
            if let Some(row) = &mut state.row {
                row.count += 1;
            }
        }
        Some(())
    }

    /// The snapshot leaves the trash for good.
    fn forget(&self, state: &mut State) -> Option<()> {
        state.snapshots = state.snapshots.checked_sub(1)?;
        let now = state.command();
        let row = state.row.as_mut()?;
        row.count -= 1;
        row.zero = now;
        Some(())
    }

    fn scrub(&self, state: &mut State) -> Option<()> {
        let row = state.live().copied().filter(|row| self.damage && row.bad.is_none())?;
        state.copy.as_mut()?.damaged = true;
        let bad = Some(state.command());
        state.row = Some(Row { bad, ..row });
        Some(())
    }

    fn condemn(&self, state: &mut State) -> Option<()> {
        let row = *state.live()?;
        let unneeded = state.oldest_session().is_none_or(|start| row.zero < start);
        (row.count == 0 && (unneeded || !self.rules.gc_waits_for_sessions)).then_some(())?;
        let synced = self.rules.epochs_leave_after_sync;
        let condemned = if synced { state.command() } else { state.unsynced_command() };
        state.row = Some(Row { condemned: Some(condemned), ..row });
        state.deletes.send(condemned)
    }

    /// A copy without a row is an orphan.
    fn sweep(&self, state: &mut State) -> Option<()> {
        (state.row.is_none() && state.copy.is_some()).then_some(())?;
        let oldest = state.oldest_session().filter(|_| self.rules.sweep_stops_at_the_oldest_session);
        state.deletes.send(oldest.unwrap_or(state.now))
    }

    fn delete(&self, state: &mut State, i: usize) -> Option<()> {
        let bound = state.deletes.read(i)?;
        state.copy = state.copy.filter(|copy| self.rules.node_compares_put_epoch && copy.put >= bound);
        state.answer.get_or_insert(bound);
        Some(())
    }

    fn answer(&self, state: &mut State) -> Option<()> {
        let bound = state.answer.take()?;
        if state.row?.condemned == Some(bound) || !self.rules.row_goes_at_its_own_condemnation {
            state.command();
            state.row = None;
            if self.rules.receipt_is_compared_with_the_last_row_that_went {
                state.last_gone = state.last_gone.max(Some(bound));
            }
        }
        Some(())
    }
}

const KEPT: &str = "a committed block is on its node";
const COUNTED: &str = "counts are true";
const REPLACED: &str = "what was found damaged is called good only when it was replaced";
const PROTECTED: &str = "what a living session was promised is on its node";

impl Model for OneBlock {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action::*;
        for s in 0..self.sessions {
            actions.extend([Start(s), Expire(s), Have(s), Put(s), GiveUpWaitingForPut(s)]);
            actions.extend([SendReceipt(s), Register(s), Commit(s)]);
        }
        for i in 0..DELETES {
            actions.extend([DeleteArrives(i), DeleteIsLost(i)]);
        }
        actions.extend([
            LatePutArrives,
            Forget,
            ScrubFindsDamage,
            Condemn,
            RepeatDelete,
            Sweep,
            AnswerArrives,
            AnswerIsLost,
        ]);
        actions.extend([IndexCrash, NodeCrash]);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                state.snapshots == 0 || (state.live().is_some() && state.copy.is_some())
            }),
            Property::always(COUNTED, |_, state: &State| state.row.map_or(0, |row| row.count) == state.snapshots),
            Property::always(PROTECTED, |_, state: &State| {
                let promised = |s: usize| {
                    state.sessions[s].is_some() && matches!(state.clients[s], Client::ToldPresent | Client::Registered)
                };
                !(0..SESSIONS).any(promised) || state.copy.is_some()
            }),
            Property::always(REPLACED, |_, state: &State| {
                let called_good = state.live().is_some_and(|row| row.bad.is_none());
                !(called_good && state.copy.is_some_and(|copy| copy.damaged))
            }),
            Property::sometimes("a push commits", |_, state: &State| state.snapshots > 0),
        ]
    }
}

fn everything_is_gone(state: &State) -> bool {
    state.snapshots == 0 && state.row.is_none() && state.copy.is_none()
}

fn model(rules: Rules, sessions: usize, damage: bool) -> OneBlock {
    OneBlock { rules, sessions, snapshots: 1, damage }
}

#[test]
fn one_block_survives_two_sessions_and_the_collector() {
    check::holds("one block, two sessions", model(Rules::ALL, 2, check::long()));
}

#[test]
fn a_damaged_block_survives_its_replacement() {
    check::holds("one damaged block, one session", model(Rules::ALL, 1, true));
}

#[test]
fn garbage_can_always_be_collected_and_a_push_can_always_commit() {
    let model = model(Rules::ALL, 1, true);
    check::always_possible("one block, one session", &model, "everything is collected", everything_is_gone);
    check::always_possible("one block, one session", &model, "a push commits", |state| state.snapshots > 0);
}

#[test]
fn each_rule_is_needed() {
    let cases = [
        ("sweep stops at the oldest session", without!(sweep_stops_at_the_oldest_session), KEPT),
        ("grant carries the epoch of its answer", without!(grant_carries_the_epoch_of_its_answer), KEPT),
        ("node compares put_epoch", without!(node_compares_put_epoch), KEPT),
        ("gc waits for sessions", without!(gc_waits_for_sessions), KEPT),
        ("expired sessions are refused", without!(expired_sessions_are_refused), KEPT),
        ("have touches, commit looks again", without!(have_touches, commit_looks_again), KEPT),
        ("have touches", without!(have_touches), PROTECTED),
        ("presence leaves after sync", without!(presence_leaves_after_sync), PROTECTED),
        ("receipt belongs to the session", without!(receipt_belongs_to_the_session), KEPT),
        ("a row goes at its own condemnation", without!(row_goes_at_its_own_condemnation), KEPT),
        ("epochs leave after sync", without!(epochs_leave_after_sync), KEPT),
        ("touches are durable", without!(touches_are_durable), KEPT),
    ];
    for (rule, rules, property) in cases {
        check::breaks(rule, model(rules, 2, false), property);
    }
    let damaged = |rules, sessions| model(rules, sessions, true);
    check::breaks("have touches damaged rows", damaged(without!(have_touches_damaged_rows), 1), KEPT);
    check::breaks("copies count from their grant", damaged(without!(copies_count_from_their_grant), 2), REPLACED);
}

/// While sessions hold the collector back and receipts belong to their session, no receipt is older than a
/// condemnation it could meet. The comparison stays as a second guard: it costs nothing.
#[test]
fn comparing_receipts_with_the_condemnation_is_a_second_guard() {
    let rules = without!(receipt_is_compared_with_the_condemnation);
    check::holds("one damaged block, one session, without the second guard", model(rules, 1, true));
}

/// Even if the answers of `have` overtake their sync, what is committed is safe: the client is told at registration, and
/// must still have its files. Only a crash of the index under a client that survives it shows the difference.
#[test]
fn presence_that_overtakes_its_sync_loses_nothing_committed() {
    check::keeps("without \"presence leaves after sync\"", model(without!(presence_leaves_after_sync), 2, false), KEPT);
}

/// The other way to keep a row that is damaged and at zero from being condemned and gone between grant and receipt: it
/// may go, but then the receipt is too old. Together with presence that overtakes its sync.
#[test]
fn remembering_the_last_row_that_went_replaces_touching_damaged_rows() {
    let other = without!(have_touches_damaged_rows, presence_leaves_after_sync);
    let rules = Rules { receipt_is_compared_with_the_last_row_that_went: true, ..other };
    check::keeps("remembering the last row that went, one session", model(rules, 1, true), KEPT);
}
