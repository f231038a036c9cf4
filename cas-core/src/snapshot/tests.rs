use super::*;
use crate::codec::{UnknownField, optional};
use proptest::prelude::*;

/// Made once by [`object`], for `identity(1)` and `identity(2)`.
const FIXTURE: &[u8] = include_bytes!("../../fixtures/snapshot-v1.cas");
const DETAILS_KEY: [u8; 32] = [5; 32];

fn identity(n: u8) -> Identity {
    Identity::from_random(&[n; 32])
}

fn device() -> SigningKey {
    identity(1).device_key()
}

fn recipients(of: &[u8]) -> Vec<Recipient> {
    of.iter().map(|n| identity(*n).recipient()).collect()
}

fn new_snapshot() -> NewSnapshot {
    NewSnapshot {
        vault: VaultId([1; 16]),
        name: "laptop/documents".parse().unwrap(),
        seq: 1,
        previous: SnapshotId::ZERO,
        root: BlockId([4; 32]),
        time_ns: 1_800_000_000_123_456_789,
        keyring: KeyringRef { version: 5, hash: Sum([6; 32]) },
    }
}

fn object() -> SnapshotObject {
    let details = details::tests::sample();
    SnapshotObject::build(&new_snapshot(), &details, &DETAILS_KEY, &recipients(&[1, 2]), &device()).unwrap()
}

fn stub() -> SnapshotObject {
    SnapshotObject::removal(object().record(), 77, KeyringRef { version: 9, hash: Sum([8; 32]) }, &device()).unwrap()
}

#[test]
fn an_old_snapshot_still_opens_with_one_identity_and_nothing_else() {
    let object = SnapshotObject::parse(FIXTURE).unwrap();
    assert_eq!(object.encode(), FIXTURE);
    for n in [1, 2] {
        assert_eq!(object.open_details(&[identity(n)]).unwrap(), details::tests::sample());
    }
    let error = object.open_details(&[identity(3)]).unwrap_err();
    assert_eq!(error, SnapshotError::Box(BoxError::NoMatchingKey));
}

/// Only the box is random: everything else is that of the fixture.
#[test]
fn everything_outside_the_box_is_pinned() {
    let fixture = SnapshotObject::parse(FIXTURE).unwrap();
    assert_eq!(SnapshotObject { key_box: fixture.key_box.clone(), ..object() }, fixture);
    assert_eq!(object().snapshot_id().to_string(), "d23f2df5f8fd4cd888a76eb8284ae5f4d6bd6d44ff2577c077bef501fd0008c9");
    assert_eq!(
        Sum::of(&stub().encode()).to_string(),
        "eed4e6cde32d6d8c302ced0914f6421e3b3ba84d1eb4bbe0981c7ccebf841cdf"
    );
}

#[test]
fn an_object_cut_anywhere_is_refused() {
    for bytes in [FIXTURE, &stub().encode()] {
        for len in 0..bytes.len() {
            assert!(SnapshotObject::parse(&bytes[..len]).is_err(), "cut at {len}");
        }
        assert!(SnapshotObject::parse(&[bytes, &[0]].concat()).is_err());
    }
    assert!(SnapshotObject::parse(&vec![0; MAX_OBJECT + 1]).is_err());
}

/// The box is outside the signature: there, a flip is noticed when it is opened.
#[test]
fn an_object_flipped_anywhere_is_refused() {
    for (bytes, removal) in [(FIXTURE, false), (&stub().encode(), true)] {
        let box_at = bytes.len() - SnapshotObject::parse(bytes).unwrap().key_box.len();
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1 << (at % 8);
            if let Ok(object) = SnapshotObject::parse(&bad) {
                assert!(at >= box_at && !removal, "byte {at}");
                assert!(matches!(object.open_details(&[identity(1)]), Err(SnapshotError::Box(_))), "byte {at}");
            }
        }
    }
}

#[test]
fn another_device_cannot_sign_in_the_name_of_this_one() {
    let object = object();
    let message = signed_message(&object.record);
    let signature = identity(3).device_key().sign(PURPOSE, &message);
    let forged = SnapshotObject { signature, ..object.clone() };
    assert!(matches!(SnapshotObject::parse(&forged.encode()), Err(SnapshotError::BadSignature { .. })));
    let unlike_removal = device().sign(PURPOSE, &[&[2], &message[1..]].concat());
    assert!(SnapshotObject { signature: unlike_removal, ..object }.verify().is_err());
}

#[test]
fn details_that_are_not_the_signed_ones_are_damaged() {
    let sealed = seal_details(&DETAILS_KEY, &details::tests::sample().encode()[..]).unwrap();
    assert_eq!(sealed, object().sealed);
    let swapped = SnapshotObject { sealed: [&sealed[..], &[0]].concat(), ..object() };
    assert!(matches!(SnapshotObject::parse(&swapped.encode()), Err(SnapshotError::Damaged { .. })));
    let other_key = agebox::seal(&[6; 32], &recipients(&[1])).unwrap();
    let swapped = SnapshotObject { key_box: other_key, ..object() };
    assert!(matches!(swapped.open_details(&[identity(1)]), Err(SnapshotError::Damaged { .. })));
    let short_key = agebox::seal(&[6; 31], &recipients(&[1])).unwrap();
    let swapped = SnapshotObject { key_box: short_key, ..object() };
    assert!(matches!(swapped.open_details(&[identity(1)]), Err(SnapshotError::Box(BoxError::Damaged(_)))));
}

