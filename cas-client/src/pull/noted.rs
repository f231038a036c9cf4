//! What has to wait until all files are written, noted in few bytes: folders and hard links.
//!
//! Promise: a folder takes about 30 bytes beside its name, a hard link its two paths and 12 bytes, so that a million of either
//! fit beside everything else that a pull holds. Nothing here is stored; the bytes are read where they were written.

use cas_core::codec::{Reader, put_bytes, put_varint};
use cas_core::id::BlockId;
use cas_core::manifest::{Entry, EntryWithIds, ManifestPath, Mtime};
use std::ops::Range;

/// Folders that are read back together.
const FOLDERS: usize = 1024;
/// Bytes that hold links.
const LINK_BYTES: usize = 1 << 20;
/// Length of a path, in bytes.
const LEN: usize = 2;

const _: () = assert!(cas_core::limits::MAX_PATH < 1 << (8 * LEN) && LINK_BYTES > 4 * cas_core::limits::MAX_PATH);

/// Folders, in the order in which they were met.
#[derive(Default)]
pub struct Folders {
    groups: Vec<Vec<u8>>,
    in_last: usize,
    last: Last,
}

/// What the next one is told apart from.
#[derive(Default)]
struct Last {
    path: Vec<u8>,
    /// The encoded entry without its time.
    like: Vec<u8>,
}

impl Folders {
    /// Notes one; `path` is not empty.
    pub fn note(&mut self, path: &[u8], folder: &EntryWithIds) {
        if self.in_last == FOLDERS || self.groups.is_empty() {
            if let Some(full) = self.groups.last_mut() {
                full.shrink_to_fit();
            }
            self.groups.push(Vec::new());
            (self.in_last, self.last) = (0, Last::default());
        }
        self.in_last += 1;
        let out = self.groups.last_mut().expect("there is one");
        let shared = path.iter().zip(&self.last.path).take_while(|(a, b)| a == b).count();
        put_varint(out, shared as u64);
        put_bytes(out, &path[shared..]);
        let Mtime { seconds, nanoseconds } = folder.entry.mtime;
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&nanoseconds.to_le_bytes());
        let like = Entry { mtime: Mtime::default(), ..folder.entry.clone() }.encode();
        put_bytes(out, if like == self.last.like { &[] } else { &like });
        if let Some(id) = folder.xattr_id() {
            out.extend_from_slice(id.as_bytes());
        }
        self.last = Last { path: path.to_vec(), like };
    }

    /// All of them, the last one first: whatever is in a folder comes before it.
    pub fn last_first(self) -> impl Iterator<Item = (Vec<u8>, EntryWithIds)> {
        self.groups.into_iter().rev().flat_map(|group| read(&group).into_iter().rev())
    }
}

fn read(group: &[u8]) -> Vec<(Vec<u8>, EntryWithIds)> {
    let (mut r, mut last, mut out) = (Reader::new("noted folders", group), Last::default(), Vec::new());
    while !r.is_empty() {
        out.push(read_one(&mut r, &mut last).expect("it was written here"));
    }
    out
}

fn read_one(
    r: &mut Reader<'_>,
    last: &mut Last,
) -> Result<(Vec<u8>, EntryWithIds), Box<dyn std::error::Error + Send + Sync>> {
    last.path.truncate(usize::try_from(r.varint()?)?);
    last.path.extend_from_slice(r.bytes(cas_core::limits::MAX_PATH)?);
    let mtime = Mtime { seconds: r.i64()?, nanoseconds: r.u32()? };
    let like = r.bytes(usize::MAX)?;
    if !like.is_empty() {
        last.like = like.to_vec();
    }
    let entry = Entry { mtime, ..Entry::decode(&last.like)? };
    let ids = if entry.xattr_block.is_some() { vec![BlockId(r.array()?)] } else { Vec::new() };
    Ok((last.path.clone(), EntryWithIds { path: ManifestPath::new(&last.path[..])?, entry, ids }))
}

/// Names of files that other entries hold.
#[derive(Default)]
pub struct Links {
    chunks: Vec<Vec<u8>>,
    at: Vec<(u32, u32)>,
}

