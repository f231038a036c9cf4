//! Devices that were removed: what they signed before stays good, for later members too; they cannot go on.

mod support;

use cas_client::browse::Opened;
use cas_client::push::put_object;
use cas_client::reference::Reference;
use cas_client::store::lock::Patience;
use cas_client::store::{Access, Store, now_ns};
use cas_client::vault::Vault;
use cas_client::{ClientError, ServiceError, random};
use cas_core::agebox::Identity;
use cas_core::id::{Kind, Sum};
use cas_core::keyring::{Change, Device, KeyringRef, Member, Role};
use cas_core::secret::ContentKey;
use cas_core::snapshot::{Details, NewSnapshot, SnapshotObject};
use cas_net::{Commit, StartSession};
use std::path::PathBuf;
use support::World;

/// A world with a laptop beside the owner: a member and a device.
struct Two {
    world: World,
    laptop: Identity,
}

impl Two {
    fn new() -> Self {
        let mut world = World::new();
        world.write("file", b"content");
        let laptop = Identity::from_random(&random());
        let member = Member { role: Role::Writer, recipient: laptop.recipient(), label: "laptop".to_owned() };
        let device = Device { key: laptop.device_key().public(), label: "laptop".to_owned() };
        world.vault.change(&world.store, &[Change::PutMember(member), Change::PutDevice(device)]).unwrap();
        Self { world, laptop }
    }

    /// The vault as somebody with this identity opens it, who has seen nothing before.
    fn vault_of(&self, identity: &Identity) -> Vault {
        Vault::open(&self.world.store, vec![identity.clone()], None, &self.folder()).unwrap()
    }

    /// A new one for what is remembered.
    fn folder(&self) -> PathBuf {
        self.world.dir.path().join(format!("state {}", Sum(random())))
    }

    /// Pushes as the laptop.
    fn push_as_laptop(&mut self, name: &str) {
        let laptop = self.vault_of(&self.laptop);
        let owner = std::mem::replace(&mut self.world.vault, laptop);
        self.world.push(name);
        self.world.vault = owner;
    }

    fn remove_laptop(&mut self) {
        let key = self.laptop.device_key().public();
        let changes = [Change::RemoveDevice(key), Change::RemoveMember(self.laptop.recipient())];
        self.world.vault.change(&self.world.store, &changes).unwrap();
    }

    fn open(&self, vault: &mut Vault, reference: &str) -> Result<Opened, ClientError> {
        Opened::open(&self.world.store, vault, &Reference::parse(reference, 0).unwrap())
    }

    /// The next version of `n`, made by the laptop with a program of its own, which names this keyring.
    fn forge(&self, keyring: KeyringRef) -> Vec<u8> {
        let (index, vault) = (self.world.store.index(), &self.world.vault);
        let name: cas_core::snapshot::Name = "n".parse().unwrap();
        let (seq, previous) = index.head(&vault.id(), name.as_str()).unwrap().unwrap();
        let root = self.world.rows().last().unwrap().root;
        let new = NewSnapshot { vault: vault.id(), name, seq: seq + 1, previous, root, time_ns: now_ns(), keyring };
        let details =
            Details::new(ContentKey::from_bytes([1; 32]), vault.keys().secret().clone(), vault.record().clone());
        let recipients = vault.keyring().snapshot_recipients();
        let object = SnapshotObject::build(&new, &details, &random(), &recipients, &self.laptop.device_key()).unwrap();
        object.encode()
    }

    /// Puts an object on the node, and commits it if asked for.
    fn put(&self, object: Vec<u8>, commit: bool) -> Result<(), ServiceError> {
        let (index, vault) = (self.world.store.index(), &self.world.vault);
        let (domain, device) = (vault.keys().domain_id(), self.laptop.device_key().public());
        let start = StartSession { vault: vault.id(), domain, device, label: "forger".to_owned() };
        let session = index.start_session(&start)?.session;
        let grant = index.grant(session)?;
        let receipts = put_object(self.world.store.nodes(), grant, Kind::Snapshot, domain, &object).unwrap();
        match commit {
            true => index.commit(session, &Commit { object, receipts, key: random() }).map(drop),
            false => Ok(()),
        }
    }
}

fn is_untrusted(opened: Result<Opened, ClientError>) -> bool {
    matches!(opened, Err(ClientError::Untrusted { .. }))
}

