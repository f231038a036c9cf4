//! Objects that nobody signed, for what does not verify them itself.

use cas_core::codec::put_bytes32;
use cas_core::id::{BlockId, DomainId, Kind, SnapshotId, Sum, VaultId};
use cas_core::snapshot::{SnapshotObject, SnapshotRecord};

/// A version as an index sees it: signed by nobody, which is for its service to refuse.
pub struct Forged {
    pub bytes: Vec<u8>,
    pub snapshot_id: [u8; 32],
    record: SnapshotRecord,
}

const SNAPSHOT: &[u8] = include_bytes!("../../cas-core/fixtures/snapshot-v1.cas");
const KEYRING: &[u8] = include_bytes!("../../cas-core/fixtures/keyring-v1.cas");

/// A version with this root, which follows another or none.
pub fn version(previous: Option<&Forged>, root: BlockId, follows: bool) -> Forged {
    let fixture = SnapshotObject::parse(SNAPSHOT).expect("the fixture is a snapshot");
    let mut record = fixture.record().clone();
    (record.vault, record.domain, record.root) = (VaultId([1; 16]), DomainId([1; 16]), root);
    if let Some(previous) = previous.filter(|_| follows) {
        (record.seq, record.previous) = (previous.record.seq + 1, SnapshotId(previous.snapshot_id));
    }
    Forged { bytes: object_of(&record), snapshot_id: record.id().0, record }
}

/// The removal of a version.
pub fn removal(of: &Forged) -> Vec<u8> {
    let (root, sealed) = (BlockId::ZERO, Sum::ZERO);
    object_of(&SnapshotRecord { root, sealed, removes: Some(of.record.id()), ..of.record.clone() })
}

/// What takes the removal of a version back.
pub fn returning(of: &Forged) -> Vec<u8> {
    let (root, sealed) = (BlockId::ZERO, Sum::ZERO);
    let undoes = Some(BlockId::of_object(Kind::Snapshot, &removal(of)));
    object_of(&SnapshotRecord { root, sealed, removes: Some(of.record.id()), undoes, ..of.record.clone() })
}

fn object_of(record: &SnapshotRecord) -> Vec<u8> {
    let removal = record.removes.is_some();
    let mut out = b"CASN\x01".to_vec();
    out.extend_from_slice(&[1 + u8::from(removal) + u8::from(record.undoes.is_some()), 0, 0]);
    put_bytes32(&mut out, &record.encode());
    out.extend_from_slice(&[0; 64]);
    for part in [b"sealed", b"in box"] {
        put_bytes32(&mut out, if removal { b"" } else { part });
    }
    out
}

/// A keyring that says it has this version.
pub fn keyring(version: u8) -> Vec<u8> {
    let mut out = KEYRING.to_vec();
    out[8 + 16 + 32] = version;
    out
}
