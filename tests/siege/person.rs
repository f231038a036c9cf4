//! Somebody who pushes under a name, forgets and pulls, and what must therefore be there.
//!
//! Files are drawn from a small stock of contents that all people share: blocks lose their last reference and come back all
//! the time, often at two devices at once, which is what collecting has to get right.

use crate::desk::Desk;
use crate::dice::Dice;
use crate::program::{Done, Running};
use crate::tree::{Look, looks};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Contents that there are.
const STOCK: u64 = 40;
/// Files of a person, at most.
const FILES: u64 = 24;
/// The longest of them, in bytes: the others are spread below it.
const LONGEST: u64 = 600_000;
/// A command says that it failed because of others with one of these: busy, full, unreachable.
pub const EXCUSES: [i32; 4] = [0, 11, 13, 15];

type Looks = Arc<BTreeMap<String, Look>>;

/// See the module.
pub struct Person {
    pub desk: Desk,
    pub name: String,
    seed: u64,
    /// How what was acknowledged looks, or was found later and belongs to a push that was not.
    acked: BTreeMap<u64, Looks>,
    /// Versions that somebody has begun to forget.
    forgotten: BTreeSet<u64>,
    /// What was pushed and not acknowledged may be there.
    begun: Vec<Looks>,
}

impl Person {
    /// With the rights and the identity of another device.
    pub fn new(of: &Desk, root: std::path::PathBuf, name: &str, seed: u64) -> Self {
        let desk = of.another(root);
        fs::create_dir_all(desk.path("tree/d")).expect("a folder");
        let (acked, forgotten, begun) = Default::default();
        Self { desk, name: name.to_owned(), seed, acked, forgotten, begun }
    }

    /// Another state of the tree.
    pub fn change(&self, dice: &mut Dice) {
        for _ in 0..1 + dice.below(6) {
            let folder = dice.one_of(&["tree", "tree/d"]);
            let path = self.desk.path(&format!("{folder}/f{}", dice.below(FILES)));
            match dice.once_in(5) {
                true => _ = fs::remove_file(path),
                false => fs::write(path, stock(self.seed, dice.below(STOCK))).expect("a file"),
            }
        }
    }

    /// Files that nobody has pushed, so many bytes of them.
    pub fn write_new(&self, dice: &mut Dice, bytes: usize) {
        fs::write(self.desk.path("tree/new"), dice.bytes(bytes)).expect("a file");
    }

    /// Begins to push the tree.
    pub fn start_push(&mut self) -> Running {
        self.begun.push(Arc::new(looks(&self.desk.path("tree"))));
        self.desk.start(["push", "tree", "--name", &self.name, "--json"])
    }

    /// Waits for it. What was acknowledged has to be there from now on.
    pub fn end_push(&mut self, push: Running) -> Result<Done, String> {
        let done = push.wait()?;
        if done.code == 0 {
            let version = done.summary()?["version"].as_u64().ok_or_else(|| format!("no version: {done:#?}"))?;
            let last = self.acked.keys().chain(&self.forgotten).max().copied().unwrap_or(0);
            if version <= last {
                return Err(format!("law 8: version {version} follows {last}: {done:#?}"));
            }
            let looks = self.begun.pop().expect("it was begun");
            self.acked.insert(version, looks);
        }
        Ok(done)
    }

    /// Pushes the tree, which must succeed or say why not.
    pub fn push(&mut self) -> Result<Done, String> {
        let push = self.start_push();
        self.end_push(push)?.one_of(&EXCUSES)
    }

    /// Forgets a version, not the newest.
    pub fn forget(&mut self, dice: &mut Dice) -> Result<(), String> {
        let versions: Vec<u64> = self.acked.keys().rev().skip(1).copied().collect();
        if versions.is_empty() {
            return Ok(());
        }
        let version = *dice.one_of(&versions);
        self.acked.remove(&version);
        self.forgotten.insert(version);
        let done = self.desk.cas(["forget", &format!("{}@{version}", self.name)])?;
        done.one_of(&EXCUSES).map(drop)
    }

    /// Pulls one of the versions that must be there. What is said to be restored must be, bit for bit.
    pub fn pull_one(&self, dice: &mut Dice) -> Result<Option<Done>, String> {
        let versions: Vec<u64> = self.acked.keys().copied().collect();
        if versions.is_empty() {
            return Ok(None);
        }
        let version = *dice.one_of(&versions);
        self.pull(&self.desk, version, &EXCUSES).map(Some)
    }

