//! The bytes of an export. FORMAT §9.
//!
//! ```text
//! header  "CASX" ‖ version u8 = 1 ‖ 0 0 0 ‖ epoch u64 ‖ time i64 ‖ the index's key [32] ‖ BLAKE3(those 56 bytes)
//! chunk   BLAKE3(sum of header or chunk before ‖ what follows) ‖ table u8 ‖ 0 0 0 ‖ rows u32 ‖ payload length u32 ‖ payload
//! row     key length u32 ‖ value length u32 ‖ key ‖ value
//! end     a chunk of table 255 without rows; payload = rows u64
//! ```
//! Each sum hangs on the one before, so that chunks of two exports, or in another order, are none.

use crate::tables::Table;
use cas_core::id::{Epoch, PublicKey, Sum};
use cas_net::{Result, ServiceError};
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::path::Path;

const MAGIC: [u8; 4] = *b"CASX";
const VERSION: u8 = 1;
const SUM_LEN: usize = 32;
const HEADER_BODY: usize = 56;
const CHUNK_HEAD: usize = 12;
const END: u8 = 255;
const END_LEN: usize = 8;
const ROW_HEAD: usize = 8;
/// A chunk is closed when its payload is at least this long, in bytes.
const CHUNK: usize = 1 << 20;
/// The longest row, in bytes.
const MAX_ROW: usize = 64 << 20;
/// The longest payload.
const MAX_PAYLOAD: usize = CHUNK + MAX_ROW;

const _: () = assert!(END_LEN < CHUNK && MAX_PAYLOAD < u32::MAX as usize);
const _: () = assert!(Table::ALL.len() < END as usize);

/// What an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The last command in it.
    pub epoch: Epoch,
    /// Its time, nanoseconds since 1970.
    pub time_ns: i64,
    /// Whose it is.
    pub index: PublicKey,
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes an export.
pub(super) struct Writer<W> {
    to: W,
    summary: Summary,
    /// The sum before.
    sum: Sum,
    table: u8,
    rows_here: u32,
    /// Sum before, head, payload: what the next sum is of.
    chunk: Vec<u8>,
}

const PAYLOAD_AT: usize = SUM_LEN + CHUNK_HEAD;

impl<W: Write> Writer<W> {
    /// Writes the header.
    pub fn begin(mut to: W, epoch: Epoch, time_ns: i64, index: &PublicKey) -> Result<Self> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&[VERSION, 0, 0, 0]);
        head.extend_from_slice(&epoch.0.to_le_bytes());
        head.extend_from_slice(&time_ns.to_le_bytes());
        head.extend_from_slice(&index.0);
        assert_eq!(head.len(), HEADER_BODY);
        let sum = Sum::of(&head);
        head.extend_from_slice(&sum.0);
        to.write_all(&head).map_err(failed)?;
        let summary = Summary { epoch, time_ns, index: *index, rows: 0, bytes: head.len() as u64 };
        Ok(Self { to, summary, sum, table: 0, rows_here: 0, chunk: vec![0; PAYLOAD_AT] })
    }

    /// Writes a row; tables and keys in order.
    pub fn row(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        let len = ROW_HEAD + key.len() + value.len();
        if len > MAX_ROW {
            let detail = format!("a row of {len} bytes; at most {MAX_ROW}");
            return Err(ServiceError::Damaged { what: format!("table {}", table.name()), detail });
        }
        if table as u8 != self.table || self.chunk.len() >= PAYLOAD_AT + CHUNK {
            self.close_chunk()?;
        }
        self.table = table as u8;
        self.rows_here += 1;
        self.summary.rows += 1;
        for part in [key, value] {
            self.chunk.extend_from_slice(&u32::try_from(part.len()).expect("bounded").to_le_bytes());
        }
        self.chunk.extend_from_slice(key);
        self.chunk.extend_from_slice(value);
        Ok(())
    }

    /// Writes the end.
    pub fn end(mut self) -> Result<Summary> {
        self.close_chunk()?;
        self.table = END;
        self.chunk.extend_from_slice(&self.summary.rows.to_le_bytes());
        self.put_chunk()?;
        self.to.flush().map_err(failed)?;
        Ok(self.summary)
    }

    fn close_chunk(&mut self) -> Result<()> {
        if self.rows_here == 0 { Ok(()) } else { self.put_chunk() }
    }

    fn put_chunk(&mut self) -> Result<()> {
        let len = u32::try_from(self.chunk.len() - PAYLOAD_AT).expect("bounded");
        self.chunk[..SUM_LEN].copy_from_slice(&self.sum.0);
        self.chunk[SUM_LEN..SUM_LEN + 4].copy_from_slice(&[self.table, 0, 0, 0]);
        self.chunk[SUM_LEN + 4..SUM_LEN + 8].copy_from_slice(&self.rows_here.to_le_bytes());
        self.chunk[SUM_LEN + 8..PAYLOAD_AT].copy_from_slice(&len.to_le_bytes());
        self.sum = Sum::of(&self.chunk);
        self.chunk[..SUM_LEN].copy_from_slice(&self.sum.0);
        self.to.write_all(&self.chunk).map_err(failed)?;
        self.summary.bytes += self.chunk.len() as u64;
        self.chunk.truncate(PAYLOAD_AT);
        self.rows_here = 0;
        Ok(())
    }
}

