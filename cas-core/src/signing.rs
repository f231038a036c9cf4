//! Ed25519 signatures (RFC 8032). Keys are made from a seed that the caller brings.

use crate::id::PublicKey;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Length of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// A signing key. Never printed.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// The key that belongs to a seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed"))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("Ed25519 keys have 32 bytes"))
    }

    /// Signs `purpose ‖ 0 ‖ message`. The purpose keeps a signature from being taken for another.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let signature = self.0.sign(&with_purpose(purpose, message));
        signature.as_ref().try_into().expect("Ed25519 signatures have 64 bytes")
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// Whether `signature` was made by the owner of `key` over `purpose ‖ 0 ‖ message`.
pub fn verify(key: &PublicKey, purpose: &str, message: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(&with_purpose(purpose, message), signature).is_ok()
}

fn with_purpose(purpose: &str, message: &[u8]) -> Vec<u8> {
    [purpose.as_bytes(), &[0], message].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_purpose_and_message_only() {
        let key = SigningKey::from_seed(&[7; 32]);
        let signature = key.sign("cas v1 test", b"message");
        assert!(verify(&key.public(), "cas v1 test", b"message", &signature));
        assert!(!verify(&key.public(), "cas v1 other", b"message", &signature));
        assert!(!verify(&key.public(), "cas v1 test", b"massage", &signature));
        assert!(!verify(&SigningKey::from_seed(&[8; 32]).public(), "cas v1 test", b"message", &signature));
    }
}
