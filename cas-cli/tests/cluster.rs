//! A cluster of real processes on the loopback: the binary as servers, and as people who use them.

mod servers;
mod support;

use serde_json::json;
use servers::{Cluster, eventually};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;
use support::assert_same_tree;

const PASSWORD: &str = "correct horse battery";

/// Files worth pushing, of about this many bytes.
fn fill(cluster: &Cluster, name: &str, seed: u64, files: usize, len: usize) -> String {
    let dir = cluster.desk.path(name);
    fs::create_dir_all(dir.join("deep")).unwrap();
    let mut random = cluster.desk.random();
    (0..seed).for_each(|_| _ = random.next());
    for number in 0..files {
        fs::write(dir.join(format!("deep/{seed}-{number}")), random.bytes(len)).unwrap();
    }
    dir.to_str().unwrap().to_owned()
}

#[test]
fn a_push_survives_a_killed_node_and_another_device_gets_everything_back() {
    let mut cluster = Cluster::start(&["a", "b", "c"], "r3");
    let files = fill(&cluster, "files", 1, 40, 100_000);
    let pushed = cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0);
    let recovery = pushed.stderr.lines().find_map(|line| line.strip_prefix("recovery key")).unwrap().trim().to_owned();
    cluster.ada(["status", "--wait", "--timeout", "120s"]).expect(0);
    let read = cluster.ada(["check", "--read-data", "--json"]).expect(0).summary();
    assert!(read["blocks_read"].as_u64() >= Some(40) && read["blocks_read"] == read["blocks"], "{read}");

    cluster.kill("c");
    fill(&cluster, "files", 2, 40, 100_000);
    cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0);
    eventually("the silent node is seen", || cluster.ada(["status"]).expect(3).stdout.contains("rack c"));
    assert_eq!(cluster.ada(["status", "--json"]).summary()["healthy"], false);

    // Another machine, with nothing but the recovery key and the password.
    cluster.type_in("new", &["key", "restore"], &recovery).expect(0);
    cluster.login("new", "ada", PASSWORD);
    let there = cluster.desk.path("there");
    cluster.run("new", &["pull", "laptop/files", there.to_str().unwrap()]).expect(0);
    assert_same_tree(&cluster.desk.path("files"), &there);

    // It comes back, and gets what it missed.
    cluster.serve("c");
    cluster.ada(["status", "--wait", "--timeout", "120s"]).expect(0);
    cluster.ada(["check", "--read-data"]).expect(0);
    cluster.ada(["audit", "verify"]).expect(0);
    cluster.end();
}

#[test]
fn a_drained_node_can_go_and_nothing_is_missing() {
    let mut cluster = Cluster::start(&["a", "b", "c", "d"], "r2");
    let files = fill(&cluster, "files", 1, 20, 50_000);
    cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0);
    cluster.ada(["status", "--wait", "--timeout", "120s"]).expect(0);
    let node = cluster.key_of("d");
    cluster.ada(["node", "drain", &node, "--wait"]).expect(0);
    cluster.ada(["node", "remove", &node]).expect(0);
    cluster.kill("d");
    cluster.ada(["status", "--wait", "--timeout", "120s"]).expect(0);
    cluster.ada(["check", "--read-data"]).expect(0);
    let there = cluster.desk.path("there");
    cluster.ada(["pull", "laptop/files", there.to_str().unwrap()]).expect(0);
    assert_same_tree(&cluster.desk.path("files"), &there);
    cluster.end();
}

