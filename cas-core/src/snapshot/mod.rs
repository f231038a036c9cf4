//! Snapshots: one immutable version of a name, signed by the device that made it. FORMAT §6.
//!
//! Promise: [`SnapshotObject::parse`] returns only what a device signed, whole; [`SnapshotObject::open_details`]
//! returns only what that device sealed. Whether the device may write to the vault is for the keyring to say
//! ([`crate::keyring::Keyring::check_record`]). One identity and one object are enough to restore.

mod details;
mod name;
mod record;

pub(crate) use details::read_secrets;
pub use details::{Details, MAX_SECRETS, MAX_TAG, MAX_TEXT, Stats, TagError, check_tag};
pub use name::{MAX_NAME, Name, NameError};
pub use record::{MAX_RECORD, SnapshotRecord};

use crate::agebox::{self, BoxError, Identity, Recipient};
use crate::codec::{FormatError, Reader, put_bytes32};
use crate::id::{BlockId, Kind, PublicKey, SnapshotId, Sum, VaultId};
use crate::keyring::KeyringRef;
use crate::limits::MAX_OBJECT;
use crate::signing::{self, SIGNATURE_LEN, SigningKey};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"CASN";
const VERSION: u8 = 1;
const PURPOSE: &str = "cas v1 snapshot";
const TAG_LEN: usize = 16;
/// The box of the details key, in bytes.
const MAX_KEY_BOX: usize = agebox::MAX_HEADER + 64;

const _: () = assert!(MAX_RECORD + MAX_KEY_BOX < MAX_OBJECT / 2);

/// Whether an object is a version, stands for a removed one, or brings such a one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum What {
    /// A version.
    Snapshot = 1,
    /// The stub of a removed version: its place in the history, without content.
    Removal = 2,
    /// Takes a removal back: the version that it removed is there as if it had never been written.
    Return = 3,
}

/// What a device knows when it makes a new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// The vault.
    pub vault: VaultId,
    /// The history.
    pub name: Name,
    /// One more than the newest; 1 for the first.
    pub seq: u64,
    /// The [`chain id`](SnapshotRecord::chain_id) of the newest; zeros for the first.
    pub previous: SnapshotId,
    /// The root page.
    pub root: BlockId,
    /// Now: nanoseconds since 1970, UTC.
    pub time_ns: i64,
    /// The keyring whose recipients are used.
    pub keyring: KeyringRef,
}

/// A snapshot, removal or return as it is stored (kind 4): the record, its signature, the sealed details, their key in a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotObject {
    record: SnapshotRecord,
    signature: [u8; SIGNATURE_LEN],
    sealed: Vec<u8>,
    key_box: Vec<u8>,
}

