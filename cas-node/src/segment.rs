//! Segment files: their names, headers, and a scan that tells a torn tail from damage. FORMAT §8.
//!
//! Promise: a scan shows every record that can be read, also behind damage, and never reads bodies to find the next one.
//! Bytes that the disk will not give are damage like others, but never a torn tail: nothing is cut because of them.

use crate::disk::DiskFile;
use crate::record::{HEADER_LEN, Record, What};
use cas_core::id::Sum;
use cas_core::kdf;
use cas_net::{Result, ServiceError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"CASS";
const VERSION: u8 = 1;
/// Bytes before the first record.
pub const SEGMENT_HEADER: u64 = 32;
/// No segment is longer: offsets are u32.
pub const MAX_SEGMENT: u64 = 1 << 32;
/// Read at once where record follows record closely …
const READ_NEAR: usize = 256 << 10;
/// … and where they lie far apart.
const READ_FAR: usize = 4 << 10;
/// The distance that makes the difference, in bytes.
const NEAR: u64 = 16 << 10;
/// What a disk reads at least: the unit in which unreadable bytes are skipped.
const SECTOR: usize = 4 << 10;

/// The header of a segment.
pub fn header(number: u32) -> [u8; SEGMENT_HEADER as usize] {
    let mut out = [0; SEGMENT_HEADER as usize];
    out[..4].copy_from_slice(MAGIC);
    out[4] = VERSION;
    out[8..16].copy_from_slice(&u64::from(number).to_le_bytes());
    let check = kdf::hash(&out[..16]);
    out[16..].copy_from_slice(&check[..16]);
    out
}

/// The file of a segment.
pub fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number:010}.seg"))
}

/// The number in the name of a segment.
pub fn number_of(path: &Path) -> Option<u32> {
    let number = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    (number.len() == 10 && number.bytes().all(|b| b.is_ascii_digit())).then(|| number.parse().ok())?
}

/// The segments among these files, ascending.
pub fn numbers(files: &[PathBuf]) -> Vec<u32> {
    let mut numbers: Vec<u32> = files.iter().filter_map(|path| number_of(path)).collect();
    numbers.sort_unstable();
    numbers
}

/// What a scan meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A record and where it begins.
    Record(u64, Record),
    /// Bytes that are no record, with valid records behind them or in a segment that is closed.
    Damage {
        /// The first bad byte.
        from: u64,
        /// The first good byte behind.
        to: u64,
    },
    /// The end of what was written; whatever follows was never acknowledged.
    End(u64),
}

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Its header.
    Good,
    /// Fewer bytes than a header has: it was just being made.
    Short,
    /// Other bytes.
    Damaged,
}

/// Reads the header of a segment. Refuses one of another version, and one that is another segment than its name says.
pub fn begin(file: &dyn DiskFile, path: &Path, number: Option<u32>) -> Result<Beginning> {
    let mut found = [0; SEGMENT_HEADER as usize];
    match file.read_at(0, &mut found) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(Beginning::Short),
        Err(_) => return Ok(Beginning::Damaged),
    }
    let whole = found[..4] == *MAGIC && kdf::hash(&found[..16])[..16] == found[16..];
    if !whole {
        return Ok(Beginning::Damaged);
    }
    if found[4] != VERSION {
        let (found, known) = (found[4].into(), VERSION.into());
        return Err(ServiceError::Version { what: path.display().to_string(), found, known });
    }
    let said = u64::from_le_bytes(found[8..16].try_into().expect("8 bytes"));
    if number.is_some_and(|number| u64::from(number) != said) {
        let detail = format!("it says that it is segment {said}; give it the name it had");
        return Err(ServiceError::Damaged { what: path.display().to_string(), detail });
    }
    Ok(Beginning::Good)
}

/// Goes through a segment from record to record, headers only.
pub struct Scan<'a> {
    /// Whether it is the newest segment, whose tail may be torn.
    newest: bool,
    at: u64,
    len: u64,
    window: Window<'a>,
    ended: bool,
}

