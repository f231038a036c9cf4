//! Boxes: small secrets sealed for people, in the age format (age-encryption.org/v1, binary).
//!
//! Promise: what [`open`] returns is what [`seal`] was given, whole, or an error that says what to do
//! next. Plaintexts and keys are wiped and never printed. The only file that knows the crate `age`, which
//! draws the key of each box itself.
//! Recipients are X25519 public keys (`age1…`). Not here: ssh keys (that feature of `age` brings `rsa` and seven
//! other crates), plugins (they start programs), passphrases (they lock an identity file, never a box).

use crate::limits::MAX_OBJECT;
use age::secrecy::{ExposeSecret, SecretString};
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;
use zeroize::Zeroizing;

/// Recipients of one box.
pub const MAX_RECIPIENTS: usize = 256;
/// The header of a box, in bytes: everything before the sealed plaintext.
pub const MAX_HEADER: usize = 32 << 10;
/// Lines of a header: two a recipient, and the version, the extra stanza of `age` and the MAC. `age` parses a header
/// again from its start for each line: without this limit 64 KiB of short lines keep it busy for 20 seconds.
const MAX_HEADER_LINES: usize = 2 * MAX_RECIPIENTS + 16;
/// The plaintext of a box, in bytes.
pub const MAX_PLAINTEXT: usize = MAX_OBJECT;
/// A box, in bytes. The payload adds a nonce of 16 and 16 for each started 64 KiB.
pub const MAX_BOX: usize = MAX_HEADER + MAX_PLAINTEXT + 16 + 16 * (MAX_PLAINTEXT / (64 << 10) + 1);
/// The scrypt work (log2 N) of a new lock: about a second, and 256 MiB of memory.
pub const LOCK_WORK: u8 = 18;
/// The highest scrypt work that is opened: 1 GiB of memory.
pub const MAX_LOCK_WORK: u8 = 20;

/// `-> X25519 <43>\n<43>\n`.
const STANZA_LEN: usize = 10 + 43 + 1 + 43 + 1;
/// The version line, the random extra stanza that `age` adds, and the MAC line.
const HEADER_REST: usize = 22 + 300 + 48;
const HEADER_START: &[u8] = b"age-encryption.org/v1\n";
const HEADER_END: &[u8] = b"\n--- ";

const _: () = assert!(MAX_RECIPIENTS * STANZA_LEN + HEADER_REST <= MAX_HEADER);

/// Why a box was not sealed or not opened, by what to do next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// None of the identities is a recipient: bring another. (A box damaged in just the line of this identity looks the same.)
    #[error("sealed for other recipients")]
    NoMatchingKey,
    /// The bytes are not what was sealed: get another copy.
    #[error("the sealed box is damaged: {0}")]
    Damaged(&'static str),
    /// Not a recipient that a box can be sealed for.
    #[error("{recipient:?} is not a recipient: {reason}")]
    BadRecipient {
        /// What stood there.
        recipient: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No recipient, or more than the limit.
    #[error("{found} recipients; from 1 to {MAX_RECIPIENTS} are possible")]
    RecipientCount {
        /// How many.
        found: usize,
    },
    /// The plaintext or the box is above its limit.
    #[error("{len} bytes in a box; the limit is {limit}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Another passphrase is needed.
    #[error("the passphrase does not fit")]
    WrongPassphrase,
    /// The lock asks for more work and memory than is allowed.
    #[error("the passphrase lock asks for scrypt work {required}; the limit is {MAX_LOCK_WORK}")]
    TooMuchWork {
        /// log2 N.
        required: u8,
    },
    /// Not a file that [`unlock`] can open.
    #[error("expected {expected}")]
    OtherLock {
        /// What was expected.
        expected: &'static str,
    },
}

/// Who can open a box: a public key, written `age1…`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Recipient(age::x25519::Recipient);

impl FromStr for Recipient {
    type Err = BoxError;

    fn from_str(text: &str) -> Result<Self, BoxError> {
        let bad = |reason| BoxError::BadRecipient { recipient: shown(text), reason };
        let key = text.parse().map_err(|_| bad(reason_of(text)))?;
        // age would panic on a point that makes every shared secret zero.
        if bech32_bytes(text).is_none_or(|point| is_low_order(&point)) {
            return Err(bad("its point is of low order"));
        }
        Ok(Self(key))
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// What opens boxes: a secret key, written `AGE-SECRET-KEY-1…`. Wiped when dropped, never printed.
#[derive(Clone)]
pub struct Identity(age::x25519::Identity);

/// Text that is not an `AGE-SECRET-KEY-1…` line. Does not hold the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an AGE-SECRET-KEY-1… line")]
pub struct NotAnIdentity;

impl Identity {
    /// The identity of 32 random bytes that the caller drew.
    pub fn from_random(bytes: &[u8; 32]) -> Self {
        let line = bech32("age-secret-key-", bytes);
        Self(line.parse().expect("the encoding of any 32 bytes is an identity"))
    }

    /// Its line: upper case, no line end.
    pub fn secret_line(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    /// Its public half.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.0.to_public())
    }
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(line: &str) -> Result<Self, NotAnIdentity> {
        line.parse().map(Self).map_err(|_| NotAnIdentity)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.secret_line() == other.secret_line()
    }
}

impl Eq for Identity {}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient())
    }
}

