//! Goes through a segment from record to record, and tells a torn tail from damage. FORMAT §8.
//!
//! Promise: a scan shows every record that can be read, also behind damage, and never reads bodies to find the next one.
//! Only what bears the segment's salt is a record. Bytes that the medium does not give are damage like others, but never a torn
//! tail: nothing is cut because of them. Errors that say nothing about the medium are errors.

use crate::disk::{self, DiskFile};
use crate::record::{HEADER_LEN, Record, Salt, What};
use crate::segment::{MAX_SEGMENT, SEGMENT_HEADER};
use cas_core::id::Sum;
use std::io;

/// Read at once where record follows record closely …
const READ_NEAR: usize = 256 << 10;
/// … and where they lie far apart.
const READ_FAR: usize = 4 << 10;
/// The distance that makes the difference, in bytes.
const NEAR: u64 = 16 << 10;
/// What a disk reads at least: the unit in which unreadable bytes are skipped.
const SECTOR: usize = 4 << 10;

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

/// Goes through a segment from record to record, headers only.
pub struct Scan<'a> {
    /// The salt that counts; any if there is none.
    salt: Option<Salt>,
    /// That of the last record.
    met: Option<Salt>,
    /// Whether it is the newest segment, whose tail may be torn.
    newest: bool,
    at: u64,
    len: u64,
    window: Window<'a>,
    ended: bool,
}

impl<'a> Scan<'a> {
    /// Begins at `from`, where a record begins.
    pub fn new(file: &'a dyn DiskFile, salt: Salt, newest: bool, from: u64) -> io::Result<Self> {
        let of_any = Self::of_any(file)?;
        Ok(Self { salt: Some(salt), newest, at: from.max(SEGMENT_HEADER), ..of_any })
    }

    /// Takes records with any salt.
    fn of_any(file: &'a dyn DiskFile) -> io::Result<Self> {
        let len = file.byte_len()?.min(MAX_SEGMENT);
        let window = Window { file, at: 0, bytes: Vec::new(), unreadable: None };
        Ok(Self { salt: None, met: None, newest: false, at: SEGMENT_HEADER, len, window, ended: false })
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
        let parsed = self.window.read(at, HEADER_LEN)?.and_then(Record::parse);
        let parsed = parsed.filter(|(salt, record)| {
            self.salt.is_none_or(|right| right == *salt) && at + record.total_len() <= self.len
        });
        self.met = parsed.map(|(salt, _)| salt).or(self.met);
        Ok(parsed.map(|(_, record)| record))
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

/// The salt of a segment whose header is lost: `hint` if any record bears it, or else that of the first record.
pub fn learn(file: &dyn DiskFile, hint: Option<Salt>) -> io::Result<Salt> {
    for salt in hint.map(Some).into_iter().chain([None]) {
        let mut scan = Scan { salt, ..Scan::of_any(file)? };
        while let Some(found) = scan.step()? {
            if let (Found::Record(..), Some(met)) = (found, scan.met) {
                return Ok(met);
            }
        }
    }
    Ok(hint.unwrap_or(Salt([0; Salt::LEN])))
}

/// Whether the body of a record is what its sum says.
pub fn body_is_good(file: &dyn DiskFile, at: u64, record: &Record) -> io::Result<bool> {
    if record.what != What::Block {
        return Ok(true);
    }
    let mut body = vec![0; record.len as usize];
    match file.read_at(at + HEADER_LEN as u64, &mut body) {
        Ok(()) => Ok(Sum::of(&body) == record.sum),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
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
        match self.file.read_at(at, &mut self.bytes) {
            Err(e) if disk::is_damage(&e) => self.fill_by_sectors(),
            done => done,
        }
    }

    /// Reads what the medium still gives.
    fn fill_by_sectors(&mut self) -> io::Result<()> {
        let mut at = self.at;
        for sector in self.bytes.chunks_mut(SECTOR) {
            match self.file.read_at(at, sector) {
                Ok(()) => {}
                Err(e) if disk::is_damage(&e) => {
                    sector.fill(0);
                    self.unreadable = Some(e);
                }
                Err(e) => return Err(e),
            }
            at += sector.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, LocalDisk};
    use crate::segment::{header, path};
    use cas_core::id::{BlockId, Epoch};
    use std::sync::Arc;

    const SALT: Salt = Salt([0x5a; 8]);

    fn file(bytes: &[u8]) -> (tempfile::TempDir, Arc<dyn DiskFile>) {
        let dir = tempfile::tempdir().unwrap();
        let file = LocalDisk.create(&path(dir.path(), 3)).unwrap();
        file.write_at(0, &[bytes]).unwrap();
        (dir, file)
    }

    fn scan(bytes: &[u8], newest: bool) -> Vec<Found> {
        let (_dir, file) = file(bytes);
        let mut scan = Scan::new(&*file, SALT, newest, 0).unwrap();
        std::iter::from_fn(|| scan.step().unwrap()).collect()
    }

    fn touch(n: u8, salt: Salt) -> [u8; HEADER_LEN] {
        Record::note(What::Touch, BlockId([n; 32]), Epoch(1)).encode(salt)
    }

    /// A segment with `n` touches.
    fn touches(n: u8) -> Vec<u8> {
        let mut bytes = header(3, SALT).to_vec();
        for i in 0..n {
            bytes.extend(touch(i, SALT));
        }
        bytes
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
        bytes.extend(touch(9, SALT));
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
        assert!(Scan::new(&*file, SALT, true, 0).unwrap().step().is_err());
        assert!(matches!(Scan::new(&*file, SALT, false, 0).unwrap().step(), Ok(Some(Found::Damage { .. }))));
    }

    #[test]
    fn what_stands_in_a_body_is_no_record_though_the_header_before_it_is_lost() {
        let forged = touch(66, Salt([0; 8])).repeat(3);
        let sum = Sum::of(&forged);
        let (kind, domain) = (cas_core::id::Kind::from_byte(1), cas_core::id::DomainId::ZERO);
        let block = Record {
            what: What::Block,
            kind,
            len: forged.len() as u32,
            group: 0,
            epoch: Epoch(1),
            domain,
            id: BlockId([1; 32]),
            sum,
        };
        let mut bytes = touches(1);
        bytes.extend(block.encode(SALT));
        bytes.extend(&forged);
        bytes.extend(touch(2, SALT));
        let from = SEGMENT_HEADER as usize + HEADER_LEN;
        bytes[from + 20] ^= 1;
        let to = (bytes.len() - HEADER_LEN) as u64;
        assert_eq!(scan(&bytes, true)[1], Found::Damage { from: from as u64, to });
        assert_eq!(scan(&bytes[..to as usize], true)[1], Found::End(from as u64), "a torn tail");
    }

    #[test]
    fn a_lost_salt_is_learned_from_the_records_and_a_forged_one_does_not_count() {
        let mut bytes = vec![0; SEGMENT_HEADER as usize];
        bytes.extend(touch(66, Salt([0; 8])));
        bytes.extend(touch(1, SALT));
        let (_dir, file) = file(&bytes);
        assert_eq!(learn(&*file, Some(SALT)).unwrap(), SALT);
        assert_eq!(learn(&*file, None).unwrap(), Salt([0; 8]), "nobody knows better");
        assert_eq!(learn(&*file, Some(Salt([7; 8]))).unwrap(), Salt([0; 8]));
    }
}
