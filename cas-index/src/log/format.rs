//! Bytes of a log file: header, groups, records. FORMAT §9.

use cas_core::codec::{FormatError, Reader};
use cas_core::id::Epoch;
use cas_core::kdf;

const MAGIC: &[u8; 4] = b"CASL";
const VERSION: u8 = 1;
const GROUP_MAGIC: &[u8; 4] = b"CASG";
const CHECK_LEN: usize = 16;
/// Bytes of a file header.
pub const HEADER_LEN: usize = 4 + 4 + 8 + CHECK_LEN;
const GROUP_FIELDS: usize = 4 + 4 + 8 + 8 + 4 + 4;
const GROUP_HEADER: usize = GROUP_FIELDS + CHECK_LEN;
/// A group that says it is longer is none.
const MAX_PAYLOAD: usize = 256 << 20;

const _: () = assert!(HEADER_LEN == 32 && GROUP_HEADER == 48);

/// Why a place in a log does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {why}")]
pub struct LogError {
    /// Where in the file.
    pub at: u64,
    /// What is wrong.
    pub why: String,
}

/// One command as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its time, nanoseconds since 1970.
    pub time_ns: i64,
    /// The encoded command.
    pub command: Vec<u8>,
}

/// Records that were written together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Where in the file.
    pub at: u64,
    /// Everything up to this epoch was known to be durable when it was written.
    pub durable: Epoch,
    /// The records; none marks a clean end.
    pub records: Vec<Record>,
}

/// A file as far as it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The groups from the start on.
    pub groups: Vec<Group>,
    /// Bytes up to the end of the last of them (0 if the file header does not read).
    pub valid_len: u64,
    /// The epoch after the last record.
    pub next: Epoch,
    /// What stopped the reading, if not the end.
    pub fault: Option<LogError>,
    /// The highest durable epoch that a valid group behind the fault names.
    pub behind: Option<Epoch>,
}

/// The header of a file.
pub fn encode_header(first: Epoch) -> [u8; HEADER_LEN] {
    let mut out = [0; HEADER_LEN];
    out[..4].copy_from_slice(MAGIC);
    out[4] = VERSION;
    out[8..16].copy_from_slice(&first.0.to_le_bytes());
    let check = check(&out[..16], &[]);
    out[16..].copy_from_slice(&check);
    out
}

/// A group of (time, command).
pub fn encode_group(first: Epoch, durable: Epoch, records: &[(i64, &[u8])]) -> Vec<u8> {
    let payload: usize = records.iter().map(|(_, command)| 12 + command.len()).sum();
    let mut out = Vec::with_capacity(GROUP_HEADER + payload);
    out.extend_from_slice(GROUP_MAGIC);
    out.extend_from_slice(&u32::try_from(payload).expect("groups are bounded").to_le_bytes());
    out.extend_from_slice(&first.0.to_le_bytes());
    out.extend_from_slice(&durable.0.to_le_bytes());
    out.extend_from_slice(&(records.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4 + CHECK_LEN]);
    for (time_ns, command) in records {
        out.extend_from_slice(&(command.len() as u32).to_le_bytes());
        out.extend_from_slice(&time_ns.to_le_bytes());
        out.extend_from_slice(command);
    }
    let check = check(&out[..GROUP_FIELDS], &out[GROUP_HEADER..]);
    out[GROUP_FIELDS..GROUP_HEADER].copy_from_slice(&check);
    out
}

/// Reads a file whose first record should have epoch `first`, as far as it reads.
pub fn parse(bytes: &[u8], first: Epoch) -> Parsed {
    let mut out = Parsed { groups: Vec::new(), valid_len: 0, next: first, fault: None, behind: None };
    let mut at = match header(bytes, first) {
        Ok(()) => HEADER_LEN,
        Err(e) => {
            out.fault = Some(fault(0, e));
            // The header was durable before anything was written behind it.
            out.behind = behind(bytes).map(|durable| durable.max(first));
            return out;
        }
    };
    out.valid_len = at as u64;
    while at < bytes.len() {
        match group(&bytes[at..], at, out.next) {
            Ok((group, len)) => {
                out.next = Epoch(out.next.0 + group.records.len() as u64);
                out.groups.push(group);
                at += len;
                out.valid_len = at as u64;
            }
            Err(e) => {
                out.fault = Some(fault(at, e));
                out.behind = behind(&bytes[at..]);
                break;
            }
        }
    }
    out
}

