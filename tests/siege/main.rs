//! A cluster of real processes under attack, from outside: killed, frozen, cut off, emptied, rotten and full, while people push,
//! pull, forget and collect; afterwards the laws of DESIGN §12 hold.
//!
//! What is drawn follows from a seed; when processes do what does not, so a replay is the same attack, not the same instant. A
//! failure says the line:
//!
//! ```text
//! CAS_SIEGE_SEED=7 CAS_SIEGE_ROUNDS=3 cargo test -p cas-tests --test siege -- --nocapture
//! ```
//!
//! `CAS_SIEGE_ATTACK=name` draws no other attack, `CAS_SIEGE_TELL=1` names each command that ends,
//! `CAS_SIEGE_KEEP=1` leaves the folders, `CAS_BINARY` names another program. The
//! long siege: `CAS_SIEGE_ROUNDS=200 CAS_SIEGE_SEED=n cargo test -p cas-tests --test siege --release -- --nocapture`.

mod attacks;
mod canary;
mod desk;
mod dice;
mod person;
mod program;
mod relay;
mod server;
mod siege;
mod sky;
mod town;
#[path = "../restore/tree.rs"]
#[allow(dead_code, reason = "its tree is made in another test")]
mod tree;

use attacks::Attack;
use dice::Dice;
use siege::Siege;
use std::str::FromStr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Rounds of the short siege: those that take seconds come first.
const SHORT: usize = 4;

#[test]
fn the_laws_hold_under_siege() {
    let seed = from_env("CAS_SIEGE_SEED").unwrap_or(1);
    let chosen: Option<String> = from_env("CAS_SIEGE_ATTACK");
    let attacks: Vec<&Attack> = match &chosen {
        None => attacks::ALL.iter().collect(),
        Some(name) => attacks::ALL.iter().filter(|attack| attack.name == name).collect(),
    };
    assert!(!attacks.is_empty(), "there is no such attack");
    let rounds = from_env("CAS_SIEGE_ROUNDS").unwrap_or(SHORT.min(attacks.len()));
    let mut siege = Siege::begin(seed).unwrap_or_else(|why| panic!("the town: {why}"));
    for round in 0..rounds {
        let attack = attacks[round % attacks.len()];
        let mut dice = Dice::new(seed, &format!("{} {round}", attack.name));
        let began = Instant::now();
        let done = (attack.run)(&mut siege, &mut dice).and_then(|()| siege.rest_and_check());
        if let Err(why) = done {
            let words = siege.town.last_words();
            let only = chosen.map_or(String::new(), |name| format!("CAS_SIEGE_ATTACK={name} "));
            panic!(
                "round {round}, {}: {why}\n{words}\nreplay: {only}CAS_SIEGE_SEED={seed} CAS_SIEGE_ROUNDS={} cargo test -p cas-tests --test siege -- --nocapture",
                attack.name,
                round + 1
            );
        }
        let t = &siege.tally;
        eprintln!(
            "round {round}, {}: {:.1} s; so far {} of {} pushes, {} of {} pulls, {} of {} gcs",
            attack.name,
            began.elapsed().as_secs_f64(),
            t.pushed.load(Relaxed),
            t.pushes.load(Relaxed),
            t.pulled.load(Relaxed),
            t.pulls.load(Relaxed),
            t.collected.load(Relaxed),
            t.gcs.load(Relaxed)
        );
    }
}

fn from_env<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}
