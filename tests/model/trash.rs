//! Commit, forget, trash, gc, undelete: what is in the trash is whole, and a push knows whether it committed.
//!
//! One block that is the root of two versions of a name; the answer to a commit may be lost. Time is not modelled: the
//! trash may be emptied at any moment, so its length is a promise to people, not part of the safety.

use crate::epoch::{Epoch, Messages, renumber};
use crate::rules::Rules;
use crate::{check, epochs, without};
use stateright::{Model, Property};

const VERSIONS: usize = 2;

#[derive(Clone, Debug)]
struct Trash {
    rules: Rules,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct State {
    // The index.
    now: Epoch,
    row: Option<Row>,
    session: Option<Epoch>,
    versions: [Version; VERSIONS],
    /// An undelete brought a version back.
    undeleted: bool,

    client: Client,
    copy: Option<Epoch>,
    deletes: Messages<1>,
}
epochs!(State { now, row, session, client, copy, deletes });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Row {
    count: u8,
    zero: Epoch,
    condemned: Option<Epoch>,
}
epochs!(Row { zero, condemned });

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Version {
    /// Not there yet, or gone for good.
    #[default]
    Gone,
    Listed,
    InTrash,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum Client {
    #[default]
    Nothing,
    Granted(Epoch),
    Stored(Epoch),
    Promised,
    /// It sent a commit and heard nothing.
    Unsure {
        committed: bool,
    },
    /// It ended with an answer: what it was told, and what is true.
    Told {
        committed: bool,
        truly: bool,
    },
}

impl crate::epoch::Epochs for Client {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Epoch)) {
        if let Self::Granted(epoch) | Self::Stored(epoch) = self {
            visit(epoch);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Action {
    Start,
    Expire,
    Have,
    Put,
    Register,
    Commit { answered: bool },
    CommitAgain,
    Forget(usize),
    Undelete(usize),
    EmptyTrash(usize),
    Condemn,
    SendDelete,
    DeleteArrives,
    DeleteIsLost,
    Sweep,
}

impl State {
    fn live(&self) -> Option<&Row> {
        self.row.as_ref().filter(|row| row.condemned.is_none())
    }

    fn count(&mut self) {
        self.now.advance();
        if let Some(row) = &mut self.row {
            row.count += 1;
        }
    }

    fn uncount(&mut self) {
        let zero = self.now.advance();
        if let Some(row) = &mut self.row {
            (row.count, row.zero) = (row.count.saturating_sub(1), zero);
        }
    }
}

impl Trash {
    fn step(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        match action {
            Action::Start => {
                next.session.is_none().then_some(())?;
                (!matches!(next.client, Client::Unsure { .. })).then_some(())?; // It asks how that ended first.
                next.session = Some(next.now.advance());
                next.client = Client::Nothing;
            }
            Action::Expire => {
                next.session.take()?;
                next.now.advance();
            }
            Action::Have => have(&mut next)?,
            Action::Put => {
                let Client::Granted(grant) = next.client else { return None };
                next.copy = Some(next.copy.map_or(grant, |put| put.max(grant)));
                next.client = Client::Stored(grant);
            }
            Action::Register => register(&mut next)?,
            Action::Commit { answered } => commit(&mut next, answered)?,
            Action::CommitAgain => {
                let Client::Unsure { committed } = next.client else { return None };
                let known = committed && self.rules.commit_is_idempotent; // By its key.
                next.client = Client::Told { committed: known, truly: committed };
            }
            Action::Forget(v) => {
                (next.versions[v] == Version::Listed).then_some(())?;
                next.versions[v] = Version::InTrash;
                next.now.advance();
                if !self.rules.trash_counts {
                    next.uncount();
                }
            }
            Action::Undelete(v) => {
                (next.versions[v] == Version::InTrash).then_some(())?;
                next.versions[v] = Version::Listed;
                next.undeleted = true;
                next.now.advance();
                if !self.rules.trash_counts {
                    next.count();
                }
            }
            Action::EmptyTrash(v) => {
                (next.versions[v] == Version::InTrash).then_some(())?;
                next.versions[v] = Version::Gone;
                if self.rules.trash_counts {
                    next.uncount();
                }
            }
            Action::Condemn => {
                let row = *next.live()?;
                (row.count == 0 && next.session.is_none_or(|start| row.zero < start)).then_some(())?;
                let condemned = Some(next.now.advance());
                next.row = Some(Row { condemned, ..row });
            }
            Action::SendDelete => {
                let condemned = next.row?.condemned?;
                next.deletes.send(condemned)?;
            }
            Action::DeleteArrives => {
                let bound = next.deletes.read(0)?;
                next.copy = next.copy.filter(|put| *put >= bound);
                next.row = next.row.filter(|row| row.condemned != Some(bound));
                next.now.advance();
            }
            Action::DeleteIsLost => next.deletes.lose(0)?,
            Action::Sweep => {
                (next.row.is_none() && next.copy.is_some()).then_some(())?;
                let bound = next.session.unwrap_or(next.now);
                next.deletes.send(bound)?;
            }
        }
        renumber(&mut next);
        Some(next)
    }
}

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

fn register(state: &mut State) -> Option<()> {
    state.session?;
    let Client::Stored(grant) = state.client else { return None };
    let condemned = state.row.and_then(|row| row.condemned);
    if state.live().is_some() || Some(grant) >= condemned {
        let zero = state.now.advance();
        let count = state.live().map_or(0, |row| row.count);
        state.row = Some(Row { count, zero, condemned: None });
        state.client = Client::Promised;
    } else {
        state.client = Client::Nothing;
    }
    Some(())
}

/// Refused (and the client asks again), or done; either answer may be lost.
fn commit(state: &mut State, answered: bool) -> Option<()> {
    (state.client == Client::Promised).then_some(())?;
    let slot = state.versions.iter().position(|version| *version == Version::Gone)?;
    let accepted = state.session.is_some() && state.live().is_some();
    if accepted {
        state.count();
        state.session = None;
        state.versions[slot] = Version::Listed;
    }
    state.client = if answered {
        Client::Told { committed: accepted, truly: accepted }
    } else {
        Client::Unsure { committed: accepted }
    };
    Some(())
}

const KEPT: &str = "a version that is listed or in the trash is whole";
const COUNTED: &str = "counts are true";
const TRUE: &str = "a push is told the truth about its commit";

impl Model for Trash {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, _: &State, actions: &mut Vec<Action>) {
        use Action::*;
        actions.extend([Start, Expire, Have, Put, Register, Commit { answered: true }, Commit { answered: false }]);
        for v in 0..VERSIONS {
            actions.extend([Forget(v), Undelete(v), EmptyTrash(v)]);
        }
        actions.extend([CommitAgain, Condemn, SendDelete, DeleteArrives, DeleteIsLost, Sweep]);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        self.step(state, action).filter(|next| next != state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| {
                let kept = state.versions.iter().any(|version| *version != Version::Gone);
                !kept || (state.live().is_some() && state.copy.is_some())
            }),
            Property::always(COUNTED, |_, state: &State| {
                let kept = state.versions.iter().filter(|version| **version != Version::Gone).count();
                state.row.map_or(0, |row| usize::from(row.count)) == kept
            }),
            Property::always(
                TRUE,
                |_, state: &State| !matches!(state.client, Client::Told { committed, truly } if committed != truly),
            ),
            Property::sometimes("a version comes back from the trash", |_, state: &State| state.undeleted),
        ]
    }
}

fn everything_is_gone(state: &State) -> bool {
    state.row.is_none() && state.copy.is_none()
}

fn model(rules: Rules) -> Trash {
    Trash { rules }
}

#[test]
fn what_is_in_the_trash_is_whole() {
    check::holds("trash", model(Rules::ALL));
}

#[test]
fn what_was_forgotten_can_always_be_collected() {
    check::always_possible("trash", &model(Rules::ALL), "everything is collected", everything_is_gone);
}

#[test]
fn each_rule_is_needed() {
    check::breaks("trash counts", model(without!(trash_counts)), KEPT);
    check::breaks("commit is idempotent", model(without!(commit_is_idempotent)), TRUE);
}
