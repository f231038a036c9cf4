//! Law 6: neither contents nor names of files nor a secret of the person stand in any stored file, as bytes or in letters.
//!
//! The canaries are random bytes, which zstd passes as they are: text would hide in its compression. Searched for are the
//! plain bytes, hexadecimal and base64 at each of its three phases. The names of names are known to the server, and say so.

use crate::cases::{Dice, cases};
use crate::desk::{Desk, files_below};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

/// Bytes of a canary: chance does not write them.
const LEN: usize = 12;

/// A search for canaries in whatever shape.
#[derive(Default)]
pub struct Search {
    wanted: Vec<(String, Vec<u8>)>,
}

impl Search {
    pub fn add(&mut self, what: &str, canary: &[u8]) {
        let hex: String = canary.iter().map(|b| format!("{b:02x}")).collect();
        self.wanted.push((format!("{what} in upper hex"), hex.to_uppercase().into_bytes()));
        self.wanted.push((format!("{what} in hex"), hex.into_bytes()));
        for phase in 0..3 {
            self.wanted.push((format!("{what} in base64"), base64(&canary[phase..])));
        }
        self.wanted.push((what.to_owned(), canary.to_vec()));
    }

    /// What stands in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        self.wanted.iter().find(|(_, wanted)| holds(wanted)).map(|(what, _)| what.as_str())
    }
}

/// Whole groups of three bytes only: they do not depend on what follows.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks_exact(3).map(|g| u32::from_be_bytes([0, g[0], g[1], g[2]]));
    groups.flat_map(|g| [18, 12, 6, 0].map(|shift| LETTERS[(g >> shift & 63) as usize])).collect()
}

/// A canary that may stand in a path.
fn name(dice: &mut Dice) -> Vec<u8> {
    dice.bytes(LEN).into_iter().map(|b| if b == 0 || b == b'/' { b'x' } else { b }).collect()
}

#[test]
fn no_plaintext_and_no_secret_stands_in_any_stored_file() {
    cases("secrecy::no_plaintext", 3, |dice| {
        let desk = Desk::new();
        let mut search = Search::default();
        let tree = desk.path("tree");
        let (folder, file, link, tag) = (name(dice), name(dice), name(dice), dice.bytes(LEN));
        let tag: String = tag.iter().map(|b| char::from(b'a' + b % 26)).collect();
        let inside = tree.join(OsStr::from_bytes(&folder));
        fs::create_dir_all(&inside).expect("a folder");
        symlink(OsStr::from_bytes(&link), inside.join("link")).expect("a link");
        for (what, path) in [("a folder's name", &folder), ("a file's name", &file), ("a link's target", &link)] {
            search.add(what, path);
        }
        for (what, len) in [("inline", 100), ("one block", 5000), ("many blocks", 400_000)] {
            let content = dice.bytes(len);
            search.add(&format!("content of {what}"), &content[len / 2..len / 2 + LEN]);
            fs::write(inside.join(OsStr::from_bytes(&[&file[..], what.as_bytes()].concat())), content).expect("a file");
        }
        let attribute = dice.bytes(LEN);
        if xattr::set(inside.join("link"), "user.x", &attribute).is_ok()
            || xattr::set(&inside, "user.x", &attribute).is_ok()
        {
            search.add("an attribute", &attribute);
        }
        search.add("a tag", tag.as_bytes());
        search.add("the host", b"host-of-the-canary");
        let pushed = desk.cas(["push", "tree", "--name", "a", "--tag", &tag, "--host", "host-of-the-canary"]).ok()?;
        let key = pushed.stderr.split_whitespace().find(|word| word.starts_with("AGE-SECRET-KEY-1"));
        search.add("the recovery key", key.ok_or("the first push shows the recovery key")?.as_bytes());
        let identity = fs::read_to_string(desk.home().join("config/cas/identity")).expect("an identity");
        let secret =
            identity.lines().find(|line| line.starts_with("AGE-SECRET-KEY-1")).ok_or("an identity in the file")?;
        search.add("the identity", secret.as_bytes());
        desk.cas(["push", "tree", "--name", "a", "--force"]).ok()?;
        desk.cas(["forget", "a@1"]).ok()?;
        desk.cas(["gc", "--now"]).ok()?;
        desk.cas(["index", "rebuild"]).ok()?;
        for stored in files_below(&desk.store()) {
            if let Some(what) = search.find(&fs::read(&stored).expect("readable")) {
                return Err(format!("{what} stands in {}", stored.display()));
            }
        }
        // Cache and memory stay with the person. They need no names and no contents all the same: only the identity does.
        for kept in files_below(&desk.home().join("state")) {
            if let Some(what) = search.find(&fs::read(&kept).expect("readable")) {
                return Err(format!("{what} stands in {}", kept.display()));
            }
        }
        Ok(())
    });
}

#[test]
fn the_search_finds_what_is_there() {
    let mut dice = Dice::of_all("secrecy");
    let canary = dice.bytes(LEN);
    let mut search = Search::default();
    search.add("it", &canary);
    let hex: String = canary.iter().map(|b| format!("{b:02x}")).collect();
    for shape in [canary.clone(), hex.to_uppercase().into_bytes(), hex.into_bytes()] {
        let around = [dice.bytes(1000), shape, dice.bytes(1000)].concat();
        assert!(search.find(&around).is_some());
    }
    for phase in 0..3 {
        let around = base64(&[&[0; 3][..phase], &canary, &[7; 3]].concat());
        assert!(search.find(&around).is_some(), "phase {phase}");
    }
    assert!(search.find(&dice.bytes(100_000)).is_none());
}
