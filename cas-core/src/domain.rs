//! The domain record: how every client of a domain cuts and pages. FORMAT §4.
//!
//! Promise: a record that was decoded is one this program cuts by, exactly as its writer did; what it
//! cannot follow it refuses. A domain's record never changes, so that equal content stays equal.

use crate::codec::{FormatError, Reader, RecordWriter, UnknownField, critical};
use crate::limits::{MAX_CHILDREN, MAX_ENTRY, MAX_RAW};
use fastcdc::v2020::{self, Normalization, select_masks};

/// The format this program writes and reads.
pub const FORMAT: u8 = 1;
/// FastCDC 2020 with the gear table of the domain.
pub const CHUNKER_FASTCDC: u8 = 1;
/// An encoded domain record, in bytes; real ones have about 90.
pub const MAX_DOMAIN_RECORD: usize = 4 << 10;
/// The highest inline limit, in bytes: leaves room for the rest of an entry.
pub const MAX_INLINE: u32 = 16 << 10;
/// The highest page or list parameter.
pub const MAX_BORDER_PARAMETER: u32 = 4096;

const TAG_FORMAT: u64 = critical(1);
const TAG_CHUNKER: u64 = critical(2);
const TAG_SIZES: u64 = critical(3);
const TAG_MASKS: u64 = critical(4);
const TAG_INLINE: u64 = critical(5);
const TAG_PAGE: u64 = critical(6);
const TAG_LIST: u64 = critical(7);

const _: () = assert!(v2020::MAXIMUM_MAX <= MAX_RAW);
const _: () = assert!(2 * MAX_INLINE as usize <= MAX_ENTRY);
const _: () = assert!(MAX_BORDER_PARAMETER as usize <= MAX_CHILDREN);

/// How a domain cuts. The default is the default profile: 64 KiB, 256 KiB, 1 MiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainRecord {
    /// No chunk is shorter, but the last of a file. Bytes.
    pub min: u32,
    /// Where the search for a border becomes easier. Bytes; the real mean is higher.
    pub avg: u32,
    /// No chunk is longer. Bytes.
    pub max: u32,
    /// The mask of the chunker below `avg`.
    pub mask_s: u64,
    /// The mask of the chunker from `avg`.
    pub mask_l: u64,
    /// Files up to this length stand in their entry. Bytes.
    pub inline_limit: u32,
    /// N of the pages of entries (level 0): one key in N is a border.
    pub page_entries: u32,
    /// N of the pages above.
    pub page_inner: u32,
    /// N of lists.
    pub list_parameter: u32,
    /// No list holds more items.
    pub list_max: u32,
    /// Fields of a later version that may be ignored, kept.
    pub unknown: Vec<UnknownField>,
}

/// Ready-made sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// 16 KiB, 64 KiB, 256 KiB: small increments.
    Fine,
    /// 64 KiB, 256 KiB, 1 MiB.
    #[default]
    Default,
    /// 1 MiB, 4 MiB, 16 MiB: above 100 TB.
    Large,
}

/// Parameters no domain can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the domain record needs {expected}")]
pub struct DomainError {
    /// What is required.
    pub expected: &'static str,
}

impl Default for DomainRecord {
    fn default() -> Self {
        Self::of_profile(Profile::Default)
    }
}

impl DomainRecord {
    /// The record of a profile.
    pub fn of_profile(profile: Profile) -> Self {
        let (min, avg, max) = match profile {
            Profile::Fine => (16 << 10, 64 << 10, 256 << 10),
            Profile::Default => (64 << 10, 256 << 10, 1 << 20),
            Profile::Large => (1 << 20, 4 << 20, 16 << 20),
        };
        Self::with_sizes(min, avg, max).expect("profiles are valid")
    }

    /// A record with own chunk sizes, in bytes, and everything else as in the profiles.
    pub fn with_sizes(min: u32, avg: u32, max: u32) -> Result<Self, DomainError> {
        check_sizes(min, avg, max)?;
        let (mask_s, mask_l) = masks_of(avg);
        let record = Self {
            min,
            avg,
            max,
            mask_s,
            mask_l,
            inline_limit: 512,
            page_entries: 32,
            page_inner: 64,
            list_parameter: 256,
            list_max: 1024,
            unknown: Vec::new(),
        };
        record.check()?;
        Ok(record)
    }

    /// Whether clients of this version cut by it. What was decoded passes.
    pub fn check(&self) -> Result<(), DomainError> {
        check_sizes(self.min, self.avg, self.max)?;
        let parameter = |n: u32| (2..=MAX_BORDER_PARAMETER).contains(&n);
        require((self.mask_s, self.mask_l) == masks_of(self.avg), "the masks of its average at normalization level 2")?;
        require(self.inline_limit <= self.min.min(MAX_INLINE), "an inline limit within min and 16 KiB")?;
        require(parameter(self.page_entries) && parameter(self.page_inner), "page parameters from 2 to 4096")?;
        require(parameter(self.list_parameter), "a list parameter from 2 to 4096")?;
        require(
            self.list_max >= self.list_parameter && self.list_max as usize <= MAX_CHILDREN,
            "a list maximum from the list parameter to 4096",
        )
    }

    /// The bytes.
    ///
    /// # Panics
    /// If the record does not pass [`check`](Self::check).
    pub fn encode(&self) -> Vec<u8> {
        self.check().expect("only valid domain records are written");
        RecordWriter::new()
            .field(TAG_FORMAT, [FORMAT])
            .field(TAG_CHUNKER, [CHUNKER_FASTCDC])
            .field(TAG_SIZES, words(&[self.min, self.avg, self.max]))
            .field(TAG_MASKS, [self.mask_s.to_le_bytes(), self.mask_l.to_le_bytes()].concat())
            .field(TAG_INLINE, words(&[self.inline_limit]))
            .field(TAG_PAGE, words(&[self.page_entries, self.page_inner]))
            .field(TAG_LIST, words(&[self.list_parameter, self.list_max]))
            .unknown(&self.unknown)
            .finish()
    }

