//! The one place where the client draws randomness: keys, seeds, session keys.

/// `N` random bytes from the operating system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    getrandom::fill(&mut out).expect("the operating system has randomness");
    out
}
