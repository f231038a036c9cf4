//! A directory of a snapshot as a tar archive: ustar headers, with pax records for what these cannot say (POSIX.1-2017, pax).
//!
//! Promise: names, contents, links, owners, times to the nanosecond and extended attributes come back with GNU tar, bsdtar
//! and every reader of pax. What is written of a file was verified; when something cannot be read the archive ends there,
//! with an error. Sockets are left out and named; holes become zeros.

use super::content::holder;
use super::{Book, go_on, inner_path, look_up, not_found, unreadable, write_file};
use crate::error::{ClientError, Result};
use cas_core::manifest::{Entry, EntryWithIds, FileType, Mtime, base_name_of, decode_xattrs};
use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;

const BLOCK: usize = 512;
/// The largest number in an octal field of 11 digits.
const MAX_OCTAL_11: u64 = 0o777_7777_7777;
/// The same for 7 digits.
const MAX_OCTAL_7: u64 = 0o777_7777;
const NAME_LEN: usize = 100;
const OWNER_LEN: usize = 31;

/// What was written.
#[derive(Debug, Default)]
pub struct TarReport {
    /// Entries.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// Sockets, which no archive can hold.
    pub left_out: Vec<Vec<u8>>,
}

/// Writes the directory `path` and everything below as an archive, its names beginning with that of the directory; an
/// empty path is the whole snapshot, with `top` as the entry of its root if that is known.
pub fn write_tar(
    book: &Book,
    path: &[u8],
    top: Option<&Entry>,
    out: &mut dyn Write,
    stop: &AtomicBool,
) -> Result<TarReport> {
    let mut tar = Tar { book, out, stop, written: HashMap::new(), report: TarReport::default() };
    match inner_path(path)? {
        None => {
            if let Some(top) = top {
                tar.directory(b".", top)?;
            }
            tar.all(book.cursor(), 0)?;
        }
        Some(dir) => {
            let skip = path.len() - base_name_of(path).len();
            tar.entry(&look_up(book, path)?, skip)?;
            tar.all(book.below(&dir), skip)?;
        }
    }
    tar.raw(&[0; 2 * BLOCK])?;
    tar.out.flush().map_err(failed)?;
    Ok(tar.report)
}

struct Tar<'a> {
    book: &'a Book,
    out: &'a mut dyn Write,
    stop: &'a AtomicBool,
    /// Names in the archive of files that others may be hardlinks to, where these differ from what the manifest says.
    written: HashMap<Vec<u8>, Vec<u8>>,
    report: TarReport,
}

impl Tar<'_> {
    fn all(
        &mut self,
        entries: impl Iterator<Item = std::result::Result<EntryWithIds, super::Unreadable>>,
        skip: usize,
    ) -> Result<()> {
        for entry in entries {
            go_on(self.stop)?;
            self.entry(&entry.map_err(unreadable)?, skip)?;
        }
        Ok(())
    }

    fn entry(&mut self, found: &EntryWithIds, skip: usize) -> Result<()> {
        let (path, entry) = (found.path.as_bytes(), &found.entry);
        let name = &path[skip..];
        let mut header = Header::new(name, entry);
        match entry.file_type {
            FileType::Directory => return self.directory(name, &with_xattrs(self.book, found)?),
            FileType::Socket => {
                self.report.left_out.push(path.to_vec());
                return Ok(());
            }
            FileType::File => return self.file(found, name, header),
            FileType::Symlink => {
                header.flag = b'2';
                header.link = entry.link_target.clone().unwrap_or_default();
            }
            FileType::Fifo => header.flag = b'6',
            FileType::CharDevice => header.flag = b'3',
            FileType::BlockDevice => header.flag = b'4',
        }
        self.header(&header, &with_xattrs(self.book, found)?)
    }

    fn directory(&mut self, name: &[u8], entry: &Entry) -> Result<()> {
        let mut header = Header::new(&[name, b"/"].concat(), entry);
        header.flag = b'5';
        self.header(&header, entry)
    }

    fn file(&mut self, found: &EntryWithIds, name: &[u8], mut header: Header) -> Result<()> {
        let entry = with_xattrs(self.book, found)?;
        let target = entry.hardlink.clone().unwrap_or_else(|| found.path.as_bytes().to_vec());
        if let Some(first) = self.written.get(&target).filter(|_| entry.hardlink.is_some()) {
            header.flag = b'1';
            header.link = first.clone();
            return self.header(&header, &entry);
        }
        // A hardlink whose first path is not in the archive becomes that first path.
        self.written.insert(target, name.to_vec());
        let held = holder(self.book, found)?;
        header.size = held.entry.size;
        self.header(&header, &entry)?;
        let written = write_file(self.book, &held, self.out, self.stop)?;
        self.report.bytes += written;
        self.pad(written)
    }

    fn header(&mut self, header: &Header, entry: &Entry) -> Result<()> {
        self.report.entries += 1;
        let records = header.pax(entry);
        if !records.is_empty() {
            let mut before = Header::new(b"PaxHeaders/entry", entry);
            (before.flag, before.size) = (b'x', records.len() as u64);
            self.raw(&before.encode())?;
            self.raw(&records)?;
            self.pad(records.len() as u64)?;
        }
        self.raw(&header.encode())
    }

    fn pad(&mut self, len: u64) -> Result<()> {
        let over = (len % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.raw(&[0; BLOCK][over..]) }
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)
    }
}

fn failed(error: std::io::Error) -> ClientError {
    ClientError::io("write the archive", error)
}

