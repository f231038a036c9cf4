//! The details of a snapshot: what only its readers may know. FORMAT §6.
//!
//! Promise: with the details of a snapshot in hand nothing else is needed to restore it: the key of the
//! root page, every content secret and the domain record are in it. Secrets are wiped when dropped.

use crate::codec::{FormatError, Reader, RecordWriter, UnknownField, critical, optional, put_bytes, put_varint};
use crate::domain::DomainRecord;
use crate::id::DomainId;
use crate::limits::{MAX_ENTRY, MAX_OBJECT, MAX_PATH};
use crate::secret::{ContentKey, ContentSecret, DomainKeys};
use zeroize::Zeroizing;

/// Content secrets of one snapshot.
pub const MAX_SECRETS: usize = 256;
/// Host, user, program: each, in bytes.
pub const MAX_TEXT: usize = 1 << 10;
/// A tag, in bytes.
pub const MAX_TAG: usize = 255;

const SECRET_LEN: usize = 32;

const TAG_ROOT: u64 = critical(1);
const TAG_SECRETS: u64 = critical(2);
const TAG_HOST: u64 = optional(3);
const TAG_USER: u64 = optional(4);
const TAG_PATHS: u64 = optional(5);
const TAG_TAGS: u64 = optional(6);
const TAG_STATS: u64 = optional(7);
const TAG_ENTRY: u64 = optional(8);
const TAG_PROGRAM: u64 = optional(9);
const TAG_DOMAIN: u64 = critical(10);
const TAG_ERRORS: u64 = optional(11);
const TAG_DURATION: u64 = optional(12);

/// What only readers of a snapshot may know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    /// P of the root page.
    pub root: ContentKey,
    /// Every content secret used, the domain's first. At least one.
    pub secrets: Vec<ContentSecret>,
    /// How the domain cuts.
    pub domain: DomainRecord,
    /// The host that pushed.
    pub host: String,
    /// The user that pushed.
    pub user: String,
    /// What was pushed, as it was named.
    pub paths: Vec<Vec<u8>>,
    /// Tags; see [`check_tag`].
    pub tags: Vec<String>,
    /// What was found and what was new.
    pub stats: Stats,
    /// The encoded entry of the pushed directory itself; empty if several paths were pushed.
    pub entry: Vec<u8>,
    /// Program and version.
    pub program: String,
    /// How many files could not be read.
    pub errors: u64,
    /// How long the push took, milliseconds.
    pub duration_ms: u64,
    /// Fields of a later version that may be ignored, kept.
    pub unknown: Vec<UnknownField>,
}

/// What a push found and what was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, devices and the rest.
    pub others: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Blocks that were not there before.
    pub new_blocks: u64,
    /// Bytes stored for them, once, before replication.
    pub new_stored_bytes: u64,
}

/// Text that cannot be a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tag has 1 to 255 bytes, no comma and no control characters")]
pub struct TagError;

/// Whether a tag is one: 1 to 255 bytes, no comma (lists of tags are written with commas), no control characters.
pub fn check_tag(tag: &str) -> Result<(), TagError> {
    let fits = (1..=MAX_TAG).contains(&tag.len()) && !tag.contains(',') && !tag.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(TagError) }
}

impl Details {
    /// Details with what a restore needs, and nothing yet for people.
    pub fn new(root: ContentKey, domain_secret: ContentSecret, domain: DomainRecord) -> Self {
        Self {
            root,
            secrets: vec![domain_secret],
            domain,
            host: String::new(),
            user: String::new(),
            paths: Vec::new(),
            tags: Vec::new(),
            stats: Stats::default(),
            entry: Vec::new(),
            program: String::new(),
            errors: 0,
            duration_ms: 0,
            unknown: Vec::new(),
        }
    }

    /// The domain, by its secret.
    pub fn domain_id(&self) -> DomainId {
        DomainKeys::new(self.secrets[0].clone()).domain_id()
    }

