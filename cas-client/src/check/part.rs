//! Parts of all blocks: ids are hashes, so an interval of ids is a random sample that is spread over everything.
//!
//! Promise: intervals that follow each other cover every block once, whatever was pushed between them.

use crate::error::{ClientError, Result};
use cas_core::id::BlockId;
use std::fs;
use std::path::{Path, PathBuf};

/// All ids, as an interval of their first 64 bits.
const ALL: u128 = 1 << 64;

/// An interval of ids, which may go over the end to the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    start: u64,
    len: u128,
}

/// How much to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sample {
    /// Everything.
    All,
    /// This share, from 0 to 1: of what was not read longest.
    Share(f64),
    /// About so many stored bytes, of what was not read longest.
    Bytes(u64),
    /// The n-th of so many parts, from 1.
    Nth(u32, u32),
}

impl Part {
    /// All blocks.
    pub const WHOLE: Self = Self { start: 0, len: ALL };

    /// The n-th of `of` equal parts, from 0.
    pub fn nth(n: u32, of: u32) -> Self {
        let border = |n: u32| ALL * u128::from(n) / u128::from(of);
        Self { start: border(n) as u64, len: border(n + 1) - border(n) }
    }

    /// A share from a place on.
    pub fn share(start: u64, share: f64) -> Self {
        Self { start, len: ((share * ALL as f64) as u128).min(ALL) }
    }

    /// Up to the block that was the last to be in it.
    pub fn up_to(start: u64, last: &BlockId) -> Self {
        Self { start, len: u128::from(first_bits(last).wrapping_sub(start)) + 1 }
    }

    /// Whether a block is in it.
    pub fn holds(&self, id: &BlockId) -> bool {
        u128::from(first_bits(id).wrapping_sub(self.start)) < self.len
    }

    /// Where the next part begins.
    pub fn next(&self) -> u64 {
        self.start.wrapping_add(self.len as u64)
    }

    /// The block after which its blocks come; `None` for the first of all.
    pub fn after(&self) -> Option<BlockId> {
        let before = self.start.checked_sub(1)?;
        let mut id = [0xff; BlockId::LEN];
        id[..8].copy_from_slice(&before.to_be_bytes());
        Some(BlockId(id))
    }

    /// The same as parts that do not go over the end.
    pub fn pieces(&self) -> Vec<Self> {
        let to_end = ALL - u128::from(self.start);
        if self.len <= to_end {
            return vec![*self];
        }
        vec![Self { len: to_end, ..*self }, Self { start: 0, len: self.len - to_end }]
    }

    /// From where to where, in hundredths of everything.
    pub fn percent(&self) -> (f64, f64) {
        let percent = |n: u128| n as f64 * 100.0 / ALL as f64;
        (percent(self.start.into()), percent(u128::from(self.start) + self.len))
    }
}

fn first_bits(id: &BlockId) -> u64 {
    u64::from_be_bytes(id.as_bytes()[..8].try_into().expect("8 of 32"))
}

/// Where the next sample of a store begins. Losing it only loses the order.
#[derive(Debug)]
pub struct Round {
    path: PathBuf,
    position: u64,
}

impl Round {
    /// Reads it from the state folder; the first one begins anywhere.
    pub fn open(state: &Path, store: &str) -> Self {
        let store = Path::new(store).canonicalize().unwrap_or_else(|_| store.into());
        let hash = cas_core::kdf::derive("check round", store.as_os_str().as_encoded_bytes());
        let digits: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let path = state.join(format!("check-{digits}"));
        let read = fs::read_to_string(&path).ok().and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        Self { path, position: read.unwrap_or_else(|| u64::from_le_bytes(crate::random())) }
    }

    /// Where to begin.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Notes what was read.
    pub fn passed(&self, part: &Part) -> Result<()> {
        let failed = |e| ClientError::io(format!("write {}", self.path.display()), e);
        fs::create_dir_all(self.path.parent().unwrap_or(&self.path)).map_err(failed)?;
        fs::write(&self.path, format!("{:016x}\n", part.next())).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<BlockId> {
        (0..2000u64).map(|n| BlockId(cas_core::kdf::hash(&n.to_le_bytes()))).collect()
    }

    #[test]
    fn parts_that_follow_each_other_hold_every_block_once() {
        let ids = ids();
        let nth: Vec<_> = (0..7).map(|n| Part::nth(n, 7)).collect();
        let mut shares = vec![Part::share(u64::MAX / 3, 0.25)];
        (0..3).for_each(|_| shares.push(Part::share(shares.last().unwrap().next(), 0.25)));
        for parts in [nth, shares, vec![Part::WHOLE]] {
            for id in &ids {
                assert_eq!(parts.iter().filter(|part| part.holds(id)).count(), 1, "{id}");
            }
            let sizes: Vec<_> = parts.iter().map(|p| ids.iter().filter(|id| p.holds(id)).count()).collect();
            assert!(sizes.iter().all(|n| n.abs_diff(ids.len() / parts.len()) < 100), "{sizes:?}");
        }
    }

    #[test]
    fn pieces_are_intervals_in_order_of_id() {
        let mut ids = ids();
        ids.sort();
        let part = Part::share(u64::MAX - u64::MAX / 8, 0.5);
        let mut found = Vec::new();
        for piece in part.pieces() {
            let from = piece.after().map_or(0, |after| ids.partition_point(|id| *id <= after));
            found.extend(ids[from..].iter().copied().take_while(|id| piece.holds(id)));
        }
        found.sort();
        assert_eq!(found, ids.iter().copied().filter(|id| part.holds(id)).collect::<Vec<_>>());
        assert_eq!(part.pieces().len(), 2);
        let last = found.last().unwrap();
        assert!(Part::up_to(0, last).holds(last));
    }

    #[test]
    fn a_round_goes_on_where_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let round = Round::open(dir.path(), dir.path().to_str().unwrap());
        let part = Part::share(round.position(), 0.1);
        round.passed(&part).unwrap();
        assert_eq!(Round::open(dir.path(), dir.path().to_str().unwrap()).position(), part.next());
        assert_eq!(part.next(), round.position().wrapping_add((0.1 * ALL as f64) as u64));
    }
}
