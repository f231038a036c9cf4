//! A vault, opened with an identity: its keyring, the keys of its domain, the device that signs.
//!
//! Promise: domain secret and recipients come from a keyring that the vault's root key signed, never one older
//! than the newest this client has seen.

use crate::entropy::random;
use crate::error::{ClientError, Result};
use crate::memory::Memory;
use crate::push::put_object;
use crate::store::{Store, witness};
use cas_core::agebox::{BoxError, Identity, Recipient};
use cas_core::chunk::Chunker;
use cas_core::domain::DomainRecord;
use cas_core::id::{DomainId, Kind, SnapshotId, VaultId};
use cas_core::keyring::{Change, Device, Keyring, KeyringError, KeyringObject, Member, Role, RootSeed, Standing};
use cas_core::secret::{ContentSecret, DomainKeys};
use cas_core::signing::SigningKey;
use cas_core::snapshot::{Details, SnapshotError, SnapshotObject};
use cas_net::{Receipt, ServiceError, SessionId, StartSession};
use std::path::Path;
use std::sync::Arc;

/// How often an object is put again because something was collected meanwhile.
const ATTEMPTS: usize = 8;

/// An open vault.
pub struct Vault {
    id: VaultId,
    object: KeyringObject,
    keyring: Keyring,
    keys: Arc<DomainKeys>,
    chunker: Chunker,
    identities: Vec<Identity>,
    device: SigningKey,
    memory: Memory,
}

/// What a new vault is made with.
#[derive(Debug)]
pub struct NewVault {
    /// How its domain cuts.
    pub domain: DomainRecord,
    /// Who owns it.
    pub owner: Recipient,
    /// The key for the day when all others are lost.
    pub recovery: Recipient,
    /// What to call this device.
    pub label: String,
}

impl Vault {
    /// Makes a new vault in a store, owned by the first of `identities`.
    pub fn create(store: &Store, identities: Vec<Identity>, new: NewVault, state: &Path) -> Result<Self> {
        let root = RootSeed::from_bytes(random());
        let member = |role, recipient, label: &str| Member { role, recipient, label: label.to_owned() };
        let device = first(&identities)?.device_key();
        let keyring = Keyring::first(
            root.vault_id(),
            new.domain,
            ContentSecret::from_bytes(random()),
            vec![member(Role::Recovery, new.recovery, "recovery"), member(Role::Owner, new.owner, &new.label)],
            vec![Device { key: device.public(), label: new.label }],
        );
        let keyring = keyring.map_err(|e| keyring_error(root.vault_id(), e))?;
        let object = KeyringObject::build(&keyring, &root).map_err(|e| keyring_error(root.vault_id(), e))?;
        store_keyring(store, &keyring, &object, &device)?;
        let memory = Memory::open(state, &keyring.vault)?;
        Self::unlocked(store, object, keyring, identities, memory)
    }

    /// Opens a vault of a store: the only one, or the one whose id begins with `wanted`.
    pub fn open(store: &Store, identities: Vec<Identity>, wanted: Option<&str>, state: &Path) -> Result<Self> {
        let id = choose(store.index().vaults()?, wanted)?;
        let bytes = store.index().keyring(&id)?;
        let object = KeyringObject::parse(&bytes).map_err(|e| keyring_error(id, e))?;
        let memory = Memory::open(state, &id)?;
        let keyring = match object.open(&identities, &id) {
            Ok(keyring) => keyring,
            Err(e) => return Err(lost_keyring(store, &object, &memory)?.unwrap_or_else(|| keyring_error(id, e))),
        };
        Self::unlocked(store, object, keyring, identities, memory)
    }

    fn unlocked(
        store: &Store,
        object: KeyringObject,
        keyring: Keyring,
        identities: Vec<Identity>,
        mut memory: Memory,
    ) -> Result<Self> {
        let id = keyring.vault;
        if let Err(e) = keyring.check_accept(memory.keyring()) {
            return Err(lost_keyring(store, &object, &memory)?.unwrap_or_else(|| keyring_error(id, e)));
        }
        memory.see_keyring(keyring.reference());
        memory.save()?;
        let keys = Arc::new(keyring.domain_keys());
        let chunker = Chunker::new(&keyring.domain, &keys);
        let device = first(&identities)?.device_key();
        Ok(Self { id, object, keyring, keys, chunker, identities, device, memory })
    }