impl<'a> Scan<'a> {
    /// Begins at `from`, where a record begins.
    pub fn new(file: &'a dyn DiskFile, newest: bool, from: u64) -> io::Result<Self> {
        let len = file.byte_len()?.min(MAX_SEGMENT);
        let window = Window { file, at: 0, bytes: Vec::new(), unreadable: None };
        Ok(Self { newest, at: from.max(SEGMENT_HEADER), len, window, ended: false })
    }

    /// What comes next; nothing behind [`Found::End`].
    pub fn step(&mut self) -> io::Result<Option<Found>> {
        if self.ended {
            return Ok(None);
        }
        let at = self.at;
        if let Some(record) = self.record_at(at)? {
            self.at += record.total_len();
            return Ok(Some(Found::Record(at, record)));
        }
        if at >= self.len {
            self.ended = true;
            return Ok(Some(Found::End(at)));
        }
        match self.next_record(at + 1)? {
            Some(next) => self.at = next,
            None if self.newest => {
                if let Some(error) = self.window.unreadable.take() {
                    return Err(error);
                }
                self.ended = true;
                return Ok(Some(Found::End(at)));
            }
            None => self.at = self.len,
        }
        Ok(Some(Found::Damage { from: at, to: self.at }))
    }

    fn record_at(&mut self, at: u64) -> io::Result<Option<Record>> {
        let record = self.window.read(at, HEADER_LEN)?.and_then(Record::parse);
        Ok(record.filter(|record| at + record.total_len() <= self.len))
    }

    /// The next offset at which a whole record stands.
    fn next_record(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while at + HEADER_LEN as u64 <= self.len {
            let span = (self.len - at).min(READ_NEAR as u64) as usize;
            let Some(bytes) = self.window.read(at, span)? else { return Ok(None) };
            match Record::find_magic(bytes) {
                None => at += (span - HEADER_LEN.min(span - 1)) as u64,
                Some(ahead) => {
                    at += ahead as u64;
                    if self.record_at(at)?.is_some() {
                        return Ok(Some(at));
                    }
                    at += 1;
                }
            }
        }
        Ok(None)
    }
}

