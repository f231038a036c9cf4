//! Cases from a seed, and how to replay the one that failed.

use cas_core::kdf;
use std::str::FromStr;
use std::time::Instant;

/// Runs `short` cases of a law, or as many times more as `CAS_TEST_SCALE` says.
pub fn cases(law: &str, short: u64, run: impl Fn(&mut Dice) -> Result<(), String>) {
    let seed = from_env("CAS_TEST_SEED").unwrap_or(1);
    let count = short * from_env::<u64>("CAS_TEST_SCALE").unwrap_or(1);
    let began = Instant::now();
    let chosen = from_env("CAS_TEST_CASE").map_or(0..count, |case: u64| case..case + 1);
    for case in chosen {
        let replay = Replay { law, seed, case };
        if let Err(why) = run(&mut Dice::of(law, seed, case)) {
            panic!("{law}: {why}");
        }
        std::mem::forget(replay);
    }
    eprintln!("{law}: {count} cases, {:.1} s", began.elapsed().as_secs_f64());
}

fn from_env<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

/// Says how to replay a case, unless the case came to its end.
struct Replay<'a> {
    law: &'a str,
    seed: u64,
    case: u64,
}

impl Drop for Replay<'_> {
    fn drop(&mut self) {
        let Self { law, seed, case } = self;
        eprintln!("replay: CAS_TEST_SEED={seed} CAS_TEST_CASE={case} cargo test -p cas-tests --test laws {law}");
    }
}

/// Chance that can be repeated.
pub struct Dice(u64);

impl Dice {
    fn of(law: &str, seed: u64, case: u64) -> Self {
        let bytes = [law.as_bytes(), &seed.to_le_bytes(), &case.to_le_bytes()].concat();
        let hash = kdf::derive("test dice", &bytes);
        Self(u64::from_le_bytes(hash[..8].try_into().expect("8 of 32")))
    }

    /// For what all cases of a law share.
    pub fn of_all(law: &str) -> Self {
        Self::of(law, from_env("CAS_TEST_SEED").unwrap_or(1), u64::MAX)
    }

    /// SplitMix64.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    /// True once in `n`.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        kdf::derive_into("test bytes", &self.roll().to_le_bytes(), &mut out);
        out
    }
}