    /// Reads a record. Every field must be there.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let start = Reader::new("domain record", bytes);
        if bytes.len() > MAX_DOMAIN_RECORD {
            return Err(start.error("a length within the limit"));
        }
        let mut record = Self { unknown: Vec::new(), ..Self::default() };
        let mut seen = 0;
        record.unknown = start.clone().record(|tag, r| {
            match tag {
                TAG_FORMAT => r.expect(&[FORMAT], "format 1")?,
                TAG_CHUNKER => r.expect(&[CHUNKER_FASTCDC], "chunker 1")?,
                TAG_SIZES => (record.min, record.avg, record.max) = (r.u32()?, r.u32()?, r.u32()?),
                TAG_MASKS => (record.mask_s, record.mask_l) = (r.u64()?, r.u64()?),
                TAG_INLINE => record.inline_limit = r.u32()?,
                TAG_PAGE => (record.page_entries, record.page_inner) = (r.u32()?, r.u32()?),
                TAG_LIST => (record.list_parameter, record.list_max) = (r.u32()?, r.u32()?),
                _ => return Ok(false),
            }
            seen += 1;
            Ok(true)
        })?;
        if seen != 7 {
            return Err(start.error("all seven fields"));
        }
        record.check().map_err(|e| start.error(e.expected))?;
        Ok(record)
    }
}

/// The masks that chunker 1 uses with this average.
fn masks_of(avg: u32) -> (u64, u64) {
    select_masks(avg as usize, Normalization::Level2)
}

/// The limits of the crate fastcdc, which itself checks them in debug builds only.
fn check_sizes(min: u32, avg: u32, max: u32) -> Result<(), DomainError> {
    let within = |size: u32, low: usize, high: usize| (low..=high).contains(&(size as usize));
    require([min, avg, max].iter().all(|size| size % 2 == 0), "even chunk sizes")?;
    require(min < avg && avg < max, "chunk sizes min < avg < max")?;
    require(within(min, v2020::MINIMUM_MIN, v2020::MINIMUM_MAX), "a min from 64 bytes to 1 MiB")?;
    require(within(avg, v2020::AVERAGE_MIN, v2020::AVERAGE_MAX), "an avg from 256 bytes to 4 MiB")?;
    require(within(max, v2020::MAXIMUM_MIN, v2020::MAXIMUM_MAX), "a max from 1 KiB to 16 MiB")
}

fn require(holds: bool, expected: &'static str) -> Result<(), DomainError> {
    if holds { Ok(()) } else { Err(DomainError { expected }) }
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::optional;

    const GOLDEN: &str = "030101 050101 070c 00000100 00000400 00001000 \
        0910 0070534717d90000 0070530303d90000 0b04 00020000 0d08 20000000 40000000 0f08 00010000 00040000";

    fn unhex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn the_default_profile_is_pinned() {
        let bytes = DomainRecord::default().encode();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(bytes, unhex(GOLDEN), "{hex}");
        assert_eq!(DomainRecord::decode(&bytes).unwrap(), DomainRecord::default());
    }

    #[test]
    fn every_profile_and_what_may_be_ignored_goes_there_and_back() {
        for profile in [Profile::Fine, Profile::Default, Profile::Large] {
            let mut record = DomainRecord::of_profile(profile);
            record.unknown.push(UnknownField { tag: optional(40), value: b"later".to_vec() });
            assert_eq!(DomainRecord::decode(&record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn sizes_that_would_cut_otherwise_are_refused() {
        for (min, avg, max) in [
            (65_537, 262_144, 1 << 20),
            (65_536, 262_143, 1 << 20),
            (65_536, 65_536, 1 << 20),
            (65_536, 262_144, 262_144),
            (62, 256, 1024),
            (64, 254, 1024),
            (64, 256, 1022),
            (2 << 20, 4 << 20, 16 << 20),
            (1 << 20, 8 << 20, 16 << 20),
            (1 << 20, 4 << 20, 32 << 20),
            (0, 0, 0),
            (u32::MAX, u32::MAX, u32::MAX),
        ] {
            assert!(DomainRecord::with_sizes(min, avg, max).is_err(), "{min} {avg} {max}");
        }
        assert!(DomainRecord::with_sizes(512, 1024, 2048).is_ok());
    }

    #[test]
    fn parameters_outside_their_limits_are_refused() {
        let edits: [fn(&mut DomainRecord); 9] = [
            |r| r.mask_s ^= 1,
            |r| r.mask_l <<= 1,
            |r| r.inline_limit = MAX_INLINE + 1,
            |r| r.page_entries = 1,
            |r| r.page_inner = 0,
            |r| r.page_inner = MAX_BORDER_PARAMETER + 1,
            |r| r.list_parameter = 1,
            |r| r.list_max = r.list_parameter - 1,
            |r| r.list_max = MAX_CHILDREN as u32 + 1,
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut record = DomainRecord::default();
            edit(&mut record);
            assert!(record.check().is_err(), "edit {i}");
        }
    }

    #[test]
    fn a_record_cut_or_flipped_anywhere_is_refused() {
        let bytes = DomainRecord::default().encode();
        for len in 0..bytes.len() {
            assert!(DomainRecord::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        // A flip may give another valid record (an inline limit of 513), never the same one.
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(DomainRecord::decode(&bad).map_or(true, |r| r.encode() == bad), "bit {bit}");
        }
        assert!(DomainRecord::decode(&[&bytes[..], &[0; MAX_DOMAIN_RECORD]].concat()).is_err());
    }
}
