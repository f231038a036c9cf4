//! What a process did to its files, as the shim wrote it down, and what a power cut may leave of it.
//!
//! The model of a disk: what a sync of a file returned for is there, and so are names after a sync of their folder. Whatever
//! was written since may be there or not, in pieces of [`SECTOR`] bytes in any order; lengths may have grown with zeros in
//! them. Changes of names become durable in their order; a file's sync brings its own name along on the usual file systems,
//! and a folder's the names of the folders above it.

use crate::cases::Dice;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// One operation.
#[derive(Debug, Clone)]
pub struct Op {
    kind: u8,
    path: String,
    offset: u64,
    bytes: Vec<u8>,
    /// Where it ends in the trace.
    pub end: u64,
}

impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            b'W' => "write",
            b'F' => "sync",
            b'L' | b'T' => "cut",
            b'C' => "create",
            b'D' => "mkdir",
            b'R' => "rename",
            _ => "remove",
        };
        write!(f, "{what} {}", self.path)
    }
}

/// Reads a trace.
pub fn read(file: &Path) -> Vec<Op> {
    let bytes = fs::read(file).expect("the trace is there");
    let mut rest = &bytes[..];
    let mut take = |n: usize| {
        let (taken, left) = rest.split_at(n);
        rest = left;
        taken
    };
    let (mut at, mut ops) = (0, Vec::new());
    while at < bytes.len() {
        let kind = take(1)[0];
        let path_len = u32::from_le_bytes(take(4).try_into().expect("4 bytes")) as usize;
        let path = String::from_utf8(take(path_len).to_vec()).expect("our own paths");
        let offset = u64::from_le_bytes(take(8).try_into().expect("8 bytes"));
        let len = u64::from_le_bytes(take(8).try_into().expect("8 bytes")) as usize;
        let bytes = take(len).to_vec();
        at += 21 + path_len + len;
        ops.push(Op { kind, path, offset, bytes, end: at as u64 });
    }
    ops
}

/// What the disk keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// All that was synced.
    Honest,
    /// It says that it synced, and did not: no store survives that. To see that this harness notices.
    Lying,
}

/// What is left of the unsynced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is gone.
    All,
    /// Nothing is: the process died, the machine did not.
    None,
    /// What was written first is there.
    Late,
    /// Any sectors.
    Any,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

#[derive(Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    File(usize),
    Folder,
}

#[derive(Debug, Clone)]
enum Naming {
    Put(String, Named),
    Remove(String),
    Rename(String, String),
}

type Names = BTreeMap<String, Named>;

/// Files and names, as the processes see them and as the disk has them.
#[derive(Debug, Default)]
struct Model {
    inodes: Vec<Inode>,
    seen: Names,
    durable: Names,
    unsynced: Vec<Naming>,
}

/// Writes into `folder` what a power cut after these operations leaves.
pub fn cut_power(ops: &[Op], disk: Disk, loss: Loss, dice: &mut Dice, folder: &Path) {
    let mut model = Model::default();
    ops.iter().for_each(|op| model.take(op, disk));
    let kept = match loss {
        Loss::All => 0,
        Loss::None => model.unsynced.len() as u64,
        Loss::Late | Loss::Any => dice.below(model.unsynced.len() as u64 + 1),
    };
    let mut names = std::mem::take(&mut model.durable);
    model.unsynced.iter().take(kept as usize).for_each(|naming| apply(&mut names, naming));
    for (path, named) in &names {
        let path = PathBuf::from(format!("{}{path}", folder.display()));
        match named {
            Named::Folder => fs::create_dir_all(&path).expect("a folder"),
            Named::File(inode) => {
                fs::create_dir_all(path.parent().expect("below")).expect("a folder");
                fs::write(&path, model.inodes[*inode].content(loss, dice)).expect("a file");
            }
        }
    }
}

impl Model {
    fn take(&mut self, op: &Op, disk: Disk) {
        let path = op.path.clone();
        match op.kind {
            b'C' => {
                self.inodes.push(Inode::default());
                self.name(Naming::Put(path, Named::File(self.inodes.len() - 1)));
            }
            b'D' => self.name(Naming::Put(path, Named::Folder)),
            b'U' => self.name(Naming::Remove(path)),
            b'R' => {
                let to = String::from_utf8(op.bytes.clone()).expect("our own paths");
                self.name(Naming::Rename(path, to));
            }
            b'W' => self.change(&path, Change::Write(op.offset, op.bytes.clone())),
            b'L' => self.change(&path, Change::Len(op.offset)),
            b'T' => self.change(&path, Change::Len(0)),
            b'F' if disk == Disk::Honest => self.sync(&path),
            _ => {}
        }
    }

