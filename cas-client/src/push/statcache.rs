//! What the last push of a name saw: file by file, its stat and its entry, so that an unchanged file costs a stat.
//!
//! Promise: an entry comes back only if size, times, inode and change time are all as they were, and the file had not
//! changed so shortly before that the clock could not tell. A damaged or foreign cache is no cache. It holds keys of files that are
//! on this disk now, and of no page: it opens no snapshot. It lies in the user's cache folder, mode 0600, and can be deleted.
//!
//! Layout: blocks of about 64 KiB of items in manifest order, each `u32 length ‖ 8 bytes of BLAKE3 ‖ items`, then the first path
//! and offset of every block, then a trailer of fixed size. Not part of any promise between versions: another version
//! byte makes it no cache.

use cas_core::codec::{FormatError, Reader, put_bytes};
use cas_core::id::{BlockId, DomainId};
use cas_core::kdf;
use cas_core::manifest::compare_paths;
use rustix::fs::Statx;
use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"CASCACH1";
const BLOCK_FILL: usize = 64 << 10;
const BLOCK_HEAD: usize = 12;
const TRAILER: usize = 8 + 8 + 16 + 32 + 8;
const MAX_BLOCK: usize = 1 << 20;
/// A file that changed less than this before it was read may change again within one tick of its clock.
const CLOCK_GRAIN_NS: i128 = 20_000_000;

/// What must be equal for a file to count as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    size: u64,
    mtime_ns: i128,
    ctime_ns: i128,
    inode: u64,
}

impl Signature {
    /// Of a file's stat.
    pub fn of(stat: &Statx) -> Self {
        let ns = |t: &rustix::fs::StatxTimestamp| i128::from(t.tv_sec) * 1_000_000_000 + i128::from(t.tv_nsec);
        Self { size: stat.stx_size, mtime_ns: ns(&stat.stx_mtime), ctime_ns: ns(&stat.stx_ctime), inode: stat.stx_ino }
    }

    /// Whether the file had been quiet for long enough at this time that a later change would show.
    pub fn settled_at(&self, now_ns: i64) -> bool {
        self.mtime_ns.max(self.ctime_ns) + CLOCK_GRAIN_NS < i128::from(now_ns)
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.mtime_ns.to_le_bytes());
        out.extend_from_slice(&self.ctime_ns.to_le_bytes());
        out.extend_from_slice(&self.inode.to_le_bytes());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            size: r.u64()?,
            mtime_ns: i128::from_le_bytes(r.array()?),
            ctime_ns: i128::from_le_bytes(r.array()?),
            inode: r.u64()?,
        })
    }
}

/// A path as the last push saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it looked like.
    pub signature: Signature,
    /// Its encoded entry.
    pub entry: Vec<u8>,
    /// The id of its list, if its content is one.
    pub list: Option<BlockId>,
}

/// Where everything lies in a cache, shared by all cursors.
pub struct StatCache {
    file: File,
    root: BlockId,
    blocks: Vec<(Vec<u8>, u64)>,
}

impl StatCache {
    /// Opens a cache of a domain, if there is one that can be used.
    pub fn open(path: &Path, domain: &DomainId) -> Option<Arc<Self>> {
        Self::read(path, domain).ok().flatten().map(Arc::new)
    }

    fn read(path: &Path, domain: &DomainId) -> io::Result<Option<Self>> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        let Some(trailer_at) = len.checked_sub(TRAILER as u64) else { return Ok(None) };
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, trailer_at)?;
        let Ok((index_at, index_sum, root)) = parse_trailer(&trailer, domain) else { return Ok(None) };
        let Some(index_len) = trailer_at.checked_sub(index_at) else { return Ok(None) };
        let mut index = vec![0; index_len as usize];
        file.read_exact_at(&mut index, index_at)?;
        if kdf::hash(&index)[..8] != index_sum {
            return Ok(None);
        }
        Ok(parse_index(&index).ok().map(|blocks| Self { file, root, blocks }))
    }

    /// The root page of the snapshot it belongs to: while the store has that, it has everything the entries refer to.
    pub fn root(&self) -> BlockId {
        self.root
    }

    fn block(&self, number: usize) -> Option<Vec<u8>> {
        let at = self.blocks.get(number)?.1;
        let mut head = [0; BLOCK_HEAD];
        self.file.read_exact_at(&mut head, at).ok()?;
        let len = u32::from_le_bytes(head[..4].try_into().expect("4 bytes")) as usize;
        if len > MAX_BLOCK {
            return None;
        }
        let mut items = vec![0; len];
        self.file.read_exact_at(&mut items, at + BLOCK_HEAD as u64).ok()?;
        (kdf::hash(&items)[..8] == head[4..]).then_some(items)
    }
}

