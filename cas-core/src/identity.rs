//! Identity files: the secret keys of a person or a device, in the text format of `age-keygen`.
//!
//! Promise: what is no identity is refused by its line number, and no error or debug text shows a secret.
//! A file may be locked with a passphrase (a whole-file age encryption); a passphrase is never a recipient.
//! The signing key of a device follows from its identity, so one file is all there is to keep. FORMAT §7.

use crate::agebox::{self, BoxError};
use crate::kdf;
use crate::signing::SigningKey;
use zeroize::Zeroizing;

pub use crate::agebox::{Identity, NotAnIdentity};

/// An identity file, in bytes.
pub const MAX_IDENTITY_FILE: usize = 64 << 10;

/// Why a file gave no identities, by what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It is locked with a passphrase: ask for it, then [`unlock`].
    #[error("the identity file is locked with a passphrase")]
    Locked,
    /// A line is neither an identity, a comment nor empty.
    #[error("line {line} of the identity file is not an AGE-SECRET-KEY-1… line")]
    NotAnIdentity {
        /// From 1.
        line: usize,
    },
    /// A line is an identity of a plugin or a kind of key that is not supported.
    #[error("line {line} of the identity file is a kind of identity that is not supported")]
    Unsupported {
        /// From 1.
        line: usize,
    },
    /// There is no identity in it.
    #[error("the identity file holds no identity")]
    Empty,
    /// It is longer than any identity file.
    #[error("the identity file has {len} bytes; the limit is {MAX_IDENTITY_FILE}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// The lock did not open.
    #[error(transparent)]
    Lock(#[from] BoxError),
}

impl Identity {
    /// The key with which a device that holds this identity signs.
    pub fn device_key(&self) -> SigningKey {
        SigningKey::from_seed(&self.device_seed())
    }

    /// The seed of that key: who a device is on the network is the same key.
    pub fn device_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(kdf::derive("device key", self.secret_line().as_bytes()))
    }
}

/// Reads an identity file that is not locked: one identity a line, empty lines and `#` comments between. At least one.
pub fn parse(file: &[u8]) -> Result<Vec<Identity>, IdentityError> {
    if file.len() > MAX_IDENTITY_FILE {
        return Err(IdentityError::TooLarge { len: file.len() });
    }
    if is_locked(file) {
        return Err(IdentityError::Locked);
    }
    let mut identities = Vec::new();
    for (number, line) in file.split(|b| *b == b'\n').enumerate() {
        let line = line.trim_ascii();
        if !line.is_empty() && !line.starts_with(b"#") {
            identities.push(parse_line(line, number + 1)?);
        }
    }
    if identities.is_empty() { Err(IdentityError::Empty) } else { Ok(identities) }
}

fn parse_line(line: &[u8], number: usize) -> Result<Identity, IdentityError> {
    let text = std::str::from_utf8(line).map_err(|_| IdentityError::NotAnIdentity { line: number })?;
    text.parse().map_err(|NotAnIdentity| {
        let other = ["AGE-PLUGIN-", "AGE-SECRET-KEY-PQ-", "-----BEGIN "].iter().any(|kind| text.starts_with(kind));
        if other { IdentityError::Unsupported { line: number } } else { IdentityError::NotAnIdentity { line: number } }
    })
}

/// The text of an identity file. Each of `comments` becomes a line after `# `, line breaks in it become spaces.
pub fn print(identity: &Identity, comments: &[&str]) -> Zeroizing<String> {
    let secret = identity.secret_line();
    let public = format!("public key: {}", identity.recipient());
    let comment_len: usize = comments.iter().map(|c| c.len() + 3).sum();
    let mut out = Zeroizing::new(String::with_capacity(comment_len + public.len() + 3 + secret.len() + 1));
    for comment in comments.iter().copied().chain([&public[..]]) {
        out.push_str("# ");
        out.extend(comment.chars().map(|c| if c.is_control() { ' ' } else { c }));
        out.push('\n');
    }
    out.push_str(&secret);
    out.push('\n');
    out
}

