//! Segment files: their names and headers. FORMAT §8.
//!
//! Promise: a segment of another version is refused by its first five bytes, whatever stands behind them, and never taken for a
//! damaged one; a flipped bit in that byte is damage.

use crate::disk::{self, DiskFile};
use crate::record::Salt;
use crate::scan;
use cas_core::kdf;
use cas_net::{Result, ServiceError};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"CASS";
const VERSION: u8 = 1;
const HEADER: usize = 4 + 1 + 3 + 8 + Salt::LEN + CHECK_LEN;
const CHECK_LEN: usize = 8;
const CHECKED: usize = HEADER - CHECK_LEN;
/// Bytes before the first record.
pub const SEGMENT_HEADER: u64 = HEADER as u64;
/// No segment is longer: offsets are u32, that behind the last byte too.
pub const MAX_SEGMENT: u64 = u32::MAX as u64;

const _: () = assert!(HEADER == 32);

/// The header of a segment.
pub fn header(number: u32, salt: Salt) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..4].copy_from_slice(MAGIC);
    out[4] = VERSION;
    out[8..16].copy_from_slice(&u64::from(number).to_le_bytes());
    out[16..CHECKED].copy_from_slice(&salt.0);
    let check = check_of(&out);
    out[CHECKED..].copy_from_slice(&check);
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

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// Its header.
    Good(Salt),
    /// No header, and nothing behind: it was just being made.
    Unmade,
    /// Other bytes than a header, and more behind them.
    Damaged,
}

impl Beginning {
    /// The salt of the records; if the header does not say it, it is learned from them. `hint` is what it should be.
    pub fn salt(self, file: &dyn DiskFile, hint: Option<Salt>) -> std::io::Result<Salt> {
        match self {
            Self::Good(salt) => Ok(salt),
            Self::Unmade | Self::Damaged => scan::learn(file, hint),
        }
    }
}

/// Reads the header of a segment. Refuses one of another version, and one that is another segment than its name says.
pub fn begin(file: &dyn DiskFile, path: &Path, number: Option<u32>) -> Result<Beginning> {
    let failed = |e| ServiceError::io(format!("read {}", path.display()), e);
    let len = file.byte_len().map_err(failed)?;
    let mut header = [0; HEADER];
    match file.read_at(0, &mut header[..len.min(SEGMENT_HEADER) as usize]) {
        Err(e) if !disk::is_damage(&e) => return Err(failed(e)),
        Err(_) => return Ok(Beginning::Damaged),
        Ok(()) => {}
    }
    if let Some(found) = other_version(&header) {
        return Err(ServiceError::Version {
            what: path.display().to_string(),
            found: found.into(),
            known: VERSION.into(),
        });
    }
    if !is_whole(&header) {
        return Ok(if len > SEGMENT_HEADER { Beginning::Damaged } else { Beginning::Unmade });
    }
    let said = u64::from_le_bytes(header[8..16].try_into().expect("8 bytes"));
    if number.is_some_and(|number| u64::from(number) != said) {
        let detail = format!("it says that it is segment {said}; give it the name it had");
        return Err(ServiceError::Damaged { what: path.display().to_string(), detail });
    }
    Ok(Beginning::Good(Salt(header[16..CHECKED].try_into().expect("8 bytes"))))
}

/// The version that is not ours. No program ever wrote 0; and what is whole with our version in its place was ours.
fn other_version(header: &[u8; HEADER]) -> Option<u8> {
    let mut ours = *header;
    ours[4] = VERSION;
    (header.starts_with(MAGIC) && ![0, VERSION].contains(&header[4]) && !is_whole(&ours)).then_some(header[4])
}

fn is_whole(header: &[u8; HEADER]) -> bool {
    header.starts_with(MAGIC) && header[4] == VERSION && header[CHECKED..] == check_of(header)
}

fn check_of(header: &[u8; HEADER]) -> [u8; CHECK_LEN] {
    kdf::hash(&header[..CHECKED])[..CHECK_LEN].try_into().expect("8 of 32")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, LocalDisk};
    use std::sync::Arc;

    const SALT: Salt = Salt([0x5a; 8]);

    #[test]
    fn the_bytes_of_a_segment_header_are_pinned() {
        let mut golden = b"CASS\x01\0\0\0\x0b\0\0\0\0\0\0\0ZZZZZZZZ".to_vec();
        golden.extend_from_slice(&kdf::hash(&golden)[..8]);
        assert_eq!(header(11, SALT)[..], golden);
        assert_eq!(golden[24..], [133, 137, 174, 145, 235, 25, 74, 207]);
    }

    #[test]
    fn names_are_ten_digits_and_nothing_else() {
        let folder = Path::new("segments");
        assert_eq!(path(folder, 12), Path::new("segments/0000000012.seg"));
        let names = ["0000000012.seg", "12.seg", "+000000012.seg", "0000000012.seg.old", "9999999999.seg"];
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        assert_eq!(numbers(&files), [12]);
    }

    fn begin_with(bytes: &[u8]) -> Result<Beginning> {
        let dir = tempfile::tempdir().unwrap();
        let file: Arc<dyn DiskFile> = LocalDisk.create(&path(dir.path(), 3)).unwrap();
        file.write_at(0, &[bytes]).unwrap();
        begin(&*file, Path::new("3"), Some(3))
    }

    #[test]
    fn another_version_is_refused_whatever_its_header_looks_like() {
        for rest in [&[][..], b"\0", b"anything", &header(3, SALT)[5..24], &[0xff; 500]] {
            let later = [b"CASS\x02", rest].concat();
            assert!(matches!(begin_with(&later), Err(ServiceError::Version { found: 2, known: 1, .. })), "{rest:?}");
        }
    }

    #[test]
    fn a_flipped_bit_is_no_version_and_another_number_is_refused() {
        let good = [&header(3, SALT)[..], b"records"].concat();
        assert_eq!(begin_with(&good).unwrap(), Beginning::Good(SALT));
        for bit in 0..8 * HEADER {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(begin_with(&bad).unwrap(), Beginning::Damaged, "bit {bit}");
        }
        assert!(matches!(begin_with(&header(4, SALT)), Err(ServiceError::Damaged { .. })));
        for len in 0..HEADER {
            assert_eq!(begin_with(&good[..len]).unwrap(), Beginning::Unmade, "cut at {len}");
        }
        assert_eq!(begin_with(&[0; HEADER]).unwrap(), Beginning::Unmade);
        assert_eq!(begin_with(&[0; HEADER + 1]).unwrap(), Beginning::Damaged);
    }
}