    /// Whether they are within the limits and rules of the format. What was decoded is.
    pub fn check(&self) -> Result<(), &'static str> {
        let require = |holds: bool, expected| if holds { Ok(()) } else { Err(expected) };
        require((1..=MAX_SECRETS).contains(&self.secrets.len()), "1 to 256 content secrets")?;
        require([&self.host, &self.user, &self.program].iter().all(|t| t.len() <= MAX_TEXT), "texts of at most 1 KiB")?;
        require(self.paths.iter().all(|p| (1..=MAX_PATH).contains(&p.len())), "paths of 1 byte to 16 KiB")?;
        require(
            self.tags.iter().all(|t| check_tag(t).is_ok()),
            "tags of 1 to 255 bytes, no comma, no control characters",
        )?;
        require(self.entry.len() <= MAX_ENTRY, "an entry of at most 48 KiB")?;
        self.domain.check().map_err(|e| e.expected)
    }

    /// The bytes.
    ///
    /// # Panics
    /// If they do not pass [`check`](Self::check).
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        self.check().expect("only valid details are written");
        let secrets: Zeroizing<Vec<[u8; SECRET_LEN]>> =
            Zeroizing::new(self.secrets.iter().map(|s| *s.as_bytes()).collect());
        let mut out = RecordWriter::new();
        out.field(TAG_ROOT, *self.root.as_bytes())
            .field(TAG_SECRETS, secrets.concat())
            .field(TAG_DOMAIN, self.domain.encode());
        for (tag, value) in [
            (TAG_HOST, self.host.as_bytes().to_vec()),
            (TAG_USER, self.user.as_bytes().to_vec()),
            (TAG_PATHS, list(self.paths.iter().map(Vec::as_slice))),
            (TAG_TAGS, list(self.tags.iter().map(String::as_bytes))),
            (TAG_STATS, self.stats.encode()),
            (TAG_ENTRY, self.entry.clone()),
            (TAG_PROGRAM, self.program.as_bytes().to_vec()),
            (TAG_ERRORS, number(self.errors)),
            (TAG_DURATION, number(self.duration_ms)),
        ] {
            if !value.is_empty() {
                out.field(tag, value);
            }
        }
        out.unknown(&self.unknown).finish_secret()
    }

    /// Reads details.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let start = Reader::new("snapshot details", bytes);
        if bytes.len() > MAX_OBJECT {
            return Err(start.error("a length within the limit"));
        }
        let (mut root, mut domain) = (None, None);
        // Overwritten below: root, secrets and domain have no defaults.
        let mut details =
            Self::new(ContentKey::from_bytes([0; 32]), ContentSecret::from_bytes([0; 32]), DomainRecord::default());
        details.secrets.clear();
        details.unknown = start.clone().record(|tag, r| {
            match tag {
                TAG_ROOT => root = Some(ContentKey::from_bytes(r.array()?)),
                TAG_SECRETS => details.secrets = read_secrets(r)?,
                TAG_HOST => details.host = read_text(r)?,
                TAG_USER => details.user = read_text(r)?,
                TAG_PATHS => details.paths = read_list(r, MAX_PATH)?.map(<[u8]>::to_vec).collect(),
                TAG_TAGS => details.tags = read_tags(r)?,
                TAG_STATS => details.stats = Stats::decode(r)?,
                TAG_ENTRY => details.entry = r.take(r.rest().len())?.to_vec(),
                TAG_PROGRAM => details.program = read_text(r)?,
                TAG_DOMAIN => domain = Some(DomainRecord::decode(r.take(r.rest().len())?)?),
                TAG_ERRORS => details.errors = r.varint()?,
                TAG_DURATION => details.duration_ms = r.varint()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        (details.root, details.domain) = root.zip(domain).ok_or_else(|| start.error("a root and a domain record"))?;
        details.check().map_err(|expected| start.error(expected))?;
        // A default that is written out, or a path of no bytes, is not what an encoder writes.
        if details.encode()[..] != *bytes {
            return Err(start.error("the canonical encoding"));
        }
        Ok(details)
    }
}

impl Stats {
    /// Nothing for the default.
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if *self != Self::default() {
            let Self { files, directories, others, bytes, new_blocks, new_stored_bytes } = *self;
            [files, directories, others, bytes, new_blocks, new_stored_bytes]
                .iter()
                .for_each(|n| put_varint(&mut out, *n));
        }
        out
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, FormatError> {
        Ok(Self {
            files: r.varint()?,
            directories: r.varint()?,
            others: r.varint()?,
            bytes: r.varint()?,
            new_blocks: r.varint()?,
            new_stored_bytes: r.varint()?,
        })
    }
}

fn number(value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if value != 0 {
        put_varint(&mut out, value);
    }
    out
}

fn list<'a>(items: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    items.for_each(|item| put_bytes(&mut out, item));
    out
}

fn read_list<'a>(r: &mut Reader<'a>, limit: usize) -> Result<impl Iterator<Item = &'a [u8]> + use<'a>, FormatError> {
    let mut items = Vec::new();
    while !r.is_empty() {
        items.push(r.bytes(limit)?);
    }
    Ok(items.into_iter())
}

fn read_tags(r: &mut Reader<'_>) -> Result<Vec<String>, FormatError> {
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let tags: Option<Vec<String>> = read_list(r, MAX_TAG)?.map(utf8).collect();
    tags.ok_or_else(|| r.error("tags in UTF-8"))
}

fn read_text(r: &mut Reader<'_>) -> Result<String, FormatError> {
    let bytes = r.take(r.rest().len())?;
    String::from_utf8(bytes.to_vec()).map_err(|_| r.error("a text in UTF-8"))
}

