//! The body of a keyring: what the members of a vault agree on. FORMAT §7.
//!
//! Promise: a valid keyring has a recovery recipient, names nobody twice, and changes only by [`Keyring::next`],
//! whose result [`Keyring::check_follows`] accepts. Secrets are wiped when dropped.

use crate::agebox::{MAX_RECIPIENTS, Recipient};
use crate::codec::{FormatError, Reader, RecordWriter, UnknownField, critical, optional, put_bytes, put_varint};
use crate::domain::DomainRecord;
use crate::id::{DomainId, PublicKey, Sum, VaultId};
use crate::limits::MAX_OBJECT;
use crate::secret::{ContentSecret, DomainKeys};
use crate::snapshot::{MAX_SECRETS, SnapshotRecord, read_secrets};
use zeroize::Zeroizing;

/// Devices that may sign.
pub const MAX_DEVICES: usize = 1024;
/// Devices that might sign once.
pub const MAX_PAST_DEVICES: usize = 1024;
/// A label of a member or a device, in bytes.
pub const MAX_LABEL: usize = 255;

const TAG_VAULT: u64 = critical(1);
const TAG_VERSION: u64 = critical(2);
const TAG_PREVIOUS: u64 = critical(3);
const TAG_DOMAIN: u64 = critical(4);
const TAG_SECRETS: u64 = critical(5);
const TAG_MEMBERS: u64 = critical(6);
const TAG_DEVICES: u64 = critical(7);
const TAG_PAST: u64 = optional(8);

/// A version of a keyring, named by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyringRef {
    /// Its version, from 1.
    pub version: u32,
    /// BLAKE3 of its body.
    pub hash: Sum,
}

/// What a member may open. What he may do is for the index to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// The key kept away for the day when all others are lost: opens everything, the root key included.
    Recovery = 1,
    /// Opens everything, the root key included: may change the keyring.
    Owner = 2,
    /// Opens the keyring and all snapshots.
    Writer = 3,
    /// Opens the keyring and all snapshots.
    Reader = 4,
    /// Opens the keyring, no snapshot: a host that only pushes.
    Pusher = 5,
}

impl Role {
    /// Reads the byte of a format.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Recovery, Self::Owner, Self::Writer, Self::Reader, Self::Pusher].into_iter().find(|r| *r as u8 == byte)
    }

    /// Whether he opens the root key.
    pub fn opens_root(self) -> bool {
        matches!(self, Self::Recovery | Self::Owner)
    }

    /// Whether snapshots are sealed for him.
    pub fn opens_snapshots(self) -> bool {
        self != Self::Pusher
    }
}

/// Somebody for whom the keyring is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What he may open.
    pub role: Role,
    /// His public key.
    pub recipient: Recipient,
    /// For people. At most 255 bytes, no control characters.
    pub label: String,
}

/// A device that may sign snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its key.
    pub key: PublicKey,
    /// For people. At most 255 bytes, no control characters.
    pub label: String,
}

/// A device that was removed. What it signed before stays good: without it, removing a lost laptop would take its
/// snapshots along. It stands here, and not in older keyrings alone, because who became a member later cannot open those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDevice {
    /// Its key.
    pub key: PublicKey,
    /// The last version of the keyring in which it might sign.
    pub until: u32,
    /// For people. At most 255 bytes, no control characters.
    pub label: String,
}

/// By which right a snapshot was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its device may sign.
    Signer,
    /// Its device might when the keyring was that which the record names. Whether that is true, the history of the name must show:
    /// no version before it names a newer keyring.
    PastSigner,
}

/// What the members of a vault agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyring {
    /// The vault.
    pub vault: VaultId,
    /// From 1, one more with every change.
    pub version: u32,
    /// The hash of the version before; zeros for the first.
    pub previous: Sum,
    /// How the domain cuts. Never changes.
    pub domain: DomainRecord,
    /// Content secrets, D first. D never changes.
    pub secrets: Vec<ContentSecret>,
    /// For whom it is sealed. At least one recovery recipient.
    pub members: Vec<Member>,
    /// Who may sign.
    pub devices: Vec<Device>,
    /// Who might once.
    pub past: Vec<PastDevice>,
    /// Fields of a later version that may be ignored, kept.
    pub unknown: Vec<UnknownField>,
}