#[test]
fn everybody_may_what_was_granted_and_no_more() {
    let mut cluster = Cluster::start(&["a"], "r1");
    let files = fill(&cluster, "files", 1, 5, 20_000);
    cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0);
    for (who, role) in [("bob", "reader"), ("push", "pusher"), ("eve", "")] {
        let secret = cluster.secret(&format!("{who} and a long password"));
        cluster.ada(["user", "add", who, "--no-vaults", "--password-file", &secret]).expect(0);
        cluster.login(who, who, &format!("{who} and a long password"));
        let card = cluster.run(who, &["whoami", "--json"]).expect(0).summary()["card"].as_str().unwrap().to_owned();
        if !role.is_empty() {
            cluster.ada(["grant", role, who, "--card", &card]).expect(0);
        }
    }
    // What was pushed before somebody came stays closed to him; from now on he reads.
    cluster.ada(["push", &files, "--name", "laptop/files", "--force"]).expect(0);
    let there = cluster.desk.path("there");
    cluster.run("bob", &["pull", "laptop/files", there.to_str().unwrap()]).expect(0);
    assert_same_tree(&cluster.desk.path("files"), &there);
    let read = cluster.run("bob", &["check", "--read-data", "--json"]).expect(3).summary();
    assert_eq!(read["blocks_read"], read["blocks"], "a reader checks all that lies there: {read}");
    assert_eq!(read["snapshots_without_key"], 1, "and looks into what was sealed for him: {read}");
    cluster.run("bob", &["push", &files, "--name", "laptop/files"]).expect(12);
    cluster.run("bob", &["forget", "laptop/files@1"]).expect(12);

    cluster.run("push", &["push", &files, "--name", "host/files"]).expect(0);
    let mine = cluster.desk.path("mine");
    cluster.run("push", &["pull", "host/files", mine.to_str().unwrap()]).expect(12);
    cluster.run("push", &["forget", "host/files@1"]).expect(12);
    cluster.run("eve", &["snapshots"]).expect(1);
    let refused = cluster.run("eve", &["push", &files]).expect(12);
    assert!(refused.stderr.contains("may not make vaults"), "{}", refused.stderr);
    cluster.run("eve", &["nodes"]).expect(0);
    cluster.run("eve", &["node", "join-token", "--rack", "x"]).expect(12);
    cluster.run("eve", &["user", "list"]).expect(0);

    // Another device of an owner, without a key: it reads, and takes nothing for damage that it cannot open.
    cluster.login("desk", "ada", PASSWORD);
    let read = cluster.run("desk", &["check", "--without-key", "--read-data", "--json"]).expect(0).summary();
    assert_eq!((&read["blocks_read"], &read["num_errors"]), (&read["blocks"], &0.into()), "{read}");

    // Locks and quotas hold for owners as well.
    cluster.ada(["vault", "set", "--keep-locked", "30d"]).expect(0);
    cluster.ada(["forget", "laptop/files@1"]).expect(16);
    cluster.ada(["vault", "set", "--keep-locked", "1d"]).expect(12);
    cluster.ada(["vault", "set", "--prefix", "host"]).expect(2);
    cluster.ada(["vault", "set", "--keep-daily", "7", "--keep-within", "1m", "--prefix", "host"]).expect(0);
    cluster.run("bob", &["vault", "set", "--keep-last", "1"]).expect(12);
    let rules = cluster.ada(["vault", "rules", "--json"]).expect(0).summary();
    assert_eq!(rules["keep"], json!({"keep-daily": "7", "keep-within": "1m"}), "{rules}");
    let run = cluster.ada(["gc", "run", "retention", "--wait", "--json"]).expect(0).summary();
    assert_eq!((&run["task"], &run["end"]), (&"retention".into(), &"done".into()), "{run}");
    let runs = cluster.ada(["gc", "history", "--json"]).expect(0).summary();
    assert_eq!(runs["began"], run["began"], "{runs}");
    cluster.run("bob", &["gc", "run", "gc"]).expect(12);
    cluster.ada(["vault", "set", "--keep-all", "--prefix", "host"]).expect(0);
    cluster.ada(["quota", "user", "ada", "1K"]).expect(0);
    let more = fill(&cluster, "more", 3, 3, 200_000);
    cluster.ada(["push", &more, "--name", "laptop/more"]).expect(13);
    cluster.ada(["quota", "user", "ada", "none"]).expect(0);
    cluster.ada(["push", &more, "--name", "laptop/more"]).expect(0);

    // Out is out, at once.
    cluster.ada(["revoke", "reader", "bob"]).expect(0);
    cluster.run("bob", &["pull", "laptop/files", there.to_str().unwrap()]).expect(1);
    let device = cluster.run("push", &["whoami", "--json"]).expect(0).summary()["device"].as_str().unwrap().to_owned();
    cluster.ada(["device", "revoke", &device]).expect(0);
    cluster.run("push", &["push", &files, "--name", "host/files"]).expect(12);
    let log = cluster.ada(["audit", "--json"]).expect(0).stdout;
    assert!(log.contains("\"refused\":1"), "{log}");
    cluster.end();
}