    /// Opens the newest keyring whatever this client has seen before, and forgets what it has seen.
    pub fn trust(store: &Store, identities: Vec<Identity>, wanted: Option<&str>, state: &Path) -> Result<Self> {
        let id = choose(store.index().vaults()?, wanted)?;
        let mut memory = Memory::open(state, &id)?;
        memory.clear();
        memory.save()?;
        Self::open(store, identities, wanted, state)
    }

    /// Its id.
    pub fn id(&self) -> VaultId {
        self.id
    }

    /// Its keyring.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The keys of its domain.
    pub fn keys(&self) -> &Arc<DomainKeys> {
        &self.keys
    }

    /// How its domain cuts.
    pub fn record(&self) -> &DomainRecord {
        &self.keyring.domain
    }

    /// Where its domain cuts.
    pub fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// The key this device signs with.
    pub fn device(&self) -> &SigningKey {
        &self.device
    }

    /// What this client remembers of it.
    pub fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Compares the newest version of a name as the index tells it (zero for none) with the newest seen, and remembers it.
    ///
    /// Errors: the index lost versions that the node still has: a rebuild brings them back; or
    /// [`ClientError::RolledBack`]: nobody has them. An index that is known to have lost its end is not asked for more.
    pub fn see_head(&mut self, store: &Store, name: &str, seq: u64, id: SnapshotId) -> Result<()> {
        if store.lost_end().is_some() {
            return Ok(());
        }
        let seen = self.memory.name(name);
        let Err(went_back) = self.memory.see_name_if_any(name, seq, id) else { return Ok(()) };
        match seen.filter(|(seen_seq, _)| seq < *seen_seq) {
            Some((seen_seq, seen_id)) if witness::has_version(store, &self.id, &seen_id)? => {
                Err(index_lost(store, &format!("version {seen_seq} of {name} ({})", seen_id.short())))
            }
            _ => Err(went_back),
        }
    }

    /// Reads the keyring again: somebody else may have changed it. Errors: this device may not sign any more.
    pub fn refresh(&mut self, store: &Store) -> Result<()> {
        let bytes = store.index().keyring(&self.id)?;
        if bytes != self.object.encode() {
            let failed = |e| keyring_error(self.id, e);
            let object = KeyringObject::parse(&bytes).map_err(failed)?;
            let keyring = object.open(&self.identities, &self.id).map_err(failed)?;
            keyring.check_accept(Some(self.keyring.reference())).map_err(failed)?;
            self.memory.see_keyring(keyring.reference());
            (self.object, self.keyring) = (object, keyring);
        }
        let device = self.device.public();
        if self.keyring.may_sign(&device) {
            return Ok(());
        }
        Err(ServiceError::Denied(format!("device {device} may not sign in vault {} any more", self.id)).into())
    }

    /// Reads a snapshot's record, verified: signed by a device that may, or might when it did.
    pub fn record_of(&self, store: &Store, snapshot: &SnapshotId) -> Result<SnapshotObject> {
        let bytes = store.index().snapshot_object(snapshot)?;
        let object = SnapshotObject::parse(&bytes).map_err(|e| snapshot_error(snapshot, e))?;
        if object.snapshot_id() != *snapshot {
            return Err(untrusted(snapshot, "the index gave another snapshot"));
        }
        let standing = self.keyring.check_record(object.record()).map_err(|e| untrusted(snapshot, &e.to_string()))?;
        if standing == Standing::PastSigner {
            self.check_past(store, &object)?;
        }
        Ok(object)
    }

    /// A removed device can still sign a record that names an old keyring. The index takes none; one that it let in stands
    /// behind versions that name a newer keyring, or was not there when this client knew one.
    fn check_past(&self, store: &Store, object: &SnapshotObject) -> Result<()> {
        let record = object.record();
        let named = record.keyring.version;
        let forged = || {
            untrusted(&object.snapshot_id(), &format!("device {} signed it after it had been removed", record.device))
        };
        if !self.memory.fits(record.name.as_str(), record.seq, named) {
            return Err(forged());
        }
        let versions = store.index().snapshots(&self.id, Some(record.name.as_str()), true)?;
        for before in versions.iter().filter(|row| row.seq < record.seq) {
            let bytes = store.index().snapshot_object(&before.snapshot)?;
            let before = SnapshotObject::parse(&bytes).map_err(|e| snapshot_error(&before.snapshot, e))?;
            if before.record().keyring.version > named {
                return Err(forged());
            }
        }
        Ok(())
    }