/// One change to a keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new member, or another role or label for one that is there.
    PutMember(Member),
    /// No member any more. What was sealed for him before stays open to him.
    RemoveMember(Recipient),
    /// A new device, or another label for one that is there.
    PutDevice(Device),
    /// A device that may sign no more.
    RemoveDevice(PublicKey),
    /// One more content secret.
    AddSecret(ContentSecret),
}

/// Why a keyring was not made, believed or changed, by what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The bytes are not a keyring: damaged, or of a later version.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A part of it was not opened or sealed.
    #[error(transparent)]
    Box(#[from] crate::agebox::BoxError),
    /// It belongs to another vault than the address says.
    #[error("the keyring is that of vault {found}, not {expected}")]
    OtherVault {
        /// What the address says.
        expected: VaultId,
        /// What stands there.
        found: VaultId,
    },
    /// It is not signed by the root key of its vault, or its outside differs from what was signed: forged or damaged.
    #[error("the keyring of vault {vault} is forged or damaged: {reason}")]
    Forged {
        /// Which.
        vault: VaultId,
        /// What is wrong.
        reason: &'static str,
    },
    /// It is older than one seen before: somebody rolled it back.
    #[error("keyring version {found} was served after version {known} had been seen")]
    RolledBack {
        /// The newest seen.
        known: u32,
        /// What was served.
        found: u32,
    },
    /// It does not continue the one seen before: somebody forked it.
    #[error("keyring version {version} does not continue the one seen before")]
    Forked {
        /// The version that was served.
        version: u32,
    },
    /// It breaks a rule or limit of the format: change it otherwise.
    #[error("a keyring needs {0}")]
    Invalid(&'static str),
    /// There is nothing of this name in it to remove.
    #[error("{0} is not in the keyring")]
    NotThere(String),
    /// A snapshot names a device that may not sign.
    #[error("device {0} may not sign in this vault")]
    UnknownDevice(PublicKey),
    /// A snapshot belongs to another vault, domain or keyring.
    #[error("the snapshot belongs to another {0}")]
    OtherSnapshot(&'static str),
}

impl Keyring {
    /// The first version of a new vault.
    pub fn first(
        vault: VaultId,
        domain: DomainRecord,
        domain_secret: ContentSecret,
        members: Vec<Member>,
        devices: Vec<Device>,
    ) -> Result<Self, KeyringError> {
        let secrets = vec![domain_secret];
        let (previous, past, unknown) = (Sum::ZERO, Vec::new(), Vec::new());
        let keyring = Self { vault, version: 1, previous, domain, secrets, members, devices, past, unknown };
        keyring.check().map_err(KeyringError::Invalid)?;
        Ok(keyring)
    }

    /// The next version, with these changes in this order.
    pub fn next(&self, changes: &[Change]) -> Result<Self, KeyringError> {
        let version = self.version.checked_add(1).ok_or(KeyringError::Invalid("a version below 2^32"))?;
        let mut next = Self { version, previous: self.reference().hash, ..self.clone() };
        for change in changes {
            next.apply(change)?;
        }
        next.past.retain(|past| next.devices.iter().all(|device| device.key != past.key));
        let removed = self.devices.iter().filter(|old| next.devices.iter().all(|device| device.key != old.key));
        let past = |old: &Device| PastDevice { key: old.key, until: self.version, label: old.label.clone() };
        next.past.extend(removed.map(past));
        next.check().map_err(KeyringError::Invalid)?;
        Ok(next)
    }

    fn apply(&mut self, change: &Change) -> Result<(), KeyringError> {
        match change {
            Change::PutMember(member) => put(&mut self.members, member, |m| m.recipient == member.recipient),
            Change::RemoveMember(recipient) => {
                remove(&mut self.members, |m| m.recipient == *recipient, &recipient.to_string())?;
            }
            Change::PutDevice(device) => put(&mut self.devices, device, |d| d.key == device.key),
            Change::RemoveDevice(key) => remove(&mut self.devices, |d| d.key == *key, &key.to_string())?,
            Change::AddSecret(secret) => self.secrets.push(secret.clone()),
        }
        Ok(())
    }

    /// Whether it is within the rules and limits of the format. What was decoded is.
    pub fn check(&self) -> Result<(), &'static str> {
        let require = |holds: bool, expected| if holds { Ok(()) } else { Err(expected) };
        require(self.version >= 1, "a version from 1")?;
        require(
            (self.version == 1) == (self.previous == Sum::ZERO),
            "the hash of the version before, zeros in the first",
        )?;
        require((1..=MAX_SECRETS).contains(&self.secrets.len()), "1 to 256 content secrets")?;
        require(distinct(self.secrets.iter()), "distinct content secrets")?;
        require(self.members.iter().any(|m| m.role == Role::Recovery), "a recovery recipient")?;
        require(self.members.len() <= MAX_RECIPIENTS, "at most 256 members")?;
        require(distinct(self.members.iter().map(|m| m.recipient.to_string())), "distinct members")?;
        require(self.devices.len() <= MAX_DEVICES, "at most 1024 devices")?;
        require(distinct(self.devices.iter().map(|d| d.key)), "distinct devices")?;
        require(self.past.len() <= MAX_PAST_DEVICES, "at most 1024 past devices")?;
        let all = self.devices.iter().map(|d| d.key).chain(self.past.iter().map(|d| d.key));
        require(distinct(all), "past devices that are distinct and may not sign")?;
        let before = |device: &PastDevice| (1..self.version).contains(&device.until);
        require(self.past.iter().all(before), "past devices of versions before it")?;
        let labels = self.members.iter().map(|m| &m.label).chain(self.devices.iter().map(|d| &d.label));
        let mut labels = labels.chain(self.past.iter().map(|d| &d.label));
        let good = |label: &String| label.len() <= MAX_LABEL && !label.chars().any(char::is_control);
        require(labels.all(good), "labels of at most 255 bytes, no control characters")?;
        self.domain.check().map_err(|e| e.expected)
    }

    /// The keys of the domain.
    pub fn domain_keys(&self) -> DomainKeys {
        DomainKeys::new(self.secrets[0].clone())
    }

    /// The domain, by its secret.
    pub fn domain_id(&self) -> DomainId {
        self.domain_keys().domain_id()
    }

    /// What names this version: in snapshot records, and as what a client remembers.
    pub fn reference(&self) -> KeyringRef {
        KeyringRef { version: self.version, hash: Sum::of(&self.encode()) }
    }

    /// For whom new snapshots are sealed.
    pub fn snapshot_recipients(&self) -> Vec<Recipient> {
        self.recipients(Role::opens_snapshots)
    }

    /// For whom the keyring is sealed, or a part of it.
    pub(super) fn recipients(&self, which: fn(Role) -> bool) -> Vec<Recipient> {
        self.members.iter().filter(|m| which(m.role)).map(|m| m.recipient.clone()).collect()
    }

    /// Whether it is the version after `before`.
    pub fn check_follows(&self, before: &Self) -> Result<(), KeyringError> {
        self.check_accept(Some(before.reference()))?;
        let unchanged = self.version.checked_sub(1) == Some(before.version)
            && (self.vault, &self.domain) == (before.vault, &before.domain)
            && self.secrets.first() == before.secrets.first();
        if unchanged { Ok(()) } else { Err(KeyringError::Forked { version: self.version }) }
    }

    /// Whether a client that has seen the version `known` of this vault may go by this one: it is the same, or
    /// later. Versions between may have been missed; their signatures are the root key's all the same.
    pub fn check_accept(&self, known: Option<KeyringRef>) -> Result<(), KeyringError> {
        let Some(known) = known else { return Ok(()) };
        let forked = match self.version.checked_sub(known.version) {
            None => return Err(KeyringError::RolledBack { known: known.version, found: self.version }),
            Some(0) => self.reference().hash != known.hash,
            Some(1) => self.previous != known.hash,
            Some(_) => false,
        };
        if forked { Err(KeyringError::Forked { version: self.version }) } else { Ok(()) }
    }

    /// By which right the maker of a snapshot (whose signature was verified when it was parsed) wrote to this vault.
    pub fn check_record(&self, record: &SnapshotRecord) -> Result<Standing, KeyringError> {
        if record.vault != self.vault {
            return Err(KeyringError::OtherSnapshot("vault"));
        }
        if record.domain != self.domain_id() {
            return Err(KeyringError::OtherSnapshot("domain"));
        }
        if record.keyring.version == self.version && record.keyring != self.reference() {
            return Err(KeyringError::OtherSnapshot("keyring"));
        }
        if self.may_sign(&record.device) {
            return Ok(Standing::Signer);
        }
        let past = self.past.iter().find(|d| d.key == record.device);
        match past {
            Some(past) if record.keyring.version <= past.until => Ok(Standing::PastSigner),
            _ => Err(KeyringError::UnknownDevice(record.device)),
        }
    }

    /// Whether a device may sign.
    pub fn may_sign(&self, device: &PublicKey) -> bool {
        self.devices.iter().any(|d| d.key == *device)
    }

    /// The bytes.
    ///
    /// # Panics
    /// If it does not pass [`check`](Self::check).
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        self.check().expect("only valid keyrings are written");
        let secrets: Zeroizing<Vec<[u8; 32]>> = Zeroizing::new(self.secrets.iter().map(|s| *s.as_bytes()).collect());
        let mut version = Vec::new();
        put_varint(&mut version, self.version.into());
        let mut writer = RecordWriter::new();
        writer
            .field(TAG_VAULT, *self.vault.as_bytes())
            .field(TAG_VERSION, version)
            .field(TAG_PREVIOUS, *self.previous.as_bytes())
            .field(TAG_DOMAIN, self.domain.encode())
            .field(TAG_SECRETS, secrets.concat())
            .field(TAG_MEMBERS, members_bytes(&self.members))
            .field(TAG_DEVICES, devices_bytes(&self.devices));
        if !self.past.is_empty() {
            writer.field(TAG_PAST, past_bytes(&self.past));
        }
        writer.unknown(&self.unknown).finish_secret()
    }

    /// Reads a body. That it is signed is for the object around it to verify.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let start = Reader::new("keyring body", bytes);
        if bytes.len() > MAX_OBJECT {
            return Err(start.error("a length within the limit"));
        }
        let mut fields = Fields::default();
        let unknown = start.clone().record(|tag, r| fields.read(tag, r))?;
        let keyring = fields.complete(unknown).ok_or_else(|| start.error("every field of a keyring"))?;
        keyring.check().map_err(|expected| start.error(expected))?;
        Ok(keyring)
    }
}