/// Seals `plaintext` for all `recipients`: any one of them opens it.
pub fn seal(plaintext: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, BoxError> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        return Err(BoxError::RecipientCount { found: recipients.len() });
    }
    encrypt(plaintext, &mut recipients.iter().map(|r| &r.0 as &dyn age::Recipient))
}

/// Opens a box with the first of `identities` that fits.
pub fn open(sealed: &[u8], identities: &[Identity]) -> Result<Zeroizing<Vec<u8>>, BoxError> {
    check_shape(sealed)?;
    decrypt(sealed, &mut identities.iter().map(|i| &i.0 as &dyn age::Identity))
}

/// Whether this looks like a box at all: refuses what is too long and what has no age header, without any key.
pub fn check_shape(sealed: &[u8]) -> Result<(), BoxError> {
    if sealed.len() > MAX_BOX {
        return Err(BoxError::TooLarge { len: sealed.len(), limit: MAX_BOX });
    }
    if !sealed.starts_with(HEADER_START) {
        return Err(BoxError::Damaged("it does not begin as an age file"));
    }
    let front = &sealed[..sealed.len().min(MAX_HEADER)];
    let end = front.windows(HEADER_END.len()).position(|w| w == HEADER_END);
    let end = end.ok_or(BoxError::Damaged("its header does not end within the limit"))?;
    if front[..end].iter().filter(|b| **b == b'\n').count() > MAX_HEADER_LINES {
        return Err(BoxError::Damaged("its header has more lines than recipients need"));
    }
    Ok(())
}

/// Whether `bytes` begin as an age file, binary or armored: a locked identity file is one.
pub fn is_age_file(bytes: &[u8]) -> bool {
    bytes.starts_with(b"age-encryption.org/") || is_armored(bytes)
}

fn is_armored(bytes: &[u8]) -> bool {
    bytes.starts_with(b"-----BEGIN AGE ENCRYPTED FILE-----")
}

/// Locks `plaintext` with a passphrase; `work` is log2 of the scrypt N, from 1 to [`MAX_LOCK_WORK`].
/// (`age` looks at the clock for its own guess of a good work, which is not used.)
///
/// # Panics
/// If `work` is outside.
pub fn lock(plaintext: &[u8], passphrase: &str, work: u8) -> Result<Vec<u8>, BoxError> {
    assert!((1..=MAX_LOCK_WORK).contains(&work), "scrypt work outside its limits");
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase));
    recipient.set_work_factor(work);
    encrypt(plaintext, &mut std::iter::once(&recipient as _))
}

/// Opens what [`lock`] (or `age --passphrase`) made.
pub fn unlock(locked: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>, BoxError> {
    if is_armored(locked) {
        return Err(BoxError::OtherLock { expected: "a binary age file, without armor" });
    }
    check_shape(locked)?;
    let is_lock = age::Decryptor::new_buffered(locked).map_err(damage)?.is_scrypt();
    if !is_lock {
        return Err(BoxError::OtherLock { expected: "a file locked with a passphrase" });
    }
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase));
    identity.set_max_work_factor(MAX_LOCK_WORK);
    decrypt(locked, &mut std::iter::once(&identity as _))
}

