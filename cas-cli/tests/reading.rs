//! The commands that read snapshots, as a script sees them: standard output, exit codes, files.

use cas_client::store::lock::Patience;
use cas_client::store::{Access, Store};
use cas_core::id::{BlockId, Epoch, Kind};
use cas_net::Delete;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A person with a home, a store and some files.
struct Person {
    home: tempfile::TempDir,
}

impl Person {
    fn new() -> Self {
        let person = Self { home: tempfile::tempdir().unwrap() };
        person.write("docs/a.txt", b"hello");
        person.write("docs/big.bin", &vec![9; 70_000]);
        fs::write(person.src().join(OsStr::from_bytes(b"raw\xff\nname")), b"raw").unwrap();
        person.ok(&["init"]);
        person.ok(&["push", "-q", "-N", "n", "--tag", "one", person.src().to_str().unwrap()]);
        person.write("docs/a.txt", b"hello again");
        person.ok(&["push", "-q", "-N", "n", person.src().to_str().unwrap()]);
        person
    }

    fn src(&self) -> PathBuf {
        self.home.path().join("src")
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.src().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// With nothing of the surroundings that changes what a command does.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cas"));
        for (name, _) in std::env::vars_os() {
            if [b"CAS_", b"XDG_"].iter().any(|prefix| name.as_bytes().starts_with(*prefix)) {
                command.env_remove(name);
            }
        }
        command.args(args).env("HOME", self.home.path()).env("TZ", "UTC");
        command
    }