/// Why a snapshot object was not made, believed or opened, by what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// The bytes are not a snapshot object: damaged, or of a later version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The device it names did not sign it: damaged or forged.
    #[error("snapshot {snapshot} is not signed by the device {device} that it names")]
    BadSignature {
        /// Which.
        snapshot: SnapshotId,
        /// Who should have.
        device: PublicKey,
    },
    /// The sealed details are not what the device signed, or not what their key opens: get another copy.
    #[error("the details of snapshot {snapshot} are damaged: {reason}")]
    Damaged {
        /// Which.
        snapshot: SnapshotId,
        /// What is wrong.
        reason: &'static str,
    },
    /// It only says that a snapshot was removed or brought back, and has no details.
    #[error("snapshot {0} was removed")]
    Removed(SnapshotId),
    /// The box of the details key was not opened or made.
    #[error(transparent)]
    Box(#[from] BoxError),
    /// What should be sealed breaks a rule or limit of the format: change it.
    #[error("a snapshot needs {0}")]
    Invalid(&'static str),
    /// It would be longer than an object can be: fewer paths or tags.
    #[error("a snapshot of {len} bytes; the limit is {MAX_OBJECT}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Its history is not the one that is known: it was rolled back or forked.
    #[error("version {seq} of {name} does not follow the version before it")]
    BrokenChain {
        /// The history.
        name: Name,
        /// The later version.
        seq: u64,
    },
}

impl SnapshotObject {
    /// Seals `details` for `recipients` and signs the record.
    ///
    /// `details_key` is random, drawn for this one object: the cipher has a fixed nonce.
    pub fn build(
        new: &NewSnapshot,
        details: &Details,
        details_key: &[u8; 32],
        recipients: &[Recipient],
        device: &SigningKey,
    ) -> Result<Self, SnapshotError> {
        details.check().map_err(SnapshotError::Invalid)?;
        let sealed = seal_details(details_key, &details.encode())?;
        let record = SnapshotRecord {
            vault: new.vault,
            domain: details.domain_id(),
            name: new.name.clone(),
            seq: new.seq,
            previous: new.previous,
            root: new.root,
            time_ns: new.time_ns,
            keyring: new.keyring,
            device: device.public(),
            sealed: Sum::of(&sealed),
            removes: None,
            undoes: None,
            unknown: Vec::new(),
        };
        Self::sign(record, sealed, agebox::seal(details_key, recipients)?, device)
    }

    /// The signed stub that takes the place of `removed` in its history. `time_ns` is now; `keyring` the newest.
    pub fn removal(
        removed: &SnapshotRecord,
        time_ns: i64,
        keyring: KeyringRef,
        device: &SigningKey,
    ) -> Result<Self, SnapshotError> {
        Self::about(removed, None, time_ns, keyring, device)
    }

    /// Takes back that `removed` was removed by the removal object with this id. `time_ns` is now; `keyring` the newest.
    pub fn returning(
        removed: &SnapshotRecord,
        removal: BlockId,
        time_ns: i64,
        keyring: KeyringRef,
        device: &SigningKey,
    ) -> Result<Self, SnapshotError> {
        Self::about(removed, Some(removal), time_ns, keyring, device)
    }

    fn about(
        removed: &SnapshotRecord,
        undoes: Option<BlockId>,
        time_ns: i64,
        keyring: KeyringRef,
        device: &SigningKey,
    ) -> Result<Self, SnapshotError> {
        let record = SnapshotRecord {
            root: BlockId::ZERO,
            time_ns,
            keyring,
            device: device.public(),
            sealed: Sum::ZERO,
            removes: Some(removed.chain_id()),
            undoes,
            unknown: Vec::new(),
            ..removed.clone()
        };
        Self::sign(record, Vec::new(), Vec::new(), device)
    }

    fn sign(
        record: SnapshotRecord,
        sealed: Vec<u8>,
        key_box: Vec<u8>,
        device: &SigningKey,
    ) -> Result<Self, SnapshotError> {
        record.check().map_err(SnapshotError::Invalid)?;
        let signature = device.sign(PURPOSE, &signed_message(&record));
        Self { record, signature, sealed, key_box }.within_limits()
    }

    fn within_limits(self) -> Result<Self, SnapshotError> {
        let len = self.encode().len();
        if len > MAX_OBJECT { Err(SnapshotError::TooLarge { len }) } else { Ok(self) }
    }

    /// Reads an object and verifies its signature and the hash of its details.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let object = Self::parse_unverified(bytes)?;
        object.verify()?;
        Ok(object)
    }

    /// Reads an object without believing it: for looking at what is damaged.
    pub fn parse_unverified(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("snapshot object", bytes);
        if bytes.len() > MAX_OBJECT {
            return Err(r.error("a length within the limit"));
        }
        r.expect(MAGIC, "the magic CASN")?;
        r.expect(&[VERSION], "version 1")?;
        let what = match r.u8()? {
            1 => What::Snapshot,
            2 => What::Removal,
            3 => What::Return,
            _ => return Err(r.error("a snapshot (1), a removal (2) or a return (3)")),
        };
        r.expect(&[0, 0], "zeros")?;
        let record = SnapshotRecord::decode(r.bytes32(MAX_RECORD)?)?;
        if what_of(&record) != what {
            return Err(r.error("a record of the kind before it"));
        }
        let signature = r.array()?;
        let sealed = r.bytes32(MAX_OBJECT)?.to_vec();
        let key_box = r.bytes32(MAX_KEY_BOX)?.to_vec();
        let empty = |part: &Vec<u8>| part.is_empty() == (what != What::Snapshot);
        if !empty(&sealed) || !empty(&key_box) {
            return Err(r.error("details and a box, or neither in a removal or return"));
        }
        r.finish()?;
        Ok(Self { record, signature, sealed, key_box })
    }

    /// Whether the device signed the record, the details are those it signed, and their key lies in a box.
    pub fn verify(&self) -> Result<(), SnapshotError> {
        let snapshot = self.record.id();
        let device = self.record.device;
        if !signing::verify(&device, PURPOSE, &signed_message(&self.record), &self.signature) {
            return Err(SnapshotError::BadSignature { snapshot, device });
        }
        if self.what() != What::Snapshot {
            return Ok(());
        }
        if Sum::of(&self.sealed) != self.record.sealed {
            return Err(SnapshotError::Damaged { snapshot, reason: "their hash is not the signed one" });
        }
        Ok(agebox::check_shape(&self.key_box)?)
    }

    /// The bytes, to be stored as an object of kind 4.
    pub fn encode(&self) -> Vec<u8> {
        let record = self.record.encode();
        let mut out =
            Vec::with_capacity(8 + SIGNATURE_LEN + 12 + record.len() + self.sealed.len() + self.key_box.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, self.what() as u8, 0, 0]);
        put_bytes32(&mut out, &record);
        out.extend_from_slice(&self.signature);
        put_bytes32(&mut out, &self.sealed);
        put_bytes32(&mut out, &self.key_box);
        out
    }

    /// Whether it is a version, stands for a removed one, or brings such a one back.
    pub fn what(&self) -> What {
        what_of(&self.record)
    }

    /// What it says in the open.
    pub fn record(&self) -> &SnapshotRecord {
        &self.record
    }

    /// The id of the snapshot: that of its record, whoever the recipients are.
    pub fn snapshot_id(&self) -> SnapshotId {
        self.record.id()
    }

    /// The id of the block that holds these bytes: another one after [`rewrap`](Self::rewrap).
    pub fn object_id(&self) -> BlockId {
        BlockId::of_object(Kind::Snapshot, &self.encode())
    }

    /// The key of the details, in an age file to the recipients; empty in a removal or return.
    pub fn key_box(&self) -> &[u8] {
        &self.key_box
    }

    /// Opens the details with one of `identities`.
    pub fn open_details(&self, identities: &[Identity]) -> Result<Details, SnapshotError> {
        let damaged = |reason| SnapshotError::Damaged { snapshot: self.snapshot_id(), reason };
        let key = self.open_key(identities)?;
        let plaintext = open_sealed(&key, &self.sealed).ok_or_else(|| damaged("they do not open with their key"))?;
        let details = Details::decode(&plaintext)?;
        if details.domain_id() != self.record.domain {
            return Err(damaged("their secret is that of another domain"));
        }
        Ok(details)
    }

    /// The same snapshot for other recipients. The record, its signature and the details stay as they are.
    pub fn rewrap(&self, identities: &[Identity], recipients: &[Recipient]) -> Result<Self, SnapshotError> {
        let key_box = agebox::seal(&*self.open_key(identities)?, recipients)?;
        Self { key_box, ..self.clone() }.within_limits()
    }

    /// Whether it is the version after `before`, which may be a stub.
    pub fn check_follows(&self, before: &SnapshotRecord) -> Result<(), SnapshotError> {
        let record = &self.record;
        let follows = (record.vault, &record.name) == (before.vault, &before.name)
            && Some(record.seq) == before.seq.checked_add(1)
            && record.previous == before.chain_id();
        if follows {
            return Ok(());
        }
        Err(SnapshotError::BrokenChain { name: record.name.clone(), seq: record.seq })
    }

    fn open_key(&self, identities: &[Identity]) -> Result<Zeroizing<[u8; 32]>, SnapshotError> {
        if self.what() != What::Snapshot {
            return Err(SnapshotError::Removed(self.record.chain_id()));
        }
        let key = agebox::open(&self.key_box, identities)?;
        let key =
            <[u8; 32]>::try_from(&key[..]).map_err(|_| BoxError::Damaged("it does not hold a key of 32 bytes"))?;
        Ok(Zeroizing::new(key))
    }
}

fn what_of(record: &SnapshotRecord) -> What {
    match (record.removes, record.undoes) {
        (None, _) => What::Snapshot,
        (Some(_), None) => What::Removal,
        (Some(_), Some(_)) => What::Return,
    }
}

/// `what ‖ record`.
fn signed_message(record: &SnapshotRecord) -> Vec<u8> {
    [&[what_of(record) as u8], &record.encode()[..]].concat()
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"))
}

/// The key is used once, so the nonce may be fixed.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

fn seal_details(key: &[u8; 32], plaintext: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    if plaintext.len() > MAX_OBJECT {
        return Err(SnapshotError::TooLarge { len: plaintext.len() });
    }
    // Room for the tag, so that no copy of the plaintext is left behind.
    let mut sealed = Vec::with_capacity(plaintext.len() + TAG_LEN);
    sealed.extend_from_slice(plaintext);
    cipher(key).seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).expect("within the limits of AES-GCM");
    Ok(sealed)
}

fn open_sealed(key: &[u8; 32], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let len = cipher(key).open_in_place(nonce(), Aad::empty(), &mut buffer).ok()?.len();
    buffer.truncate(len);
    Some(buffer)
}

#[cfg(test)]
mod tests;
