//! An entry read where it stands, without copying: the one place that knows its rules. FORMAT §5.
//!
//! Promise: a view exists only of bytes that obey every rule and would be encoded the same again.
//! Rules between entries (order, parents, where a hardlink points) are those of the builder and the reader.

use super::entry::{self, Content, Entry, FileType, Mtime};
use super::path::check_path;
use super::piece::{MAX_FILE, Piece, PieceView, Pieces, read_key};
use super::xattr::{check_xattrs, decode_xattrs};
use crate::codec::{FormatError, Reader, UnknownField};
use crate::domain::MAX_INLINE;
use crate::id::Kind;
use crate::limits::{MAX_ENTRY, MAX_ENTRY_BLOCKS, MAX_HEIGHT, MAX_INLINE_XATTRS, MAX_PATH, MAX_RAW};
use crate::secret::ContentKey;

/// The name of an owner or a group, in bytes.
const MAX_OWNER_NAME: usize = 1 << 10;
const MAX_MODE: u64 = 0o7777;
const NANOSECONDS: u32 = 1_000_000_000;

const _: () = assert!(
    MAX_PATH + MAX_INLINE as usize + MAX_INLINE_XATTRS + 2 * MAX_OWNER_NAME + MAX_ENTRY_BLOCKS * 64 < MAX_ENTRY
);

