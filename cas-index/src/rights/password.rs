//! Passwords: Argon2id, 64 MiB, three passes. Slow and large on purpose; never run inside of the state machine.
//!
//! Promise: whether a user exists is not to be seen by time: there is always one hash to compute.

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use cas_net::rights::{MAX_PASSWORD, MIN_PASSWORD, Password};
use cas_net::{Result, ServiceError};

/// Memory of one hash, in KiB.
pub const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over it.
pub const PASSES: u32 = 3;
const LANES: u32 = 1;
const SALT_LEN: usize = 16;

/// A hash that belongs to nobody: what the password of an unknown user is compared with. Its parameters are those of [`hash`].
const NOBODY: &str = "$argon2id$v=19$m=65536,t=3,p=1$Y2FzIHYxIG5vYm9keSEh$MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI";

/// The hash of a new password, in PHC form. 0.1 to 0.3 s.
///
/// # Errors
/// `Denied` for a password that is too short or too long.
pub fn hash(password: &Password, salt: &[u8; SALT_LEN]) -> Result<String> {
    let bytes = password.expose().as_bytes();
    if !(MIN_PASSWORD..=MAX_PASSWORD).contains(&bytes.len()) {
        return Err(ServiceError::Denied(format!("a password has {MIN_PASSWORD} to {MAX_PASSWORD} bytes")));
    }
    let hashed: PasswordHash = argon2().hash_password_with_salt(bytes, salt).map_err(|e| failed(&e))?;
    Ok(hashed.to_string())
}

/// Whether a password is the one that was hashed; `None`, or an empty hash, is nobody's, and takes as long.
///
/// # Errors
/// [`ServiceError::Damaged`] for a hash that is none.
pub fn is_right(password: &Password, hash: Option<&str>) -> Result<bool> {
    let known = hash.filter(|hash| !hash.is_empty());
    let parsed = PasswordHash::new(known.unwrap_or(NOBODY)).map_err(|e| failed(&e))?;
    let bytes = password.expose().as_bytes();
    let bytes = &bytes[..bytes.len().min(MAX_PASSWORD + 1)];
    let fits = argon2().verify_password(bytes, &parsed).is_ok();
    Ok(fits && known.is_some() && bytes.len() <= MAX_PASSWORD)
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn failed(error: &dyn std::fmt::Display) -> ServiceError {
    ServiceError::Damaged { what: "the hash of a password".into(), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_hash_and_no_other_does() {
        let (right, wrong) = (Password::new("correct horse"), Password::new("correct house"));
        let hash = hash(&right, &[7; SALT_LEN]).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{hash}");
        assert!(is_right(&right, Some(&hash)).unwrap());
        assert!(!is_right(&wrong, Some(&hash)).unwrap());
    }

    #[test]
    fn nobodys_hash_costs_the_same_and_fits_nothing() {
        let parsed = PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
        for hash in [None, Some("")] {
            assert!(!is_right(&Password::new("anything at all"), hash).unwrap());
        }
    }

    #[test]
    fn passwords_have_a_length() {
        for bad in ["short".to_owned(), "x".repeat(MAX_PASSWORD + 1)] {
            assert!(hash(&Password::new(bad), &[7; SALT_LEN]).is_err());
        }
    }
}
