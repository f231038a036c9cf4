//! Entries: what a manifest says of one path. FORMAT §5.
//!
//! Promise: what decodes obeys every rule of the format and encodes again to the same bytes. Encoding
//! an entry that breaks a rule gives bytes that every decoder refuses, [`MapBuilder`] first.
//!
//! [`MapBuilder`]: super::MapBuilder

use super::piece::Piece;
use super::view::EntryView;
use super::xattr::{Xattrs, encode_xattrs};
use crate::codec::{FormatError, RecordWriter, UnknownField, critical, optional, put_bytes, put_varint};
use crate::id::Kind;
use crate::secret::ContentKey;

pub(super) const TAG_TYPE: u64 = critical(1);
pub(super) const TAG_MODE: u64 = critical(2);
pub(super) const TAG_OWNER: u64 = optional(3);
pub(super) const TAG_NAMES: u64 = optional(4);
pub(super) const TAG_MTIME: u64 = optional(5);
pub(super) const TAG_SIZE: u64 = critical(6);
pub(super) const TAG_INLINE: u64 = critical(7);
pub(super) const TAG_PIECES: u64 = critical(8);
pub(super) const TAG_LIST: u64 = critical(9);
pub(super) const TAG_LINK: u64 = critical(10);
pub(super) const TAG_HARDLINK: u64 = critical(11);
pub(super) const TAG_DEVICE: u64 = critical(12);
pub(super) const TAG_XATTRS: u64 = optional(13);
pub(super) const TAG_XATTR_BLOCK: u64 = critical(14);

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FileType {
    /// A regular file.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Symlink = 3,
    /// A named pipe.
    Fifo = 4,
    /// A socket.
    Socket = 5,
    /// A character device.
    CharDevice = 6,
    /// A block device.
    BlockDevice = 7,
}

impl FileType {
    /// Reads the byte of the format.
    pub fn from_byte(byte: u8) -> Option<Self> {
        use FileType::{BlockDevice, CharDevice, Directory, Fifo, File, Socket, Symlink};
        [File, Directory, Symlink, Fifo, Socket, CharDevice, BlockDevice].into_iter().find(|t| *t as u8 == byte)
    }

    /// Whether it is a device.
    pub fn is_device(self) -> bool {
        matches!(self, Self::CharDevice | Self::BlockDevice)
    }
}

/// A moment since 1970 began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// And nanoseconds, below 10⁹.
    pub nanoseconds: u32,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Content {
    /// Nothing: an empty file, a hardlink, or no file at all.
    #[default]
    None,
    /// These bytes; never empty.
    Inline(Vec<u8>),
    /// At most 8 blocks and the holes between them.
    Pieces(Vec<Piece>),
    /// More, in a list.
    List {
        /// P of the root list.
        key: ContentKey,
        /// Its level.
        level: u8,
    },
}

/// What a manifest says of one path. Which fields may be there follows from the type: see FORMAT §5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub file_type: FileType,
    /// The 12 permission bits.
    pub mode: u16,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Name of the owner, empty if unknown; at most 1 KiB.
    pub user: Vec<u8>,
    /// Name of the group, empty if unknown; at most 1 KiB.
    pub group: Vec<u8>,
    /// When its content was changed last.
    pub mtime: Mtime,
    /// Bytes of a file; 0 for everything else and for hardlinks.
    pub size: u64,
    /// What a file holds.
    pub content: Content,
    /// Where a symlink points.
    pub link_target: Option<Vec<u8>>,
    /// The path that holds the content of this file: the first of the inode in the order of the manifest.
    pub hardlink: Option<Vec<u8>>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// Extended attributes by ascending name, if they take at most 4 KiB encoded.
    pub xattrs: Xattrs,
    /// The block that holds them otherwise: [`encode_xattrs`] as data.
    pub xattr_block: Option<Piece>,
    /// Fields of a later version that may be ignored, kept.
    pub unknown: Vec<UnknownField>,
}

