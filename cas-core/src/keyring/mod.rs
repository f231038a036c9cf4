//! The keyring of a vault: who can read, who may sign, and the secrets of its domain. FORMAT §7.
//!
//! Promise: what [`KeyringObject::open`] returns was signed by the root key that the vault's address pins, so that
//! an index can withhold a keyring but never make one. Not here: remembering the newest version seen, which is the
//! client's part ([`Keyring::check_accept`] judges it), and what a member may do at the index.

mod body;

pub use body::{
    Change, Device, Keyring, KeyringError, KeyringRef, MAX_DEVICES, MAX_LABEL, MAX_PAST_DEVICES, Member, PastDevice,
    Role, Standing,
};

use crate::agebox::{self, BoxError, Identity};
use crate::codec::{FormatError, Reader, put_bytes32};
use crate::id::{BlockId, Kind, PublicKey, VaultId};
use crate::kdf;
use crate::limits::MAX_OBJECT;
use crate::signing::{self, SIGNATURE_LEN, SigningKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const MAGIC: &[u8; 4] = b"CASK";
const VERSION: u8 = 1;
const PURPOSE: &str = "cas v1 keyring";
/// The box of the root seed, in bytes.
const MAX_OWNERS_BOX: usize = agebox::MAX_HEADER + 64;

/// The seed of a vault's root key: whoever has it decides who is a member. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RootSeed([u8; 32]);

impl RootSeed {
    /// Takes 32 random bytes that the caller drew, once, for a new vault.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The root public key.
    pub fn public(&self) -> PublicKey {
        self.signing_key().public()
    }

    /// The vault that begins with it.
    pub fn vault_id(&self) -> VaultId {
        vault_id_of(&self.public())
    }

    fn signing_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.0)
    }
}

impl std::fmt::Debug for RootSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RootSeed({})", self.vault_id())
    }
}

/// The vault that begins with this root public key.
pub fn vault_id_of(root: &PublicKey) -> VaultId {
    VaultId(kdf::derive("vault id", root.as_bytes())[..16].try_into().expect("16 of 32"))
}

/// A keyring as it is stored (kind 5): what it says in the open, and two boxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyringObject {
    vault: VaultId,
    root: PublicKey,
    version: u32,
    members: Vec<u8>,
    owners: Vec<u8>,
}

impl KeyringObject {
    /// Signs a keyring and seals it for its members, and the root seed for owners and recovery.
    pub fn build(keyring: &Keyring, root: &RootSeed) -> Result<Self, KeyringError> {
        keyring.check().map_err(KeyringError::Invalid)?;
        if root.vault_id() != keyring.vault {
            return Err(KeyringError::OtherVault { expected: keyring.vault, found: root.vault_id() });
        }
        let body = keyring.encode();
        let mut signed = Zeroizing::new(Vec::with_capacity(4 + body.len() + SIGNATURE_LEN));
        put_bytes32(&mut signed, &body);
        signed.extend_from_slice(&root.signing_key().sign(PURPOSE, &body));
        let object = Self {
            vault: keyring.vault,
            root: root.public(),
            version: keyring.version,
            members: agebox::seal(&signed, &keyring.recipients(|_| true))?,
            owners: agebox::seal(&root.0, &keyring.recipients(Role::opens_root))?,
        };
        let len = object.encode().len();
        if len > MAX_OBJECT {
            return Err(BoxError::TooLarge { len, limit: MAX_OBJECT }.into());
        }
        Ok(object)
    }

    /// Reads an object, and verifies what can be without a key: that the root key in it is that of the vault in it.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeyringError> {
        let object = Self::parse_unverified(bytes)?;
        let vault = object.vault;
        if vault_id_of(&object.root) != vault {
            return Err(KeyringError::Forged { vault, reason: "its root key is that of another vault" });
        }
        agebox::check_shape(&object.members)?;
        agebox::check_shape(&object.owners)?;
        Ok(object)
    }

    fn parse_unverified(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut r = Reader::new("keyring object", bytes);
        if bytes.len() > MAX_OBJECT {
            return Err(r.error("a length within the limit"));
        }
        r.expect(MAGIC, "the magic CASK")?;
        r.expect(&[VERSION], "version 1")?;
        r.expect(&[0; 3], "zeros")?;
        let vault = VaultId(r.array()?);
        let root = PublicKey(r.array()?);
        let version = r.u32()?;
        if version == 0 {
            return Err(r.error("a keyring version from 1"));
        }
        let members = r.bytes32(MAX_OBJECT)?.to_vec();
        let owners = r.bytes32(MAX_OWNERS_BOX)?.to_vec();
        r.finish()?;
        Ok(Self { vault, root, version, members, owners })
    }

    /// The bytes, to be stored as an object of kind 5.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + 16 + 32 + 4 + 8 + self.members.len() + self.owners.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(self.vault.as_bytes());
        out.extend_from_slice(self.root.as_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        put_bytes32(&mut out, &self.members);
        put_bytes32(&mut out, &self.owners);
        out
    }

    /// The vault it says it belongs to; its root key was checked against it.
    pub fn vault(&self) -> VaultId {
        self.vault
    }

    /// The version it says it is. Believed by members only after [`open`](Self::open).
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The root public key.
    pub fn root(&self) -> PublicKey {
        self.root
    }

    /// The id of the block that holds these bytes.
    pub fn object_id(&self) -> BlockId {
        BlockId::of_object(Kind::Keyring, &self.encode())
    }

    /// Opens it with one of `identities` and verifies it: signed by the root key of `expected`, the vault that
    /// the address names, and on the outside what it is inside.
    pub fn open(&self, identities: &[Identity], expected: &VaultId) -> Result<Keyring, KeyringError> {
        self.check_vault(expected)?;
        let forged = |reason| KeyringError::Forged { vault: self.vault, reason };
        let signed = agebox::open(&self.members, identities)?;
        let mut r = Reader::new("signed keyring", &signed);
        let body = r.bytes32(MAX_OBJECT)?;
        let signature: [u8; SIGNATURE_LEN] = r.array()?;
        r.finish()?;
        if !signing::verify(&self.root, PURPOSE, body, &signature) {
            return Err(forged("the root key did not sign it"));
        }
        let keyring = Keyring::decode(body)?;
        if (keyring.vault, keyring.version) != (self.vault, self.version) {
            return Err(forged("its outside is that of another keyring"));
        }
        Ok(keyring)
    }

    /// Opens the root seed with the identity of an owner or of the recovery recipient.
    pub fn open_root(&self, identities: &[Identity], expected: &VaultId) -> Result<RootSeed, KeyringError> {
        self.check_vault(expected)?;
        let bytes = agebox::open(&self.owners, identities)?;
        let bytes =
            <[u8; 32]>::try_from(&bytes[..]).map_err(|_| BoxError::Damaged("it does not hold a seed of 32 bytes"))?;
        let root = RootSeed::from_bytes(bytes);
        if root.public() != self.root {
            return Err(KeyringError::Forged { vault: self.vault, reason: "it holds the seed of another root key" });
        }
        Ok(root)
    }

    fn check_vault(&self, expected: &VaultId) -> Result<(), KeyringError> {
        let found = vault_id_of(&self.root);
        if found == *expected && self.vault == *expected {
            return Ok(());
        }
        Err(KeyringError::OtherVault { expected: *expected, found: self.vault })
    }
}

#[cfg(test)]
mod tests;
