//! Frames: sealed blocks, as nodes see them. FORMAT §3.
//!
//! Promise: what [`Opener::open`] returns is the plaintext whose key and id were asked for, or an error.
//! A header is believed only as far as its id commits to it; lengths are checked before allocation.

use crate::codec::{FormatError, Reader};
use crate::density;
use crate::id::{BlockId, DomainId, Kind, Sum};
use crate::kdf;
use crate::limits::{MAX_CHILDREN, MAX_RAW};
use crate::secret::{ContentKey, DomainKeys, id_from_header};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"CASF";
const VERSION: u8 = 1;
const SUITE: u8 = 1;
/// Bytes of a header without children.
pub const HEADER_LEN: usize = 4 + 4 + DomainId::LEN + 32 + 4;
const NONCE_LEN: usize = 12;
const PREFIX_LEN: usize = 16;
const TAG_LEN: usize = 16;
const MIN_PADDED: usize = 256;
const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;

/// What a frame shows without any key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the block holds.
    pub kind: Kind,
    /// Whose it is.
    pub domain: DomainId,
    /// The name part of its content key.
    pub x: [u8; 32],
    /// Ids of the distinct references inside, in order of first appearance.
    pub children: Vec<BlockId>,
}

impl Header {
    /// Reads the header at the start of a frame (or alone). Answers it and its length.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), FormatError> {
        let mut r = Reader::new("frame header", bytes);
        r.expect(MAGIC, "the magic CASF")?;
        r.expect(&[VERSION], "version 1")?;
        let kind = Kind::from_byte(r.u8()?).filter(|k| k.is_sealed()).ok_or_else(|| r.error("a sealed kind"))?;
        r.expect(&[SUITE, 0], "suite 1")?;
        let domain = DomainId(r.array()?);
        let x = r.array()?;
        let count = r.u32()? as usize;
        if count > MAX_CHILDREN || (count > 0 && !kind.has_children()) {
            return Err(r.error("a number of children within the limit"));
        }
        let ids = r.take(count * BlockId::LEN)?;
        let children = ids.chunks_exact(BlockId::LEN).map(|c| BlockId(c.try_into().expect("32"))).collect();
        Ok((Self { kind, domain, x, children }, r.offset()))
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        self.encode_into(&mut out);
        out
    }

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, self.kind as u8, SUITE, 0]);
        out.extend_from_slice(self.domain.as_bytes());
        out.extend_from_slice(&self.x);
        out.extend_from_slice(&(self.children.len() as u32).to_le_bytes());
        for child in &self.children {
            out.extend_from_slice(child.as_bytes());
        }
    }

    fn len(&self) -> usize {
        HEADER_LEN + self.children.len() * BlockId::LEN
    }

    /// The id that this header commits to.
    pub fn id(&self) -> BlockId {
        id_from_header(self.kind, &self.domain, &self.x, &self.children)
    }
}

/// A sealed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What to store.
    pub bytes: Vec<u8>,
    /// BLAKE3 of it.
    pub sum: Sum,
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Off,
    /// zstd of this level, raw where it does not shrink.
    Zstd(i32),
}

/// Why a frame was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bytes are not a frame.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// It is a frame of another block.
    #[error("the frame is block {found}, not {expected}")]
    OtherBlock {
        /// Asked for.
        expected: BlockId,
        /// What the header commits to.
        found: BlockId,
    },
    /// Not sealed with this key, or changed since.
    #[error("block {0} does not open with its key")]
    Unsealed(BlockId),
    /// It opened, and its content is not what its name says: the writer stored something else.
    #[error("block {0} holds other content than its name says")]
    OtherContent(BlockId),
}

/// Seals blocks. Holds a compression context: one per thread, reused.
pub struct Sealer {
    zstd: Option<zstd::bulk::Compressor<'static>>,
    body: Vec<u8>,
}

impl Sealer {
    /// A sealer.
    pub fn new(compression: Compression) -> Self {
        let zstd = match compression {
            Compression::Off => None,
            Compression::Zstd(level) => {
                let mut zstd = zstd::bulk::Compressor::new(level).expect("zstd has memory for a context");
                zstd.include_checksum(false).expect("a known parameter");
                zstd.include_contentsize(true).expect("a known parameter");
                Some(zstd)
            }
        };
        Self { zstd, body: Vec::new() }
    }

