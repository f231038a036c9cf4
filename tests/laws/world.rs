//! A person who pushes, forgets and collects, and what must therefore be there: the plain model that the store is compared with.

use crate::cases::Dice;
use crate::desk::Desk;
use crate::faults::Fault;
use crate::tree::{Look, looks};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

pub type Looks = Arc<BTreeMap<String, Look>>;
/// A name and a number.
pub type Version = (String, u64);

/// What may be in a store, and what has to be.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// How each version that was ever begun looks, if it is there.
    pub versions: BTreeMap<Version, Looks>,
    /// Versions that were acknowledged, and that nobody began to forget.
    pub required: BTreeSet<Version>,
    /// Versions whose end was acknowledged.
    pub gone: BTreeSet<Version>,
}

/// A store with its person.
pub struct World {
    pub desk: Desk,
    pub expected: Expected,
}

impl World {
    /// A store with two versions of a small tree.
    pub fn new(dice: &mut Dice) -> Self {
        let mut world = Self { desk: Desk::with_store(), expected: Expected::default() };
        plant(&world.desk.path("tree"), dice);
        world.push("a").expect("a first push");
        change(&world.desk.path("tree"), dice);
        world.push("a").expect("a second push");
        world
    }

    pub fn copy(&self) -> Self {
        Self { desk: self.desk.copy(), expected: self.expected.clone() }
    }

    /// Pushes the tree, which must succeed.
    pub fn push(&mut self, name: &str) -> Result<(), String> {
        let fault = Fault::none(self.desk.home());
        let pushed = self.try_push(name, &fault)?;
        pushed.ok().map(|_| ())
    }

    /// Pushes the tree while something goes wrong. Notes what may be there, and if it was acknowledged, what has to be.
    pub fn try_push(&mut self, name: &str, fault: &Fault) -> Result<crate::desk::Done, String> {
        let next = self.expected.versions.keys().filter(|(n, _)| n == name).map(|(_, seq)| seq + 1).max().unwrap_or(1);
        let tree: Looks = Arc::new(looks(&self.desk.path("tree")));
        let done = self.desk.cas_with(fault, ["push", "tree", "--name", name, "--json"]);
        if done.code == 0 {
            let seq = done.summary()?["version"].as_u64().ok_or_else(|| format!("no version: {done:#?}"))?;
            self.expected.required.insert((name.to_owned(), seq));
            self.expected.versions.insert((name.to_owned(), seq), tree);
        } else {
            // A version that was not acknowledged may have come to be; its number may be used again if not.
            self.expected.versions.insert((name.to_owned(), next), tree);
        }
        Ok(done)
    }

    /// Forgets a version while something goes wrong.
    pub fn try_forget(&mut self, (name, seq): (&str, u64), fault: &Fault) -> Result<crate::desk::Done, String> {
        let version = (name.to_owned(), seq);
        self.expected.required.remove(&version);
        let done = self.desk.cas_with(fault, ["forget", &format!("{name}@{seq}")]);
        if done.code == 0 {
            self.expected.gone.insert(version);
        }
        Ok(done)
    }

    /// What is there must be what was pushed; what was acknowledged must be there; a new push must work.
    pub fn verify(&mut self) -> Result<(), String> {
        let listed = self.listed()?;
        for version in &self.expected.required {
            if !listed.contains(version) {
                return Err(format!("{}@{} was acknowledged and is not there: {listed:?}", version.0, version.1));
            }
        }
        if let Some((name, seq)) = listed.intersection(&self.expected.gone).next() {
            return Err(format!("{name}@{seq} was given up and is there"));
        }
        for version in &listed {
            let looks = self.expected.versions.get(version);
            let looks = looks.ok_or_else(|| format!("{}@{} is there and was never pushed", version.0, version.1))?;
            self.compare(version, looks)?;
        }
        self.desk.cas(["check", "--read-data", "--recount"]).ok()?;
        // A version that was not acknowledged and is not there leaves its number free.
        self.expected.versions.retain(|version, _| listed.contains(version));
        self.expected.required.extend(listed);
        Ok(())
    }

    /// The same, and then a push of the tree as it is now, with whatever the cache says of it.
    pub fn verify_and_push(&mut self) -> Result<(), String> {
        self.verify()?;
        self.push("a")?;
        let (last, looks) = self.expected.versions.iter().next_back().expect("it was just pushed");
        let (last, looks) = (last.clone(), looks.clone());
        self.compare(&last, &looks)?;
        self.desk.cas(["check", "--read-data", "--recount"]).ok().map(|_| ())
    }

    /// Names and numbers that the program lists.
    pub fn listed(&self) -> Result<BTreeSet<Version>, String> {
        listed(&self.desk)
    }

    fn compare(&self, (name, seq): &Version, expected: &Looks) -> Result<(), String> {
        let back = self.desk.path("back");
        let _ = fs::remove_dir_all(&back);
        self.desk.cas(["pull", &format!("{name}@{seq}"), "back"]).ok()?;
        same(expected, &back).map_err(|why| format!("{name}@{seq}: {why}"))
    }
}

/// Names and numbers that the program lists.
pub fn listed(desk: &Desk) -> Result<BTreeSet<Version>, String> {
    let listed = desk.cas(["snapshots", "--json"]).ok()?;
    let version = |v: &serde_json::Value| Some((v["name"].as_str()?.to_owned(), v["version"].as_u64()?));
    Ok(listed.objects().iter().filter_map(version).collect())
}

/// Whether a folder looks as it should.
pub fn same(expected: &BTreeMap<String, Look>, folder: &Path) -> Result<(), String> {
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

/// A small tree with files of every size that is stored in its own way.
pub fn plant(folder: &Path, dice: &mut Dice) {
    for name in ["empty", "a/b"] {
        fs::create_dir_all(folder.join(name)).expect("a folder");
    }
    for n in 0..6 {
        write(folder, &format!("inline{n}"), dice.below(500) as usize, dice);
        write(folder, &format!("a/small{n}"), 600 + dice.below(3000) as usize, dice);
    }
    write(folder, "a/b/cut", 150_000, dice);
    write(folder, "a/b/list", 700_000, dice);
    symlink("a/b", folder.join("link")).expect("a link");
}

/// Another state of the tree: some files changed, some new, some gone.
pub fn change(folder: &Path, dice: &mut Dice) {
    for _ in 0..3 {
        let n = dice.below(6);
        let (name, len) = *dice.one_of(&[("inline", 400), ("a/small", 5000), ("new", 70_000)]);
        let len = dice.below(len) as usize;
        write(folder, &format!("{name}{n}"), len, dice);
    }
    let _ = fs::remove_file(folder.join(format!("a/small{}", dice.below(6))));
    fs::set_permissions(folder.join("empty"), Permissions::from_mode(0o700 + dice.below(64) as u32)).expect("a mode");
}

fn write(folder: &Path, name: &str, len: usize, dice: &mut Dice) {
    fs::write(folder.join(name), dice.bytes(len)).expect("a file");
}
