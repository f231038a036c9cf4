//! Segment files: their names, headers, and a scan that tells a torn tail from damage. FORMAT §8.

use crate::record::{HEADER_LEN, Record, What};
use cas_core::id::Sum;
use cas_core::kdf;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"CASS";
const VERSION: u8 = 1;
/// Bytes before the first record.
pub const SEGMENT_HEADER: u64 = 32;
const READ: usize = 1 << 20;

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

/// The segments of a folder, ascending.
pub fn list(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|n| n.strip_suffix(".seg")).filter(|n| n.len() == 10);
        numbers.extend(number.and_then(|n| n.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
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

/// Scans a segment from `from`, headers only. `last` says whether it is the newest segment, whose tail may be torn.
pub fn scan(file: &File, from: u64, last: bool, mut visit: impl FnMut(Found)) -> io::Result<()> {
    let len = file.metadata()?.len();
    let mut window = Window { file, at: 0, bytes: Vec::new() };
    let mut at = from;
    if from <= SEGMENT_HEADER {
        at = SEGMENT_HEADER;
        let good = window.read(0, SEGMENT_HEADER as usize)?.is_some_and(is_header);
        if !good && len >= SEGMENT_HEADER {
            visit(Found::Damage { from: 0, to: SEGMENT_HEADER });
        }
    }
    loop {
        let header = window.read(at, HEADER_LEN)?;
        let record = header.and_then(Record::parse).filter(|r| at + r.total_len() <= len);
        if let Some(record) = record {
            visit(Found::Record(at, record));
            at += record.total_len();
            continue;
        }
        if at >= len {
            visit(Found::End(at));
            return Ok(());
        }
        match next_record(&mut window, at + 1, len)? {
            Some(next) => {
                visit(Found::Damage { from: at, to: next });
                at = next;
            }
            None if last => {
                visit(Found::End(at));
                return Ok(());
            }
            None => {
                visit(Found::Damage { from: at, to: len });
                visit(Found::End(len));
                return Ok(());
            }
        }
    }
}

/// The next offset at which a whole record stands.
fn next_record(window: &mut Window<'_>, from: u64, len: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    while at + HEADER_LEN as u64 <= len {
        let Some(bytes) = window.read(at, HEADER_LEN)? else { return Ok(None) };
        if Record::parse(bytes).is_some_and(|r| at + r.total_len() <= len) {
            return Ok(Some(at));
        }
        at += 1;
    }
    Ok(None)
}

fn is_header(bytes: &[u8]) -> bool {
    bytes[..4] == *MAGIC && bytes[4] == VERSION && kdf::hash(&bytes[..16])[..16] == bytes[16..32]
}

/// The version that a segment says it has; `None` if it does not begin like one.
pub fn version_of(file: &File) -> io::Result<Option<u8>> {
    let mut start = [0; 5];
    match file.read_exact_at(&mut start, 0) {
        Ok(()) => Ok((start[..4] == *MAGIC).then_some(start[4])),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether the body of a record is what its sum says.
pub fn body_is_good(file: &File, at: u64, record: &Record) -> io::Result<bool> {
    let mut body = vec![0; record.len as usize];
    match file.read_exact_at(&mut body, at + HEADER_LEN as u64) {
        Ok(()) => Ok(record.what != What::Block || Sum::of(&body) == record.sum),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// A part of a file in memory, moved on as needed.
struct Window<'a> {
    file: &'a File,
    at: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// `n` bytes at `at`; `None` past the end.
    fn read(&mut self, at: u64, n: usize) -> io::Result<Option<&[u8]>> {
        let inside = at >= self.at && at + n as u64 <= self.at + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(READ, 0);
            let mut filled = 0;
            while filled < READ {
                match self.file.read_at(&mut self.bytes[filled..], at + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e),
                }
            }
            self.bytes.truncate(filled);
            self.at = at;
        }
        let start = (at - self.at) as usize;
        Ok(self.bytes.get(start..start + n))
    }
}