impl Entry {
    /// An entry with nothing known but its type.
    pub fn new(file_type: FileType) -> Self {
        Self {
            file_type,
            mode: 0,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            mtime: Mtime::default(),
            size: 0,
            content: Content::None,
            link_target: None,
            hardlink: None,
            device: None,
            xattrs: Vec::new(),
            xattr_block: None,
            unknown: Vec::new(),
        }
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut record = RecordWriter::new();
        record.field(TAG_TYPE, [self.file_type as u8]).field(TAG_MODE, varints(&[self.mode.into()]));
        if (self.uid, self.gid) != (0, 0) {
            record.field(TAG_OWNER, varints(&[self.uid.into(), self.gid.into()]));
        }
        if !(self.user.is_empty() && self.group.is_empty()) {
            record.field(TAG_NAMES, made(|out| [&self.user, &self.group].into_iter().for_each(|n| put_bytes(out, n))));
        }
        if self.mtime != Mtime::default() {
            let (seconds, nanoseconds) = (self.mtime.seconds.to_le_bytes(), self.mtime.nanoseconds.to_le_bytes());
            record.field(TAG_MTIME, [&seconds[..], &nanoseconds].concat());
        }
        self.encode_content(&mut record);
        if let Some(target) = &self.link_target {
            record.field(TAG_LINK, &target[..]);
        }
        if let Some(path) = &self.hardlink {
            record.field(TAG_HARDLINK, &path[..]);
        }
        if let Some((major, minor)) = self.device {
            record.field(TAG_DEVICE, varints(&[major.into(), minor.into()]));
        }
        if !self.xattrs.is_empty() {
            record.field(TAG_XATTRS, encode_xattrs(&self.xattrs));
        }
        if let Some(piece) = &self.xattr_block {
            record.field(TAG_XATTR_BLOCK, made(|out| put_keyed(out, piece)));
        }
        record.unknown(&self.unknown).finish()
    }

    fn encode_content(&self, record: &mut RecordWriter) {
        if self.size != 0 {
            record.field(TAG_SIZE, varints(&[self.size]));
        }
        match &self.content {
            Content::None => {}
            Content::Inline(bytes) => _ = record.field(TAG_INLINE, &bytes[..]),
            Content::Pieces(pieces) => _ = record.field(TAG_PIECES, made(|out| pieces.iter().for_each(|p| p.put(out)))),
            Content::List { key, level } => _ = record.field(TAG_LIST, [&key.as_bytes()[..], &[*level]].concat()),
        }
    }

    /// Reads an entry and checks every rule that needs no other entry.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(EntryView::parse(bytes)?.to_entry())
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// The blocks it refers to, in the order of the format; equal ones again and again.
    pub fn references(&self) -> impl Iterator<Item = (Kind, &ContentKey)> {
        let (pieces, list) = match &self.content {
            Content::Pieces(pieces) => (&pieces[..], None),
            Content::List { key, .. } => (&[][..], Some((Kind::List, key))),
            Content::None | Content::Inline(_) => (&[][..], None),
        };
        pieces.iter().filter_map(data_reference).chain(list).chain(self.xattr_block.as_ref().and_then(data_reference))
    }
}

fn data_reference(piece: &Piece) -> Option<(Kind, &ContentKey)> {
    piece.data.as_ref().map(|key| (Kind::Data, key))
}

fn made(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut out);
    out
}

fn varints(values: &[u64]) -> Vec<u8> {
    made(|out| values.iter().for_each(|value| put_varint(out, *value)))
}