/// 32 bytes each.
pub(crate) fn read_secrets(r: &mut Reader<'_>) -> Result<Vec<ContentSecret>, FormatError> {
    if r.rest().len() > MAX_SECRETS * SECRET_LEN {
        return Err(r.error("at most 256 content secrets"));
    }
    let mut secrets = Vec::with_capacity(r.rest().len() / SECRET_LEN);
    while !r.is_empty() {
        secrets.push(ContentSecret::from_bytes(r.array()?));
    }
    Ok(secrets)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample() -> Details {
        let mut details =
            Details::new(ContentKey::from_bytes([1; 32]), ContentSecret::from_bytes([2; 32]), DomainRecord::default());
        details.secrets.push(ContentSecret::from_bytes([3; 32]));
        details.host = "host".into();
        details.user = "user".into();
        details.paths = vec![b"/home".to_vec(), b"\xff".to_vec()];
        details.tags = vec!["daily".into(), "ß".into()];
        details.stats =
            Stats { files: 1, directories: 2, others: 3, bytes: 400, new_blocks: 5, new_stored_bytes: u64::MAX };
        details.entry = vec![9; 3];
        details.program = "cas 0.1.0".into();
        details.errors = 7;
        details.duration_ms = 1000;
        details
    }

    fn minimal() -> Details {
        Details::new(ContentKey::from_bytes([1; 32]), ContentSecret::from_bytes([2; 32]), DomainRecord::default())
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_pinned() {
        let domain = hex(&DomainRecord::default().encode());
        let golden = format!(
            "0320{}0540{}{}0604{}0804{}0a08052f686f6d6501ff0c09056461696c7902c39f0e100102039003\
             05ffffffffffffffffff0110030909091209{}1540{domain}1601071802e807",
            "01".repeat(32),
            "02".repeat(32),
            "03".repeat(32),
            hex(b"host"),
            hex(b"user"),
            hex(b"cas 0.1.0"),
        );
        assert_eq!(hex(&sample().encode()), golden);
        assert_eq!(hex(&minimal().encode()), format!("0320{}0520{}1540{domain}", "01".repeat(32), "02".repeat(32)));
    }

    #[test]
    fn every_field_goes_there_and_back() {
        let edits: [fn(&mut Details); 14] = [
            |d| d.root = ContentKey::from_bytes([9; 32]),
            |d| d.secrets.truncate(1),
            |d| {
                d.domain =
                    DomainRecord::with_sizes(512, 1024, 4096).map(|r| DomainRecord { inline_limit: 0, ..r }).unwrap()
            },
            |d| d.host.clear(),
            |d| d.user.clear(),
            |d| d.paths.clear(),
            |d| d.tags.clear(),
            |d| d.stats = Stats::default(),
            |d| d.stats.others = 0,
            |d| d.entry.clear(),
            |d| d.program.clear(),
            |d| d.errors = 0,
            |d| d.duration_ms = 0,
            |d| d.unknown.push(UnknownField { tag: optional(1), value: b"later".to_vec() }),
        ];
        let mut seen = vec![sample().encode()];
        assert_eq!(Details::decode(&seen[0]).unwrap(), sample());
        for (i, edit) in edits.iter().enumerate() {
            let mut details = sample();
            edit(&mut details);
            let bytes = details.encode();
            assert_eq!(Details::decode(&bytes).unwrap(), details, "edit {i}");
            assert!(!seen.contains(&bytes), "edit {i} is not in the bytes");
            seen.push(bytes);
        }
    }

    #[test]
    fn what_the_format_does_not_allow_fails_the_check() {
        let edits: [fn(&mut Details); 9] = [
            |d| d.secrets.clear(),
            |d| d.secrets = vec![ContentSecret::from_bytes([0; 32]); MAX_SECRETS + 1],
            |d| d.host = "h".repeat(MAX_TEXT + 1),
            |d| d.paths.push(vec![]),
            |d| d.paths.push(vec![b'x'; MAX_PATH + 1]),
            |d| d.tags.push("a,b".into()),
            |d| d.tags.push("a\nb".into()),
            |d| d.entry = vec![0; MAX_ENTRY + 1],
            |d| d.domain.mask_s = 0,
        ];
        for (i, edit) in edits.iter().enumerate() {
            let mut details = sample();
            edit(&mut details);
            assert!(details.check().is_err(), "edit {i}");
        }
    }

    #[test]
    fn other_encodings_of_the_same_are_refused() {
        let plain = minimal().encode();
        let with = |tag: u64, value: &[u8]| {
            let mut out = plain.to_vec();
            crate::codec::put_field(&mut out, tag, value);
            Details::decode(&out)
        };
        assert!(with(TAG_ERRORS, &[1]).is_ok());
        assert!(with(TAG_ERRORS, &[0]).is_err());
        assert!(with(TAG_DURATION, &[1, 1]).is_err());
        assert!(with(critical(40), &[]).is_err());
        assert!(Details::decode(&[]).is_err());
        let no_domain = &plain[..plain.len() - 66];
        assert!(Details::decode(no_domain).is_err());
    }

    proptest! {
        #[test]
        fn changed_details_are_refused_or_encode_again_to_the_same(at: usize, byte: u8, cut: usize) {
            let mut bytes = sample().encode();
            let (at, cut) = (at % bytes.len(), cut % bytes.len());
            if let Ok(details) = Details::decode(&bytes[..cut]) {
                prop_assert_eq!(&details.encode()[..], &bytes[..cut]);
            }
            bytes[at] = byte;
            if let Ok(details) = Details::decode(&bytes) {
                prop_assert_eq!(&details.encode()[..], &bytes[..]);
            }
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{:?}", sample());
        assert!(text.contains("(…)") && !text.contains("2, 2, 2"), "{text}");
    }
}