#[test]
fn details_of_another_domain_are_refused() {
    let mut record = object().record;
    record.domain.0[0] ^= 1;
    let lying = SnapshotObject::sign(record, object().sealed, object().key_box, &device()).unwrap();
    let error = SnapshotObject::parse(&lying.encode()).unwrap().open_details(&[identity(1)]).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged { .. }));
}

#[test]
fn what_a_later_version_adds_survives_encoding_and_signature() {
    let mut record = object().record;
    record.unknown.push(UnknownField { tag: optional(2), value: b"early".to_vec() });
    record.unknown.push(UnknownField { tag: optional(60), value: b"late".to_vec() });
    let object = SnapshotObject::sign(record, object().sealed, object().key_box, &device()).unwrap();
    let parsed = SnapshotObject::parse(&object.encode()).unwrap();
    assert_eq!(parsed, object);
    assert_eq!(parsed.rewrap(&[identity(1)], &recipients(&[3])).unwrap().snapshot_id(), object.snapshot_id());
}

#[test]
fn rewrapping_changes_who_can_read_and_nothing_else() {
    let before = object();
    let after = before.rewrap(&[identity(2)], &recipients(&[3])).unwrap();
    let after = SnapshotObject::parse(&after.encode()).unwrap();
    assert_eq!((after.record(), after.snapshot_id()), (before.record(), before.snapshot_id()));
    assert_ne!(after.object_id(), before.object_id());
    assert_eq!(after.open_details(&[identity(3)]).unwrap(), before.open_details(&[identity(1)]).unwrap());
    assert_eq!(after.open_details(&[identity(1)]).unwrap_err(), SnapshotError::Box(BoxError::NoMatchingKey));
    assert!(before.rewrap(&[identity(3)], &recipients(&[3])).is_err());
}

#[test]
fn a_removal_takes_the_place_of_what_it_removes() {
    let (first, stub) = (object(), stub());
    let second = NewSnapshot { seq: 2, previous: first.snapshot_id(), ..new_snapshot() };
    let second =
        SnapshotObject::build(&second, &details::tests::sample(), &[9; 32], &recipients(&[1]), &device()).unwrap();
    assert_eq!(stub.what(), What::Removal);
    assert_ne!(stub.snapshot_id(), first.snapshot_id());
    assert_eq!(SnapshotObject::parse(&stub.encode()).unwrap(), stub);
    second.check_follows(first.record()).unwrap();
    second.check_follows(stub.record()).unwrap();
    assert!(matches!(first.check_follows(first.record()), Err(SnapshotError::BrokenChain { .. })));
    assert!(matches!(second.check_follows(second.record()), Err(SnapshotError::BrokenChain { .. })));
    assert_eq!(stub.open_details(&[identity(1)]).unwrap_err(), SnapshotError::Removed(first.snapshot_id()));
    assert!(stub.rewrap(&[identity(1)], &recipients(&[3])).is_err());
    let back =
        SnapshotObject::returning(first.record(), stub.object_id(), 79, stub.record().keyring, &device()).unwrap();
    assert_eq!((back.what(), back.record().chain_id()), (What::Return, first.snapshot_id()));
    assert_eq!(SnapshotObject::parse(&back.encode()).unwrap(), back);
    assert_eq!(back.record().undoes, Some(stub.object_id()));
    for what in [1, 2, 4] {
        let mut other = back.encode();
        other[5] = what;
        assert!(SnapshotObject::parse(&other).is_err(), "a return that says it is {what}");
    }
    // A stub of a stub stands for the same snapshot.
    let again = SnapshotObject::removal(stub.record(), 78, stub.record().keyring, &device()).unwrap();
    assert_eq!(again.record().removes, Some(first.snapshot_id()));
}

#[test]
fn what_cannot_be_a_snapshot_is_not_built() {
    let build = |new: &NewSnapshot, details: &Details, of: &[u8]| {
        SnapshotObject::build(new, details, &DETAILS_KEY, &recipients(of), &device()).unwrap_err()
    };
    let details = details::tests::sample();
    let zero_root = NewSnapshot { root: BlockId::ZERO, ..new_snapshot() };
    assert!(matches!(build(&zero_root, &details, &[1]), SnapshotError::Invalid(_)));
    let seq = NewSnapshot { seq: 0, ..new_snapshot() };
    assert!(matches!(build(&seq, &details, &[1]), SnapshotError::Invalid(_)));
    let bad_tag = Details { tags: vec![String::new()], ..details.clone() };
    assert!(matches!(build(&new_snapshot(), &bad_tag, &[1]), SnapshotError::Invalid(_)));
    assert!(matches!(build(&new_snapshot(), &details, &[]), SnapshotError::Box(BoxError::RecipientCount { .. })));
    let many = Details { paths: vec![vec![b'p'; 1024]; 1100], ..details };
    assert!(matches!(build(&new_snapshot(), &many, &[1]), SnapshotError::TooLarge { .. }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(bytes: Vec<u8>, at in 0..FIXTURE.len()) {
        prop_assert!(SnapshotObject::parse(&bytes).is_err());
        let mixed = [&FIXTURE[..at], &bytes].concat();
        let opened = SnapshotObject::parse(&mixed).and_then(|object| object.open_details(&[identity(1)]));
        prop_assert!(mixed == FIXTURE || opened.is_err());
    }
}