    /// Opens the details of a snapshot.
    pub fn details(&self, object: &SnapshotObject) -> Result<Details> {
        object.open_details(&self.identities).map_err(|e| snapshot_error(&object.snapshot_id(), e))
    }

    /// Makes sure that this device may sign. An owner's (or the recovery) identity adds itself; others have to be added.
    pub fn ensure_device(&mut self, store: &Store, label: &str) -> Result<()> {
        let key = self.device.public();
        if self.keyring.may_sign(&key) {
            return Ok(());
        }
        self.change(store, &[Change::PutDevice(Device { key, label: label.to_owned() })])
    }

    /// Changes the keyring: the next version is signed by the root key, which needs an owner's identity.
    pub fn change(&mut self, store: &Store, changes: &[Change]) -> Result<()> {
        let failed = |e| keyring_error(self.id, e);
        let root = self.object.open_root(&self.identities, &self.id).map_err(failed)?;
        let next = self.keyring.next(changes).map_err(failed)?;
        let object = KeyringObject::build(&next, &root).map_err(failed)?;
        store_keyring(store, &next, &object, &self.device)?;
        self.memory.see_keyring(next.reference());
        self.memory.save()?;
        (self.object, self.keyring) = (object, next);
        Ok(())
    }
}

fn first(identities: &[Identity]) -> Result<&Identity> {
    identities.first().ok_or_else(|| ClientError::Usage("an identity is needed".to_owned()))
}

/// The only vault, or the one whose id begins with `wanted`.
///
/// # Errors
/// [`ClientError::NotFound`], [`ClientError::Ambiguous`].
pub fn choose(vaults: Vec<VaultId>, wanted: Option<&str>) -> Result<VaultId> {
    let prefix = wanted.unwrap_or_default().to_ascii_lowercase();
    let fitting: Vec<_> = vaults.into_iter().filter(|v| v.to_string().starts_with(&prefix)).collect();
    match &fitting[..] {
        [one] => Ok(*one),
        [] if prefix.is_empty() => Err(ClientError::NotFound { what: "vault", name: "here".to_owned() }),
        [] => Err(ClientError::NotFound { what: "vault", name: prefix }),
        several => Err(ClientError::Ambiguous {
            text: format!("--vault {prefix:?}"),
            candidates: several.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
        }),
    }
}

/// Does something under a session, for which objects may be put, and closes it. One that cannot be closed expires.
pub(crate) fn in_session(
    store: &Store,
    start: &StartSession,
    work: impl FnOnce(SessionId) -> Result<()>,
) -> Result<()> {
    let session = store.index().start_session(start)?.session;
    let worked = work(session);
    if let Err(why) = store.index().close_session(session) {
        tracing::debug!("the session is not closed: {why}");
    }
    worked
}

/// Puts an object on the nodes and has the index take it with the receipts: under a new grant if meanwhile something was collected
/// that may have been these very bytes.
pub(crate) fn with_receipts(
    store: &Store,
    session: SessionId,
    kind: Kind,
    domain: DomainId,
    object: &[u8],
    take: &dyn Fn(&[Receipt]) -> cas_net::Result<()>,
) -> Result<()> {
    let mut attempt = 1;
    loop {
        let receipts = put_object(store.nodes(), store.index().grant(session)?, kind, domain, object)?;
        match take(&receipts) {
            Err(ServiceError::Stale(_)) if attempt < ATTEMPTS => attempt += 1,
            taken => return Ok(taken?),
        }
    }
}

/// Puts a keyring on the node first, then makes the index know it.
fn store_keyring(store: &Store, keyring: &Keyring, object: &KeyringObject, device: &SigningKey) -> Result<()> {
    let (vault, domain) = (keyring.vault, keyring.domain_id());
    let label = format!("keyring of {vault} (process {})", std::process::id());
    in_session(store, &StartSession { vault, domain, device: device.public(), label }, |session| {
        if let Some(cluster) = store.cluster() {
            cluster.admit(&vault, &domain)?;
        }
        let bytes = object.encode();
        let take = |receipts: &[Receipt]| store.index().put_keyring(&bytes, receipts);
        with_receipts(store, session, Kind::Keyring, domain, &bytes, &take)
    })
}

