//! While one command has a store open for long, others of the same user work through it.
//!
//! Whoever writes to a pipe that nobody reads has the store open for as long as the test likes.

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::*;

/// More than pipes and queues hold.
const BIG: usize = 96 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A desk with one version of `a`, which has a big file and a small one.
fn desk() -> (Desk, Vec<u8>) {
    let desk = Desk::new();
    let big = desk.random().bytes(BIG);
    fs::create_dir(desk.path("src")).unwrap();
    fs::write(desk.path("src/big"), &big).unwrap();
    fs::write(desk.path("src/small"), b"small").unwrap();
    desk.cas(["push", "src", "--name", "a"]).expect(0);
    (desk, big)
}

/// A command that has the store open, and stays.
fn staying(desk: &Desk, args: &[&str]) -> Child {
    desk.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn host(desk: &Desk) -> Child {
    let host = staying(desk, &["dump", "a:big"]);
    let door = desk.store().join("door");
    let began = Instant::now();
    while !door.exists() {
        assert!(began.elapsed() < PATIENCE, "no door");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(door.metadata().unwrap().permissions().mode() & 0o777, 0o600, "for its owner alone");
    host
}

/// Reads what it writes, and waits for its end: its output, what it said, its exit code.
fn let_go(mut child: Child) -> (Vec<u8>, String, Option<i32>) {
    let (mut out, mut said) = (Vec::new(), String::new());
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (out, said, child.wait().unwrap().code())
}

#[test]
fn others_go_on_at_once_and_what_they_push_is_there() {
    let (desk, big) = desk();
    let mut host = host(&desk);
    assert!(desk.cas(["snapshots"]).expect(0).stdout.contains("a@1"));
    assert!(desk.cas(["ls", "a", "--no-wait"]).expect(0).stdout.contains("small"), "a door that is open is no wait");
    fs::write(desk.path("src/small"), b"smaller").unwrap();
    desk.cas(["push", "src", "--name", "a"]).expect(0);
    desk.cas(["pull", "a@2", "there"]).expect(0);
    assert_same_tree(&desk.path("src"), &desk.path("there"));
    desk.cas(["forget", "a@1"]).expect(0);
    desk.cas(["undelete", "a@1"]).expect(0);
    let said = desk.cas(["snapshots", "-v"]).expect(0).stderr;
    assert!(said.contains(&format!("through cas dump (process {})", host.id())), "{said}");
    // What must have the store for itself is told who has it.
    let busy = desk.cas(["gc", "--no-wait"]).expect(11);
    assert!(busy.stderr.contains("cas dump"), "{busy:#?}");
    assert!(host.try_wait().unwrap().is_none(), "it was open all the time");
    let (out, said, code) = let_go(host);
    assert_eq!((out == big, code), (true, Some(0)), "{said}");
    assert!(!desk.store().join("door").exists(), "a door is closed behind the last one");
    assert!(desk.cas(["snapshots"]).expect(0).stdout.contains("a@2"));
    desk.cas(["gc", "--now"]).expect(0);
    desk.cas(["check", "--read-data"]).expect(0);
}

#[test]
fn a_host_that_is_done_waits_for_its_guests() {
    let (desk, big) = desk();
    let host = host(&desk);
    let mut guest = staying(&desk, &["dump", "a:big"]);
    let mut first = [0; 1];
    guest.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let waiting = std::thread::spawn(move || let_go(host));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!waiting.is_finished(), "its guest is still there");
    assert!(!desk.store().join("door").exists(), "nobody else comes in");
    let (rest, said, code) = let_go(guest);
    assert_eq!((first[0], rest[..] == big[1..], code), (big[0], true, Some(0)), "{said}");
    let (out, said, code) = waiting.join().unwrap();
    assert_eq!((out == big, code), (true, Some(0)), "{said}");
    assert!(said.contains("waiting for them"), "{said}");
    assert_eq!(desk.cas(["versions", "a:big"]).expect(0).code, 0);
}

#[test]
fn a_guest_whose_host_is_killed_says_so_and_nothing_is_lost() {
    let (desk, big) = desk();
    let mut host = host(&desk);
    let mut guest = staying(&desk, &["dump", "a:big"]);
    guest.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    let (_, said, code) = let_go(guest);
    assert_eq!(code, Some(15), "{said}");
    assert!(said.contains("which has ended: nothing is lost"), "{said}");
    // Its door leads nowhere; whoever comes next opens the store himself.
    assert!(desk.store().join("door").exists());
    let again = desk.command(&["dump", "a:big", "--no-wait"]).output().unwrap();
    assert!(again.status.success() && again.stdout == big);
    desk.cas(["check", "--read-data"]).expect(0);
}