    fn name(&mut self, naming: Naming) {
        apply(&mut self.seen, &naming);
        self.unsynced.push(naming);
    }

    fn change(&mut self, path: &str, change: Change) {
        // What was opened before the trace began, or was removed and is still open, is nobody's.
        if let Some(Named::File(inode)) = self.seen.get(path) {
            self.inodes[*inode].unsynced.push(change);
        }
    }

    fn sync(&mut self, path: &str) {
        if let Some(Named::File(inode)) = self.seen.get(path) {
            let inode = &mut self.inodes[*inode];
            for change in std::mem::take(&mut inode.unsynced) {
                change.apply(&mut inode.durable);
            }
        }
        let is_folder = self.seen.get(path).is_none_or(|named| *named == Named::Folder);
        let belongs = |other: &str| {
            other == path || path.starts_with(&format!("{other}/")) || (is_folder && parent(other) == path)
        };
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.unsynced).into_iter().partition(|naming| match naming {
                Naming::Put(at, _) | Naming::Remove(at) => belongs(at),
                Naming::Rename(from, to) => belongs(from) || belongs(to),
            });
        now.iter().for_each(|naming| apply(&mut self.durable, naming));
        self.unsynced = later;
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

fn apply(names: &mut Names, naming: &Naming) {
    match naming {
        Naming::Put(path, named) => drop(names.insert(path.clone(), *named)),
        Naming::Remove(path) => drop(names.remove(path)),
        Naming::Rename(from, to) => {
            let below: Vec<String> =
                names.keys().filter(|path| *path == from || path.starts_with(&format!("{from}/"))).cloned().collect();
            for path in below {
                let named = names.remove(&path).expect("it was just there");
                names.insert(format!("{to}{}", &path[from.len()..]), named);
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(offset, bytes) => {
                let (from, to) = (*offset as usize, *offset as usize + bytes.len());
                content.resize(content.len().max(to), 0);
                content[from..to].copy_from_slice(bytes);
            }
            Self::Len(len) => content.resize(*len as usize, 0),
        }
    }

    /// Some of its sectors.
    fn apply_in_part(&self, content: &mut Vec<u8>, dice: &mut Dice) {
        let Self::Write(offset, bytes) = self else {
            if dice.once_in(2) {
                self.apply(content);
            }
            return;
        };
        let end = *offset as usize + bytes.len();
        if dice.once_in(2) && content.len() < end {
            content.resize(end, 0);
        }
        let mut from = *offset as usize;
        while from < end {
            let to = (from / SECTOR * SECTOR + SECTOR).min(end);
            if dice.once_in(2) && to <= content.len() {
                content[from..to].copy_from_slice(&bytes[from - *offset as usize..to - *offset as usize]);
            }
            from = to;
        }
    }
}

impl Inode {
    fn content(&self, loss: Loss, dice: &mut Dice) -> Vec<u8> {
        let mut content = self.durable.clone();
        match loss {
            Loss::All => {}
            Loss::None => self.unsynced.iter().for_each(|change| change.apply(&mut content)),
            Loss::Late => {
                let whole = dice.below(self.unsynced.len() as u64 + 1) as usize;
                self.unsynced.iter().take(whole).for_each(|change| change.apply(&mut content));
                if let Some(Change::Write(offset, bytes)) = self.unsynced.get(whole) {
                    let part = dice.below(bytes.len() as u64) as usize;
                    Change::Write(*offset, bytes[..part].to_vec()).apply(&mut content);
                }
            }
            Loss::Any => self.unsynced.iter().for_each(|change| change.apply_in_part(&mut content, dice)),
        }
        content
    }
}

#[test]
fn a_lying_disk_keeps_nothing_and_an_honest_one_what_was_synced() {
    let op = |kind, path: &str, bytes: &[u8]| Op { kind, path: path.into(), offset: 0, bytes: bytes.into(), end: 0 };
    let ops = [op(b'C', "/a", b""), op(b'W', "/a", b"synced"), op(b'F', "/a", b""), op(b'W', "/a", b"lost")];
    let left = |disk, loss| {
        let folder = tempfile::tempdir().expect("a folder");
        cut_power(&ops, disk, loss, &mut Dice::of_all("trace"), folder.path());
        fs::read(folder.path().join("a")).ok()
    };
    assert_eq!(left(Disk::Honest, Loss::All), Some(b"synced".to_vec()));
    assert_eq!(left(Disk::Honest, Loss::None), Some(b"losted".to_vec()));
    assert_eq!(left(Disk::Lying, Loss::All), None);
}