fn parse_trailer(bytes: &[u8], domain: &DomainId) -> Result<(u64, [u8; 8], BlockId), FormatError> {
    let mut r = Reader::new("stat cache", bytes);
    let index_at = r.u64()?;
    let index_sum = r.array()?;
    r.expect(domain.as_bytes(), "the domain")?;
    let root = BlockId(r.array()?);
    r.expect(MAGIC, "the magic")?;
    r.finish()?;
    Ok((index_at, index_sum, root))
}

fn parse_index(bytes: &[u8]) -> Result<Vec<(Vec<u8>, u64)>, FormatError> {
    let mut r = Reader::new("stat cache index", bytes);
    let mut blocks = Vec::new();
    while !r.is_empty() {
        blocks.push((r.bytes(MAX_BLOCK)?.to_vec(), r.u64()?));
    }
    Ok(blocks)
}

/// Looks paths up, cheapest in manifest order.
pub struct Cursor {
    cache: Arc<StatCache>,
    number: usize,
    items: Vec<u8>,
    at: usize,
}

impl Cursor {
    /// A cursor before the first path.
    pub fn new(cache: Arc<StatCache>) -> Self {
        Self { cache, number: usize::MAX, items: Vec::new(), at: 0 }
    }

    /// What the last push saw at `path`.
    pub fn find(&mut self, path: &[u8]) -> Option<Seen> {
        let number = self.cache.blocks.partition_point(|(first, _)| compare_paths(first, path) != Ordering::Greater);
        self.load(number.checked_sub(1)?)?;
        let mut r = Reader::new("stat cache", &self.items[self.at..]);
        let start = self.at;
        while !r.is_empty() {
            let before = start + r.offset();
            let item_path = r.bytes(MAX_BLOCK).ok()?;
            let order = compare_paths(item_path, path);
            let seen = Item::read(&mut r).ok()?;
            match order {
                Ordering::Less => self.at = start + r.offset(),
                Ordering::Equal => {
                    self.at = before;
                    return Some(seen.owned());
                }
                Ordering::Greater if before == start && start > 0 => return self.find_again(path),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The path lies before the cursor: start the block again.
    fn find_again(&mut self, path: &[u8]) -> Option<Seen> {
        self.at = 0;
        self.find(path)
    }

    fn load(&mut self, number: usize) -> Option<()> {
        if self.number != number {
            self.items = self.cache.block(number)?;
            self.number = number;
            self.at = 0;
        }
        Some(())
    }
}

/// An item after its path, not copied yet.
struct Item<'a> {
    signature: Signature,
    list: Option<BlockId>,
    entry: &'a [u8],
}

impl<'a> Item<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, FormatError> {
        let signature = Signature::read(r)?;
        let list = match r.u8()? {
            0 => None,
            1 => Some(BlockId(r.array()?)),
            _ => return Err(r.error("0 or 1")),
        };
        Ok(Self { signature, list, entry: r.bytes(MAX_BLOCK)? })
    }

    fn owned(&self) -> Seen {
        Seen { signature: self.signature, entry: self.entry.to_vec(), list: self.list }
    }
}

/// Writes the cache of the push that is running. It replaces the old one only in [`Self::finish`].
pub struct Writer {
    path: PathBuf,
    unfinished: PathBuf,
    out: BufWriter<File>,
    at: u64,
    items: Vec<u8>,
    first: Vec<u8>,
    index: Vec<u8>,
}