/// A hole here gives a field without a key, which is refused.
fn put_keyed(out: &mut Vec<u8>, piece: &Piece) {
    put_varint(out, piece.len);
    piece.data.iter().for_each(|key| out.extend_from_slice(key.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_ENTRY_BLOCKS, MAX_INLINE_XATTRS, MAX_RAW};
    use crate::manifest::sample;

    fn key(n: u8) -> ContentKey {
        ContentKey::from_bytes([n; 32])
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn refused(entry: &Entry) -> bool {
        Entry::decode(&entry.encode()).is_err()
    }

    #[test]
    fn an_entry_of_each_type_is_pinned() {
        let head = |t: u8| format!("0301{t:02x}0502a403");
        let owned = "0603e80764080b04726f6f7405776865656c0a0c010000000000000002000000";
        let k = |n: u8| format!("{n:02x}").repeat(32);
        let cases = [
            (FileType::File, owned.to_owned()),
            (FileType::Directory, owned.to_owned()),
            (FileType::Symlink, format!("{owned}15062e2e2f652e2e")),
            (FileType::Fifo, owned.to_owned()),
            (FileType::Socket, owned.to_owned()),
            (FileType::CharDevice, format!("{owned}1903018102")),
            (FileType::BlockDevice, format!("{owned}1903018102")),
        ];
        let mut wrong = Vec::new();
        for (file_type, rest) in cases {
            let mut entry = Entry::new(file_type);
            (entry.mode, entry.uid, entry.gid) = (0o644, 1000, 100);
            (entry.user, entry.group) = (b"root".to_vec(), b"wheel".to_vec());
            entry.mtime = Mtime { seconds: 1, nanoseconds: 2 };
            entry.link_target = (file_type == FileType::Symlink).then(|| b"../e..".to_vec());
            entry.device = file_type.is_device().then_some((1, 257));
            wrong.extend(differs(&entry, &(head(file_type as u8) + &rest)));
        }
        let contents = [
            (3, Content::Inline(b"abc".to_vec()), "0d01030f03616263".to_owned()),
            (7, Content::Pieces(vec![Piece::data(4, key(1)), Piece::hole(3)]), format!("0d0107112208{}07", k(1))),
            (300, Content::List { key: key(2), level: 1 }, format!("0d02ac021321{}01", k(2))),
        ];
        for (size, content, rest) in contents {
            let entry = Entry { mode: 0o644, size, content, ..Entry::new(FileType::File) };
            wrong.extend(differs(&entry, &(head(1) + &rest)));
        }
        let mut entry = Entry { mode: 0o644, hardlink: Some(b"a/b".to_vec()), ..Entry::new(FileType::File) };
        entry.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec())];
        wrong.extend(differs(&entry, &(head(1) + "1703612f621a0906757365722e610131")));
        entry.xattrs = Vec::new();
        entry.xattr_block = Some(Piece::data(5000, key(3)));
        wrong.extend(differs(&entry, &(head(1) + "1703612f621d228827" + &k(3))));
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn differs(entry: &Entry, expected: &str) -> Option<(String, String)> {
        let bytes = entry.encode();
        assert_eq!(Entry::decode(&bytes).as_ref(), Ok(entry));
        (hex(&bytes) != expected).then(|| (hex(&bytes), expected.to_owned()))
    }

    #[test]
    fn an_entry_that_breaks_a_rule_is_refused() {
        let file =
            Entry { size: 4, content: Content::Pieces(vec![Piece::data(4, key(1))]), ..Entry::new(FileType::File) };
        let link = Entry { link_target: Some(b"t".to_vec()), ..Entry::new(FileType::Symlink) };
        let device = Entry { device: Some((1, 2)), ..Entry::new(FileType::CharDevice) };
        let plain = Entry::new(FileType::File);
        for good in [&file, &link, &device, &plain] {
            assert!(!refused(good), "{good:?}");
        }
        let nine: Vec<_> = (0..=MAX_ENTRY_BLOCKS as u8).map(|n| Piece::data(1, key(n))).collect();
        let pieces = |size, pieces| Entry { size, content: Content::Pieces(pieces), ..plain.clone() };
        let xattr = |name: &[u8], value: &[u8]| (name.to_vec(), value.to_vec());
        let bad = [
            Entry { mode: 0o10000, ..plain.clone() },
            Entry { mtime: Mtime { seconds: 0, nanoseconds: 1_000_000_000 }, ..plain.clone() },
            Entry { size: 1, ..plain.clone() },
            Entry { size: 5, ..file.clone() },
            Entry { size: 0, ..file.clone() },
            Entry { file_type: FileType::Directory, ..file.clone() },
            Entry { hardlink: Some(b"a".to_vec()), ..file },
            Entry { hardlink: Some(b"a/..".to_vec()), ..plain.clone() },
            Entry { hardlink: Some(b"a".to_vec()), ..Entry::new(FileType::Fifo) },
            Entry { link_target: None, ..link.clone() },
            Entry { link_target: Some(Vec::new()), ..link.clone() },
            Entry { link_target: Some(b"a\0".to_vec()), ..link },
            Entry { link_target: Some(b"t".to_vec()), ..plain.clone() },
            Entry { device: None, ..device },
            Entry { device: Some((1, 2)), ..plain.clone() },
            Entry { content: Content::Inline(Vec::new()), ..plain.clone() },
            Entry { size: 1 << 15, content: Content::Inline(vec![1; 1 << 15]), ..plain.clone() },
            Entry { content: Content::Pieces(Vec::new()), ..plain.clone() },
            pieces(nine.len() as u64, nine),
            pieces(5, vec![Piece::hole(2), Piece::hole(3)]),
            pieces(2, vec![Piece::hole(2), Piece::hole(0)]),
            pieces(MAX_RAW as u64 + 1, vec![Piece::data(MAX_RAW as u64 + 1, key(1))]),
            Entry { size: 9, content: Content::List { key: key(1), level: 32 }, ..plain.clone() },
            Entry { size: 0, content: Content::List { key: key(1), level: 0 }, ..plain.clone() },
            Entry { xattrs: vec![xattr(b"b", b""), xattr(b"a", b"")], ..plain.clone() },
            Entry { xattrs: vec![xattr(b"a", b""), xattr(b"a", b"")], ..plain.clone() },
            Entry { xattrs: vec![xattr(b"", b"1")], ..plain.clone() },
            Entry { xattrs: vec![xattr(b"a", &[0; MAX_INLINE_XATTRS])], ..plain.clone() },
            Entry { xattr_block: Some(Piece::data(MAX_INLINE_XATTRS as u64, key(1))), ..plain.clone() },
            Entry { xattr_block: Some(Piece::hole(5000)), ..plain.clone() },
            Entry { xattrs: vec![xattr(b"a", b"")], xattr_block: Some(Piece::data(5000, key(1))), ..plain.clone() },
            Entry { user: vec![b'a'; 2000], ..plain.clone() },
        ];
        for bad in bad {
            assert!(refused(&bad), "{bad:?}");
        }
    }

    #[test]
    fn a_default_that_is_written_is_refused() {
        let start = [3, 1, 1, 5, 1, 0];
        assert!(Entry::decode(&start).is_ok());
        for default in [&[6, 2, 0, 0][..], &[8, 2, 0, 0], &[10, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[13, 1, 0]] {
            assert!(Entry::decode(&[&start, default].concat()).is_err(), "{default:?}");
        }
    }

    #[test]
    fn unknown_fields_are_kept_and_critical_ones_refused() {
        let bytes = Entry::new(FileType::Fifo).encode();
        let later = [&bytes[..], &[30, 2, 7, 7]].concat();
        let entry = Entry::decode(&later).unwrap();
        assert_eq!(entry.unknown, [UnknownField { tag: optional(15), value: vec![7, 7] }]);
        assert_eq!(entry.encode(), later);
        assert!(Entry::decode(&[&bytes[..], &[31, 2, 7, 7]].concat()).is_err());
    }

    #[test]
    fn an_entry_cut_or_flipped_anywhere_is_refused_or_encodes_again_to_the_same() {
        for entry in sample::entries() {
            let bytes = entry.encode();
            for len in 0..bytes.len() {
                // A cut between fields may leave a valid, smaller entry.
                assert!(Entry::decode(&bytes[..len]).map_or(true, |e| e.encode() == bytes[..len]), "cut at {len}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut bad = bytes.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Entry::decode(&bad).map_or(true, |e| e != entry && e.encode() == bad), "bit {bit}");
            }
        }
    }
}
