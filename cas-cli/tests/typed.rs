//! What people type, also those who come from another program, and what they get told.

mod support;

use std::fs;
use support::{Desk, assert_same_tree};

fn filled() -> Desk {
    let desk = Desk::new();
    for n in 0..120 {
        fs::create_dir_all(desk.path(&format!("tree/d{n:03}/inner"))).unwrap();
        fs::write(desk.path(&format!("tree/d{n:03}/inner/file")), format!("content {n}")).unwrap();
    }
    fs::write(desk.path("tree/large"), desk.random().bytes(6 << 20)).unwrap();
    desk.cas(["push", "tree", "--name", "laptop/tree"]).expect(0);
    desk
}

#[test]
fn who_mistypes_is_told_what_there_is() {
    let desk = filled();
    for (args, hint) in [
        (["ls", "laptop/tere"], "did you mean laptop/tree?"),
        (["ls", "tree"], "did you mean laptop/tree?"),
        (["ls", "laptop/tree:lagre"], "did you mean large?"),
        (["ls", "laptop/tree:d000/iner"], "did you mean d000/inner?"),
        (["ls", "laptop/tree@7"], "its newest version is laptop/tree@1"),
        (["ls", "something"], "cas snapshots lists"),
        (["snapshots", "laptop/treee"], "did you mean laptop/tree?"),
    ] {
        let done = desk.cas(args).expect(1);
        assert!(done.stderr.contains(hint), "{done:#?}");
    }
    desk.cas(["forget", "laptop/tree@1"]).expect(0);
    let done = desk.cas(["ls", "laptop/tree@1"]).expect(1);
    assert!(done.stderr.contains("is in the trash: cas undelete"), "{done:#?}");
}

#[test]
fn habits_from_other_programs_work() {
    let desk = filled();
    assert!(desk.cas(["list", "snapshots"]).expect(0).stdout.contains("laptop/tree@1"));
    desk.cas(["restore", "latest", "--target", "a"]).expect(0);
    desk.cas(["extract", "laptop/tree", "b"]).expect(0);
    assert_same_tree(&desk.path("tree"), &desk.path("a"));
    assert_same_tree(&desk.path("tree"), &desk.path("b"));
    desk.cas(["check", "--read-data-subset", "1/2"]).expect(0);
    let summary = desk.cas(["restore", "latest", "--target", "a", "--json"]).expect(0).summary();
    for field in ["seconds_elapsed", "total_files", "files_restored", "files_skipped", "files_deleted", "total_bytes"] {
        assert!(summary[field].is_u64(), "{field}: {summary}");
    }
    assert_eq!((&summary["message_type"], &summary["files_skipped"]), (&"summary".into(), &121.into()));
}

#[test]
fn a_pipe_gets_no_progress_and_no_escapes() {
    let desk = filled();
    for args in [["push", "tree"], ["check", "--read-data"], ["pull", "laptop/tree"]] {
        let done = desk.cas(args).expect(0);
        assert!(!done.stderr.contains(['\r', '\x1b']) && done.stderr.lines().count() <= 2, "{done:#?}");
        assert!(done.stdout.is_empty(), "{done:#?}");
    }
}

#[test]
fn check_wants_a_key_unless_it_is_told_to_do_without() {
    let desk = filled();
    let done = desk.cas(["--identity", "absent", "check", "--read-data"]).expect(12);
    assert!(done.stderr.contains("--without-key"), "{done:#?}");
    desk.cas(["--identity", "absent", "check", "--without-key"]).expect(0);
    let asked = desk.cas(["check", "--without-key", "--json"]).expect(0).summary();
    assert_eq!(asked["snapshots_without_key"], 1);
    assert_eq!(desk.cas(["check", "--json"]).expect(0).summary()["snapshots_without_key"], 0);
}

#[test]
fn shares_of_a_check_follow_each_other() {
    let desk = filled();
    let read = |part: &str| desk.cas(["check", "--json", part]).expect(0).summary();
    let all = read("--read-data")["blocks_read"].as_u64().unwrap();
    let shares: u64 = (0..5).map(|_| read("--read-data=20%")["blocks_read"].as_u64().unwrap()).sum();
    assert_eq!(shares, all);
}

#[test]
fn a_pull_and_a_check_need_few_open_files() {
    let desk = filled();
    for line in ["pull laptop/tree few", "check --read-data"] {
        let mut shell = std::process::Command::new("sh");
        let cas = desk.command(&[]);
        shell.current_dir(desk.path("")).env_clear();
        cas.get_envs().for_each(|(name, value)| _ = value.map(|value| shell.env(name, value)));
        let script = format!("ulimit -n 40; {} {line}", cas.get_program().display());
        let output = shell.args(["-c", &script]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_same_tree(&desk.path("tree"), &desk.path("few"));
}

#[test]
fn what_reads_the_json_of_restic_finds_its_fields() {
    let desk = filled();
    let has = |value: &serde_json::Value, fields: &str| {
        for field in fields.split(' ') {
            assert!(value.get(field).is_some(), "no {field} in {value}");
        }
    };
    fs::write(desk.path("tree/large"), desk.random().bytes(7 << 20)).unwrap();
    let pushed = desk.cas(["push", "tree", "missing", "--name", "b", "--json"]).expect(3);
    let summary = "message_type dry_run files_new files_changed files_unmodified dirs_new dirs_changed dirs_unmodified \
        data_blobs tree_blobs data_added data_added_packed total_files_processed total_bytes_processed total_duration \
        backup_start backup_end snapshot_id";
    has(&pushed.summary(), summary);
    let error: serde_json::Value = serde_json::from_str(pushed.stderr.lines().next().unwrap()).unwrap();
    has(&error, "message_type error during item");
    assert!(error["error"]["message"].as_str().unwrap().contains("missing"), "{error}");
    let dry = desk.cas(["push", "tree", "--name", "b", "--dry-run", "--json"]).expect(0).summary();
    assert_eq!((&dry["dry_run"], &dry["snapshot_id"]), (&true.into(), &serde_json::Value::Null));

    let lines = |args: [&str; 3]| -> Vec<serde_json::Value> {
        let done = desk.cas(args).expect(0);
        done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let snapshot = "id short_id time tree paths hostname username tags program_version summary";
    has(&lines(["snapshots", "laptop/tree", "--json"])[0], snapshot);
    let listed = lines(["ls", "laptop/tree", "--json"]);
    has(&listed[0], snapshot);
    assert_eq!(listed[0]["message_type"], "snapshot");
    has(listed.last().unwrap(), "message_type name type path uid gid size mode permissions mtime");
    has(
        &lines(["find", "large", "--json"])[0],
        "path permissions name type mtime user group mode uid gid size snapshot",
    );
    let stats = "total_size total_file_count total_blob_count snapshots_count total_uncompressed_size compression_ratio \
        compression_space_saving";
    has(lines(["stats", "laptop/tree", "--json"]).last().unwrap(), stats);
    let mut pull = desk.command(&["pull", "laptop/tree", "there", "--json"]);
    let pulled = String::from_utf8(pull.output().unwrap().stdout).unwrap();
    let restored = "message_type seconds_elapsed total_files files_restored files_skipped files_deleted total_bytes \
        bytes_restored bytes_skipped";
    has(&serde_json::from_str(pulled.lines().last().unwrap()).unwrap(), restored);
    let gone = desk.cas(["ls", "nothing", "--json"]).expect(1);
    has(&serde_json::from_str(gone.stderr.lines().last().unwrap()).unwrap(), "message_type code message");
}
