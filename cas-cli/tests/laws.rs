//! The laws that the embedded store promises, attacked from outside: the binary, real files, kill -9, rotten bytes.
//!
//! Each test says the law it defends. What is random comes from a seed; a failure prints it, and
//! `CAS_TEST_SEED=n cargo test -p cas-cli --test laws` replays it. `CAS_TEST_ROUNDS=n` makes it longer.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use support::{Desk, Random, assert_same_tree, files_below};

fn rounds(default: u64) -> u64 {
    std::env::var("CAS_TEST_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

/// A tree with everything that a careful person would try first.
fn varied_tree(root: &Path, random: &mut Random) {
    for dir in ["docs/deep/deeper", "empty", "media"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for n in 0..40 {
        let len = random.below(20_000);
        fs::write(root.join(format!("docs/file{n:02}")), random.bytes(len)).unwrap();
    }
    fs::write(root.join("media/large"), random.bytes(6 << 20)).unwrap();
    fs::write(root.join("docs/deep/deeper/zeros"), vec![0; 700_000]).unwrap();
    fs::write(root.join("none"), "").unwrap();
    fs::write(root.join("tiny"), "x").unwrap();
    symlink("docs/file00", root.join("link")).unwrap();
    symlink("nowhere", root.join("broken link")).unwrap();
    fs::hard_link(root.join("tiny"), root.join("docs/tiny again")).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"far out", 40 << 20).unwrap();
    use std::os::unix::ffi::OsStrExt;
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"not \xff utf-8 \n")), "odd").unwrap();
}

#[test]
fn law_1_what_was_acknowledged_restores_bit_for_bit_with_its_metadata() {
    let desk = Desk::new();
    varied_tree(&desk.path("tree"), &mut desk.random());
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    desk.cas(["pull", "a", "back"]).expect(0);
    assert_same_tree(&desk.path("tree"), &desk.path("back"));
    // Ids follow from contents and metadata: an equal tree adds not one block.
    let again = desk.cas(["push", "back", "--name", "b", "--json"]).expect(0);
    assert_eq!(again.summary()["data_blobs"], 0, "{again:?}");
    assert_eq!(again.summary()["tree_blobs"], 0, "metadata came back different: {again:?}");
}

#[test]
fn law_1_pull_writes_only_what_differs_and_deletes_only_when_asked() {
    let desk = Desk::new();
    varied_tree(&desk.path("tree"), &mut desk.random());
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    desk.cas(["pull", "a", "back"]).expect(0);
    fs::write(desk.path("back/tiny"), "changed").unwrap();
    fs::remove_file(desk.path("back/link")).unwrap();
    fs::write(desk.path("back/more"), "more").unwrap();
    let report = desk.cas(["pull", "a", "back", "--json"]).expect(0);
    assert!(report.summary()["bytes_restored"].as_u64().unwrap() < 10, "{report:?}");
    assert!(desk.path("back/more").exists());
    desk.cas(["pull", "a", "back", "--delete"]).expect(0);
    assert_same_tree(&desk.path("tree"), &desk.path("back"));
}

#[test]
fn law_2_and_5_gc_keeps_what_snapshots_reach_and_frees_the_rest() {
    let desk = Desk::new();
    let mut random = desk.random();
    varied_tree(&desk.path("tree"), &mut random);
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    let one = desk.stored_bytes();
    fs::write(desk.path("tree/media/large"), random.bytes(6 << 20)).unwrap();
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    desk.cas(["forget", "a@1"]).expect(0);
    desk.cas(["gc"]).expect(0);
    desk.cas(["undelete", "a@1"]).expect(0);
    desk.cas(["pull", "a@1", "first"]).expect(0);
    desk.cas(["forget", "a@1"]).expect(0);
    desk.cas(["gc", "--now"]).expect(0);
    desk.cas(["undelete", "a@1"]).expect(1);
    desk.cas(["check", "--read-data", "--recount"]).expect(0);
    desk.cas(["pull", "a", "back"]).expect(0);
    assert_same_tree(&desk.path("tree"), &desk.path("back"));
    let left = desk.stored_bytes();
    assert!(left < one + one / 20 + 100_000, "one version takes {one} bytes, after gc {left} are left");
}