fn put<T: Clone>(list: &mut Vec<T>, item: &T, same: impl Fn(&T) -> bool) {
    match list.iter_mut().find(|i| same(i)) {
        Some(old) => *old = item.clone(),
        None => list.push(item.clone()),
    }
}

fn remove<T>(list: &mut Vec<T>, same: impl Fn(&T) -> bool, what: &str) -> Result<(), KeyringError> {
    let at = list.iter().position(same).ok_or_else(|| KeyringError::NotThere(what.to_owned()))?;
    list.remove(at);
    Ok(())
}

fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> bool {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.windows(2).all(|pair| pair[0] != pair[1])
}

fn members_bytes(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    for member in members {
        out.push(member.role as u8);
        put_bytes(&mut out, member.recipient.to_string().as_bytes());
        put_bytes(&mut out, member.label.as_bytes());
    }
    out
}

fn devices_bytes(devices: &[Device]) -> Vec<u8> {
    let mut out = Vec::new();
    for device in devices {
        out.extend_from_slice(device.key.as_bytes());
        put_bytes(&mut out, device.label.as_bytes());
    }
    out
}

fn past_bytes(past: &[PastDevice]) -> Vec<u8> {
    let mut out = Vec::new();
    for device in past {
        out.extend_from_slice(device.key.as_bytes());
        put_varint(&mut out, device.until.into());
        put_bytes(&mut out, device.label.as_bytes());
    }
    out
}