    /// Pulls all of them, which must succeed.
    pub fn pull_all(&self, desk: &Desk) -> Result<(), String> {
        self.acked.keys().try_for_each(|version| self.pull(desk, *version, &[0]).map(drop))
    }

    /// Forgets all but the newest.
    pub fn tidy(&mut self, kept: usize) -> Result<(), String> {
        let old = self.acked.len().saturating_sub(kept);
        for version in self.acked.keys().take(old).copied().collect::<Vec<_>>() {
            self.acked.remove(&version);
            self.forgotten.insert(version);
            self.desk.cas(["forget", &format!("{}@{version}", self.name)])?.ok()?;
        }
        Ok(())
    }

    fn pull(&self, desk: &Desk, version: u64, codes: &[i32]) -> Result<Done, String> {
        let back = desk.path("back");
        let _ = fs::remove_dir_all(&back);
        let done = desk.cas(["pull", &format!("{}@{version}", self.name), "back"])?.one_of(codes)?;
        if done.code == 0 {
            let same = same(&self.acked[&version], &back);
            same.map_err(|why| format!("laws 1, 11: {}@{version}: {why}: {done:#?}", self.name))?;
        }
        Ok(done)
    }

    /// Laws 1 and 8, at rest: all that was acknowledged is there and restores on a device that remembers nothing; what is there
    /// beside it was pushed.
    pub fn verify(&mut self, elsewhere: &Desk) -> Result<(), String> {
        let listed = self.listed(elsewhere)?;
        let lost: Vec<_> = self.acked.keys().filter(|version| !listed.contains(version)).collect();
        if !lost.is_empty() {
            return Err(format!("laws 1, 8: {}@{lost:?} were acknowledged and are not there: {listed:?}", self.name));
        }
        for version in listed {
            if self.acked.contains_key(&version) {
                self.pull(elsewhere, version, &[0])?;
            } else if !self.forgotten.contains(&version) {
                self.adopt(elsewhere, version)?;
            }
        }
        // What has not come by now never comes: the numbers of later versions are above.
        self.begun.clear();
        Ok(())
    }

    fn listed(&self, desk: &Desk) -> Result<Vec<u64>, String> {
        let listed = desk.cas(["snapshots", "--json"])?.ok()?.objects();
        let own = listed.iter().filter(|row| row["name"] == self.name.as_str());
        Ok(own.filter_map(|row| row["version"].as_u64()).collect())
    }

    /// A version that was not acknowledged and is there: it must be what somebody pushed, and stays from now on.
    fn adopt(&mut self, desk: &Desk, version: u64) -> Result<(), String> {
        let back = desk.path("back");
        let _ = fs::remove_dir_all(&back);
        desk.cas(["pull", &format!("{}@{version}", self.name), "back"])?.ok()?;
        let found = self.begun.iter().find(|looks| same(looks, &back).is_ok()).cloned();
        let found = found.ok_or_else(|| format!("law 8: {}@{version} is there and was never pushed", self.name))?;
        self.acked.insert(version, found);
        Ok(())
    }
}

/// One of the contents that all people share.
fn stock(seed: u64, n: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed, &format!("content {n}"));
    let len = match n % 4 {
        0 => dice.below(500),
        1 => dice.below(8_000),
        2 => dice.below(100_000),
        _ => dice.below(LONGEST),
    };
    dice.bytes(len as usize)
}

/// Whether a folder looks as it should.
fn same(expected: &BTreeMap<String, Look>, folder: &Path) -> Result<(), String> {
    if !folder.is_dir() {
        return Err("nothing was restored".to_owned());
    }
    let found = looks(folder);
    if let Some(path) = expected.keys().find(|path| !found.contains_key(*path)) {
        return Err(format!("{path:?} is not there"));
    }
    for (path, look) in &found {
        match expected.get(path) {
            None => return Err(format!("{path:?} is there, and was not pushed")),
            Some(wanted) if wanted != look => return Err(format!("{path:?} differs: {look:?}, was {wanted:?}")),
            Some(_) => {}
        }
    }
    Ok(())
}