#[test]
fn what_a_removed_device_pushed_is_read_by_all_members_also_by_later_ones() {
    let mut two = Two::new();
    two.push_as_laptop("n");
    two.remove_laptop();
    two.world.push("n");
    let later = Identity::from_random(&random());
    let member = Member { role: Role::Owner, recipient: later.recipient(), label: String::new() };
    two.world.vault.change(&two.world.store, &[Change::PutMember(member)]).unwrap();
    let mut later = two.vault_of(&later);
    for reference in ["n@1", "n@2"] {
        // What was sealed before he came stays closed to him; that it is to be trusted he can tell.
        let row = two.world.rows().into_iter().find(|row| reference.ends_with(&row.seq.to_string())).unwrap();
        later.record_of(&two.world.store, &row.snapshot).unwrap();
        two.world.open(reference);
    }
    assert!(matches!(two.open(&mut later, "n@1"), Err(ClientError::WrongKey { .. })));
}

#[test]
fn a_device_that_was_removed_meanwhile_pushes_no_more() {
    let mut two = Two::new();
    two.push_as_laptop("n");
    let stale = two.vault_of(&two.laptop);
    let before = stale.keyring().reference();
    two.remove_laptop();
    let refused = two.put(two.forge(before), true);
    assert!(matches!(refused, Err(ServiceError::Conflict { latest: 3, .. })), "{refused:?}");
    let mut stale = stale;
    let refused = stale.refresh(&two.world.store);
    assert!(matches!(refused, Err(ClientError::WrongKey { .. })), "{refused:?}");

    let mut two = Two::new();
    let mut stale = two.vault_of(&two.laptop);
    let key = two.laptop.device_key().public();
    two.world.vault.change(&two.world.store, &[Change::RemoveDevice(key)]).unwrap();
    let refused = stale.refresh(&two.world.store);
    assert!(matches!(refused, Err(ClientError::Service(ServiceError::Denied(_)))), "{refused:?}");
}

#[test]
fn a_push_during_which_the_keyring_changes_goes_on_under_the_new_one() {
    let mut two = Two::new();
    let mut laptop = two.vault_of(&two.laptop);
    two.world.vault.change(&two.world.store, &[]).unwrap();
    let newest = two.world.vault.keyring().reference();
    std::mem::swap(&mut two.world.vault, &mut laptop);
    two.world.push("n");
    assert_eq!(two.world.vault.keyring().reference(), newest);
    two.world.open("n@1");
}

#[test]
fn a_removed_device_behind_a_newer_keyring_is_believed_by_nobody() {
    let mut two = Two::new();
    let before = two.world.vault.keyring().reference();
    two.world.push("n");
    two.remove_laptop();
    two.world.push("n");
    // The index takes it from the node alone when it is made anew: as a broken index might let it in.
    two.put(two.forge(before), false).unwrap();
    let dir = two.world.store.dir().unwrap().to_owned();
    let aside = Store::create(&two.world.dir.path().join("aside"), "test").unwrap();
    std::mem::replace(&mut two.world.store, aside).close().unwrap();
    let access = Access {
        patience: Patience::None,
        label: "test".to_owned(),
        read_only: false,
        despite_lost_end: false,
        as_guest: None,
    };
    two.world.store = Store::rebuild_index(&dir, access).unwrap().0;
    assert_eq!(two.world.rows().len(), 3, "it was let in");
    let third = Reference::parse("n@3", 0).unwrap();
    assert!(is_untrusted(Opened::open(&two.world.store, &mut two.world.vault, &third)));
    two.world.open("n@2");
}

#[test]
fn a_version_that_was_not_there_when_a_newer_keyring_was_known_is_not_believed() {
    let mut two = Two::new();
    two.world.push("n");
    let before = two.world.vault.keyring().reference();
    let knew = KeyringRef { version: before.version + 1, hash: Sum([1; 32]) };
    two.world.vault.memory().see_keyring(knew);
    let (seq, id) = two.world.store.index().head(&two.world.vault.id(), "n").unwrap().unwrap();
    two.world.vault.memory().see_name("n", seq, id).unwrap();
    two.push_as_laptop("n");
    two.remove_laptop();
    let mut owner = two.world;
    let mut open = |reference| Opened::open(&owner.store, &mut owner.vault, &Reference::parse(reference, 0).unwrap());
    assert!(is_untrusted(open("n@2")));
    assert!(open("n@1").is_ok());
}

#[test]
fn a_damaged_memory_is_said_once_and_refuses_nothing() {
    let two = Two::new();
    let folder = two.folder();
    let open = || Vault::open(&two.world.store, vec![two.laptop.clone()], None, &folder).unwrap();
    let path = open().memory().path().to_owned();
    std::fs::write(&path, b"rot").unwrap();
    assert!(open().memory().damage().is_some());
    assert_eq!(open().memory().damage(), None);
}
