//! Who a program is: an Ed25519 key, for TLS and for what it signs. PROTOCOL §1.

use cas_core::id::PublicKey;
use cas_core::kdf;
use cas_core::signing::SigningKey;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410 §4).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// A PKCS#8 private key up to the seed (RFC 8410 §7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Who a program is on the network. Never printed.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
    public: PublicKey,
    /// For stateless resets that still hold after a restart.
    reset: [u8; 32],
}

impl Identity {
    /// The identity that belongs to a seed: the one its [`SigningKey`] has.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let public = SigningKey::from_seed(seed).public();
        let pkcs8 = PrivatePkcs8KeyDer::from([&PKCS8[..], seed].concat());
        let key = any_eddsa_type(&pkcs8).expect("every 32 bytes are a seed");
        let certified = CertifiedKey::new(vec![spki(&public)], key);
        Self { certified: Arc::new(certified), public, reset: kdf::derive("stateless reset", seed) }
    }

    /// Its key.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }

    pub(super) fn reset(&self) -> [u8; 32] {
        self.reset
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.public)
    }
}

/// The raw public key that stands for a certificate.
fn spki(key: &PublicKey) -> CertificateDer<'static> {
    CertificateDer::from([&SPKI[..], key.as_bytes()].concat())
}

/// The key in what a peer showed; `None` if that is not a raw Ed25519 key.
pub(super) fn shown_key(shown: &CertificateDer<'_>) -> Option<PublicKey> {
    shown.strip_prefix(&SPKI)?.try_into().ok().map(PublicKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_tls_is_the_key_that_signs() {
        let identity = Identity::from_seed(&[5; 32]);
        assert_eq!(identity.public(), SigningKey::from_seed(&[5; 32]).public());
        assert_eq!(shown_key(&spki(&identity.public())), Some(identity.public()));
        let certified = identity.certified();
        let inside = certified.key.public_key().expect("it has a public half");
        assert_eq!(inside.as_ref(), spki(&identity.public()).as_ref());
    }

    #[test]
    fn what_is_no_raw_ed25519_key_is_nobody() {
        for shown in
            [vec![], SPKI.to_vec(), [&SPKI[..], &[0; 31]].concat(), vec![0x30; 44], [&SPKI[..], &[0; 33]].concat()]
        {
            assert_eq!(shown_key(&CertificateDer::from(shown)), None);
        }
    }
}