/// Whether the body of a record is what its sum says.
pub fn body_is_good(file: &dyn DiskFile, at: u64, record: &Record) -> io::Result<bool> {
    if record.what != What::Block {
        return Ok(true);
    }
    let mut body = vec![0; record.len as usize];
    match file.read_at(at + HEADER_LEN as u64, &mut body) {
        Ok(()) => Ok(Sum::of(&body) == record.sum),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// A part of a file in memory, moved on as needed.
struct Window<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    bytes: Vec<u8>,
    /// Why some bytes could not be read; they stand as zeros.
    unreadable: Option<io::Error>,
}

impl Window<'_> {
    /// `n` bytes at `at`; `None` past the end.
    fn read(&mut self, at: u64, n: usize) -> io::Result<Option<&[u8]>> {
        let end = self.at + self.bytes.len() as u64;
        if at < self.at || at + n as u64 > end {
            let far = at < self.at || at > end + NEAR;
            self.fill(at, n.max(if far { READ_FAR } else { READ_NEAR }))?;
        }
        let start = (at - self.at) as usize;
        Ok(self.bytes.get(start..start + n))
    }

    fn fill(&mut self, at: u64, n: usize) -> io::Result<()> {
        let left = self.file.byte_len()?.saturating_sub(at);
        self.bytes.clear();
        self.bytes.resize(left.min(n as u64) as usize, 0);
        self.at = at;
        if self.file.read_at(at, &mut self.bytes).is_err() {
            let mut place = at;
            for sector in self.bytes.chunks_mut(SECTOR) {
                if let Err(e) = self.file.read_at(place, sector) {
                    sector.fill(0);
                    self.unreadable = Some(e);
                }
                place += sector.len() as u64;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, LocalDisk};
    use cas_core::id::{BlockId, Epoch};
    use std::sync::Arc;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, Arc<dyn DiskFile>) {
        let dir = tempfile::tempdir().unwrap();
        let file = LocalDisk.create(&path(dir.path(), 3)).unwrap();
        file.write_at(0, &[bytes]).unwrap();
        (dir, file)
    }

    fn scan(bytes: &[u8], newest: bool) -> Vec<Found> {
        let (_dir, file) = file(bytes);
        let mut scan = Scan::new(&*file, newest, 0).unwrap();
        std::iter::from_fn(|| scan.step().unwrap()).collect()
    }

    /// A segment with `n` touches.
    fn touches(n: u8) -> Vec<u8> {
        let mut bytes = header(3).to_vec();
        for i in 0..n {
            Record::note(What::Touch, BlockId([i; 32]), Epoch(1)).put(&mut bytes);
        }
        bytes
    }

    #[test]
    fn the_bytes_of_a_segment_header_are_pinned() {
        let mut golden = b"CASS\x01\0\0\0\x0b\0\0\0\0\0\0\0".to_vec();
        golden.extend_from_slice(&kdf::hash(&golden)[..16]);
        assert_eq!(header(11)[..], golden);
        assert_eq!(golden[16..20], [157, 28, 29, 74]);
    }

    #[test]
    fn names_are_ten_digits_and_nothing_else() {
        let folder = Path::new("segments");
        assert_eq!(path(folder, 12), Path::new("segments/0000000012.seg"));
        let names = ["0000000012.seg", "12.seg", "+000000012.seg", "0000000012.seg.old", "9999999999.seg"];
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        assert_eq!(numbers(&files), [12]);
    }

    #[test]
    fn another_version_or_another_number_is_refused() {
        let mut later = header(3);
        later[4] = 2;
        let check = kdf::hash(&later[..16]);
        later[16..].copy_from_slice(&check[..16]);
        let begin_with = |bytes: &[u8]| begin(&*file(bytes).1, Path::new("3"), Some(3));
        assert!(matches!(begin_with(&later), Err(ServiceError::Version { found: 2, known: 1, .. })));
        assert!(matches!(begin_with(&header(4)), Err(ServiceError::Damaged { .. })));
        assert_eq!(begin_with(&header(3)).unwrap(), Beginning::Good);
        assert_eq!(begin_with(&header(3)[..31]).unwrap(), Beginning::Short);
        assert_eq!(begin_with(&[0; 32]).unwrap(), Beginning::Damaged);
    }

    #[test]
    fn what_follows_damage_is_found_and_only_the_newest_segment_has_a_torn_tail() {
        let good = touches(4);
        let third = (SEGMENT_HEADER as usize) + 2 * HEADER_LEN;
        let mut bad = good.clone();
        bad[third + 50] ^= 1;
        for newest in [false, true] {
            let found = scan(&bad, newest);
            let damage = Found::Damage { from: third as u64, to: (third + HEADER_LEN) as u64 };
            assert_eq!((found.len(), &found[2]), (5, &damage));
        }
        let cut = &good[..good.len() - 1];
        let last = (third + HEADER_LEN) as u64;
        assert_eq!(scan(cut, true).last(), Some(&Found::End(last)));
        let to = cut.len() as u64;
        assert_eq!(scan(cut, false)[3..], [Found::Damage { from: last, to }, Found::End(to)]);
    }

    #[test]
    fn a_record_far_behind_damage_is_found() {
        let mut bytes = touches(1);
        bytes.extend(std::iter::repeat_n(b'C', 3 * READ_NEAR + 17));
        let at = bytes.len() as u64;
        Record::note(What::Touch, BlockId([9; 32]), Epoch(1)).put(&mut bytes);
        let found = scan(&bytes, true);
        assert!(matches!(found[2], Found::Record(place, _) if place == at), "{found:?}");
    }

    #[test]
    fn bytes_the_disk_does_not_give_are_no_torn_tail() {
        use crate::disk::{Fault, FaultyDisk, Operation};
        let (dir, _file) = file(&touches(2));
        let disk = FaultyDisk::over(LocalDisk);
        let file = disk.open_read(&path(dir.path(), 3)).unwrap();
        disk.fail_always(Operation::Read, Fault::Error);
        assert!(Scan::new(&*file, true, 0).unwrap().step().is_err());
        assert!(matches!(Scan::new(&*file, false, 0).unwrap().step(), Ok(Some(Found::Damage { .. }))));
    }
}