impl Writer {
    /// Begins beside the old cache.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let unfinished = path.with_extension("new");
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            out: BufWriter::with_capacity(2 * BLOCK_FILL, file),
            at: 0,
            items: Vec::with_capacity(2 * BLOCK_FILL),
            first: Vec::new(),
            index: Vec::new(),
        })
    }

    /// Adds the next path in manifest order.
    pub fn push(&mut self, path: &[u8], seen: &Seen) -> io::Result<()> {
        if self.items.is_empty() {
            self.first = path.to_vec();
        }
        put_bytes(&mut self.items, path);
        seen.signature.put(&mut self.items);
        match &seen.list {
            None => self.items.push(0),
            Some(list) => {
                self.items.push(1);
                self.items.extend_from_slice(list.as_bytes());
            }
        }
        put_bytes(&mut self.items, &seen.entry);
        if self.items.len() >= BLOCK_FILL { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        put_bytes(&mut self.index, &self.first);
        self.index.extend_from_slice(&self.at.to_le_bytes());
        self.out.write_all(&(self.items.len() as u32).to_le_bytes())?;
        self.out.write_all(&kdf::hash(&self.items)[..8])?;
        self.out.write_all(&self.items)?;
        self.at += (BLOCK_HEAD + self.items.len()) as u64;
        self.items.clear();
        Ok(())
    }

    /// Puts it in the place of the old one. `root` is the root page of the snapshot that was committed.
    pub fn finish(mut self, domain: &DomainId, root: &BlockId) -> io::Result<()> {
        self.flush()?;
        self.out.write_all(&self.index)?;
        self.out.write_all(&self.at.to_le_bytes())?;
        self.out.write_all(&kdf::hash(&self.index)[..8])?;
        self.out.write_all(domain.as_bytes())?;
        self.out.write_all(root.as_bytes())?;
        self.out.write_all(MAGIC)?;
        self.out.flush()?;
        fs::rename(&self.unfinished, &self.path)
    }

    /// Forgets it; the old one stays.
    pub fn abandon(self) {
        let _ = fs::remove_file(&self.unfinished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(n: u64) -> Seen {
        let signature = Signature { size: n, mtime_ns: 1, ctime_ns: 2, inode: 3 };
        Seen { signature, entry: vec![n as u8; 100], list: n.is_multiple_of(2).then_some(BlockId([n as u8; 32])) }
    }

    fn written(dir: &Path) -> (PathBuf, Vec<Vec<u8>>) {
        let path = dir.join("cache");
        let mut writer = Writer::create(&path).unwrap();
        let paths: Vec<Vec<u8>> = (0..5000).map(|n| format!("dir{:02}/file{n:05}", n / 100).into_bytes()).collect();
        for (n, path) in paths.iter().enumerate() {
            writer.push(path, &seen(n as u64)).unwrap();
        }
        writer.finish(&DomainId([1; 16]), &BlockId([2; 32])).unwrap();
        (path, paths)
    }

    #[test]
    fn every_path_is_found_in_any_order_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (path, paths) = written(dir.path());
        let cache = StatCache::open(&path, &DomainId([1; 16])).unwrap();
        assert_eq!(cache.root(), BlockId([2; 32]));
        let mut cursor = Cursor::new(cache);
        for step in [1, 7, 4999, 2503] {
            for i in (0..paths.len()).map(|i| i * step % paths.len()) {
                assert_eq!(cursor.find(&paths[i]), Some(seen(i as u64)), "{step} {i}");
            }
        }
        for absent in [&b"a"[..], b"dir00/file00000x", b"dir01", b"zzz"] {
            assert_eq!(cursor.find(absent), None);
        }
    }

    #[test]
    fn a_damaged_cut_or_foreign_cache_is_no_cache() {
        let dir = tempfile::tempdir().unwrap();
        let (path, paths) = written(dir.path());
        assert!(StatCache::open(&path, &DomainId([9; 16])).is_none());
        let bytes = fs::read(&path).unwrap();
        for at in (0..bytes.len()).step_by(bytes.len() / 100) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            if let Some(cache) = StatCache::open(&path, &DomainId([1; 16])) {
                let mut cursor = Cursor::new(cache);
                for (n, p) in paths.iter().enumerate().step_by(61) {
                    assert!(cursor.find(p).is_none_or(|s| s == seen(n as u64)));
                }
            }
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(StatCache::open(&path, &DomainId([1; 16])).is_none());
        }
    }
}
