//! Laws 8, 11: two at a time. The second waits; with `--no-wait` it says who is there (exit 11). However many push to a name at
//! once, and whoever is killed meanwhile, its history is a line: every acknowledged number once, none lost.

use crate::cases::cases;
use crate::desk::{Desk, Done};
use crate::world::plant;
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;

/// Processes at once.
const CROWD: usize = 5;

#[test]
fn a_crowd_that_pushes_to_one_name_makes_one_line_of_versions() {
    cases("race::a_crowd", 6, |dice| {
        let desk = Desk::with_store();
        plant(&desk.path("tree"), dice);
        let mut acknowledged = BTreeSet::new();
        for _ in 0..2 {
            let push = ["push", "tree", "--name", "a", "--force", "--json"];
            let spawn =
                |_| desk.command(push).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
            let mut crowd: Vec<Child> = (0..CROWD).map(spawn).collect();
            std::thread::sleep(Duration::from_millis(dice.below(80)));
            let unlucky = dice.below(CROWD as u64) as usize;
            crowd[unlucky].kill().expect("it was there");
            for (n, child) in crowd.into_iter().enumerate() {
                let output = child.wait_with_output().expect("it ends");
                let done = Done::of(&push, &output);
                match done.code {
                    0 => {
                        let seq = done.summary()?["version"].as_u64().ok_or("no version")?;
                        if !acknowledged.insert(seq) {
                            return Err(format!("number {seq} was given twice"));
                        }
                    }
                    _ if n == unlucky => {}
                    _ => return Err(format!("{done:#?}")),
                }
            }
        }
        let listed: BTreeSet<u64> = crate::world::listed(&desk)?.into_iter().map(|(_, seq)| seq).collect();
        if !listed.is_superset(&acknowledged) || listed != (1..=listed.len() as u64).collect() {
            return Err(format!("acknowledged {acknowledged:?}, listed {listed:?}"));
        }
        desk.cas(["check", "--read-data", "--recount"]).ok().map(|_| ())
    });
}

#[test]
fn who_does_not_want_to_wait_is_told_for_whom() {
    cases("race::who_does_not_want_to_wait", 2, |dice| {
        let desk = Desk::with_store();
        plant(&desk.path("tree"), dice);
        // A reader of a pipe that does not read holds its writer, and the store with it.
        let mut holder = desk
            .command(["push", "tree", "--name", "a"])
            .env("CAS_FAULT_ROOT", desk.home())
            .env("CAS_FAULT_DO", "stop")
            .env("CAS_FAULT_AT", "12")
            .env("LD_PRELOAD", crate::faults::shim())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let stopped = wait_until_stopped(holder.id());
        let refused = desk.cas(["--no-wait", "snapshots"]);
        let waiting = desk.command(["snapshots", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut waiting = waiting.expect("it starts");
        std::thread::sleep(Duration::from_millis(200));
        let waits = waiting.try_wait().expect("it can be asked").is_none();
        let released = std::process::Command::new("kill").args(["-CONT", &holder.id().to_string()]).status();
        let pushed = holder.wait().expect("it ends");
        let output = waiting.wait_with_output().expect("it ends");
        let refused = refused.expect(11)?;
        if !stopped || !released.is_ok_and(|s| s.success()) || !pushed.success() {
            return Err("the push that held the store did not go on".to_owned());
        }
        if !refused.stderr.contains("cas push") || !waits {
            return Err(format!("waited: {waits}, {refused:#?}"));
        }
        let seen = Done::of(&["snapshots"], &output).ok()?;
        if seen.objects().len() == 1 { Ok(()) } else { Err(format!("after waiting: {seen:#?}")) }
    });
}

/// Whether the process came to stand still.
fn wait_until_stopped(process: u32) -> bool {
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    };
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_stopped()
    })
}
