//! Objects and the records in them: snapshots, keyrings, domains. FORMAT §4, §6, §7.

use super::fixed::{self, identity};
use super::input::Input;
use cas_core::agebox;
use cas_core::chunk::Chunker;
use cas_core::codec::put_bytes32;
use cas_core::domain::{DomainRecord, MAX_DOMAIN_RECORD};
use cas_core::keyring::{KeyringObject, RootSeed};
use cas_core::limits::MAX_OBJECT;
use cas_core::signing::SigningKey;
use cas_core::snapshot::{Details, MAX_RECORD, SnapshotObject, SnapshotRecord};

/// More content than this is not cut: an input should not take long.
const MAX_CUT: usize = 4 << 20;

/// A snapshot object that parses is written the same again; none that is not signed is believed.
pub fn snapshot_object(input: &[u8]) -> bool {
    let Ok(object) = SnapshotObject::parse_unverified(input) else { return false };
    assert!(input.len() <= MAX_OBJECT);
    assert_eq!(object.encode(), input);
    assert_eq!(object.snapshot_id(), object.record().id());
    if let Ok(details) = object.open_details(&[identity(1)]) {
        assert_eq!(details.domain_id(), object.record().domain);
    }
    let verified = object.verify().is_ok();
    assert_eq!(SnapshotObject::parse(input).is_ok(), verified);
    verified
}

/// A record that decodes is written the same again.
pub fn snapshot_record(input: &[u8]) -> bool {
    let Ok(record) = SnapshotRecord::decode(input) else { return false };
    assert!(input.len() <= MAX_RECORD);
    assert_eq!(record.encode(), input);
    true
}

/// Details that decode are written the same again.
pub fn details(input: &[u8]) -> bool {
    let Ok(details) = Details::decode(input) else { return false };
    assert_eq!(details.encode()[..], *input);
    assert_eq!(details.check(), Ok(()));
    true
}

/// The first byte says what the rest is: an object, or the body that the root key of a vault signed.
pub fn keyring(input: &[u8]) -> bool {
    let mut input = Input(input);
    if input.byte() == 0 { keyring_object(input.0) } else { keyring_body(input.0) }
}

fn root() -> RootSeed {
    RootSeed::from_bytes([7; 32])
}

fn keyring_object(bytes: &[u8]) -> bool {
    let Ok(object) = KeyringObject::parse(bytes) else { return false };
    assert!(bytes.len() <= MAX_OBJECT);
    assert_eq!(object.encode(), bytes);
    let opened = object.open(&[identity(1)], &root().vault_id());
    if let Ok(keyring) = &opened {
        assert_eq!((keyring.vault, keyring.version), (object.vault(), object.version()));
    }
    if let Ok(seed) = object.open_root(&[identity(1)], &root().vault_id()) {
        assert_eq!(seed.public(), root().public());
    }
    opened.is_ok()
}

/// A body that a vault's owner signed, and that says it has version 1.
fn keyring_body(body: &[u8]) -> bool {
    let mut signed = Vec::new();
    put_bytes32(&mut signed, body);
    signed.extend_from_slice(&SigningKey::from_seed(&[7; 32]).sign("cas v1 keyring", body));
    let Ok(members) = agebox::seal(&signed, &[identity(1).recipient()]) else { return false };
    let mut object = b"CASK\x01\0\0\0".to_vec();
    object.extend_from_slice(root().vault_id().as_bytes());
    object.extend_from_slice(root().public().as_bytes());
    object.extend_from_slice(&1u32.to_le_bytes());
    put_bytes32(&mut object, &members);
    put_bytes32(&mut object, &members);
    let Ok(parsed) = KeyringObject::parse(&object) else { return false };
    let Ok(keyring) = parsed.open(&[identity(1)], &root().vault_id()) else { return false };
    assert_eq!(keyring.encode()[..], *body);
    assert_eq!(keyring.check(), Ok(()));
    assert!(!keyring.snapshot_recipients().is_empty());
    true
}

/// A domain record that decodes is written the same again, and cuts within its limits.
pub fn domain(input: &[u8]) -> bool {
    let Ok(record) = DomainRecord::decode(input) else { return false };
    assert!(input.len() <= MAX_DOMAIN_RECORD);
    assert_eq!(record.encode(), input);
    assert_eq!(record.check(), Ok(()));
    let chunker = Chunker::new(&record, &fixed::keys());
    let content: Vec<u8> = input.iter().copied().cycle().take((2 * chunker.max() + 1).min(MAX_CUT)).collect();
    let lengths: Vec<usize> = chunker.chunks(&content).map(<[u8]>::len).collect();
    assert_eq!(lengths.iter().sum::<usize>(), content.len());
    assert!(lengths.iter().all(|len| *len <= chunker.max()));
    assert!(lengths.iter().rev().skip(1).all(|len| *len >= chunker.min()));
    true
}