impl Links {
    /// Notes that `path` is another name of the file that `first` holds; both are paths of the snapshot.
    pub fn note(&mut self, first: &[u8], path: &[u8]) {
        let needed = first.len() + path.len() + 2 * LEN;
        if self.chunks.last().is_none_or(|chunk| chunk.len() + needed > LINK_BYTES) {
            self.chunks.push(Vec::with_capacity(LINK_BYTES));
        }
        let chunk = self.chunks.len() - 1;
        let out = &mut self.chunks[chunk];
        self.at.push((chunk as u32, out.len() as u32));
        for part in [first, path] {
            out.extend_from_slice(&(part.len() as u16).to_le_bytes());
            out.extend_from_slice(part);
        }
    }

    /// By file, and in order of their paths, so that the first of its names may become its holder.
    pub fn sort(&mut self) {
        let mut at = std::mem::take(&mut self.at);
        at.sort_unstable_by(|a, b| self.read(*a).cmp(&self.read(*b)));
        self.at = at;
    }

    /// The names of one file each; they were sorted.
    pub fn by_file(&self) -> impl Iterator<Item = (&[u8], impl Iterator<Item = &[u8]>)> {
        let same = |a: &(u32, u32), b: &(u32, u32)| self.read(*a).0 == self.read(*b).0;
        self.at.chunk_by(same).map(|of_one| (self.read(of_one[0]).0, of_one.iter().map(|at| self.read(*at).1)))
    }

    fn read(&self, (chunk, at): (u32, u32)) -> (&[u8], &[u8]) {
        let bytes = &self.chunks[chunk as usize];
        let first = part(bytes, at as usize);
        let path = part(bytes, first.end);
        (&bytes[first], &bytes[path])
    }
}

fn part(bytes: &[u8], at: usize) -> Range<usize> {
    let begin = at + LEN;
    let len = u16::from_le_bytes(bytes[at..begin].try_into().expect("two bytes"));
    begin..begin + usize::from(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::manifest::FileType;
    use cas_core::secret::ContentKey;

    fn folder(path: &str, mode: u16, seconds: i64, xattr: Option<u8>) -> EntryWithIds {
        let mut entry = Entry { mode, ..Entry::new(FileType::Directory) };
        entry.mtime = Mtime { seconds, nanoseconds: 7 };
        (entry.user, entry.group) = (b"somebody".to_vec(), b"some group".to_vec());
        if let Some(n) = xattr {
            entry.xattr_block =
                Some(cas_core::manifest::Piece { len: 9000, data: Some(ContentKey::from_bytes([n; 32])) });
        }
        let ids = xattr.map(|n| BlockId([n; 32])).into_iter().collect();
        EntryWithIds { path: ManifestPath::new(path.as_bytes()).unwrap(), entry, ids }
    }

    #[test]
    fn folders_come_back_whole_and_the_last_first() {
        let mut noted = Folders::default();
        let mut all = Vec::new();
        for n in 0..3 * FOLDERS + 5 {
            let path = format!("a/{:04}/b{}", n / 7, n % 7);
            let mode = if n % 50 == 0 { 0o700 } else { 0o755 };
            all.push((path.clone().into_bytes(), folder(&path, mode, n as i64 - 40, (n % 9 == 0).then_some(n as u8))));
        }
        all.iter().for_each(|(path, file)| noted.note(path, file));
        let bytes: usize = noted.groups.iter().map(Vec::len).sum();
        assert!(bytes < all.len() * 40, "{bytes} bytes for {} folders", all.len());
        all.reverse();
        assert_eq!(noted.last_first().collect::<Vec<_>>(), all);
        assert_eq!(Folders::default().last_first().count(), 0);
    }

    #[test]
    fn links_come_by_file_and_in_order() {
        let mut links = Links::default();
        let long = "x".repeat(16_000);
        for n in (0..400).rev() {
            links.note(format!("file{}{long}", n % 3).as_bytes(), format!("name{n:03}").as_bytes());
        }
        assert!(links.chunks.len() > 4);
        links.sort();
        let found: Vec<(Vec<u8>, Vec<Vec<u8>>)> =
            links.by_file().map(|(first, names)| (first.to_vec(), names.map(<[u8]>::to_vec).collect())).collect();
        assert_eq!(found.len(), 3);
        for (n, (first, names)) in found.into_iter().enumerate() {
            assert_eq!(first, format!("file{n}{long}").into_bytes());
            let wanted: Vec<Vec<u8>> = (n..400).step_by(3).map(|n| format!("name{n:03}").into_bytes()).collect();
            assert_eq!(names, wanted);
        }
    }
}