    /// Seals `plaintext`, whose key is `key`, with the ids of its references.
    pub fn seal(
        &mut self,
        keys: &DomainKeys,
        kind: Kind,
        plaintext: &[u8],
        key: &ContentKey,
        children: &[BlockId],
    ) -> Frame {
        assert!(plaintext.len() <= MAX_RAW && children.len() <= MAX_CHILDREN, "a block above its limits");
        let header = Header { kind, domain: keys.domain_id(), x: keys.name_of(key), children: children.to_vec() };
        let zipped = self.compress(plaintext);
        let (codec, body) = if zipped { (CODEC_ZSTD, &self.body[..]) } else { (CODEC_RAW, plaintext) };
        let padded = padded_len(body.len());
        let mut bytes = Vec::with_capacity(header.len() + NONCE_LEN + PREFIX_LEN + padded + TAG_LEN);
        header.encode_into(&mut bytes);
        let subkeys = FrameKeys::derive(key, &bytes);
        let prefix = prefix_bytes(codec, plaintext.len(), body.len(), padded);
        let nonce = subkeys.nonce(&prefix, if codec == CODEC_RAW { &[] } else { body });
        bytes.extend_from_slice(&nonce);
        let inner_at = bytes.len();
        bytes.extend_from_slice(&prefix);
        bytes.extend_from_slice(body);
        bytes.resize(inner_at + PREFIX_LEN + padded, 0);
        let (front, inner) = bytes.split_at_mut(inner_at);
        let aad = Aad::from(&front[..header.len()]);
        let tag = subkeys
            .cipher()
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad, inner)
            .expect("within the limits of AES-GCM");
        bytes.extend_from_slice(tag.as_ref());
        let sum = Sum::of(&bytes);
        Frame { bytes, sum }
    }

    /// Compresses into `self.body`; answers whether that pays after padding.
    fn compress(&mut self, plaintext: &[u8]) -> bool {
        let Self { zstd: Some(zstd), body } = self else { return false };
        let mut compress = |bytes: &[u8]| {
            body.clear();
            body.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
            zstd.compress_to_buffer(bytes, body).expect("the buffer holds the bound")
        };
        !density::is_dense(plaintext, &mut compress) && padded_len(compress(plaintext)) < padded_len(plaintext.len())
    }
}

/// Opens blocks. Holds a decompression context: one per thread, reused.
pub struct Opener {
    zstd: zstd::bulk::Decompressor<'static>,
    inner: Vec<u8>,
}

impl Default for Opener {
    fn default() -> Self {
        Self::new()
    }
}

impl Opener {
    /// An opener.
    pub fn new() -> Self {
        Self { zstd: zstd::bulk::Decompressor::new().expect("zstd has memory for a context"), inner: Vec::new() }
    }

    /// Opens the frame of block `id` with its key and verifies everything. Answers the header and the plaintext.
    pub fn open(
        &mut self,
        keys: &DomainKeys,
        id: &BlockId,
        key: &ContentKey,
        frame: &[u8],
    ) -> Result<(Header, Vec<u8>), OpenError> {
        let (header, header_len) = Header::parse(frame)?;
        let found = header.id();
        if found != *id {
            return Err(OpenError::OtherBlock { expected: *id, found });
        }
        if header.x != keys.name_of(key) {
            return Err(OpenError::Unsealed(*id));
        }
        let plaintext = self.decrypt(*id, key, &frame[..header_len], &frame[header_len..])?;
        if keys.content_key(header.kind, &plaintext) != *key {
            return Err(OpenError::OtherContent(*id));
        }
        Ok((header, plaintext))
    }

    fn decrypt(&mut self, id: BlockId, key: &ContentKey, header: &[u8], rest: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut r = Reader::new("frame", rest);
        let nonce: [u8; NONCE_LEN] = r.array()?;
        if r.rest().len() < PREFIX_LEN + MIN_PADDED + TAG_LEN {
            return Err(r.error("a sealed body").into());
        }
        let subkeys = FrameKeys::derive(key, header);
        self.inner.clear();
        self.inner.extend_from_slice(r.rest());
        let inner = subkeys
            .cipher()
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut self.inner)
            .map_err(|_| OpenError::Unsealed(id))?;
        let (prefix, body) = Prefix::parse(inner)?;
        if prefix.codec == CODEC_RAW {
            return Ok(body.to_vec());
        }
        let plaintext = self.zstd.decompress(body, prefix.raw_len).ok().filter(|p| p.len() == prefix.raw_len);
        plaintext.ok_or_else(|| r.error("a zstd body of raw_len bytes").into())
    }
}

/// The 16 bytes before a body, checked.
struct Prefix {
    codec: u8,
    raw_len: usize,
}

impl Prefix {
    fn parse(inner: &[u8]) -> Result<(Self, &[u8]), FormatError> {
        let mut r = Reader::new("frame prefix", inner);
        let codec = r.u8()?;
        if codec > CODEC_ZSTD {
            return Err(r.error("codec 0 or 1"));
        }
        r.expect(&[0; 3], "zeros")?;
        let raw_len = r.u32()? as usize;
        let body_len = r.u32()? as usize;
        let padded = r.u32()? as usize;
        if raw_len > MAX_RAW || body_len > raw_len || (codec == CODEC_RAW && body_len != raw_len) {
            return Err(r.error("lengths within the limits"));
        }
        if padded != padded_len(body_len) || padded != r.rest().len() {
            return Err(r.error("the padded length"));
        }
        let body = r.take(body_len)?;
        if r.rest().iter().any(|b| *b != 0) {
            return Err(r.error("padding of zeros"));
        }
        Ok((Self { codec, raw_len }, body))
    }
}

