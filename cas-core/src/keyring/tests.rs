use super::*;
use crate::agebox::Recipient;
use crate::codec::{UnknownField, critical, optional};
use crate::domain::DomainRecord;
use crate::id::Sum;
use crate::secret::ContentSecret;
use crate::snapshot::{Details, NewSnapshot, SnapshotObject};
use proptest::prelude::*;

/// Made once by [`object`].
const FIXTURE: &[u8] = include_bytes!("../../fixtures/keyring-v1.cas");
const RECOVERY: u8 = 1;
const OWNER: u8 = 2;
const READER: u8 = 3;
const PUSHER: u8 = 4;
const STRANGER: u8 = 5;

fn identity(n: u8) -> Identity {
    Identity::from_random(&[n; 32])
}

fn recipient(n: u8) -> Recipient {
    identity(n).recipient()
}

fn root() -> RootSeed {
    RootSeed::from_bytes([7; 32])
}

fn vault() -> VaultId {
    root().vault_id()
}

fn member(role: Role, n: u8) -> Member {
    Member { role, recipient: recipient(n), label: format!("number {n}") }
}

fn device(n: u8) -> Device {
    Device { key: identity(n).device_key().public(), label: format!("device {n}") }
}

fn keyring() -> Keyring {
    let members = vec![
        member(Role::Recovery, RECOVERY),
        member(Role::Owner, OWNER),
        member(Role::Reader, READER),
        member(Role::Pusher, PUSHER),
    ];
    let secret = ContentSecret::from_bytes([9; 32]);
    Keyring::first(vault(), DomainRecord::default(), secret, members, vec![device(OWNER), device(PUSHER)]).unwrap()
}

fn object() -> KeyringObject {
    KeyringObject::build(&keyring(), &root()).unwrap()
}

fn open_both(bytes: &[u8]) -> Result<RootSeed, KeyringError> {
    let object = KeyringObject::parse(bytes)?;
    object.open(&[identity(READER)], &vault())?;
    object.open_root(&[identity(OWNER)], &vault())
}

#[test]
fn an_old_keyring_still_opens() {
    let object = KeyringObject::parse(FIXTURE).unwrap();
    assert_eq!(object.encode(), FIXTURE);
    assert_eq!(object.open(&[identity(READER)], &vault()).unwrap(), keyring());
    assert_eq!(object.open_root(&[identity(RECOVERY)], &vault()).unwrap().public(), root().public());
}

/// Only the boxes are random: everything else is pinned.
#[test]
fn everything_outside_the_boxes_is_pinned() {
    assert_eq!(vault().to_string(), "9e25627b012eba7cb76cf6d38edc9cfa");
    assert_eq!(
        keyring().reference().hash.to_string(),
        "cd29d3bb5735b78292dea1c195538df0987833e2796df318dc3b6206e529e120"
    );
    assert_eq!(object().encode()[..60], FIXTURE[..60]);
}

#[test]
fn each_role_opens_what_it_may() {
    let object = object();
    for (n, keyring_opens, root_opens, reads) in [
        (RECOVERY, true, true, true),
        (OWNER, true, true, true),
        (READER, true, false, true),
        (PUSHER, true, false, false),
        (STRANGER, false, false, false),
    ] {
        let no_key = KeyringError::Box(BoxError::NoMatchingKey);
        let opened = object.open(&[identity(n)], &vault());
        assert_eq!(opened.is_ok(), keyring_opens, "{n}");
        assert!(opened.is_ok() || opened == Err(no_key.clone()));
        let root = object.open_root(&[identity(n)], &vault());
        assert_eq!(root.is_ok(), root_opens, "{n}");
        assert!(root.is_ok() || root.unwrap_err() == no_key);
        assert_eq!(keyring().snapshot_recipients().contains(&recipient(n)), reads, "{n}");
    }
}

