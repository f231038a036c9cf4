//! What people write and keep: identity files, boxes, and words of the command line. FORMAT §6, §7.

use super::fixed;
use cas_core::agebox::{self, Identity, MAX_BOX, Recipient};
use cas_core::id::{BlockId, DomainId, PublicKey, SnapshotId, Sum, VaultId};
use cas_core::identity::{self, MAX_IDENTITY_FILE};
use cas_core::retention::{Count, Span};
use cas_core::snapshot::{MAX_NAME, MAX_TAG, Name, check_tag};
use std::fmt::Display;
use std::str::FromStr;

/// An identity file that parses holds identities that are written and read again the same.
pub fn identity_file(input: &[u8]) -> bool {
    let Ok(identities) = identity::parse(input) else { return false };
    assert!(!identities.is_empty() && input.len() <= MAX_IDENTITY_FILE && !identity::is_locked(input));
    for identity in identities {
        let comment = String::from_utf8_lossy(input).into_owned();
        let printed = identity::print(&identity, &[&comment[..comment.floor_char_boundary(100)]]);
        assert_eq!(identity::parse(printed.as_bytes()), Ok(vec![identity]));
    }
    true
}

/// A box: its shape, and opening it. What has not the shape never opens.
pub fn agebox(input: &[u8]) -> bool {
    let shape = agebox::check_shape(input);
    if let Ok(plaintext) = agebox::open(input, &[fixed::identity(1)]) {
        assert!(shape.is_ok() && input.len() <= MAX_BOX && plaintext.len() < input.len());
        return true;
    }
    assert!(shape.is_err() || agebox::is_age_file(input));
    false
}

/// Every word that has a parser: what parses is printed, and parses again to the same.
pub fn text(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let name = again::<Name>(text);
    if name {
        assert!(text.len() <= MAX_NAME && !text.contains(['@', ':']) && !text.chars().any(char::is_control));
    }
    let tag = check_tag(text).is_ok();
    assert!(!tag || (text.len() <= MAX_TAG && !text.contains(',')));
    let identity = text.parse::<Identity>().is_ok_and(|identity| {
        let line = identity.secret_line();
        assert_eq!(line.parse::<Identity>().as_ref(), Ok(&identity));
        again::<Recipient>(&identity.recipient().to_string())
    });
    let ids = [again::<BlockId>, again::<Sum>, again::<DomainId>, again::<VaultId>, again::<SnapshotId>];
    let mut known = ids.iter().map(|again| again(text)).fold(false, |a, b| a | b);
    known |= again::<PublicKey>(text) | again::<Recipient>(text) | again::<Span>(text);
    known | text.parse::<Count>().is_ok() | name | tag | identity
}

fn again<T: FromStr + Display + PartialEq>(text: &str) -> bool {
    let Ok(value) = text.parse::<T>() else { return false };
    assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{value} is read again as it was");
    true
}
