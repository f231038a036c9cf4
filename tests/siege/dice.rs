//! Chance that can be repeated.

use cas_core::kdf;

/// Numbers that follow from a seed and what they are for.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// For one purpose: others get other numbers from the same seed.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let hash = kdf::derive("siege dice", &[purpose.as_bytes(), &seed.to_le_bytes()].concat());
        Self(u64::from_le_bytes(hash[..8].try_into().expect("8 of 32")))
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

    /// So many different numbers below `n`.
    pub fn some_of(&mut self, count: usize, n: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..n).collect();
        (0..count.min(n)).map(|_| all.swap_remove(self.below(all.len() as u64) as usize)).collect()
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        kdf::derive_into("siege bytes", &self.roll().to_le_bytes(), &mut out);
        out
    }
}