/// What a file holds, as it stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum ContentView<'a> {
    #[default]
    None,
    Inline(&'a [u8]),
    Pieces(&'a [u8]),
    List {
        key: &'a [u8; 32],
        level: u8,
    },
}

/// An entry as it stands.
#[derive(Debug, Clone)]
pub(super) struct EntryView<'a> {
    pub file_type: FileType,
    pub mode: u16,
    pub owner: (u32, u32),
    pub names: (&'a [u8], &'a [u8]),
    pub mtime: Mtime,
    pub size: u64,
    pub content: ContentView<'a>,
    pub link_target: Option<&'a [u8]>,
    pub hardlink: Option<&'a [u8]>,
    pub device: Option<(u32, u32)>,
    pub xattrs: &'a [u8],
    pub xattr_block: Option<(u64, &'a [u8; 32])>,
    pub unknown: Vec<UnknownField>,
}

impl<'a> EntryView<'a> {
    /// Reads and checks an entry.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let start = Reader::new("entry", bytes);
        if bytes.len() > MAX_ENTRY {
            return Err(start.error("at most 48 KiB"));
        }
        let (mut view, mut seen) = (Self::empty(), Seen::default());
        view.unknown = start.clone().record(|tag, r| view.read(tag, r, &mut seen))?;
        view.check(&seen).map_err(|expected| start.error(expected))?;
        Ok(view)
    }

    fn empty() -> Self {
        Self {
            file_type: FileType::File,
            mode: 0,
            owner: (0, 0),
            names: (&[], &[]),
            mtime: Mtime::default(),
            size: 0,
            content: ContentView::None,
            link_target: None,
            hardlink: None,
            device: None,
            xattrs: &[],
            xattr_block: None,
            unknown: Vec::new(),
        }
    }

    /// The blocks it refers to, in the order of the format; equal ones again and again.
    pub fn references(&self) -> impl Iterator<Item = (Kind, &'a [u8; 32])> + use<'a> {
        let (pieces, list) = match self.content {
            ContentView::Pieces(bytes) => (bytes, None),
            ContentView::List { key, .. } => (&[][..], Some((Kind::List, key))),
            ContentView::None | ContentView::Inline(_) => (&[][..], None),
        };
        let data = Pieces::of_checked(pieces).filter_map(|piece| piece.key).map(|key| (Kind::Data, key));
        data.chain(list).chain(self.xattr_block.map(|(_, key)| (Kind::Data, key)))
    }

    /// The entry, copied out.
    pub fn to_entry(&self) -> Entry {
        let owned = |key: &[u8; 32]| ContentKey::from_bytes(*key);
        Entry {
            file_type: self.file_type,
            mode: self.mode,
            uid: self.owner.0,
            gid: self.owner.1,
            user: self.names.0.to_vec(),
            group: self.names.1.to_vec(),
            mtime: self.mtime,
            size: self.size,
            content: match self.content {
                ContentView::None => Content::None,
                ContentView::Inline(bytes) => Content::Inline(bytes.to_vec()),
                ContentView::Pieces(bytes) => {
                    Content::Pieces(Pieces::of_checked(bytes).map(PieceView::to_piece).collect())
                }
                ContentView::List { key, level } => Content::List { key: owned(key), level },
            },
            link_target: self.link_target.map(<[u8]>::to_vec),
            hardlink: self.hardlink.map(<[u8]>::to_vec),
            device: self.device,
            xattrs: decode_xattrs(self.xattrs).expect("checked when parsed"),
            xattr_block: self.xattr_block.map(|(len, key)| Piece::data(len, owned(key))),
            unknown: self.unknown.clone(),
        }
    }
}

/// Which of the fields that are always or seldom there were read.
#[derive(Default)]
struct Seen {
    file_type: bool,
    mode: bool,
    contents: u32,
}

impl<'a> EntryView<'a> {
    /// Reads one field and checks it by itself.
    fn read(&mut self, tag: u64, r: &mut Reader<'a>, seen: &mut Seen) -> Result<bool, FormatError> {
        match tag {
            entry::TAG_TYPE => {
                self.file_type = FileType::from_byte(r.u8()?).ok_or_else(|| r.error("a type from 1 to 7"))?;
                seen.file_type = true;
            }
            entry::TAG_MODE => {
                self.mode = up_to(r, MAX_MODE, "a mode of 12 bits")? as u16;
                seen.mode = true;
            }
            entry::TAG_OWNER => self.owner = not_default(two_u32(r)?, r)?,
            entry::TAG_NAMES => self.names = not_default((r.bytes(MAX_OWNER_NAME)?, r.bytes(MAX_OWNER_NAME)?), r)?,
            entry::TAG_MTIME => self.mtime = not_default(mtime(r)?, r)?,
            entry::TAG_SIZE => self.size = not_default(up_to(r, MAX_FILE, "a size below 2^63")?, r)?,
            entry::TAG_INLINE => {
                seen.contents += 1;
                self.content = ContentView::Inline(some_bytes(r, MAX_INLINE as usize)?);
            }
            entry::TAG_PIECES => {
                seen.contents += 1;
                self.content = ContentView::Pieces(r.rest());
                check_pieces(r)?;
            }
            entry::TAG_LIST => {
                let (key, level) = (read_key(r)?, r.u8()?);
                if level >= MAX_HEIGHT {
                    return Err(r.error("a level below 32"));
                }
                seen.contents += 1;
                self.content = ContentView::List { key, level };
            }
            entry::TAG_LINK => {
                let target = some_bytes(r, MAX_PATH)?;
                if target.contains(&0) {
                    return Err(r.error("a link target without NUL"));
                }
                self.link_target = Some(target);
            }
            entry::TAG_HARDLINK => {
                let path = some_bytes(r, MAX_PATH)?;
                check_path(path).map_err(|e| r.error(e.expected))?;
                self.hardlink = Some(path);
            }
            entry::TAG_DEVICE => self.device = Some(two_u32(r)?),
            entry::TAG_XATTRS => {
                self.xattrs = some_bytes(&mut r.clone(), MAX_INLINE_XATTRS)?;
                check_xattrs(r.clone())?;
                r.take(self.xattrs.len())?;
            }
            entry::TAG_XATTR_BLOCK => {
                let len = up_to(r, MAX_RAW as u64, "a block of at most 64 MiB")?;
                if len <= MAX_INLINE_XATTRS as u64 {
                    return Err(r.error("a block only for xattrs above 4 KiB"));
                }
                self.xattr_block = Some((len, read_key(r)?));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The rules between fields. Answers what was expected.
    fn check(&self, seen: &Seen) -> Result<(), &'static str> {
        let file_type = self.file_type;
        let is_file = file_type == FileType::File;
        let is_link = file_type == FileType::Symlink;
        let plain_file = is_file && self.hardlink.is_none();
        let rules = [
            (seen.file_type && seen.mode, "a type and a mode"),
            (seen.contents <= 1, "content of one form"),
            (plain_file || (seen.contents == 0 && self.size == 0), "content and size only in files that hold it"),
            (is_file || self.hardlink.is_none(), "a hardlink only to a file"),
            (self.link_target.is_some() == is_link, "a link target in symlinks and only there"),
            (self.device.is_some() == file_type.is_device(), "a device number in devices and only there"),
            (self.xattrs.is_empty() || self.xattr_block.is_none(), "xattrs in one place"),
            (self.content_fits(), "the size of the content"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, expected)| Err(expected))
    }

    fn content_fits(&self) -> bool {
        match self.content {
            ContentView::None => self.size == 0,
            ContentView::Inline(bytes) => self.size == bytes.len() as u64,
            ContentView::Pieces(bytes) => {
                let sum = Pieces::of_checked(bytes).try_fold(0u64, |sum, piece| sum.checked_add(piece.len));
                sum == Some(self.size)
            }
            ContentView::List { .. } => self.size > 0,
        }
    }
}

fn up_to(r: &mut Reader<'_>, max: u64, expected: &'static str) -> Result<u64, FormatError> {
    let value = r.varint()?;
    if value > max { Err(r.error(expected)) } else { Ok(value) }
}

fn two_u32(r: &mut Reader<'_>) -> Result<(u32, u32), FormatError> {
    let mut one = || up_to(r, u32::MAX.into(), "a number below 2^32").map(|value| value as u32);
    Ok((one()?, one()?))
}

fn mtime(r: &mut Reader<'_>) -> Result<Mtime, FormatError> {
    let mtime = Mtime { seconds: r.i64()?, nanoseconds: r.u32()? };
    if mtime.nanoseconds >= NANOSECONDS { Err(r.error("nanoseconds below 10^9")) } else { Ok(mtime) }
}

fn not_default<T: Default + PartialEq>(value: T, r: &Reader<'_>) -> Result<T, FormatError> {
    if value == T::default() { Err(r.error("a default left out")) } else { Ok(value) }
}

/// The whole value, which must not be empty.
fn some_bytes<'a>(r: &mut Reader<'a>, limit: usize) -> Result<&'a [u8], FormatError> {
    let bytes = r.rest();
    if bytes.is_empty() || bytes.len() > limit {
        return Err(r.error("a value within its limit and not empty"));
    }
    r.take(bytes.len())
}

fn check_pieces(r: &mut Reader<'_>) -> Result<(), FormatError> {
    let (mut before, mut blocks) = (None, 0);
    while !r.is_empty() {
        let piece = PieceView::read(r, before)?;
        blocks += usize::from(piece.key.is_some());
        before = Some(piece);
    }
    if before.is_none() || blocks > MAX_ENTRY_BLOCKS {
        return Err(r.error("1 to 8 blocks of data, or a hole"));
    }
    Ok(())
}
