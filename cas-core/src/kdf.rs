//! Key derivation: `KDF(c, k)` of FORMAT §1.

/// `KDF(context, material)`, 32 bytes. `context` is what follows `"cas v1 "`.
pub fn derive(context: &str, material: &[u8]) -> [u8; 32] {
    deriver(context).update(material).finalize().into()
}

/// `KDF(context, material)` of any length.
pub fn derive_into(context: &str, material: &[u8], out: &mut [u8]) {
    deriver(context).update(material).finalize_xof().fill(out);
}

/// A hasher that has the context already: clone it to derive many keys quickly.
pub fn deriver(context: &str) -> blake3::Hasher {
    blake3::Hasher::new_derive_key(&format!("cas v1 {context}"))
}

/// `BLAKE3_keyed(key, message)`.
pub fn keyed(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    blake3::keyed_hash(key, message).into()
}

/// `BLAKE3(message)`.
pub fn hash(message: &[u8]) -> [u8; 32] {
    blake3::hash(message).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_is_pinned() {
        assert_eq!(derive("name", b"abc"), blake3::derive_key("cas v1 name", b"abc"));
        let mut long = [0; 64];
        derive_into("name", b"abc", &mut long);
        assert_eq!(long[..32], derive("name", b"abc"));
    }
}
