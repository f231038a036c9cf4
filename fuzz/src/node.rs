//! The node: records and segments. FORMAT §8.

use super::input::Input;
use cas_core::id::Sum;
use cas_core::kdf;
use cas_node::inspect::{self, Found};
use cas_node::{HEADER_LEN, Record, Salt, What};
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

const SEGMENT_HEADER: usize = 32;
const CHECKED_FROM: usize = 8;

/// The header of a record, with whatever checksum it has and with the right one: what parses is written the same again.
pub fn segment_record(input: &[u8]) -> bool {
    let plain = Record::parse(input).inspect(|(salt, record)| check_record(*salt, record, input));
    let Some(header) = input.get(..HEADER_LEN) else { return false };
    let header = with_check(header.to_vec());
    let forged = Record::parse(&header).inspect(|(salt, record)| check_record(*salt, record, &header));
    plain.or(forged).is_some()
}

fn check_record(salt: Salt, record: &Record, header: &[u8]) {
    assert_eq!(record.encode(salt), header[..HEADER_LEN]);
    assert_eq!(record.total_len(), HEADER_LEN as u64 + u64::from(record.len));
    assert_eq!(record.kind.is_some(), record.what == What::Block);
}

fn with_check(mut header: Vec<u8>) -> Vec<u8> {
    header[..4].copy_from_slice(b"CASR");
    let check = kdf::hash(&header[CHECKED_FROM..]);
    header[4..CHECKED_FROM].copy_from_slice(&check[..4]);
    header
}

/// The first byte says what the rest is: a segment file, or the records that are put into one. What is found covers the
/// file without gap and overlap, and only a body with its sum is called good.
pub fn segment(input: &[u8]) -> bool {
    let mut input = Input(input);
    let bytes = if input.byte() == 1 { forged_segment(input) } else { input.0.to_vec() };
    let file = memory_file(&bytes);
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let found = match inspect::segment(Path::new(&path)) {
        Ok(found) => found,
        Err(e) => {
            assert!(bytes.starts_with(b"CASS") && bytes[4] > 1, "only another version is refused: {e}");
            return false;
        }
    };
    check_found(&bytes, &found);
    for (found, good) in &found {
        if let (Found::Record(at, record), true) = (found, good) {
            assert_eq!(
                inspect::body(Path::new(&path), *at, record).expect("it was read before").len(),
                record.len as usize
            );
        }
    }
    found.iter().any(|(found, good)| *good && matches!(found, Found::Record(_, record) if record.what == What::Block))
}

fn check_found(bytes: &[u8], found: &[(Found, bool)]) {
    let count = found.len();
    let header_is_damaged = matches!(found.first(), Some((Found::Damage { from: 0, .. }, _)));
    let mut at = if header_is_damaged { 0 } else { SEGMENT_HEADER as u64 };
    for (n, (found, good)) in found.iter().enumerate() {
        at = match found {
            Found::Record(from, record) => {
                assert_eq!(*from, at, "no gap and no overlap");
                let body = &bytes[*from as usize + HEADER_LEN..(from + record.total_len()) as usize];
                assert_eq!(*good, record.what != What::Block || Sum::of(body) == record.sum);
                from + record.total_len()
            }
            Found::Damage { from, to } => {
                assert!(*from == at && to > from && *to <= bytes.len() as u64, "no gap and no overlap");
                *to
            }
            Found::End(end) => {
                assert!(*end == at && n + 1 == count, "the end comes last, right behind the rest");
                *end
            }
        };
    }
    assert!(matches!(found.last(), Some((Found::End(_), _))), "a scan has an end");
}

/// A segment of records whose checksums are right, and rubbish between them.
fn forged_segment(mut input: Input<'_>) -> Vec<u8> {
    let mut out = segment_header();
    while !input.0.is_empty() {
        let choice = input.byte();
        let bytes = input.blob().unwrap_or_default();
        if choice & 0x80 != 0 {
            out.extend_from_slice(bytes);
            continue;
        }
        let mut header = vec![0; HEADER_LEN];
        let what = choice % 6;
        // Now and then with the salt of another segment.
        header[8..16].copy_from_slice(if choice % 11 == 5 { b"another!" } else { &SALT.0 });
        (header[16], header[17]) = (what, if what == 1 { 1 + choice / 6 % 5 } else { 0 });
        let len = if what == 1 { bytes.len() as u32 + u32::from(choice & 0x40) } else { 0 };
        header[20..24].copy_from_slice(&len.to_le_bytes());
        header[52..84].fill(choice);
        header[84..116].copy_from_slice(&Sum::of(bytes).0);
        out.extend_from_slice(&with_check(header));
        if what == 1 {
            out.extend_from_slice(bytes);
        }
    }
    out
}

/// The salt of [`segment_header`].
pub const SALT: Salt = Salt(*b"salted!!");

/// The header of a segment.
pub fn segment_header() -> Vec<u8> {
    let mut out = b"CASS\x01\0\0\0".to_vec();
    out.extend_from_slice(&0u64.to_le_bytes());
    out.extend_from_slice(&SALT.0);
    out.extend_from_slice(&kdf::hash(&out)[..8]);
    out
}

/// A file that is nowhere on a disk.
pub fn memory_file(bytes: &[u8]) -> File {
    let mut file = File::from(memfd_create("cas-fuzz", MemfdFlags::CLOEXEC).expect("memory for a file"));
    file.write_all(bytes).expect("memory for a file");
    file
}