fn failed(e: std::io::Error) -> ServiceError {
    ServiceError::io("write an export of the index", e)
}

/// Called with each row of an export.
pub(super) type Take<'a> = &'a mut dyn FnMut(Table, &[u8], &[u8]) -> Result<()>;

/// Reads an export to its end. Rows come before the end is known to be good: whoever takes them must be able to forget them.
pub(super) fn read(path: &Path, take: Take<'_>) -> Result<Summary> {
    let io = |e| ServiceError::io(format!("read {}", path.display()), e);
    let file = File::open(path).map_err(io)?;
    read_from(BufReader::with_capacity(CHUNK, file), take).map_err(|wrong| match wrong {
        Wrong::Io(e) => io(e),
        Wrong::Version(found) => {
            ServiceError::Version { what: path.display().to_string(), found: found.into(), known: VERSION.into() }
        }
        Wrong::Bytes(at, what) => {
            ServiceError::Damaged { what: path.display().to_string(), detail: format!("{what} (byte {at})") }
        }
        Wrong::Taken(why) => why,
    })
}

/// Why an export does not read.
#[derive(Debug)]
enum Wrong {
    Io(std::io::Error),
    Version(u8),
    /// At which byte, what.
    Bytes(u64, &'static str),
    Taken(ServiceError),
}

fn read_from(mut from: impl Read, take: Take<'_>) -> std::result::Result<Summary, Wrong> {
    let (mut summary, mut sum) = header(&mut from)?;
    let (mut rows, mut last) = (0u64, None::<(u8, Vec<u8>)>);
    loop {
        let at = summary.bytes;
        let bytes = |what| Wrong::Bytes(at, what);
        let mut chunk = vec![0; PAYLOAD_AT];
        fill(&mut from, &mut chunk, at)?;
        let number = |range: std::ops::Range<usize>| u32::from_le_bytes(chunk[range].try_into().expect("four bytes"));
        let (table, count) = (chunk[SUM_LEN], number(SUM_LEN + 4..SUM_LEN + 8));
        let len = number(SUM_LEN + 8..PAYLOAD_AT) as usize;
        if len > MAX_PAYLOAD || chunk[SUM_LEN + 1..SUM_LEN + 4] != [0; 3] {
            return Err(bytes("a chunk has no head"));
        }
        chunk.resize(PAYLOAD_AT + len, 0);
        fill(&mut from, &mut chunk[PAYLOAD_AT..], at)?;
        let said = Sum(chunk[..SUM_LEN].try_into().expect("32 bytes"));
        chunk[..SUM_LEN].copy_from_slice(&sum.0);
        sum = Sum::of(&chunk);
        if sum != said {
            return Err(bytes("a chunk is not what was written, or not in its place"));
        }
        summary.bytes += chunk.len() as u64;
        let payload = &chunk[PAYLOAD_AT..];
        if table == END {
            let whole = payload == rows.to_le_bytes() && count == 0;
            let after = from.read(&mut [0]).map_err(Wrong::Io)?;
            summary.rows = rows;
            return if whole && after == 0 { Ok(summary) } else { Err(bytes("the end is none")) };
        }
        let known = Table::ALL.get(usize::from(table)).ok_or_else(|| bytes("there is no such table"))?;
        let mut rest = payload;
        for _ in 0..count {
            let (key, value, after) = row(rest).ok_or_else(|| bytes("a row ends before its end"))?;
            rest = after;
            if last.as_ref().is_some_and(|(t, k)| (*t, &k[..]) >= (table, key)) {
                return Err(bytes("rows are not in order"));
            }
            last = Some((table, key.to_vec()));
            take(*known, key, value).map_err(Wrong::Taken)?;
            rows += 1;
        }
        if !rest.is_empty() {
            return Err(bytes("a chunk is longer than its rows"));
        }
    }
}

fn header(from: &mut impl Read) -> std::result::Result<(Summary, Sum), Wrong> {
    let mut head = [0; HEADER_BODY + SUM_LEN];
    fill(from, &mut head, 0)?;
    let (body, said) = head.split_at(HEADER_BODY);
    if body[..4] != MAGIC {
        return Err(Wrong::Bytes(0, "it is no export of an index"));
    }
    if body[4] != VERSION {
        return Err(Wrong::Version(body[4]));
    }
    let sum = Sum::of(body);
    if sum.0 != said || body[5..8] != [0; 3] {
        return Err(Wrong::Bytes(0, "the header is not what was written"));
    }
    let eight = |at: usize| body[at..at + 8].try_into().expect("eight bytes");
    let index = PublicKey(body[24..HEADER_BODY].try_into().expect("32 bytes"));
    let (epoch, time_ns) = (Epoch(u64::from_le_bytes(eight(8))), i64::from_le_bytes(eight(16)));
    Ok((Summary { epoch, time_ns, index, rows: 0, bytes: head.len() as u64 }, sum))
}

fn row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key_len, rest) = bytes.split_first_chunk::<4>()?;
    let (value_len, rest) = rest.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    Some((key, value, rest))
}