fn encrypt(plaintext: &[u8], recipients: &mut dyn Iterator<Item = &dyn age::Recipient>) -> Result<Vec<u8>, BoxError> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(BoxError::TooLarge { len: plaintext.len(), limit: MAX_PLAINTEXT });
    }
    let encryptor = age::Encryptor::with_recipients(recipients).expect("recipients of one kind, at least one");
    let mut out = Vec::with_capacity(plaintext.len() + 1024);
    let mut writer = encryptor.wrap_output(&mut out).expect("memory takes every byte");
    writer.write_all(plaintext).and_then(|()| writer.finish()).expect("memory takes every byte");
    Ok(out)
}

fn decrypt(
    sealed: &[u8],
    identities: &mut dyn Iterator<Item = &dyn age::Identity>,
) -> Result<Zeroizing<Vec<u8>>, BoxError> {
    let decryptor = age::Decryptor::new_buffered(sealed).map_err(damage)?;
    let mut reader = decryptor.decrypt(identities).map_err(damage)?;
    // Room for all of it at once: a growing vector would leave unwiped copies behind.
    let mut plaintext = Zeroizing::new(Vec::with_capacity(sealed.len()));
    reader.read_to_end(&mut plaintext).map_err(|_| BoxError::Damaged("its payload was cut or changed"))?;
    Ok(plaintext)
}

fn damage(error: age::DecryptError) -> BoxError {
    use age::DecryptError as E;
    match error {
        E::NoMatchingKeys => BoxError::NoMatchingKey,
        // Only scrypt tells a wrong key from a line for somebody else.
        E::DecryptionFailed | E::KeyDecryptionFailed => BoxError::WrongPassphrase,
        E::ExcessiveWork { required, .. } => BoxError::TooMuchWork { required },
        E::InvalidMac => BoxError::Damaged("its header was changed"),
        E::UnknownFormat => BoxError::Damaged("it is of a later age format"),
        E::Io(_) => BoxError::Damaged("it was cut"),
        _ => BoxError::Damaged("its header is not valid"),
    }
}

/// Why this text is not an X25519 recipient, for people.
fn reason_of(text: &str) -> &'static str {
    if text.starts_with("ssh-") {
        "ssh keys are not supported, use an age key"
    } else if looks_secret(text) {
        "this is a secret key, not the public one"
    } else if text.starts_with("age1") && text.len() != 62 {
        "plugin and post-quantum recipients are not supported"
    } else {
        "not the text of an age1… public key"
    }
}

/// Rejected text as an error may show it: bounded, and never a secret key.
fn shown(text: &str) -> String {
    if looks_secret(text) { "AGE-SECRET-KEY-…".to_owned() } else { text.chars().take(100).collect() }
}

fn looks_secret(text: &str) -> bool {
    text.to_ascii_uppercase().contains("SECRET-KEY-")
}

fn is_low_order(point: &[u8; 32]) -> bool {
    let any = PrivateKey::from_private_key(&X25519, &[0x55; 32]).expect("every 32 bytes are an X25519 key");
    agree(&any, UnparsedPublicKey::new(&X25519, &point[..]), (), |_| Ok(())).is_err()
}

const BECH32: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const BECH32_CHECKSUM: usize = 6;

/// Bech32 (BIP 173) of 32 bytes, upper case.
fn bech32(prefix: &str, bytes: &[u8; 32]) -> Zeroizing<String> {
    // 256 bits are 51 whole digits and one bit, padded with zeros.
    let bit = |i: usize| bytes.get(i / 8).map_or(0, |b| b >> (7 - i % 8) & 1);
    let digit = |at: usize| (0..5).fold(0, |digit, i| digit << 1 | bit(at * 5 + i));
    let data = Zeroizing::new((0..52).map(digit).collect::<Vec<u8>>());
    let high = prefix.bytes().map(|c| c >> 5);
    let low = prefix.bytes().map(|c| c & 31);
    let values = high.chain([0]).chain(low).chain(data.iter().copied()).chain([0; BECH32_CHECKSUM]);
    let check = values.fold(1, bech32_step) ^ 1;
    let checksum = (0..BECH32_CHECKSUM).map(|i| (check >> (5 * (5 - i)) & 31) as u8);
    let mut out = Zeroizing::new(String::with_capacity(prefix.len() + 1 + 52 + BECH32_CHECKSUM));
    out.push_str(&prefix.to_ascii_uppercase());
    out.push('1');
    out.extend(data.iter().copied().chain(checksum).map(|d| BECH32[d as usize].to_ascii_uppercase() as char));
    out
}

