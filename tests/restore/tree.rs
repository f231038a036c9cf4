//! A tree with every kind of file, and how a tree looks, to be compared.

use cas_core::kdf;
use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// More blocks than stand in an entry.
const LARGE: usize = 3 << 20;
const HOLE: u64 = 40 << 20;
/// Enough names for pages above pages.
const MANY: usize = 3000;

/// A tree that was made.
pub struct Original {
    pub path: PathBuf,
}

impl Original {
    /// Makes it. What the file system cannot hold (some have no attributes) is left out.
    pub fn make(path: &Path) -> Self {
        let at = |name: &str| path.join(name);
        for folder in ["empty", "deep/er/est", "many", "locked"] {
            fs::create_dir_all(at(folder)).expect("a folder");
        }
        write(&at("zero"), b"");
        write(&at("inline"), b"hello");
        write(&at("one block"), &noise(5000));
        write(&at("deep/er/est/large"), &noise(LARGE));
        write(&at("zeros"), &vec![0; LARGE]);
        write(&at("not \u{fffd} but \n"), b"a strange name");
        for n in 0..MANY {
            write(&at(&format!("many/{n}")), format!("file {n}").repeat(n % 100).as_bytes());
        }
        let sparse = File::create(at("sparse")).expect("a file");
        sparse.write_all_at(&noise(200_000), HOLE).and_then(|()| sparse.set_len(3 * HOLE)).expect("a sparse file");
        symlink("../nowhere", at("deep/link")).expect("a link");
        fs::hard_link(at("one block"), at("deep/again")).expect("a hardlink");
        let fifo = Command::new("mkfifo").arg(at("fifo")).status();
        assert!(fifo.is_ok_and(|status| status.success()));
        drop(UnixListener::bind(at("socket")));
        // One that fits into the entry and one that does not, where that is possible.
        _ = xattr::set(at("inline"), "user.note", b"short");
        _ = (0..5).try_for_each(|n| xattr::set(at("zero"), format!("user.long{n}"), &noise(1000)));
        _ = xattr::set(at("deep"), "user.note", b"of a folder");
        for (name, mode) in [("inline", 0o4711), ("zero", 0o400), ("locked", 0o500), ("empty", 0o1777)] {
            fs::set_permissions(at(name), Permissions::from_mode(mode)).expect("a mode");
        }
        let times = [("inline", UNIX_EPOCH - Duration::new(9, 1)), ("empty", UNIX_EPOCH + Duration::new(1 << 31, 5))];
        for (name, time) in times {
            let set = |file: File| file.set_times(FileTimes::new().set_modified(time));
            File::open(at(name)).and_then(set).expect("a time");
        }
        Self { path: path.to_owned() }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("a file");
}

fn noise(len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    kdf::derive_into("test tree", &len.to_le_bytes(), &mut out);
    out
}

/// How one path looks.
#[derive(Debug, PartialEq, Eq)]
pub struct Look {
    /// Of a file: BLAKE3. Of a link: its target.
    pub content: Vec<u8>,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    size: u64,
    is_sparse: bool,
    /// The first path with the same content in the file system, if it is a file with several.
    hardlink_of: Option<String>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Everything below a folder, and the folder itself under the empty name.
pub fn looks(root: &Path) -> BTreeMap<String, Look> {
    let mut paths = vec![root.to_owned()];
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("readable").map(|entry| entry.expect("readable")) {
            paths.push(entry.path());
            if entry.file_type().expect("a type").is_dir() {
                folders.push(entry.path());
            }
        }
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root).expect("below").to_str().expect("in UTF-8").to_owned();
    let mut inodes = BTreeMap::new();
    let mut out = BTreeMap::new();
    for path in &paths {
        let stat = fs::symlink_metadata(path).expect("it is there");
        let first = inodes.entry(stat.ino()).or_insert_with(|| name(path)).clone();
        out.insert(name(path), look(path, &stat, first));
    }
    out
}

fn look(path: &Path, stat: &fs::Metadata, first: String) -> Look {
    let content = match stat.file_type() {
        kind if kind.is_file() => kdf::hash(&fs::read(path).expect("readable")).to_vec(),
        kind if kind.is_symlink() => fs::read_link(path).expect("a link").as_os_str().as_bytes().to_vec(),
        _ => Vec::new(),
    };
    let names = xattr::list(path).map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    let value = |name: &std::ffi::OsString| xattr::get(path, name).ok().flatten().unwrap_or_default();
    Look {
        content,
        mode: stat.mode(),
        owner: (stat.uid(), stat.gid()),
        mtime: (stat.mtime(), stat.mtime_nsec()),
        size: if stat.is_file() { stat.size() } else { 0 },
        is_sparse: stat.is_file() && stat.blocks() * 512 + HOLE / 2 < stat.size(),
        hardlink_of: (stat.is_file() && stat.nlink() > 1).then_some(first),
        xattrs: names.iter().map(|name| (name.as_bytes().to_vec(), value(name))).collect(),
    }
}