    fn ok(&self, args: &[&str]) -> Vec<u8> {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    fn lines(&self, args: &[&str]) -> Vec<String> {
        String::from_utf8(self.ok(args)).unwrap().lines().map(str::to_owned).collect()
    }

    fn objects(&self, args: &[&str]) -> Vec<Value> {
        self.lines(args).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn code(&self, args: &[&str]) -> i32 {
        self.run(args).status.code().unwrap()
    }

    /// Takes a block from the node.
    fn lose(&self, choose: impl Fn(&Store) -> BlockId) {
        let data = self.home.path().join(".local/share/cas");
        let path = [data.join("store"), data].into_iter().find(|p| p.join("node").exists()).unwrap();
        let access = Access {
            patience: Patience::None,
            label: "test".to_owned(),
            read_only: false,
            despite_lost_end: false,
            as_guest: None,
        };
        let store = Store::open(&path, access).unwrap();
        store.node().unwrap().delete(&[Delete { id: choose(&store), epoch: Epoch(u64::MAX) }]).unwrap();
        store.close().unwrap();
    }
}

fn data_block(store: &Store) -> BlockId {
    let rows = store.index().list_rows(None, usize::MAX).unwrap();
    rows.iter().find(|row| row.kind == Kind::Data).unwrap().id
}

fn newest_root(store: &Store) -> BlockId {
    let vault = store.index().vaults().unwrap()[0];
    store.index().snapshots(&vault, None, false).unwrap().last().unwrap().root
}

#[test]
fn every_command_has_a_consistent_command_line_and_help() {
    let person = Person { home: tempfile::tempdir().unwrap() };
    for command in ["snapshots", "list", "ls", "find", "diff", "dump", "cat", "versions", "stats"] {
        assert!(!person.ok(&[command, "--help"]).is_empty(), "{command}");
    }
}

#[test]
fn lists_can_be_read_by_people_and_by_programs() {
    let person = Person::new();
    assert_eq!(person.lines(&["ls", "n"]), ["docs/", "raw\\xff\\nname"]);
    assert_eq!(person.lines(&["ls", "n:docs"]), ["docs/a.txt", "docs/big.bin"]);
    assert_eq!(person.ok(&["ls", "-0", "n@1"]), b"docs\0raw\xff\nname\0");
    assert!(person.lines(&["ls", "-l", "n:docs/big.bin"])[0].ends_with(" docs/big.bin"));
    let nodes = person.objects(&["ls", "-R", "--json", "n"]);
    let types: Vec<_> = nodes.iter().map(|node| node["message_type"].as_str().unwrap()).collect();
    assert_eq!(types, ["snapshot", "node", "node", "node", "node"]);
    assert_eq!((&nodes[2]["path"], &nodes[2]["size"]), (&"docs/a.txt".into(), &11.into()));
    assert_eq!(nodes[4]["path_hex"], "726177ff0a6e616d65");
    assert_eq!(nodes[0]["version"], 2);
    let snapshots = person.objects(&["snapshots", "--json"]);
    assert_eq!((snapshots.len(), &snapshots[0]["tags"][0]), (2, &"one".into()));
    assert_eq!(person.objects(&["snapshots", "--json", "--tag", "one"]).len(), 1);
    assert_eq!(person.objects(&["snapshots", "--json", "--latest", "1", "n"])[0]["version"], 2);
    assert!(person.objects(&["snapshots", "--json", "--host", "elsewhere"]).is_empty());
    assert!(person.lines(&["snapshots"])[1].contains("n@1"));
}

#[test]
fn what_is_found_can_be_dumped() {
    let person = Person::new();
    let found = person.lines(&["find", "a.txt"]);
    assert_eq!(found, ["n@1:docs/a.txt", "n@2:docs/a.txt"]);
    assert_eq!(person.ok(&["dump", &found[0]]), b"hello");
    assert_eq!(person.ok(&["cat", &found[1]]), b"hello again");
    assert_eq!(person.lines(&["find", "--size", "+64k", "--type", "f"]), ["n@2:docs/big.bin"]);
    assert_eq!(person.lines(&["find", "A.*", "--ignore-case", "--latest"]), ["n@2:docs/a.txt"]);
    assert!(person.lines(&["find", "*", "--older", "2000-01-01"]).is_empty());
    let target = person.home.path().join("out");
    person.ok(&["dump", "n:docs/big.bin", "-o", target.to_str().unwrap()]);
    assert_eq!(fs::read(target).unwrap(), vec![9; 70_000]);
}

#[test]
fn changes_are_told_between_versions_and_along_them() {
    let person = Person::new();
    let told = person.lines(&["diff", "n"]);
    assert!(told[0].starts_with("M  docs/a.txt  (content +11 B -5 B"), "{told:?}");
    let objects = person.objects(&["diff", "n@1", "n@2", "--json"]);
    assert_eq!((&objects[0]["modifier"], &objects[1]["changed_files"]), (&"M".into(), &1.into()));
    let runs = person.objects(&["versions", "n:docs/a.txt", "--json"]);
    assert_eq!((runs.len(), &runs[1]["first_version"], &runs[1]["size"]), (2, &2.into(), &11.into()));
    assert_eq!(person.objects(&["versions", "n:docs/big.bin", "--json"]).len(), 1);
    let stats = &person.objects(&["stats", "--json"])[0];
    assert_eq!((&stats["snapshots_count"], &stats["total_file_count"]), (&2.into(), &6.into()));
    assert_eq!(stats["unique_size"], stats["total_size"]);
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let person = Person::new();
    for (args, code) in [
        (&["ls", "n:nothing"][..], 1),
        (&["ls", "nobody"], 1),
        (&["dump", "n:docs/nothing"], 1),
        (&["versions", "n:nothing"], 1),
        (&["versions", "n"], 2),
        (&["find", "--size", "much", "x"], 2),
        (&["find", "--newer", "whenever", "x"], 2),
        (&["diff", "n:docs", "n:raw"], 2),
        (&["find"], 2),
        (&["--store", "/nonexistent", "ls", "n"], 10),
    ] {
        assert_eq!(person.code(args), code, "{args:?}");
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let full = person.command(&["ls", "n"]).stdout(full).output();
    assert_eq!(full.unwrap().status.code(), Some(1), "output that was not written is no success");
}

#[test]
fn damage_is_named_and_never_passed_over() {
    let person = Person::new();
    person.lose(data_block);
    let target = person.home.path().join("out");
    assert_eq!(person.code(&["dump", "n:docs/big.bin", "-o", target.to_str().unwrap()]), 14);
    assert!(!target.exists() && leftovers(person.home.path()).is_empty(), "{:?}", leftovers(person.home.path()));
    assert_eq!(person.code(&["ls", "-R", "n"]), 0);
    person.lose(newest_root);
    assert_eq!((person.code(&["ls", "-R", "n@1"]), person.code(&["ls", "-R", "n@2"])), (0, 3));
    let found = person.run(&["find", "a.txt"]);
    assert_eq!(found.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&found.stderr).contains("cannot be read"));
    assert_eq!(person.code(&["stats"]), 3);
    assert_eq!(person.code(&["diff", "n"]), 3);
}

fn leftovers(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.ends_with(".part")).collect()
}
