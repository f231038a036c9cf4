//! Frames: headers, and what is inside when somebody who has the key sealed rubbish. FORMAT §3.

use super::fixed;
use super::input::Input;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use cas_core::frame::{Compression, Header, OpenError, Opener, Sealer};
use cas_core::id::{BlockId, Kind};
use cas_core::kdf;
use cas_core::limits::MAX_CHILDREN;
use cas_core::secret::ContentKey;

const KINDS: [Kind; 3] = [Kind::Data, Kind::Page, Kind::List];
const PREFIX_LEN: usize = 16;
const MIN_PADDED: usize = 256;

/// A header that parses is written the same again, and its id is that of its bytes.
pub fn frame_header(input: &[u8]) -> bool {
    let Ok((header, len)) = Header::parse(input) else { return false };
    assert_eq!(header.encode(), input[..len]);
    assert!(header.children.len() <= MAX_CHILDREN);
    assert_eq!(Header::parse(&input[..len]).map(|(again, _)| again.id()), Ok(header.id()));
    true
}

/// Opens frames with a fixed key. The first byte says where the rest comes in: the frame itself, the
/// plaintext that is sealed, the body that somebody sealed, or all that was sealed.
pub fn frame_open(input: &[u8]) -> bool {
    let mut input = Input(input);
    let (mode, choice) = (input.byte() % 4, input.byte());
    match mode {
        0 => open_as_it_is(input.0),
        1 => seal_and_open(choice, input.0),
        2 => open_forged(&prefixed(choice, input)),
        _ => open_forged(input.0),
    }
}

fn key() -> ContentKey {
    ContentKey::from_bytes([7; 32])
}

fn open_as_it_is(frame: &[u8]) -> bool {
    let Ok((header, _)) = Header::parse(frame) else { return false };
    Opener::new().open(&fixed::keys(), &header.id(), &key(), frame).is_ok()
}

fn seal_and_open(choice: u8, plaintext: &[u8]) -> bool {
    let (keys, kind) = (fixed::keys(), KINDS[usize::from(choice) % KINDS.len()]);
    let compression = if choice & 0x80 == 0 { Compression::Zstd(1) } else { Compression::Off };
    let children = vec![BlockId([choice; 32]); if kind.has_children() { usize::from(choice & 0x0f) } else { 0 }];
    let (key, mut sealer) = (keys.content_key(kind, plaintext), Sealer::new(compression));
    let id = keys.block_id(kind, &key, &children);
    let frame = sealer.seal(&keys, kind, plaintext, &key, &children);
    let (header, opened) = Opener::new().open(&keys, &id, &key, &frame.bytes).expect("what was sealed opens");
    assert_eq!(opened, plaintext);
    assert_eq!((header.kind, header.children, header.domain), (kind, children.clone(), keys.domain_id()));
    assert_eq!(sealer.seal(&keys, kind, plaintext, &key, &children), frame);
    let mut flipped = frame.bytes.clone();
    let at = plaintext.iter().fold(usize::from(choice), |at, b| at * 31 % frame.bytes.len() + usize::from(*b));
    flipped[at % frame.bytes.len()] ^= 1;
    assert!(Opener::new().open(&keys, &id, &key, &flipped).is_err());
    true
}

/// What a writer with the key and bad intentions stores under its name: never given out as content.
fn open_forged(inner: &[u8]) -> bool {
    let (keys, key) = (fixed::keys(), key());
    let header = Header { kind: Kind::Data, domain: keys.domain_id(), x: keys.name_of(&key), children: Vec::new() };
    let mut frame = header.encode();
    let mut cipher_key = [0; 64];
    kdf::derive_into("frame", &[&key.as_bytes()[..], &frame].concat(), &mut cipher_key);
    let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &cipher_key[..32]).expect("32 bytes"));
    let mut sealed = inner.to_vec();
    let nonce = [0; 12];
    cipher
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&frame), &mut sealed)
        .expect("inputs are short");
    frame.extend_from_slice(&nonce);
    frame.extend_from_slice(&sealed);
    match Opener::new().open(&keys, &header.id(), &key, &frame) {
        Ok(_) => panic!("content with a key of our choosing"),
        // It decoded, and only its hash told that it is not the block.
        Err(OpenError::OtherContent(_)) => true,
        Err(_) => false,
    }
}

/// A body with a prefix that fits it, but for a codec and a raw length that may lie.
fn prefixed(choice: u8, mut input: Input<'_>) -> Vec<u8> {
    let claimed = u32::from_le_bytes(input.number());
    let body = input.0;
    let padded = MIN_PADDED.max(padme(body.len()));
    let raw_len = if choice & 2 == 0 { claimed } else { body.len() as u32 };
    let mut out = vec![choice & 1, 0, 0, 0];
    for len in [raw_len, body.len() as u32, padded as u32] {
        out.extend_from_slice(&len.to_le_bytes());
    }
    out.extend_from_slice(body);
    out.resize(PREFIX_LEN + padded, 0);
    out
}

fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let e = len.ilog2();
    let step = 1 << (e - (e.ilog2() + 1).min(e));
    len.next_multiple_of(step)
}