/// The entry with its extended attributes, wherever they are stored.
fn with_xattrs(book: &Book, found: &EntryWithIds) -> Result<Entry> {
    let mut entry = found.entry.clone();
    if let Some((piece, id)) = entry.xattr_block.take().zip(found.xattr_id()) {
        let key = piece.data.as_ref().ok_or_else(|| not_found(found.path.as_bytes()))?;
        let encoded = book.source().piece(&id, key, piece.len)?;
        let what = || format!("the attributes in block {id}");
        entry.xattrs = decode_xattrs(&encoded).map_err(|cause| ClientError::Format { what: what(), cause })?;
    }
    Ok(entry)
}

/// What one header says.
struct Header {
    name: Vec<u8>,
    link: Vec<u8>,
    flag: u8,
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: Mtime,
    user: Vec<u8>,
    group: Vec<u8>,
    device: (u32, u32),
}

impl Header {
    fn new(name: &[u8], entry: &Entry) -> Self {
        Self {
            name: name.to_vec(),
            link: Vec::new(),
            flag: b'0',
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            size: 0,
            mtime: entry.mtime,
            user: entry.user.clone(),
            group: entry.group.clone(),
            device: entry.device.unwrap_or_default(),
        }
    }

    /// 512 bytes; what does not fit is cut and stands in the pax records.
    fn encode(&self) -> [u8; BLOCK] {
        let mut out = [0; BLOCK];
        let mut text = |at: usize, len: usize, value: &[u8]| {
            let len = len.min(value.len());
            out[at..at + len].copy_from_slice(&value[..len]);
        };
        let octal_7 = |n: u64| format!("{:07o}", if n > MAX_OCTAL_7 { 0 } else { n });
        let octal_11 = |n: u64| format!("{:011o}", if n > MAX_OCTAL_11 { 0 } else { n });
        text(0, NAME_LEN, &self.name);
        text(100, 8, octal_7(self.mode.into()).as_bytes());
        text(108, 8, octal_7(self.uid.into()).as_bytes());
        text(116, 8, octal_7(self.gid.into()).as_bytes());
        text(124, 12, octal_11(self.size).as_bytes());
        text(136, 12, octal_11(u64::try_from(self.mtime.seconds).unwrap_or(0)).as_bytes());
        text(148, 8, b"        ");
        text(156, 1, &[self.flag]);
        text(157, NAME_LEN, &self.link);
        text(257, 8, b"ustar\x0000");
        text(265, OWNER_LEN, &self.user);
        text(297, OWNER_LEN, &self.group);
        text(329, 8, octal_7(self.device.0.into()).as_bytes());
        text(337, 8, octal_7(self.device.1.into()).as_bytes());
        let sum: u64 = out.iter().map(|byte| u64::from(*byte)).sum();
        out[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out
    }

    /// The records for what the header cannot say.
    fn pax(&self, entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        let texts: [(&str, &[u8], usize); 4] = [
            ("path", &self.name, NAME_LEN),
            ("linkpath", &self.link, NAME_LEN),
            ("uname", &self.user, OWNER_LEN),
            ("gname", &self.group, OWNER_LEN),
        ];
        let told = texts.iter().filter(|(_, value, len)| value.len() > *len || !value.is_ascii());
        let told: Vec<_> = told.collect();
        if told.iter().any(|(_, value, _)| std::str::from_utf8(value).is_err()) {
            record(&mut out, b"hdrcharset", b"BINARY");
        }
        told.iter().for_each(|(key, value, _)| record(&mut out, key.as_bytes(), value));
        for (key, value, limit) in [
            ("uid", u64::from(self.uid), MAX_OCTAL_7),
            ("gid", u64::from(self.gid), MAX_OCTAL_7),
            ("size", self.size, MAX_OCTAL_11),
        ] {
            if value > limit {
                record(&mut out, key.as_bytes(), value.to_string().as_bytes());
            }
        }
        if self.mtime.nanoseconds != 0 || !u64::try_from(self.mtime.seconds).is_ok_and(|s| s <= MAX_OCTAL_11) {
            record(&mut out, b"mtime", decimal(self.mtime).as_bytes());
        }
        for (name, value) in &entry.xattrs {
            record(&mut out, &xattr_key(name), value);
        }
        out
    }
}

/// `LENGTH KEY=VALUE\n`, the length that of the whole record.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(format!("{len} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// As GNU tar and star write it; a key must not hold `=`.
fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            byte => key.push(*byte),
        }
    }
    key
}

/// Seconds since 1970 with their fraction; before 1970 the fraction counts away from it.
fn decimal(time: Mtime) -> String {
    let all = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if all < 0 { "-" } else { "" };
    let all = all.unsigned_abs();
    let (seconds, fraction) = (all / 1_000_000_000, all % 1_000_000_000);
    if fraction == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{fraction:09}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for len in [1, 2, 3, 92, 93, 984, 985, 986] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; len]);
            assert_eq!(out.len().to_string(), String::from_utf8_lossy(&out).split(' ').next().unwrap());
            let text = String::from_utf8(out).unwrap();
            assert!(text.ends_with("v\n"), "{text}");
        }
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        let decimal = |seconds, nanoseconds| decimal(Mtime { seconds, nanoseconds });
        assert_eq!(decimal(-2, 500_000_000), "-1.500000000");
        assert_eq!(decimal(-1, 999_999_999), "-0.000000001");
        assert_eq!(decimal(3, 1), "3.000000001");
        assert_eq!(decimal(-7, 0), "-7");
    }
}