fn bech32_step(state: u32, value: u8) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let taps = GENERATOR.iter().enumerate().filter(|(i, _)| state >> (25 + i) & 1 == 1);
    taps.fold((state & 0x1ff_ffff) << 5 ^ u32::from(value), |state, (_, tap)| state ^ tap)
}

/// The 32 bytes in a bech32 text whose checksum was verified before.
fn bech32_bytes(text: &str) -> Option<[u8; 32]> {
    let (_, digits) = text.rsplit_once('1')?;
    let digits = digits.get(..digits.len().checked_sub(BECH32_CHECKSUM)?)?;
    let (mut out, mut held, mut bits) = (Vec::with_capacity(32), 0u32, 0);
    for c in digits.bytes() {
        let digit = BECH32.iter().position(|b| *b == c.to_ascii_lowercase())?;
        (held, bits) = (held << 5 | digit as u32, bits + 5);
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
    }
    out.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(n: u8) -> Identity {
        Identity::from_random(&[n; 32])
    }

    /// Made once by [`seal`] for `identity(1)` and `identity(2)`.
    const FIXTURE: &[u8] = include_bytes!("../fixtures/box-v1.age");

    #[test]
    fn an_old_box_still_opens() {
        for n in [1, 2] {
            assert_eq!(*open(FIXTURE, &[identity(n)]).unwrap(), b"cas box fixture");
        }
        assert_eq!(open(FIXTURE, &[identity(3)]).unwrap_err(), BoxError::NoMatchingKey);
    }

    #[test]
    fn identities_are_pinned_and_as_age_writes_them() {
        // From the tests of age itself.
        let line = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";
        let identity: Identity = line.parse().unwrap();
        assert_eq!(*identity.secret_line(), line);
        assert_eq!(identity.recipient().to_string(), "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa");
        assert_eq!(*Identity::from_random(&bech32_bytes(line).unwrap()).secret_line(), line);
        assert_eq!(*line.to_lowercase().parse::<Identity>().unwrap().secret_line(), line);
        assert_eq!(identity_line(1), "AGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZ9K4CN");
    }

    fn identity_line(n: u8) -> String {
        identity(n).secret_line().to_string()
    }

    proptest! {
        #[test]
        fn any_32_bytes_are_an_identity_that_goes_there_and_back(bytes: [u8; 32]) {
            let identity = Identity::from_random(&bytes);
            prop_assert_eq!(bech32_bytes(&identity.secret_line()), Some(bytes));
            let recipient = identity.recipient();
            prop_assert_eq!(recipient.to_string().parse::<Recipient>().unwrap(), recipient);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes: Vec<u8>, cut in 0..FIXTURE.len()) {
            prop_assert!(open(&bytes, &[identity(1)]).is_err());
            prop_assert!(open(&[&FIXTURE[..cut], &bytes].concat(), &[identity(1)]).is_err());
        }
    }

    #[test]
    fn each_recipient_opens_a_box_and_nobody_else() {
        let recipients: Vec<Recipient> = (1..4).map(|n| identity(n).recipient()).collect();
        let sealed = seal(b"secret", &recipients).unwrap();
        for n in 1..4 {
            assert_eq!(*open(&sealed, &[identity(n)]).unwrap(), b"secret");
            assert_eq!(*open(&sealed, &[identity(9), identity(n)]).unwrap(), b"secret");
        }
        assert_eq!(open(&sealed, &[identity(4)]).unwrap_err(), BoxError::NoMatchingKey);
        assert_eq!(open(&sealed, &[]).unwrap_err(), BoxError::NoMatchingKey);
    }

    #[test]
    fn a_box_cut_or_flipped_anywhere_is_refused() {
        for len in 0..FIXTURE.len() {
            let error = open(&FIXTURE[..len], &[identity(1)]).unwrap_err();
            assert!(matches!(error, BoxError::Damaged(_)), "cut at {len}: {error}");
        }
        for bit in 0..FIXTURE.len() * 8 {
            let mut bad = FIXTURE.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = open(&bad, &[identity(1)]).unwrap_err();
            assert!(matches!(error, BoxError::Damaged(_) | BoxError::NoMatchingKey), "bit {bit}: {error}");
        }
    }

    #[test]
    fn sizes_are_bounded_on_both_shores() {
        let recipients: Vec<Recipient> = (0..MAX_RECIPIENTS).map(|n| identity(n as u8).recipient()).collect();
        let sealed = seal(&vec![7; MAX_PLAINTEXT], &recipients).unwrap();
        assert!(sealed.len() <= MAX_BOX);
        assert_eq!(open(&sealed, &[identity(255)]).unwrap().len(), MAX_PLAINTEXT);
        assert!(matches!(seal(&vec![7; MAX_PLAINTEXT + 1], &recipients), Err(BoxError::TooLarge { .. })));
        assert!(matches!(open(&vec![7; MAX_BOX + 1], &[identity(1)]), Err(BoxError::TooLarge { .. })));
        assert_eq!(seal(b"", &[]), Err(BoxError::RecipientCount { found: 0 }));
        let one_more = [&recipients[..], &recipients[..1]].concat();
        assert_eq!(seal(b"", &one_more), Err(BoxError::RecipientCount { found: MAX_RECIPIENTS + 1 }));
        let endless = [HEADER_START, "-> X25519 x\n".repeat(MAX_HEADER / 8).as_bytes()].concat();
        assert!(matches!(open(&endless, &[identity(1)]), Err(BoxError::Damaged(_))));
        let many_lines = [HEADER_START, "-> a\n\n".repeat(MAX_RECIPIENTS + 9).as_bytes(), b"--- x\n"].concat();
        let error = BoxError::Damaged("its header has more lines than recipients need");
        assert_eq!(open(&many_lines, &[identity(1)]).unwrap_err(), error);
    }

    #[test]
    fn what_is_not_a_recipient_is_named() {
        let zero = bech32("age", &[0; 32]).to_lowercase();
        let one = bech32("age", &std::array::from_fn(|i| u8::from(i == 0))).to_lowercase();
        let secret = identity_line(1);
        for (text, part) in [
            (&zero[..], "low order"),
            (&one, "low order"),
            (&secret, "secret key"),
            ("ssh-ed25519 AAAA", "ssh"),
            ("age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", "plugin"),
            ("age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pb", "not the text"),
            ("", "not the text"),
            ("1", "not the text"),
        ] {
            let error = text.parse::<Recipient>().unwrap_err();
            assert!(matches!(&error, BoxError::BadRecipient { reason, .. } if reason.contains(part)), "{error}");
        }
    }

    #[test]
    fn a_secret_key_is_not_printed() {
        let line = identity_line(1);
        assert!(!format!("{:?}", identity(1)).contains(&line[..20]));
        let error = line.parse::<Recipient>().unwrap_err();
        assert!(!error.to_string().contains(&line[15..]), "{error}");
    }

    #[test]
    fn a_lock_opens_with_its_passphrase_only() {
        let locked = lock(b"secret", "correct horse", 2).unwrap();
        assert!(is_age_file(&locked));
        assert_eq!(*unlock(&locked, "correct horse").unwrap(), b"secret");
        assert_eq!(unlock(&locked, "battery staple").unwrap_err(), BoxError::WrongPassphrase);
        assert_eq!(open(&locked, &[identity(1)]).unwrap_err(), BoxError::NoMatchingKey);
        assert!(matches!(unlock(FIXTURE, "correct horse").unwrap_err(), BoxError::OtherLock { .. }));
        assert!(matches!(
            unlock(b"-----BEGIN AGE ENCRYPTED FILE-----\n", "x").unwrap_err(),
            BoxError::OtherLock { .. }
        ));
        let greedy = String::from_utf8_lossy(&locked[..60]).replace(" 2\n", " 63\n");
        let greedy = [greedy.as_bytes(), &locked[60..]].concat();
        assert_eq!(unlock(&greedy, "correct horse").unwrap_err(), BoxError::TooMuchWork { required: 63 });
    }
}