fn fault(at: usize, e: FormatError) -> LogError {
    LogError { at: (at + e.at) as u64, why: format!("expected {}", e.expected) }
}

fn header(bytes: &[u8], first: Epoch) -> Result<(), FormatError> {
    let mut r = Reader::new("log header", bytes);
    r.expect(MAGIC, "the magic CASL")?;
    r.expect(&[VERSION, 0, 0, 0], "version 1")?;
    r.expect(&first.0.to_le_bytes(), "the first epoch that the name of the file says")?;
    r.expect(&check(&bytes[..16], &[]), "the checksum of the header")
}

/// The group at the start of `bytes`, which is at `at` in the file, and its length.
fn group(bytes: &[u8], at: usize, next: Epoch) -> Result<(Group, usize), FormatError> {
    let mut r = Reader::new("log group", bytes);
    let (len, durable, count) = verified(&mut r, bytes, Some(next))?;
    let mut payload = Reader::new("log group", &bytes[..len]);
    payload.take(GROUP_HEADER)?;
    let mut records = Vec::new();
    for n in 0..u64::from(count) {
        let command_len = payload.u32()? as usize;
        let time_ns = payload.i64()?;
        let command = payload.take(command_len)?.to_vec();
        records.push(Record { epoch: Epoch(next.0 + n), time_ns, command });
    }
    payload.finish()?;
    Ok((Group { at: at as u64, durable, records }, len))
}

/// Length, durable epoch and number of records of a group whose checksum holds.
fn verified(r: &mut Reader<'_>, bytes: &[u8], next: Option<Epoch>) -> Result<(usize, Epoch, u32), FormatError> {
    r.expect(GROUP_MAGIC, "the magic CASG")?;
    if bytes.len() < GROUP_HEADER {
        return Err(r.error("a group that ends in the file"));
    }
    let payload = r.u32()? as usize;
    let first = r.u64()?;
    if next.is_some_and(|next| next.0 != first) {
        return Err(r.error("the epoch after that of the record before"));
    }
    let (durable, count) = (Epoch(r.u64()?), r.u32()?);
    r.expect(&[0; 4], "zeros")?;
    if payload > MAX_PAYLOAD || payload > bytes.len() - GROUP_HEADER {
        return Err(r.error("a group that ends in the file"));
    }
    let len = GROUP_HEADER + payload;
    r.expect(&check(&bytes[..GROUP_FIELDS], &bytes[GROUP_HEADER..len]), "the checksum of the group")?;
    Ok((len, durable, count))
}

/// The highest durable epoch that a valid group anywhere in these bytes names.
fn behind(bytes: &[u8]) -> Option<Epoch> {
    let mut highest = None;
    let mut at = 0;
    while at + GROUP_HEADER <= bytes.len() {
        let rest = &bytes[at..];
        if !rest.starts_with(GROUP_MAGIC) {
            at += 1;
            continue;
        }
        match verified(&mut Reader::new("log group", rest), rest, None) {
            Ok((len, durable, _)) => {
                highest = highest.max(Some(durable));
                at += len;
            }
            Err(_) => at += 1,
        }
    }
    highest
}

fn check(fields: &[u8], payload: &[u8]) -> [u8; CHECK_LEN] {
    let mut both = Vec::with_capacity(fields.len() + payload.len());
    both.extend_from_slice(fields);
    both.extend_from_slice(payload);
    kdf::hash(&both)[..CHECK_LEN].try_into().expect("16 of 32")
}