/// Whether a file must be unlocked before it can be parsed.
pub fn is_locked(file: &[u8]) -> bool {
    agebox::is_age_file(file)
}

/// Locks the text of an identity file with a passphrase. `work` is log2 of the scrypt N, usually [`agebox::LOCK_WORK`].
///
/// # Panics
/// If `work` is not from 1 to [`agebox::MAX_LOCK_WORK`].
pub fn lock(text: &str, passphrase: &str, work: u8) -> Result<Vec<u8>, IdentityError> {
    Ok(agebox::lock(text.as_bytes(), passphrase, work)?)
}

/// Opens and reads a locked identity file.
pub fn unlock(file: &[u8], passphrase: &str) -> Result<Vec<Identity>, IdentityError> {
    if file.len() > MAX_IDENTITY_FILE {
        return Err(IdentityError::TooLarge { len: file.len() });
    }
    parse(&agebox::unlock(file, passphrase)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

    fn identity() -> Identity {
        LINE.parse().unwrap()
    }

    #[test]
    fn the_text_is_pinned_and_reads_back() {
        let text = print(&identity(), &["created: 2026-11-01", "two\nlines"]);
        let expected = format!(
            "# created: 2026-11-01\n# two lines\n\
             # public key: age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa\n{LINE}\n"
        );
        assert_eq!(*text, expected);
        assert_eq!(*parse(text.as_bytes()).unwrap()[0].secret_line(), LINE);
    }

    #[test]
    fn the_device_key_is_pinned_and_the_same_in_lower_case() {
        let key = identity().device_key().public();
        assert_eq!(key, LINE.to_lowercase().parse::<Identity>().unwrap().device_key().public());
        assert_eq!(key.to_string(), "f2f520abc8bfe9fd6a172c3b3dfb01e2d31c961d3527b323eeef2b3dc0ac0113");
    }

    #[test]
    fn comments_blank_lines_and_line_ends_of_any_system_are_fine() {
        let text = format!("\u{a0}\n# a\n\n  \r\n{LINE}\r\n#b\n{LINE}");
        assert_eq!(parse(text.as_bytes()), Err(IdentityError::NotAnIdentity { line: 1 }));
        assert_eq!(parse(&text.as_bytes()[2..]).unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_identity_is_named_by_line_and_not_shown() {
        let broken = format!("# x\n{}", &LINE[..LINE.len() - 1]);
        let error = parse(broken.as_bytes()).unwrap_err();
        assert_eq!(error, IdentityError::NotAnIdentity { line: 2 });
        assert!(!format!("{error} {error:?}").contains(&LINE[16..]));
        assert_eq!(parse(b"AGE-PLUGIN-YUBIKEY-1X"), Err(IdentityError::Unsupported { line: 1 }));
        assert_eq!(parse(b"-----BEGIN OPENSSH PRIVATE KEY-----"), Err(IdentityError::Unsupported { line: 1 }));
        assert_eq!(parse(b"\xff"), Err(IdentityError::NotAnIdentity { line: 1 }));
        assert_eq!(parse(b""), Err(IdentityError::Empty));
        assert_eq!(parse(b"# nothing\n"), Err(IdentityError::Empty));
        assert!(matches!(parse(&vec![b'\n'; MAX_IDENTITY_FILE + 1]), Err(IdentityError::TooLarge { .. })));
        assert!(matches!(unlock(&vec![b'\n'; MAX_IDENTITY_FILE + 1], ""), Err(IdentityError::TooLarge { .. })));
    }

    #[test]
    fn a_locked_file_asks_for_its_passphrase() {
        let locked = lock(&print(&identity(), &[]), "correct horse", 2).unwrap();
        assert_eq!(parse(&locked), Err(IdentityError::Locked));
        assert_eq!(*unlock(&locked, "correct horse").unwrap()[0].secret_line(), LINE);
        assert_eq!(unlock(&locked, "wrong"), Err(IdentityError::Lock(BoxError::WrongPassphrase)));
    }
}