/// What was read so far.
#[derive(Default)]
struct Fields {
    vault: Option<VaultId>,
    version: Option<u32>,
    previous: Option<Sum>,
    domain: Option<DomainRecord>,
    secrets: Option<Vec<ContentSecret>>,
    members: Option<Vec<Member>>,
    devices: Option<Vec<Device>>,
    past: Vec<PastDevice>,
}

impl Fields {
    fn read(&mut self, tag: u64, r: &mut Reader<'_>) -> Result<bool, FormatError> {
        match tag {
            TAG_VAULT => self.vault = Some(VaultId(r.array()?)),
            TAG_VERSION => {
                let version = u32::try_from(r.varint()?).map_err(|_| r.error("a version below 2^32"))?;
                self.version = Some(version);
            }
            TAG_PREVIOUS => self.previous = Some(Sum(r.array()?)),
            TAG_DOMAIN => self.domain = Some(DomainRecord::decode(r.take(r.rest().len())?)?),
            TAG_SECRETS => self.secrets = Some(read_secrets(r)?),
            TAG_MEMBERS => self.members = Some(read_many(r, read_member)?),
            TAG_DEVICES => self.devices = Some(read_many(r, read_device)?),
            TAG_PAST if r.is_empty() => return Err(r.error("past devices, or no such field")),
            TAG_PAST => self.past = read_many(r, read_past_device)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn complete(self, unknown: Vec<UnknownField>) -> Option<Keyring> {
        Some(Keyring {
            vault: self.vault?,
            version: self.version?,
            previous: self.previous?,
            domain: self.domain?,
            secrets: self.secrets?,
            members: self.members?,
            devices: self.devices?,
            past: self.past,
            unknown,
        })
    }
}

/// As many as there are: their number is bounded by the bytes, and by [`Keyring::check`].
fn read_many<'a, T>(
    r: &mut Reader<'a>,
    read: impl Fn(&mut Reader<'a>) -> Result<T, FormatError>,
) -> Result<Vec<T>, FormatError> {
    let mut items = Vec::new();
    while !r.is_empty() {
        items.push(read(r)?);
    }
    Ok(items)
}

fn read_member(r: &mut Reader<'_>) -> Result<Member, FormatError> {
    let role = Role::from_byte(r.u8()?).ok_or_else(|| r.error("a role from 1 to 5"))?;
    let text = std::str::from_utf8(r.bytes(MAX_LABEL)?).map_err(|_| r.error("a recipient"))?;
    let recipient: Recipient = text.parse().map_err(|_| r.error("a recipient this version can seal for"))?;
    if recipient.to_string() != text {
        return Err(r.error("a recipient in its usual form"));
    }
    Ok(Member { role, recipient, label: read_label(r)? })
}

fn read_device(r: &mut Reader<'_>) -> Result<Device, FormatError> {
    Ok(Device { key: PublicKey(r.array()?), label: read_label(r)? })
}

fn read_past_device(r: &mut Reader<'_>) -> Result<PastDevice, FormatError> {
    let key = PublicKey(r.array()?);
    let until = u32::try_from(r.varint()?).map_err(|_| r.error("a version below 2^32"))?;
    Ok(PastDevice { key, until, label: read_label(r)? })
}

fn read_label(r: &mut Reader<'_>) -> Result<String, FormatError> {
    let bytes = r.bytes(MAX_LABEL)?.to_vec();
    String::from_utf8(bytes).map_err(|_| r.error("a label in UTF-8"))
}