#[test]
fn a_wrong_password_a_wrong_key_and_a_silent_index_are_told_apart() {
    let mut cluster = Cluster::start(&[], "r1");
    let wrong = cluster.secret("not the password");
    let address = cluster.address.clone();
    cluster.run("x", &["login", &address, "--user", "ada", "--password-file", &wrong]).expect(12);
    let (_, place) = address.split_once('@').unwrap();
    let other = format!("cas://{}@{place}", "ab".repeat(32));
    let right = cluster.secret(PASSWORD);
    let done = cluster.run("x", &["login", &other, "--user", "ada", "--password-file", &right]).expect(12);
    assert!(done.stderr.contains("has the key"), "{}", done.stderr);
    assert_eq!(cluster.ada(["status"]).code, 3, "no node holds anything");
    cluster.end();
    let done = cluster.ada(["nodes"]).expect(15);
    assert!(done.stderr.contains("does not answer") && done.stderr.contains("help:"), "{}", done.stderr);
}

#[test]
fn an_index_that_was_lost_comes_back_from_its_nodes() {
    let mut cluster = Cluster::start(&["a", "b"], "r2");
    let files = fill(&cluster, "files", 1, 10, 30_000);
    cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0);
    cluster.ada(["status", "--wait", "--timeout", "120s"]).expect(0);
    cluster.lose_index();
    let nodes = cluster.nodes().join(",");
    cluster.ada(["index", "rebuild", "index", "--node", &nodes]).expect(0);
    cluster.serve_index();
    for rack in ["a", "b"] {
        cluster.rejoin(rack);
    }
    cluster.ada(["layout", "set-pool", "default", "r2"]).expect(0);
    cluster.ada(["status", "--wait", "--timeout", "120s"]).expect(0);
    cluster.ada(["grant", "owner", "ada"]).expect(0);
    cluster.ada(["check", "--read-data"]).expect(0);
    let there = cluster.desk.path("there");
    cluster.ada(["pull", "laptop/files", there.to_str().unwrap()]).expect(0);
    assert_same_tree(&cluster.desk.path("files"), &there);
    assert_eq!(cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0).code, 0);
    cluster.ada(["gc", "history", "index"]).expect(0);
    cluster.end();
}

#[test]
fn a_store_in_a_folder_is_served_as_it_lies_and_opened_again_afterwards() {
    let mut cluster = Cluster::none();
    let files = fill(&cluster, "files", 1, 10, 30_000);
    cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0);
    cluster.up("ada", &["up", "--listen", "127.0.0.1:0", "--http", "none", "--admin", "ada"]);
    let password = fs::read_to_string(cluster.desk.path("home-ada/data/cas/store/password")).unwrap();
    let identity = cluster.desk.path("home-ada/config/cas/identity");
    fs::create_dir_all(cluster.desk.path("home-net/config/cas")).unwrap();
    fs::copy(identity, cluster.desk.path("home-net/config/cas/identity")).unwrap();
    cluster.login("net", "ada", password.trim());
    let there = cluster.desk.path("there");
    cluster.run("net", &["pull", "laptop/files", there.to_str().unwrap()]).expect(0);
    assert_same_tree(&cluster.desk.path("files"), &there);
    fill(&cluster, "files", 2, 10, 30_000);
    cluster.run("net", &["push", &files, "--name", "laptop/files"]).expect(0);
    cluster.run("net", &["check", "--read-data"]).expect(0);
    cluster.run("net", &["status"]).expect(0);
    cluster.end();

    let again = cluster.desk.path("again");
    cluster.ada(["pull", "laptop/files@2", again.to_str().unwrap()]).expect(0);
    assert_same_tree(&cluster.desk.path("files"), &again);
    cluster.ada(["check", "--read-data", "--recount"]).expect(0);
    cluster.ada(["forget", "laptop/files@1", "--prune"]).expect(0);
    cluster.ada(["check", "--read-data", "--recount"]).expect(0);
}