#[test]
fn law_6_no_plaintext_stands_in_any_stored_file() {
    let desk = Desk::new();
    let canary = format!("canary-{:016x}", desk.random().next());
    fs::create_dir_all(desk.path("tree").join(&canary)).unwrap();
    fs::write(desk.path("tree").join(&canary).join(format!("{canary}.txt")), canary.repeat(50)).unwrap();
    fs::write(desk.path("tree/inline"), &canary).unwrap();
    symlink(&canary, desk.path("tree/link")).unwrap();
    desk.cas(["push", "tree", "--name", "a", "--tag", &canary, "--host", &canary]).expect(0);
    let holds = |bytes: &[u8]| bytes.windows(canary.len()).any(|w| w == canary.as_bytes());
    assert!(holds(&fs::read(desk.path("tree/inline")).unwrap()), "the search itself works");
    for file in files_below(&desk.store()) {
        assert!(!holds(&fs::read(&file).unwrap()), "{} holds plaintext", file.display());
    }
}

#[test]
fn law_7_rotten_bytes_cost_at_most_the_files_in_them_and_these_are_named() {
    let desk = Desk::new();
    let mut random = desk.random();
    varied_tree(&desk.path("tree"), &mut random);
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    let segments = files_below(&desk.store().join("node/segments"));
    let whole: Vec<Vec<u8>> = segments.iter().map(|s| fs::read(s).unwrap()).collect();
    let mut noticed = 0;
    for round in 0..rounds(12) {
        for (segment, bytes) in segments.iter().zip(&whole) {
            let mut rotten = bytes.clone();
            let at = random.below(rotten.len());
            if random.below(4) == 0 {
                rotten.truncate(at)
            } else {
                rotten[at] ^= 1 << random.below(8)
            }
            fs::write(segment, rotten).unwrap();
        }
        let _ = fs::remove_dir_all(desk.path("back"));
        let pulled = desk.cas(["pull", "a", "back"]);
        assert!([0, 3, 1, 14].contains(&pulled.code), "round {round}: {pulled:?}");
        noticed += u64::from(pulled.code != 0);
        for file in files_below(&desk.path("back")) {
            let name = file.strip_prefix(desk.path("back")).unwrap().to_owned();
            let same = fs::read(&file).unwrap() == fs::read(desk.path("tree").join(&name)).unwrap();
            assert!(same, "round {round}: {} came back wrong: {pulled:?}", name.display());
        }
        if pulled.code == 0 {
            assert_same_tree(&desk.path("tree"), &desk.path("back"));
        }
        for (segment, bytes) in segments.iter().zip(&whole) {
            fs::write(segment, bytes).unwrap();
        }
    }
    assert!(noticed > 0, "no damage was noticed in any round: this test proves nothing");
}

#[test]
fn law_7_a_push_heals_what_is_damaged_while_the_files_are_there() {
    let desk = Desk::new();
    let mut random = desk.random();
    varied_tree(&desk.path("tree"), &mut random);
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    let segment = files_below(&desk.store().join("node/segments")).remove(0);
    let mut bytes = fs::read(&segment).unwrap();
    for _ in 0..5 {
        let at = 20_000 + random.below(bytes.len() - 60_000);
        bytes[at] ^= 0x55;
    }
    fs::write(&segment, bytes).unwrap();
    desk.cas(["check", "--read-data"]).expect(14);
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    desk.cas(["check", "--read-data", "--recount"]).expect(0);
    desk.cas(["pull", "a", "back"]).expect(0);
    assert_same_tree(&desk.path("tree"), &desk.path("back"));
}

