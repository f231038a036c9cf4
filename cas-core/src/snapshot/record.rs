//! The snapshot record: what a version says in the open, signed by the device that made it. FORMAT §6.
//!
//! Promise: a decoded record encodes again to the same bytes, whatever a later version added to it;
//! its id is the hash of those bytes and commits to everything, the sealed details included.

use super::name::Name;
use crate::codec::{FormatError, Reader, RecordWriter, UnknownField, critical, put_varint};
use crate::id::{BlockId, DomainId, PublicKey, SnapshotId, Sum, VaultId};
use crate::kdf;
use crate::keyring::KeyringRef;

/// An encoded record, in bytes; real ones have about 350.
pub const MAX_RECORD: usize = 16 << 10;

const NS_PER_SECOND: i64 = 1_000_000_000;

const TAG_VAULT: u64 = critical(1);
const TAG_DOMAIN: u64 = critical(2);
const TAG_NAME: u64 = critical(3);
const TAG_SEQ: u64 = critical(4);
const TAG_PREVIOUS: u64 = critical(5);
const TAG_ROOT: u64 = critical(6);
const TAG_TIME: u64 = critical(7);
const TAG_KEYRING: u64 = critical(8);
const TAG_DEVICE: u64 = critical(9);
const TAG_SEALED: u64 = critical(10);
const TAG_REMOVES: u64 = critical(11);
const TAG_UNDOES: u64 = critical(12);

/// One version of a name, or the stub that stands for a removed one, or what takes such a stub back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The vault.
    pub vault: VaultId,
    /// The domain of its blocks.
    pub domain: DomainId,
    /// The history it belongs to.
    pub name: Name,
    /// Its number in the history, from 1.
    pub seq: u64,
    /// The version before; zeros for the first.
    pub previous: SnapshotId,
    /// The root page; zeros in a removal or return.
    pub root: BlockId,
    /// When the device says it was made: nanoseconds since 1970, UTC.
    pub time_ns: i64,
    /// The keyring that its maker went by.
    pub keyring: KeyringRef,
    /// Who signed it.
    pub device: PublicKey,
    /// BLAKE3 of the sealed details; zeros in a removal or return.
    pub sealed: Sum,
    /// In a removal: the snapshot that is removed. In a return: the one that comes back.
    pub removes: Option<SnapshotId>,
    /// In a return: the removal object that it undoes.
    pub undoes: Option<BlockId>,
    /// Fields of a later version that may be ignored, kept.
    pub unknown: Vec<UnknownField>,
}

impl SnapshotRecord {
    /// Its id: a hash of its bytes.
    pub fn id(&self) -> SnapshotId {
        id_of(&self.encode())
    }

    /// The id that the next version names as the one before it: its own, or that of the snapshot it stands for.
    pub fn chain_id(&self) -> SnapshotId {
        self.removes.unwrap_or_else(|| self.id())
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = RecordWriter::new();
        out.field(TAG_VAULT, *self.vault.as_bytes())
            .field(TAG_DOMAIN, *self.domain.as_bytes())
            .field(TAG_NAME, self.name.as_str())
            .field(TAG_SEQ, varint(self.seq))
            .field(TAG_PREVIOUS, *self.previous.as_bytes())
            .field(TAG_ROOT, *self.root.as_bytes())
            .field(TAG_TIME, time_bytes(self.time_ns))
            .field(TAG_KEYRING, [&varint(self.keyring.version.into())[..], self.keyring.hash.as_bytes()].concat())
            .field(TAG_DEVICE, *self.device.as_bytes())
            .field(TAG_SEALED, *self.sealed.as_bytes());
        if let Some(removed) = &self.removes {
            out.field(TAG_REMOVES, *removed.as_bytes());
        }
        if let Some(removal) = &self.undoes {
            out.field(TAG_UNDOES, *removal.as_bytes());
        }
        out.unknown(&self.unknown).finish()
    }

    /// Reads a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let start = Reader::new("snapshot record", bytes);
        if bytes.len() > MAX_RECORD {
            return Err(start.error("a length within the limit"));
        }
        let mut fields = Fields::default();
        let unknown = start.clone().record(|tag, r| fields.read(tag, r))?;
        let record = fields.complete(unknown).ok_or_else(|| start.error("every field of a record"))?;
        record.check().map_err(|expected| start.error(expected))?;
        Ok(record)
    }

    pub(super) fn check(&self) -> Result<(), &'static str> {
        let require = |holds: bool, expected| if holds { Ok(()) } else { Err(expected) };
        let removal = self.removes.is_some();
        require(self.seq >= 1, "a seq from 1")?;
        require(self.seq > 1 || self.previous == SnapshotId::ZERO, "no version before the first")?;
        require(self.keyring.version >= 1, "a keyring version from 1")?;
        require((self.root == BlockId::ZERO) == removal, "a root, or zeros in a removal")?;
        require((self.sealed == Sum::ZERO) == removal, "a hash of details, or zeros in a removal")?;
        require(self.removes != Some(SnapshotId::ZERO), "the id of a removed snapshot")?;
        require(self.undoes.is_none() || removal, "the snapshot that comes back")?;
        require(self.undoes != Some(BlockId::ZERO), "the id of a removal")
    }
}