#[test]
fn an_object_cut_or_flipped_anywhere_is_refused() {
    open_both(FIXTURE).unwrap();
    for len in 0..FIXTURE.len() {
        assert!(KeyringObject::parse(&FIXTURE[..len]).is_err(), "cut at {len}");
    }
    assert!(KeyringObject::parse(&[FIXTURE, &[0]].concat()).is_err());
    assert!(KeyringObject::parse(&vec![0; MAX_OBJECT + 1]).is_err());
    for at in 0..FIXTURE.len() {
        let mut bad = FIXTURE.to_vec();
        bad[at] ^= 1 << (at % 8);
        assert!(open_both(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn another_vault_is_not_the_one_of_the_address() {
    let other = RootSeed::from_bytes([8; 32]);
    let theirs = Keyring { vault: other.vault_id(), ..keyring() };
    let object = KeyringObject::build(&theirs, &other).unwrap();
    let error = object.open(&[identity(OWNER)], &vault()).unwrap_err();
    assert_eq!(error, KeyringError::OtherVault { expected: vault(), found: other.vault_id() });
    assert!(matches!(object.open_root(&[identity(OWNER)], &vault()), Err(KeyringError::OtherVault { .. })));
    assert!(matches!(KeyringObject::build(&keyring(), &other), Err(KeyringError::OtherVault { .. })));
}

/// What a hacked index would do: it knows everything public, and seals a keyring of its own making.
#[test]
fn a_keyring_that_the_root_key_did_not_sign_is_forged() {
    let forger = RootSeed::from_bytes([8; 32]);
    let mut theirs = keyring();
    theirs.members.push(member(Role::Reader, STRANGER));
    let signed = |keyring: &Keyring| {
        let mut out = Vec::new();
        put_bytes32(&mut out, &keyring.encode());
        out.extend_from_slice(&forger.signing_key().sign(PURPOSE, &keyring.encode()));
        agebox::seal(&out, &keyring.recipients(|_| true)).unwrap()
    };
    let forged = KeyringObject { members: signed(&theirs), ..object() };
    let parsed = KeyringObject::parse(&forged.encode()).unwrap();
    assert!(matches!(parsed.open(&[identity(OWNER)], &vault()), Err(KeyringError::Forged { .. })));
    let other_root = KeyringObject { root: forger.public(), ..forged };
    assert!(matches!(KeyringObject::parse(&other_root.encode()), Err(KeyringError::Forged { .. })));
    assert!(matches!(other_root.open(&[identity(OWNER)], &vault()), Err(KeyringError::OtherVault { .. })));
    let relabelled = KeyringObject { version: 2, ..object() };
    assert!(matches!(relabelled.open(&[identity(OWNER)], &vault()), Err(KeyringError::Forged { .. })));
    let other_seed = KeyringObject { owners: agebox::seal(&[1; 32], &[recipient(OWNER)]).unwrap(), ..object() };
    assert!(matches!(other_seed.open_root(&[identity(OWNER)], &vault()), Err(KeyringError::Forged { .. })));
}

#[test]
fn every_field_goes_there_and_back() {
    let edits: [fn(&mut Keyring); 9] = [
        |k| k.vault.0[0] ^= 1,
        |k| (k.version, k.previous) = (2, Sum([1; 32])),
        |k| (k.version, k.previous) = (u32::MAX, Sum([2; 32])),
        |k| k.domain.inline_limit = 0,
        |k| k.secrets.push(ContentSecret::from_bytes([1; 32])),
        |k| k.members[1].role = Role::Writer,
        |k| k.members[1].label.clear(),
        |k| k.devices.clear(),
        |k| k.unknown.push(UnknownField { tag: optional(1), value: b"later".to_vec() }),
    ];
    let mut seen = vec![keyring().encode()];
    for (i, edit) in edits.iter().enumerate() {
        let mut keyring = keyring();
        edit(&mut keyring);
        let bytes = keyring.encode();
        assert_eq!(Keyring::decode(&bytes).unwrap(), keyring, "edit {i}");
        assert!(!seen.contains(&bytes), "edit {i} is not in the bytes");
        seen.push(bytes);
    }
}

#[test]
fn what_a_later_version_adds_survives_signature_and_change() {
    let mut keyring = keyring();
    keyring.unknown.push(UnknownField { tag: optional(60), value: b"later".to_vec() });
    let object = KeyringObject::build(&keyring, &root()).unwrap();
    let opened = object.open(&[identity(READER)], &vault()).unwrap();
    assert_eq!(opened, keyring);
    assert_eq!(opened.next(&[]).unwrap().unknown, keyring.unknown);
}

#[test]
fn keyrings_against_the_rules_are_neither_made_nor_read() {
    let edits: [fn(&mut Keyring); 12] = [
        |k| k.version = 0,
        |k| k.version = 2,
        |k| k.previous = Sum([1; 32]),
        |k| k.secrets.clear(),
        |k| k.secrets.push(k.secrets[0].clone()),
        |k| drop(k.members.remove(0)),
        |k| k.members.clear(),
        |k| k.members.push(member(Role::Reader, OWNER)),
        |k| k.devices.push(device(OWNER)),
        |k| k.devices[0].label = "a\nb".into(),
        |k| k.members[0].label = "l".repeat(MAX_LABEL + 1),
        |k| k.domain.mask_l = 0,
    ];
    for (i, edit) in edits.iter().enumerate() {
        let mut keyring = keyring();
        edit(&mut keyring);
        assert!(matches!(KeyringObject::build(&keyring, &root()), Err(KeyringError::Invalid(_))), "edit {i}");
    }
    let bytes = keyring().encode();
    let with = |tag: u64| {
        let mut out = bytes.to_vec();
        crate::codec::put_field(&mut out, tag, b"x");
        Keyring::decode(&out)
    };
    assert!(with(optional(60)).is_ok());
    assert!(with(critical(60)).is_err());
    let upper = recipient(OWNER).to_string().to_uppercase();
    let at = bytes.windows(4).rposition(|w| w == b"age1").unwrap();
    let mut bad = bytes.to_vec();
    bad[at..at + upper.len()].copy_from_slice(upper.as_bytes());
    assert!(Keyring::decode(&bad).is_err(), "two encodings of one keyring");
}

#[test]
fn changes_make_the_next_version() {
    let first = keyring();
    let changes = [
        Change::PutMember(member(Role::Recovery, STRANGER)),
        Change::RemoveMember(recipient(RECOVERY)),
        Change::PutMember(member(Role::Writer, READER)),
        Change::PutDevice(device(READER)),
        Change::RemoveDevice(device(PUSHER).key),
        Change::AddSecret(ContentSecret::from_bytes([3; 32])),
    ];
    let second = first.next(&changes).unwrap();
    second.check_follows(&first).unwrap();
    assert_eq!((second.version, second.previous), (2, first.reference().hash));
    let roles: Vec<(Role, Recipient)> = second.members.iter().map(|m| (m.role, m.recipient.clone())).collect();
    let expected = [(Role::Owner, OWNER), (Role::Writer, READER), (Role::Pusher, PUSHER), (Role::Recovery, STRANGER)];
    assert_eq!(roles, expected.map(|(role, n)| (role, recipient(n))));
    assert_eq!(second.devices, [device(OWNER), device(READER)]);
    assert_eq!(second.past, [PastDevice { key: device(PUSHER).key, until: 1, label: device(PUSHER).label }]);
    let object = KeyringObject::build(&second, &root()).unwrap();
    assert_eq!(object.open(&[identity(STRANGER)], &vault()).unwrap(), second);
    assert!(object.open(&[identity(RECOVERY)], &vault()).is_err());
}

#[test]
fn the_last_recovery_recipient_stays() {
    let remove = Change::RemoveMember(recipient(RECOVERY));
    assert_eq!(keyring().next(&[remove]), Err(KeyringError::Invalid("a recovery recipient")));
    let demote = Change::PutMember(member(Role::Reader, RECOVERY));
    assert_eq!(keyring().next(&[demote]), Err(KeyringError::Invalid("a recovery recipient")));
    let unknown = Change::RemoveMember(recipient(STRANGER));
    assert_eq!(keyring().next(&[unknown]), Err(KeyringError::NotThere(recipient(STRANGER).to_string())));
    let unknown = Change::RemoveDevice(device(STRANGER).key);
    assert!(matches!(keyring().next(&[unknown]), Err(KeyringError::NotThere(_))));
}

#[test]
fn a_rolled_back_or_forked_keyring_is_noticed() {
    let first = keyring();
    let second = first.next(&[Change::PutDevice(device(READER))]).unwrap();
    let fork = first.next(&[Change::PutDevice(device(STRANGER))]).unwrap();
    let third = second.next(&[]).unwrap();
    let fourth = third.next(&[]).unwrap();
    let known = |k: &Keyring| Some(k.reference());
    for (keyring, known) in [
        (&first, None),
        (&first, known(&first)),
        (&second, known(&first)),
        (&third, known(&second)),
        (&fourth, known(&second)),
    ] {
        keyring.check_accept(known).unwrap();
    }
    assert_eq!(first.check_accept(known(&third)), Err(KeyringError::RolledBack { known: 3, found: 1 }));
    assert_eq!(fork.check_accept(known(&second)), Err(KeyringError::Forked { version: 2 }));
    assert_eq!(third.check_accept(known(&fork)), Err(KeyringError::Forked { version: 3 }));
    assert!(third.check_follows(&first).is_err(), "a version was left out");
    assert!(second.check_follows(&second).is_err());
    let other_d = Keyring { secrets: vec![ContentSecret::from_bytes([1; 32])], ..second.clone() };
    assert_eq!(other_d.check_follows(&first), Err(KeyringError::Forked { version: 2 }));
    let other_cuts = Keyring { domain: DomainRecord { inline_limit: 1, ..second.domain.clone() }, ..second };
    assert_eq!(other_cuts.check_follows(&first), Err(KeyringError::Forked { version: 2 }));
}

#[test]
fn only_its_devices_may_sign_snapshots() {
    let keyring = keyring();
    let new = NewSnapshot {
        vault: vault(),
        name: "n".parse().unwrap(),
        seq: 1,
        previous: crate::id::SnapshotId::ZERO,
        root: BlockId([1; 32]),
        time_ns: 0,
        keyring: keyring.reference(),
    };
    let root_key = crate::secret::ContentKey::from_bytes([1; 32]);
    let details = Details::new(root_key, keyring.secrets[0].clone(), keyring.domain.clone());
    let made = |new: &NewSnapshot, details: &Details, n: u8| {
        let recipients = keyring.snapshot_recipients();
        let device = identity(n).device_key();
        SnapshotObject::build(new, details, &[1; 32], &recipients, &device).unwrap().record().clone()
    };
    keyring.check_record(&made(&new, &details, PUSHER)).unwrap();
    let stranger = device(STRANGER).key;
    assert_eq!(keyring.check_record(&made(&new, &details, STRANGER)), Err(KeyringError::UnknownDevice(stranger)));
    let other_vault = NewSnapshot { vault: VaultId([0; 16]), ..new.clone() };
    assert_eq!(keyring.check_record(&made(&other_vault, &details, OWNER)), Err(KeyringError::OtherSnapshot("vault")));
    let other_domain = Details { secrets: vec![ContentSecret::from_bytes([1; 32])], ..details.clone() };
    assert_eq!(keyring.check_record(&made(&new, &other_domain, OWNER)), Err(KeyringError::OtherSnapshot("domain")));
    let forked = KeyringRef { hash: Sum([1; 32]), ..new.keyring };
    let forked = NewSnapshot { keyring: forked, ..new };
    assert_eq!(keyring.check_record(&made(&forked, &details, OWNER)), Err(KeyringError::OtherSnapshot("keyring")));
}

#[test]
fn what_a_removed_device_signed_before_stays_good_and_nothing_after() {
    let first = keyring();
    let second = first.next(&[Change::RemoveDevice(device(PUSHER).key)]).unwrap();
    let third = second.next(&[]).unwrap();
    let by_pusher = |keyring: &Keyring| {
        let new = NewSnapshot {
            vault: vault(),
            name: "n".parse().unwrap(),
            seq: 1,
            previous: crate::id::SnapshotId::ZERO,
            root: BlockId([1; 32]),
            time_ns: 0,
            keyring: keyring.reference(),
        };
        let root_key = crate::secret::ContentKey::from_bytes([1; 32]);
        let details = Details::new(root_key, keyring.secrets[0].clone(), keyring.domain.clone());
        let recipients = keyring.snapshot_recipients();
        SnapshotObject::build(&new, &details, &[1; 32], &recipients, &identity(PUSHER).device_key()).unwrap()
    };
    let refused = Err(KeyringError::UnknownDevice(device(PUSHER).key));
    for newest in [&second, &third] {
        assert_eq!(newest.check_record(by_pusher(&first).record()), Ok(Standing::PastSigner));
        assert_eq!(newest.check_record(by_pusher(&second).record()), refused);
        assert_eq!(newest.check_record(by_pusher(&third).record()), refused);
    }
    let back = third.next(&[Change::PutDevice(device(PUSHER))]).unwrap();
    assert_eq!((back.past.len(), back.check_record(by_pusher(&first).record())), (0, Ok(Standing::Signer)));
    let gone_again = back.next(&[Change::RemoveDevice(device(PUSHER).key)]).unwrap();
    assert_eq!(gone_again.past[0].until, 4);
    let passing =
        third.next(&[Change::PutDevice(device(STRANGER)), Change::RemoveDevice(device(STRANGER).key)]).unwrap();
    assert_eq!(passing.past, third.past, "it never might");
}

#[test]
fn past_devices_are_within_their_rules_and_written_in_one_way() {
    let past = |key, until| PastDevice { key, until, label: "lost".to_owned() };
    let second = || keyring().next(&[Change::RemoveDevice(device(PUSHER).key)]).unwrap();
    let with = |list: Vec<PastDevice>| Keyring { past: list, ..second() };
    let (owner, stranger) = (device(OWNER).key, device(STRANGER).key);
    for bad in [
        vec![past(stranger, 0)],
        vec![past(stranger, 2)],
        vec![past(owner, 1)],
        vec![past(stranger, 1), past(stranger, 1)],
        (0..=MAX_PAST_DEVICES).map(|n| past(PublicKey(kdf::hash(&n.to_le_bytes())), 1)).collect(),
        vec![PastDevice { label: "l".repeat(MAX_LABEL + 1), ..past(stranger, 1) }],
    ] {
        assert!(with(bad).check().is_err());
    }
    let bytes = with(vec![past(stranger, 1)]).encode();
    assert_eq!(Keyring::decode(&bytes).unwrap().encode(), bytes);
    assert!(bytes.ends_with(&[&[16, 38][..], stranger.as_bytes(), b"\x01\x04lost"].concat()));
    let mut empty = keyring().encode().to_vec();
    crate::codec::put_field(&mut empty, optional(8), b"");
    assert!(Keyring::decode(&empty).is_err(), "two encodings of one keyring");
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(format!("{:?}", root()), format!("RootSeed({})", vault()));
    assert!(!format!("{:?}", keyring()).contains("9, 9, 9"));
}

proptest! {
    #[test]
    fn changed_bodies_are_refused_or_encode_again_to_the_same(at: usize, byte: u8, cut: usize) {
        let mut bytes = keyring().encode();
        let (at, cut) = (at % bytes.len(), cut % bytes.len());
        prop_assert!(Keyring::decode(&bytes[..cut]).is_err());
        bytes[at] = byte;
        if let Ok(keyring) = Keyring::decode(&bytes) {
            prop_assert_eq!(&keyring.encode()[..], &bytes[..]);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes: Vec<u8>, at in 0..FIXTURE.len()) {
        prop_assert!(KeyringObject::parse(&bytes).is_err());
        let mixed = [&FIXTURE[..at], &bytes].concat();
        prop_assert!(mixed == FIXTURE || open_both(&mixed).is_err());
    }
}
