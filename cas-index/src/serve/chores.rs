//! What is done again and again while time passes, a tick at a time. Pure: which chores a tick has.

/// Ticks between two looks for sessions that were silent for too long.
const SESSIONS_EVERY: u64 = 10;
/// Ticks between two looks at what rights have to forget or to write down.
const RIGHTS_EVERY: u64 = 240;

/// Something small to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chore {
    /// Judge who is alive, take the next steps of moves.
    Nodes,
    /// End sessions whose clients have gone.
    Sessions,
    /// Let tokens expire, write counts of refusals down.
    Rights,
}

impl Chore {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Sessions => "sessions",
            Self::Rights => "rights",
        }
    }
}

/// The chores of a tick; the first one has number 0.
pub(super) fn of_tick(number: u64) -> impl Iterator<Item = Chore> {
    let all = [(Chore::Nodes, 1), (Chore::Sessions, SESSIONS_EVERY), (Chore::Rights, RIGHTS_EVERY)];
    all.into_iter().filter(move |(_, every)| number.is_multiple_of(*every)).map(|(chore, _)| chore)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chore_comes_round_and_the_first_tick_has_all() {
        assert_eq!(of_tick(0).count(), 3);
        assert_eq!(of_tick(1).collect::<Vec<_>>(), [Chore::Nodes]);
        let times = |chore| (0..RIGHTS_EVERY).filter(|n| of_tick(*n).any(|found| found == chore)).count() as u64;
        assert_eq!((times(Chore::Sessions), times(Chore::Rights)), (RIGHTS_EVERY / SESSIONS_EVERY, 1));
    }
}
