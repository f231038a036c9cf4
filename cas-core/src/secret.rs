//! Content secrets and what follows from them: keys, names, ids, gears. FORMAT §3.
//!
//! Promise: secrets are wiped when dropped and never printed. Equal plaintext of one kind in one
//! domain gives one key and one id, whatever program version sealed it.

use crate::id::{BlockId, DomainId, Kind};
use crate::kdf;
use zeroize::{Zeroize, ZeroizeOnDrop};

macro_rules! secret_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Takes the bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes, to be sealed or derived from.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

secret_bytes!(
    /// S: the secret of a domain (D) or a private one.
    ContentSecret
);
secret_bytes!(
    /// P: the key of one block; follows from its plaintext and the content secret.
    ContentKey
);

impl ContentSecret {
    /// What names the secret without giving it away.
    pub fn secret_id(&self) -> [u8; 8] {
        kdf::derive("secret id", &self.0)[..8].try_into().expect("8 of 32")
    }
}

/// Everything derived from one content secret, ready for use.
#[derive(Clone)]
pub struct DomainKeys {
    domain: DomainId,
    secret: ContentSecret,
    content: [ContentSecret; 3],
    border: ContentSecret,
    list_border: ContentSecret,
    name: blake3::Hasher,
    id: blake3::Hasher,
}

impl DomainKeys {
    /// Derives them from the domain's secret.
    pub fn new(secret: ContentSecret) -> Self {
        let derived = |context: &str| ContentSecret(kdf::derive(context, &secret.0));
        Self {
            domain: DomainId(kdf::derive("domain id", &secret.0)[..16].try_into().expect("16 of 32")),
            content: [derived("content data"), derived("content page"), derived("content list")],
            border: derived("border"),
            list_border: derived("list border"),
            name: kdf::deriver("name"),
            id: kdf::deriver("id"),
            secret,
        }
    }

    /// The domain.
    pub fn domain_id(&self) -> DomainId {
        self.domain
    }

    /// The secret itself.
    pub fn secret(&self) -> &ContentSecret {
        &self.secret
    }

    /// P of a plaintext.
    pub fn content_key(&self, kind: Kind, plaintext: &[u8]) -> ContentKey {
        ContentKey(kdf::keyed(&self.content[sealed_index(kind)].0, plaintext))
    }

    /// x of a key: what a header shows.
    pub fn name_of(&self, key: &ContentKey) -> [u8; 32] {
        self.name.clone().update(&key.0).finalize().into()
    }

    /// The id of a block of this domain.
    pub fn block_id(&self, kind: Kind, key: &ContentKey, children: &[BlockId]) -> BlockId {
        id_with(&self.id, kind, &self.domain, &self.name_of(key), children)
    }

    /// What decides the borders of pages.
    pub fn border_key(&self) -> &[u8; 32] {
        &self.border.0
    }

    /// What decides the borders of lists.
    pub fn list_border_key(&self) -> &[u8; 32] {
        &self.list_border.0
    }

    /// The gear table of the chunker: 256 words of KDF("gear", D).
    pub fn gear(&self) -> [u64; 256] {
        let mut bytes = [0; 2048];
        kdf::derive_into("gear", &self.secret.0, &mut bytes);
        let mut gear = [0; 256];
        for (word, chunk) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().expect("chunks of 8"));
        }
        bytes.zeroize();
        gear
    }
}

impl std::fmt::Debug for DomainKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DomainKeys({})", self.domain)
    }
}

/// The id that follows from what a header shows; anyone can verify it without keys.
pub fn id_from_header(kind: Kind, domain: &DomainId, x: &[u8; 32], children: &[BlockId]) -> BlockId {
    id_with(&kdf::deriver("id"), kind, domain, x, children)
}

fn id_with(base: &blake3::Hasher, kind: Kind, domain: &DomainId, x: &[u8; 32], children: &[BlockId]) -> BlockId {
    let mut hasher = base.clone();
    hasher.update(&[kind as u8]).update(&domain.0).update(x).update(&(children.len() as u32).to_le_bytes());
    for child in children {
        hasher.update(&child.0);
    }
    BlockId(hasher.finalize().into())
}

fn sealed_index(kind: Kind) -> usize {
    match kind {
        Kind::Data => 0,
        Kind::Page => 1,
        Kind::List => 2,
        Kind::Snapshot | Kind::Keyring => panic!("{} is not sealed in a frame", kind.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_pinned() {
        let keys = DomainKeys::new(ContentSecret::from_bytes([1; 32]));
        let key = keys.content_key(Kind::Data, b"hello");
        let id = keys.block_id(Kind::Data, &key, &[]);
        assert_eq!(keys.domain_id().to_string(), "7336cffe38feb963950ab0fbc14c9496");
        assert_eq!(id.to_string(), "adcaad81a00f39a93848fab542b35b3ff9b483d0fcd3fc58e525df69e4663c5a");
        assert_eq!(keys.gear()[255], 18_273_691_885_602_923_821);
    }

    #[test]
    fn kind_domain_and_children_are_part_of_the_name() {
        let keys = DomainKeys::new(ContentSecret::from_bytes([1; 32]));
        let other = DomainKeys::new(ContentSecret::from_bytes([2; 32]));
        let key = keys.content_key(Kind::Page, b"hello");
        let id = keys.block_id(Kind::Page, &key, &[]);
        assert_ne!(key, keys.content_key(Kind::Data, b"hello"));
        assert_ne!(key, other.content_key(Kind::Page, b"hello"));
        assert_ne!(id, keys.block_id(Kind::List, &key, &[]));
        assert_ne!(id, other.block_id(Kind::Page, &key, &[]));
        assert_ne!(id, keys.block_id(Kind::Page, &key, &[BlockId([0; 32])]));
        assert_eq!(id, id_from_header(Kind::Page, &keys.domain_id(), &keys.name_of(&key), &[]));
    }

    #[test]
    fn secrets_are_not_printed() {
        let secret = ContentSecret::from_bytes([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "ContentSecret(…)");
        assert!(!format!("{:?}", DomainKeys::new(secret)).contains("abab"));
    }
}