/// The id of an encoded record.
pub fn id_of(record: &[u8]) -> SnapshotId {
    SnapshotId(kdf::derive("snapshot", record))
}

/// What was read so far.
#[derive(Default)]
struct Fields {
    vault: Option<VaultId>,
    domain: Option<DomainId>,
    name: Option<Name>,
    seq: Option<u64>,
    previous: Option<SnapshotId>,
    root: Option<BlockId>,
    time_ns: Option<i64>,
    keyring: Option<KeyringRef>,
    device: Option<PublicKey>,
    sealed: Option<Sum>,
    removes: Option<SnapshotId>,
    undoes: Option<BlockId>,
}

impl Fields {
    fn read(&mut self, tag: u64, r: &mut Reader<'_>) -> Result<bool, FormatError> {
        match tag {
            TAG_VAULT => self.vault = Some(VaultId(r.array()?)),
            TAG_DOMAIN => self.domain = Some(DomainId(r.array()?)),
            TAG_NAME => self.name = Some(read_name(r)?),
            TAG_SEQ => self.seq = Some(r.varint()?),
            TAG_PREVIOUS => self.previous = Some(SnapshotId(r.array()?)),
            TAG_ROOT => self.root = Some(BlockId(r.array()?)),
            TAG_TIME => self.time_ns = Some(read_time(r)?),
            TAG_KEYRING => self.keyring = Some(read_keyring(r)?),
            TAG_DEVICE => self.device = Some(PublicKey(r.array()?)),
            TAG_SEALED => self.sealed = Some(Sum(r.array()?)),
            TAG_REMOVES => self.removes = Some(SnapshotId(r.array()?)),
            TAG_UNDOES => self.undoes = Some(BlockId(r.array()?)),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn complete(self, unknown: Vec<UnknownField>) -> Option<SnapshotRecord> {
        Some(SnapshotRecord {
            vault: self.vault?,
            domain: self.domain?,
            name: self.name?,
            seq: self.seq?,
            previous: self.previous?,
            root: self.root?,
            time_ns: self.time_ns?,
            keyring: self.keyring?,
            device: self.device?,
            sealed: self.sealed?,
            removes: self.removes,
            undoes: self.undoes,
            unknown,
        })
    }
}

fn read_name(r: &mut Reader<'_>) -> Result<Name, FormatError> {
    let bytes = r.take(r.rest().len())?;
    let text = std::str::from_utf8(bytes).map_err(|_| r.error("a name in UTF-8"))?;
    text.parse().map_err(|e: super::NameError| r.error(e.expected))
}

fn time_bytes(time_ns: i64) -> Vec<u8> {
    let nanoseconds = time_ns.rem_euclid(NS_PER_SECOND) as u32;
    [&time_ns.div_euclid(NS_PER_SECOND).to_le_bytes()[..], &nanoseconds.to_le_bytes()].concat()
}

fn read_time(r: &mut Reader<'_>) -> Result<i64, FormatError> {
    let (seconds, nanoseconds) = (r.i64()?, i64::from(r.u32()?));
    if nanoseconds >= NS_PER_SECOND {
        return Err(r.error("less than a second of nanoseconds"));
    }
    let total = i128::from(seconds) * i128::from(NS_PER_SECOND) + i128::from(nanoseconds);
    i64::try_from(total).map_err(|_| r.error("a time from 1677 to 2262"))
}

fn read_keyring(r: &mut Reader<'_>) -> Result<KeyringRef, FormatError> {
    let version = u32::try_from(r.varint()?).map_err(|_| r.error("a keyring version below 2^32"))?;
    Ok(KeyringRef { version, hash: Sum(r.array()?) })
}

fn varint(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, value);
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::optional;
    use proptest::prelude::*;

    pub(crate) fn sample() -> SnapshotRecord {
        SnapshotRecord {
            vault: VaultId([1; 16]),
            domain: DomainId([2; 16]),
            name: "laptop/documents".parse().unwrap(),
            seq: 300,
            previous: SnapshotId([3; 32]),
            root: BlockId([4; 32]),
            time_ns: -1,
            keyring: KeyringRef { version: 5, hash: Sum([6; 32]) },
            device: PublicKey([7; 32]),
            sealed: Sum([8; 32]),
            removes: None,
            undoes: None,
            unknown: vec![],
        }
    }

    fn removal() -> SnapshotRecord {
        SnapshotRecord { root: BlockId::ZERO, sealed: Sum::ZERO, removes: Some(SnapshotId([9; 32])), ..sample() }
    }

    fn returned() -> SnapshotRecord {
        SnapshotRecord { undoes: Some(BlockId([10; 32])), ..removal() }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_pinned() {
        let golden = format!(
            "0310{}0510{}0710{}0902ac020b20{}0d20{}0f0cffffffffffffffffffc99a3b112105{}1320{}1520{}",
            "01".repeat(16),
            "02".repeat(16),
            hex(b"laptop/documents"),
            "03".repeat(32),
            "04".repeat(32),
            "06".repeat(32),
            "07".repeat(32),
            "08".repeat(32),
        );
        assert_eq!(hex(&sample().encode()), golden);
        assert_eq!(sample().id().to_string(), "26837c5f327670caff5453eef8856794d6a7b7da73ca147e832ee743f0988a9a");
        assert!(hex(&removal().encode()).ends_with(&format!("1720{}", "09".repeat(32))));
        assert!(hex(&returned().encode()).ends_with(&format!("1720{}1920{}", "09".repeat(32), "0a".repeat(32))));
    }

    #[test]
    fn every_field_goes_there_and_back() {
        let edits: [fn(&mut SnapshotRecord); 11] = [
            |r| r.vault.0[0] = 0,
            |r| r.domain.0[0] = 0,
            |r| r.name = "x".parse().unwrap(),
            |r| r.seq = u64::MAX,
            |r| r.previous = SnapshotId::ZERO,
            |r| r.root.0[31] = 9,
            |r| r.time_ns = i64::MIN,
            |r| r.time_ns = i64::MAX,
            |r| r.keyring.version = u32::MAX,
            |r| r.device.0[0] = 0,
            |r| r.unknown.push(UnknownField { tag: optional(1), value: vec![1; 300] }),
        ];
        let mut seen = vec![sample().encode(), removal().encode(), returned().encode()];
        for record in [sample(), removal(), returned()] {
            assert_eq!(SnapshotRecord::decode(&record.encode()).unwrap(), record);
        }
        for (i, edit) in edits.iter().enumerate() {
            let mut record = sample();
            edit(&mut record);
            let bytes = record.encode();
            assert_eq!(SnapshotRecord::decode(&bytes).unwrap(), record, "edit {i}");
            assert!(!seen.contains(&bytes), "edit {i} is not in the bytes");
            seen.push(bytes);
        }
    }

    #[test]
    fn records_that_contradict_themselves_are_refused() {
        let edits: [fn(&mut SnapshotRecord); 8] = [
            |r| r.seq = 0,
            |r| r.seq = 1,
            |r| r.keyring.version = 0,
            |r| r.root = BlockId::ZERO,
            |r| r.sealed = Sum::ZERO,
            |r| r.removes = Some(SnapshotId([9; 32])),
            |r| r.unknown.push(UnknownField { tag: critical(40), value: vec![] }),
            |r| r.unknown.push(UnknownField { tag: optional(40), value: vec![0; MAX_RECORD] }),
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut record = sample();
            edit(&mut record);
            assert!(SnapshotRecord::decode(&record.encode()).is_err(), "edit {i}");
        }
        let zero = SnapshotRecord { removes: Some(SnapshotId::ZERO), ..removal() };
        assert!(SnapshotRecord::decode(&zero.encode()).is_err());
        let nothing = SnapshotRecord { undoes: Some(BlockId::ZERO), ..removal() };
        assert!(SnapshotRecord::decode(&nothing.encode()).is_err());
        let of_none = SnapshotRecord { undoes: Some(BlockId([10; 32])), ..sample() };
        assert!(SnapshotRecord::decode(&of_none.encode()).is_err());
    }

    #[test]
    fn times_outside_their_range_are_refused() {
        let bytes = sample().encode();
        let at = bytes.windows(2).position(|w| w == [0x0f, 12]).unwrap() + 2;
        for (seconds, nanoseconds) in [(0, 1_000_000_000), (i64::MAX, 0), (i64::MIN, 0), (9_223_372_036, 854_775_808)] {
            let mut bad = bytes.clone();
            bad[at..at + 8].copy_from_slice(&i64::to_le_bytes(seconds));
            bad[at + 8..at + 12].copy_from_slice(&u32::to_le_bytes(nanoseconds));
            assert!(SnapshotRecord::decode(&bad).is_err(), "{seconds} {nanoseconds}");
        }
    }

    proptest! {
        #[test]
        fn changed_records_are_refused_or_encode_again_to_the_same(at in 0usize..350, byte: u8, cut in 0usize..350) {
            let mut bytes = sample().encode();
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            prop_assert!(SnapshotRecord::decode(&bytes[..cut]).is_err());
            bytes[at] = byte;
            if let Ok(record) = SnapshotRecord::decode(&bytes) {
                prop_assert_eq!(record.encode(), bytes);
            }
        }
    }
}