#[test]
fn a_small_cluster_starts_with_one_command() {
    let mut cluster = Cluster::none();
    cluster.up("ada", &["up", "--nodes", "3", "--capacity", "1G", "--listen", "127.0.0.1:0", "--http", "none"]);
    let home = cluster.desk.path("home-ada/data/cas/cluster");
    let admin = fs::read_to_string(home.join("admin")).unwrap();
    let password = fs::read_to_string(home.join("password")).unwrap();
    cluster.login("ada", admin.trim(), password.trim());
    let files = fill(&cluster, "files", 1, 10, 30_000);
    cluster.ada(["push", &files, "--name", "laptop/files"]).expect(0);
    cluster.ada(["status", "--wait", "--timeout", "120s"]).expect(0);
    assert_eq!(cluster.ada(["status", "--json"]).summary()["pool"], "r3");
    cluster.ada(["gc"]).expect(0);
    let there = cluster.desk.path("there");
    cluster.ada(["pull", "laptop/files", there.to_str().unwrap()]).expect(0);
    assert_same_tree(&cluster.desk.path("files"), &there);
    cluster.end();
}

/// Whether packets to a multicast group come back on this machine, as they do where networks allow them.
fn has_multicast() -> bool {
    let heard = || -> std::io::Result<()> {
        let group = Ipv4Addr::new(224, 0, 0, 251);
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED)?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.send_to(b"?", (group, socket.local_addr()?.port()))?;
        socket.recv(&mut [0; 8]).map(drop)
    };
    heard().inspect_err(|why| println!("skipped: no multicast on this machine: {why}")).is_ok()
}

#[test]
fn an_index_that_announces_itself_is_found_without_its_place() {
    if !has_multicast() {
        return;
    }
    let mut cluster = Cluster::none();
    cluster.up("ada", &["up", "--nodes", "1", "--announce", "--listen", "0.0.0.0:0", "--http", "none"]);
    let (key, _) = cluster.address.split_once('@').unwrap();
    let (key, anywhere) = (key.to_owned(), format!("{key}@lan"));
    let home = cluster.desk.path("home-ada/data/cas/cluster");
    let admin = fs::read_to_string(home.join("admin")).unwrap();
    let password = cluster.secret(fs::read_to_string(home.join("password")).unwrap().trim());
    eventually("it is found", || cluster.run("x", &["discover", "--wait", "1s"]).stdout.contains(&key));
    let login = ["login", &anywhere, "--user", admin.trim(), "--password-file", &password];
    cluster.run("bob", &login).expect(0);
    let files = fill(&cluster, "files", 1, 3, 10_000);
    cluster.run("bob", &["push", &files, "--name", "laptop/files"]).expect(0);

    // A key that nobody announces is not found, however many others are there.
    let other = format!("cas://{}@lan", "ab".repeat(32));
    let done = cluster.run("bob", &["--store", &other, "snapshots"]).expect(15);
    assert!(done.stderr.contains("nobody announces it"), "{}", done.stderr);
    cluster.end();
    assert!(!cluster.run("x", &["discover", "--wait", "1s"]).stdout.contains(&key), "it has said good-bye");
}