#[test]
fn law_9_index_and_node_index_are_made_anew_with_equal_answers() {
    let desk = Desk::new();
    varied_tree(&desk.path("tree"), &mut desk.random());
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    desk.cas(["push", "tree", "--name", "b"]).expect(0);
    desk.cas(["forget", "b@1"]).expect(0);
    let before = desk.cas(["snapshots", "--trash", "--json"]).expect(0).stdout;
    let _ = fs::remove_file(desk.store().join("node/index.redb")); // Not written yet for so few blocks.
    for file in files_below(&desk.store().join("index")) {
        if !file.ends_with("key") {
            fs::remove_file(file).unwrap();
        }
    }
    desk.cas(["snapshots"]).expect(14);
    desk.cas(["index", "rebuild"]).expect(0);
    desk.cas(["check", "--read-data", "--recount"]).expect(0);
    let after = desk.cas(["snapshots", "--trash", "--json"]).expect(0).stdout;
    let ids = |text: &str| {
        let ids = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        ids.map(|v| (v["id"].to_string(), v["name"].to_string())).collect::<Vec<_>>()
    };
    assert_eq!(ids(&before), ids(&after));
}

#[test]
fn law_1_and_2_kill_9_at_any_moment_leaves_a_store_that_needs_no_repair() {
    let desk = Desk::new();
    let mut random = desk.random();
    fs::create_dir_all(desk.path("tree")).unwrap();
    desk.cas(["init"]).expect(0);
    for round in 0..rounds(10) {
        for n in 0..12 {
            fs::write(desk.path("tree").join(format!("f{n}")), random.bytes(1 << 20)).unwrap();
        }
        let args: &[&str] = if round % 3 == 2 { &["gc", "--now"] } else { &["push", "tree", "--name", "a"] };
        let mut child = desk.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(150_000) as u64));
        let _ = child.kill();
        child.wait().unwrap();
        desk.cas(["check", "--read-data", "--recount"]).expect(0);
        desk.cas(["push", "tree", "--name", "a"]).expect(0);
        if round % 2 == 1 {
            desk.cas(["forget", "a", "--keep-last", "2"]).expect(0);
        }
        let _ = fs::remove_dir_all(desk.path("back"));
        desk.cas(["pull", "a", "back"]).expect(0);
        assert_same_tree(&desk.path("tree"), &desk.path("back"));
    }
}

#[test]
fn a_push_that_was_killed_is_resumed_without_storing_anything_twice() {
    let desk = Desk::new();
    let mut random = desk.random();
    fs::create_dir_all(desk.path("tree")).unwrap();
    for n in 0..40 {
        fs::write(desk.path("tree").join(format!("f{n}")), random.bytes(1 << 20)).unwrap();
    }
    desk.cas(["init"]).expect(0);
    let mut child = desk.command(&["push", "tree", "--name", "a"]).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let _ = child.kill();
    child.wait().unwrap();
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    let (content, stored) = (40u64 << 20, desk.segment_bytes());
    assert!(
        stored < content + content / 50,
        "{content} bytes of random content take {stored}: something is there twice"
    );
}

#[test]
fn law_11_exit_codes_are_truthful() {
    let desk = Desk::new();
    fs::create_dir_all(desk.path("tree")).unwrap();
    fs::write(desk.path("tree/file"), "content").unwrap();
    desk.cas(["snapshots"]).expect(10);
    desk.cas(["frobnicate"]).expect(2);
    desk.cas(["push", "tree", "--name", "a@b"]).expect(2);
    desk.cas(["push", "tree", "--name", "a"]).expect(0);
    desk.cas(["push", "tree", "missing", "--name", "partly"]).expect(3);
    desk.cas(["push", "missing", "--name", "none"]).expect(1);
    desk.cas(["pull", "nothing", "back"]).expect(1);
    desk.cas(["--identity", "other", "key", "new"]).expect(0);
    desk.cas(["--identity", "other", "snapshots"]).expect(12);
    desk.cas(["--identity", "absent", "snapshots"]).expect(12);
    let store = desk.store().join("cas-store");
    let text = fs::read_to_string(&store).unwrap();
    fs::write(&store, text.replace("version 1", "version 7")).unwrap();
    let refused = desk.cas(["snapshots"]).expect(1);
    assert!(refused.stderr.contains("version 7"), "{refused:?}");
    fs::write(&store, text).unwrap();
    let lock = fs::File::open(desk.store().join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    desk.cas(["--no-wait", "snapshots"]).expect(11);
}