fn prefix_bytes(codec: u8, raw_len: usize, body_len: usize, padded: usize) -> [u8; PREFIX_LEN] {
    let mut out = [0; PREFIX_LEN];
    out[0] = codec;
    for (place, len) in out[4..].chunks_exact_mut(4).zip([raw_len, body_len, padded]) {
        place.copy_from_slice(&(len as u32).to_le_bytes());
    }
    out
}

/// `key ‖ nkey` of one frame.
struct FrameKeys(Zeroizing<[u8; 64]>);

impl FrameKeys {
    fn derive(key: &ContentKey, header: &[u8]) -> Self {
        let mut out = Zeroizing::new([0; 64]);
        kdf::deriver("frame").update(key.as_bytes()).update(header).finalize_xof().fill(&mut *out);
        Self(out)
    }

    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.0[..32]).expect("32 bytes"))
    }

    fn nonce(&self, prefix: &[u8], body: &[u8]) -> [u8; NONCE_LEN] {
        let nkey: [u8; 32] = self.0[32..].try_into().expect("32 of 64");
        let hash = blake3::Hasher::new_keyed(&nkey).update(prefix).update(body).finalize();
        hash.as_bytes()[..NONCE_LEN].try_into().expect("12 of 32")
    }
}

/// The body length that a frame shows: Padmé (PETS 2019), at least 256.
pub fn padded_len(len: usize) -> usize {
    padme(len).max(MIN_PADDED)
}

fn padme(len: usize) -> usize {
    if len < 2 {
        return len;
    }
    let exponent = len.ilog2();
    let low_bits = exponent - (exponent.ilog2() + 1).min(exponent);
    let mask = (1usize << low_bits) - 1;
    (len + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ContentSecret;
    use proptest::prelude::*;

    fn keys() -> DomainKeys {
        DomainKeys::new(ContentSecret::from_bytes([1; 32]))
    }

    fn sealed(plaintext: &[u8], compression: Compression) -> (ContentKey, BlockId, Frame) {
        let key = keys().content_key(Kind::Data, plaintext);
        let frame = Sealer::new(compression).seal(&keys(), Kind::Data, plaintext, &key, &[]);
        (key.clone(), keys().block_id(Kind::Data, &key, &[]), frame)
    }

    proptest! {
        #[test]
        fn a_sealed_block_opens_to_its_plaintext(plaintext in prop::collection::vec(0u8..4, 0..5000), off: bool) {
            let compression = if off { Compression::Off } else { Compression::Zstd(3) };
            let (key, id, frame) = sealed(&plaintext, compression);
            let (header, opened) = Opener::new().open(&keys(), &id, &key, &frame.bytes).unwrap();
            prop_assert_eq!(opened, plaintext);
            prop_assert_eq!(header.id(), id);
        }

        #[test]
        fn a_changed_frame_never_opens(at in 0usize..600, flip in 1u8..) {
            let (key, id, mut frame) = sealed(b"some plaintext", Compression::Off);
            let at = at % frame.bytes.len();
            frame.bytes[at] ^= flip;
            prop_assert!(Opener::new().open(&keys(), &id, &key, &frame.bytes).is_err());
            prop_assert!(Opener::new().open(&keys(), &id, &key, &frame.bytes[..at]).is_err());
        }
    }

    #[test]
    fn padding_hides_the_length_and_costs_at_most_twelve_percent() {
        assert_eq!([0, 1, 255, 256, 257, 1000, 65_537].map(padded_len), [256, 256, 256, 256, 272, 1024, 67_584]);
        assert_eq!([1 << 16, 1 << 18, 1 << 20].map(padded_len), [1 << 16, 1 << 18, 1 << 20]);
        for len in 256..100_000usize {
            assert!(padded_len(len) * 100 <= len * 112);
        }
    }

    #[test]
    fn a_frame_is_pinned() {
        let (_, _, frame) = sealed(b"hello", Compression::Zstd(3));
        assert_eq!(frame.bytes.len(), HEADER_LEN + NONCE_LEN + PREFIX_LEN + MIN_PADDED + TAG_LEN);
        assert_eq!(frame.sum.to_string(), "9a50c9f8e91cb22032d9d0989d7d2ae93d4192e44c6e1ca87c4e922019100334");
    }

    #[test]
    fn content_that_is_not_what_the_name_says_is_refused() {
        let key = keys().content_key(Kind::Data, b"good");
        let id = keys().block_id(Kind::Data, &key, &[]);
        let frame = Sealer::new(Compression::Off).seal(&keys(), Kind::Data, b"evil", &key, &[]);
        let opened = Opener::new().open(&keys(), &id, &key, &frame.bytes);
        assert!(matches!(opened, Err(OpenError::OtherContent(i)) if i == id));
    }
}
