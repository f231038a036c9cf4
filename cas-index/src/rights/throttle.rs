//! Who guesses waits: a growing delay per user and per peer. Outside of the state machine, forgotten at a restart.
//!
//! Promise: after a few free tries each failure doubles the wait, to a quarter of an hour for a peer and a minute for a
//! user (so that a stranger's guesses do not shut a person out). A try counts as failed until it has succeeded, so many at
//! once gain nothing. Memory is bounded: with too many names to remember, the one that has waited longest is forgotten.

use std::collections::HashMap;
use std::net::IpAddr;

/// Tries that do not wait.
pub const FREE_TRIES: u32 = 3;
/// Names that are remembered.
pub const MAX_REMEMBERED: usize = 4096;
const SECOND_NS: i64 = 1_000_000_000;
/// The longest wait of a peer, in nanoseconds.
pub const MAX_PEER_WAIT_NS: i64 = 15 * 60 * SECOND_NS;
/// The longest wait for a user, in nanoseconds.
pub const MAX_USER_WAIT_NS: i64 = 60 * SECOND_NS;
/// After so long without a failure everything is forgiven, in nanoseconds.
pub const FORGIVEN_NS: i64 = 24 * 3600 * SECOND_NS;

/// Who is slowed down.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Guesser {
    /// Whoever guesses the password of this user.
    User(String),
    /// Whoever guesses from this address. An IPv6 network is one.
    Peer(IpAddr),
}

impl Guesser {
    /// The peer at an address: of IPv6 addresses the first 64 bits count, since one host has all of them.
    pub fn peer(address: IpAddr) -> Self {
        Self::Peer(match address.to_canonical() {
            IpAddr::V6(v6) => {
                let network = u128::from(v6) & !u128::from(u64::MAX);
                IpAddr::V6(network.into())
            }
            v4 => v4,
        })
    }

    fn longest_wait(&self) -> i64 {
        match self {
            Self::User(_) => MAX_USER_WAIT_NS,
            Self::Peer(_) => MAX_PEER_WAIT_NS,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    failed: u32,
    /// When the next one is allowed.
    next_ns: i64,
    last_ns: i64,
}

/// Tries of everybody.
#[derive(Debug, Default)]
pub struct Throttle {
    tries: HashMap<Guesser, Tries>,
}

impl Throttle {
    /// Asks for a try at this time of a clock that never goes back, in nanoseconds. Counts it as failed.
    ///
    /// # Errors
    /// How many seconds to wait; then it does not count.
    pub fn begin(&mut self, who: &[Guesser], now_ns: i64) -> Result<(), u64> {
        let wait = who.iter().filter_map(|who| self.tries.get(who)).map(|tries| tries.next_ns - now_ns).max();
        if let Some(wait) = wait.filter(|wait| *wait > 0) {
            return Err((wait as u64).div_ceil(SECOND_NS as u64));
        }
        who.iter().for_each(|who| self.count(who, now_ns));
        Ok(())
    }

    /// It was right: all is forgiven to the user, and this try to the peer.
    pub fn succeeded(&mut self, who: &[Guesser]) {
        for who in who {
            match (who, self.tries.get_mut(who)) {
                (Guesser::User(_), _) => drop(self.tries.remove(who)),
                (Guesser::Peer(_), Some(tries)) => {
                    tries.failed = tries.failed.saturating_sub(1);
                    tries.next_ns = tries.last_ns;
                }
                (Guesser::Peer(_), None) => {}
            }
        }
    }

    fn count(&mut self, who: &Guesser, now_ns: i64) {
        if !self.tries.contains_key(who) && self.tries.len() >= MAX_REMEMBERED {
            let longest = self.tries.iter().min_by_key(|(_, tries)| tries.last_ns).map(|(who, _)| who.clone());
            longest.map(|who| self.tries.remove(&who));
        }
        let fresh = Tries { failed: 0, next_ns: now_ns, last_ns: now_ns };
        let tries = self.tries.entry(who.clone()).or_insert(fresh);
        if now_ns.saturating_sub(tries.last_ns) >= FORGIVEN_NS {
            *tries = fresh;
        }
        tries.failed = tries.failed.saturating_add(1);
        let doubled = SECOND_NS << tries.failed.saturating_sub(FREE_TRIES).min(20);
        let wait = if tries.failed < FREE_TRIES { 0 } else { doubled.min(who.longest_wait()) };
        (tries.last_ns, tries.next_ns) = (now_ns, now_ns + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(user: &str, peer: u8) -> [Guesser; 2] {
        [Guesser::User(user.into()), Guesser::peer(IpAddr::from([10, 0, 0, peer]))]
    }

    /// How many tries one gets in a time, trying each second.
    fn tries(throttle: &mut Throttle, seconds: i64, who: impl Fn(i64) -> [Guesser; 2]) -> usize {
        (0..seconds).filter(|s| throttle.begin(&who(*s), s * SECOND_NS).is_ok()).count()
    }

    #[test]
    fn a_guesser_gets_fewer_and_fewer_tries() {
        assert!(tries(&mut Throttle::default(), 86_400, |_| who("ada", 1)) < 120, "one peer at one user");
        assert!(tries(&mut Throttle::default(), 86_400, |s| who(&format!("u{s}"), 1)) < 120, "one peer, many users");
        assert!(tries(&mut Throttle::default(), 3_600, |s| who("ada", s as u8)) < 80, "many peers at one user");
    }

    #[test]
    fn many_tries_at_once_are_no_more() {
        let mut throttle = Throttle::default();
        assert_eq!((0..1000).filter(|_| throttle.begin(&who("ada", 1), 5).is_ok()).count(), FREE_TRIES as usize);
    }

    #[test]
    fn a_person_gets_in_after_a_typing_error_and_others_are_not_touched() {
        let mut throttle = Throttle::default();
        throttle.begin(&who("ada", 1), 0).unwrap();
        throttle.begin(&who("ada", 1), 0).unwrap();
        throttle.succeeded(&who("ada", 1));
        assert!((0..20).all(|n| throttle.begin(&who("bob", n + 2), 0).is_ok() || n >= FREE_TRIES as u8));
        assert!(throttle.begin(&who("ada", 9), 0).is_ok());
    }

    #[test]
    fn a_success_here_does_not_pay_for_guesses_there() {
        let mut throttle = Throttle::default();
        let mut guesses = 0;
        for second in 0..3600 {
            guesses += usize::from(throttle.begin(&who("victim", 1), second * SECOND_NS).is_ok());
            if throttle.begin(&who("own", 1), second * SECOND_NS).is_ok() {
                throttle.succeeded(&who("own", 1));
            }
        }
        assert!(guesses < 80, "{guesses}");
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for n in 0..3 * MAX_REMEMBERED {
            let _ = throttle.begin(&[Guesser::User(n.to_string())], n as i64);
        }
        assert_eq!(throttle.tries.len(), MAX_REMEMBERED);
    }

    #[test]
    fn a_host_with_many_addresses_is_one_peer() {
        let peer = |text: &str| Guesser::peer(text.parse().unwrap());
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:1"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
    }
}