/// Whether an index that tells an older keyring than was seen has lost the newer one.
fn lost_keyring(store: &Store, told: &KeyringObject, memory: &Memory) -> Result<Option<ClientError>> {
    let Some(seen) = memory.keyring().filter(|seen| told.version() < seen.version) else { return Ok(None) };
    let vault = told.vault();
    let is_there = witness::has_keyring(store, &vault, seen.version)?;
    Ok(is_there.then(|| index_lost(store, &format!("version {} of the keyring of vault {vault}", seen.version))))
}

/// The index does not know what was seen before and is still stored.
fn index_lost(store: &Store, what: &str) -> ClientError {
    let detail = format!(
        "{what} was seen before and is stored, and it does not know it; if it does not after a rebuild, cas vault trust accepts that"
    );
    ServiceError::Damaged { what: format!("the index of {}", store.place()), detail }.into()
}

fn keyring_error(vault: VaultId, error: KeyringError) -> ClientError {
    match error {
        KeyringError::Box(BoxError::NoMatchingKey) => ClientError::WrongKey { what: format!("vault {vault}") },
        KeyringError::Format(cause) => ClientError::Format { what: format!("the keyring of vault {vault}"), cause },
        KeyringError::RolledBack { known, found } => ClientError::RolledBack {
            what: format!("the keyring of vault {vault}"),
            seen: format!("version {known}"),
            found: format!("version {found}"),
        },
        KeyringError::NotThere(name) => ClientError::NotFound { what: "key", name },
        KeyringError::Invalid(why) => ClientError::Usage(format!("a keyring needs {why}")),
        other => ClientError::Untrusted { what: format!("the keyring of vault {vault}"), why: other.to_string() },
    }
}

fn snapshot_error(snapshot: &SnapshotId, error: SnapshotError) -> ClientError {
    match error {
        SnapshotError::Box(BoxError::NoMatchingKey) => {
            ClientError::WrongKey { what: format!("snapshot {}", snapshot.short()) }
        }
        SnapshotError::Format(cause) => ClientError::Format { what: format!("snapshot {}", snapshot.short()), cause },
        SnapshotError::Invalid(why) => ClientError::Usage(format!("a snapshot needs {why}")),
        SnapshotError::Damaged { reason, .. } => ClientError::Service(ServiceError::Damaged {
            what: format!("snapshot {}", snapshot.short()),
            detail: reason.to_owned(),
        }),
        other => untrusted(snapshot, &other.to_string()),
    }
}

fn untrusted(snapshot: &SnapshotId, why: &str) -> ClientError {
    ClientError::Untrusted { what: format!("snapshot {}", snapshot.short()), why: why.to_owned() }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cas_core::id::PublicKey;
    use std::cell::RefCell;

    #[test]
    fn an_object_whose_receipts_are_old_is_put_again_under_a_new_grant_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(&dir.path().join("store"), "test").unwrap();
        let (vault, domain) = (VaultId([1; VaultId::LEN]), DomainId([2; DomainId::LEN]));
        let start = StartSession { vault, domain, device: PublicKey([3; 32]), label: "test".to_owned() };
        let grants = RefCell::new(Vec::new());
        let put = |refusals: usize| {
            grants.borrow_mut().clear();
            in_session(&store, &start, |session| {
                with_receipts(&store, session, Kind::Snapshot, domain, b"removal", &|receipts| {
                    grants.borrow_mut().extend(receipts.iter().map(|receipt| receipt.grant_epoch));
                    // Something happens meanwhile.
                    store.index().close_session(store.index().start_session(&start)?.session)?;
                    let is_refused = grants.borrow().len() <= refusals;
                    if is_refused { Err(ServiceError::Stale(receipts[0].blocks[0].id)) } else { Ok(()) }
                })
            })
        };
        put(2).unwrap();
        assert!(grants.borrow().is_sorted_by(|a, b| a < b) && grants.borrow().len() == 3, "{grants:?}");
        assert!(matches!(put(usize::MAX), Err(ClientError::Service(ServiceError::Stale(_)))));
        assert_eq!(grants.borrow().len(), ATTEMPTS);
    }
}