fn fill(from: &mut impl Read, to: &mut [u8], at: u64) -> std::result::Result<(), Wrong> {
    from.read_exact(to).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => Wrong::Bytes(at, "it ends too early"),
        _ => Wrong::Io(e),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, Epoch(5), -1, &PublicKey([9; 32])).unwrap();
        writer.row(Table::Meta, b"meta", b"m").unwrap();
        writer.row(Table::Blocks, &[1; 32], b"one").unwrap();
        writer.row(Table::Blocks, &[2; 32], b"").unwrap();
        let summary = writer.end().unwrap();
        assert_eq!(summary.bytes, bytes.len() as u64);
        bytes
    }

    type Found = (Table, Vec<u8>, Vec<u8>);

    fn rows(bytes: &[u8]) -> std::result::Result<Vec<Found>, Wrong> {
        let mut out = Vec::new();
        let summary = read_from(bytes, &mut |table, key, value| {
            out.push((table, key.to_vec(), value.to_vec()));
            Ok(())
        })?;
        assert_eq!((summary.rows, summary.bytes), (out.len() as u64, bytes.len() as u64));
        assert_eq!((summary.epoch, summary.time_ns, summary.index), (Epoch(5), -1, PublicKey([9; 32])));
        Ok(out)
    }

    #[test]
    fn an_export_has_its_golden_bytes_and_reads_back() {
        let bytes = small();
        let head = [&b"CASX\x01\0\0\0\x05\0\0\0\0\0\0\0"[..], &[0xff; 8], &[9; 32]].concat();
        assert_eq!(bytes[..56], head);
        assert_eq!(bytes[56..88], Sum::of(&head).0);
        let first = b"\0\0\0\0\x01\0\0\0\x0d\0\0\0\x04\0\0\0\x01\0\0\0metam";
        assert_eq!(bytes[120..145], first[..]);
        assert_eq!(bytes[88..120], Sum::of(&[&bytes[56..88], first].concat()).0);
        assert_eq!(bytes[bytes.len() - 20..], *b"\xff\0\0\0\0\0\0\0\x08\0\0\0\x03\0\0\0\0\0\0\0");
        let expected = [(Table::Meta, b"meta".to_vec(), b"m".to_vec())];
        assert_eq!(rows(&bytes).unwrap()[..1], expected);
        assert_eq!(rows(&bytes).unwrap().len(), 3);
    }

    #[test]
    fn no_cut_no_flipped_bit_and_no_more_is_read_as_whole() {
        let bytes = small();
        for cut in 0..bytes.len() {
            assert!(matches!(rows(&bytes[..cut]), Err(Wrong::Bytes(..))), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(rows(&flipped).is_err(), "byte {at}");
        }
        assert!(rows(&[&bytes[..], &[0]].concat()).is_err());
        assert!(matches!(rows(b"CASX\x02\0\0\0"), Err(Wrong::Bytes(..))));
    }

    #[test]
    fn many_rows_go_in_several_chunks() {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, Epoch(5), -1, &PublicKey([9; 32])).unwrap();
        for n in 0..50_000u32 {
            writer.row(Table::Rights, &n.to_be_bytes(), &[7; 60]).unwrap();
        }
        writer.end().unwrap();
        assert_eq!(rows(&bytes).unwrap().len(), 50_000);
    }
}
