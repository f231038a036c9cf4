//! The inputs that fuzzing starts from: for every target a few that it accepts, and some that it refuses late.
//!
//! They follow from this file and the fixtures of cas-core alone. `cargo run --example seeds` writes them to `seeds/`; a test of the
//! workspace compares.

use super::fixed::{identity, keys, small_record};
use super::input::put_blob;
use cas_core::codec::{RecordWriter, UnknownField, critical, optional, put_bytes32};
use cas_core::domain::{DomainRecord, Profile};
use cas_core::frame::{Compression, Header, Sealer};
use cas_core::id::{BlockId, Kind, PublicKey, SnapshotId, Sum, VaultId};
use cas_core::identity;
use cas_core::keyring::{Change, Device, Keyring, KeyringRef, Member, Role, RootSeed};
use cas_core::manifest::{
    BuiltBlock, Content, Entry, FileType, ListBuilder, ListRoot, ManifestPath, MapBuilder, Mtime, Piece, encode_xattrs,
};
use cas_core::secret::{ContentKey, ContentSecret};
use cas_core::snapshot::{Details, NewSnapshot, SnapshotObject, Stats};
use std::collections::BTreeMap;

const SNAPSHOT: &[u8] = include_bytes!("../../cas-core/fixtures/snapshot-v1.cas");
const KEYRING: &[u8] = include_bytes!("../../cas-core/fixtures/keyring-v1.cas");
const BOX: &[u8] = include_bytes!("../../cas-core/fixtures/box-v1.age");

/// A seed: its target, its name (`refused…` if the target does not accept it), its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
pub fn seeds() -> Vec<Seed> {
    let mut out = Seeds(Vec::new());
    small(&mut out);
    frames(&mut out);
    manifests(&mut out);
    objects(&mut out);
    people(&mut out);
    super::server_seeds::add(&mut out);
    super::net_seeds::add(&mut out);
    out.0
}

/// Collects them.
pub struct Seeds(Vec<Seed>);

impl Seeds {
    /// Adds one.
    pub fn add(&mut self, target: &'static str, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((target, name.into(), bytes.into()));
    }
}

fn small(out: &mut Seeds) {
    let record = RecordWriter::new().field(critical(1), [7]).field(optional(9), *b"later").finish();
    out.add("codec", "record", record);
    out.add("codec", "refused-longest-varint", [[0xff; 9].as_slice(), &[1]].concat());
    out.add("codec", "refused-bytes32", b"\x05\0\0\0hello".to_vec());
    out.add("path", "siblings", "a/b\na/b.c");
    out.add("path", "below", "a/b/c\na/b");
    out.add("path", "refused-dots", "a/../b\nc");
    out.add("xattrs", "two", encode_xattrs(&[(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), Vec::new())]));
    let last_three_daily = [3, 0, 2, 0, 255, 1, 1, 7, 0, 0, 0, 0x50, 1, 2, 0];
    let times: Vec<u8> = (0..12u32).flat_map(|n| [[0].as_slice(), &(n * 40_000).to_le_bytes()].concat()).collect();
    out.add("retention", "half-days", [&last_three_daily[..], &[0, 0, 0, 0, 1, 0, 0, 0], &times].concat());
    out.add("retention", "any", (0..200u8).map(|n| n.wrapping_mul(37)).collect::<Vec<u8>>());
}

fn frames(out: &mut Seeds) {
    let (keys, key) = (keys(), ContentKey::from_bytes([7; 32]));
    let header = |children: usize| Header {
        kind: Kind::Page,
        domain: keys.domain_id(),
        x: keys.name_of(&key),
        children: (0..children).map(|n| BlockId([n as u8; 32])).collect(),
    };
    out.add("frame_header", "leaf", header(0).encode());
    out.add("frame_header", "children", header(3).encode());
    let frame = Sealer::new(Compression::Off).seal(&keys, Kind::Data, b"hello", &key, &[]);
    out.add("frame_open", "refused-other-content", [&[0, 0][..], &frame.bytes].concat());
    out.add("frame_open", "text", [&[1, 0][..], "again and again ".repeat(40).as_bytes()].concat());
    out.add("frame_open", "raw", [&[1, 0x83][..], b"short"].concat());
    out.add("frame_open", "forged-raw", b"\x02\x02\0\0\0\0not what its name says".to_vec());
    // A zstd frame with one block: a hundred times the same letter.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 100, 0x23, 3, 0, b'a'];
    out.add("frame_open", "forged-zstd", [&[2, 1, 100, 0, 0, 0][..], &zstd].concat());
    let inner = [&[0, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0][..], b"hello", &[0; 251]].concat();
    out.add("frame_open", "forged-inner", [&[3, 0][..], &inner].concat());
}

fn key(n: u8) -> ContentKey {
    ContentKey::from_bytes(cas_core::kdf::hash(&[n]))
}

/// An entry of every form.
fn entries() -> Vec<(&'static str, Entry)> {
    let mut file = Entry::new(FileType::File);
    (file.mode, file.uid, file.gid) = (0o640, 1000, 1000);
    (file.user, file.group) = (b"me".to_vec(), b"us".to_vec());
    file.mtime = Mtime { seconds: -5, nanoseconds: 999_999_999 };
    file.xattrs = vec![(b"user.a".to_vec(), b"1".to_vec())];
    let inline = Entry { size: 5, content: Content::Inline(b"hello".to_vec()), ..file.clone() };
    let pieces = vec![Piece::data(70_000, key(1)), Piece::hole(1 << 40), Piece::data(9, key(1))];
    let pieces = Entry { size: 70_009 + (1 << 40), content: Content::Pieces(pieces), ..file.clone() };
    let list = Entry { size: 1 << 33, content: Content::List { key: key(2), level: 1 }, ..file.clone() };
    let big = Entry { xattrs: Vec::new(), xattr_block: Some(Piece::data(6000, key(3))), ..inline.clone() };
    let later = Entry { unknown: vec![UnknownField { tag: optional(60), value: vec![1, 2] }], ..inline.clone() };
    let link = Entry { link_target: Some(b"../x".to_vec()), ..Entry::new(FileType::Symlink) };
    let hardlink = Entry { hardlink: Some(b"a/first".to_vec()), ..file.clone() };
    let device = Entry { device: Some((8, 300)), ..Entry::new(FileType::BlockDevice) };
    vec![
        ("empty-file", file),
        ("inline", inline),
        ("pieces", pieces),
        ("list", list),
        ("xattr-block", big),
        ("later-field", later),
        ("symlink", link),
        ("hardlink", hardlink),
        ("device", device),
        ("directory", Entry { mode: 0o755, ..Entry::new(FileType::Directory) }),
        ("fifo", Entry::new(FileType::Fifo)),
    ]
}

fn manifests(out: &mut Seeds) {
    for (name, entry) in entries() {
        out.add("entry", name, entry.encode());
    }
    let (small_map, large_map) = (Built::map(&map(6)), Built::map(&map(40)));
    for (n, page) in large_map.blocks.iter().filter(|block| block.kind == Kind::Page).enumerate() {
        if n % 7 == 0 {
            out.add("page", format!("built-{n}"), &page.plaintext[..]);
        }
    }
    out.add("page", "root", &large_map.root().plaintext[..]);
    out.add("page", "empty", &Built::map(&BTreeMap::new()).root().plaintext[..]);
    let lists = lists(&[3, 5, 2, 9, 4, 4, 8, 1, 7, 6, 5, 3]).1;
    for (n, list) in lists.iter().enumerate() {
        out.add("list", format!("built-{n}"), &list.plaintext[..]);
    }
    out.add("manifest", "small-and-large", archive(&[&small_map, &large_map], false));
    out.add("manifest", "large-and-small", archive(&[&large_map, &small_map], false));
    out.add("manifest", "by-number", archive(&[&small_map, &large_map], true));
    let (holed, whole) =
        (Built::map(&file_of(&[9; 9])), Built::map(&file_of(&[1, 0, 3, 0, 5, 6, 7, 8, 9, 10, 11, 12])));
    out.add("manifest", "lists", archive(&[&holed, &whole], false));
}

/// A manifest and all its blocks, the root last.
struct Built {
    blocks: Vec<BuiltBlock>,
}

type Map = BTreeMap<ManifestPath, (Entry, Option<BlockId>, Vec<BuiltBlock>)>;

impl Built {
    fn map(map: &Map) -> Self {
        let mut blocks = Vec::new();
        let mut builder = MapBuilder::new(&keys(), &small_record());
        for (path, (entry, list, lists)) in map {
            blocks.extend(lists.iter().cloned());
            builder.push(path.as_bytes(), entry, *list, &mut |b| blocks.push(b)).expect("seeds follow the rules");
        }
        builder.finish(&mut |b| blocks.push(b));
        Self { blocks }
    }

    fn root(&self) -> &BuiltBlock {
        self.blocks.last().expect("a manifest has a root")
    }
}

/// Nested folders with files of every form.
fn map(files: u8) -> Map {
    let mut map = Map::new();
    let dir = || (Entry { mode: 0o755, ..Entry::new(FileType::Directory) }, None, Vec::new());
    let path = |text: &str| ManifestPath::new(text).expect("seeds follow the rules");
    let forms = entries();
    map.insert(path("a"), dir());
    map.insert(path("a/first"), (forms[1].1.clone(), None, Vec::new()));
    for n in 0..files {
        let parent = format!("b{}", n % 3);
        let folder = format!("{parent}/d{}", n % 5);
        map.insert(path(&parent), dir());
        map.insert(path(&folder), dir());
        let entry = forms[usize::from(n) % forms.len()].1.clone();
        if !entry.is_dir() && !matches!(entry.content, Content::List { .. }) {
            map.insert(path(&format!("{folder}/f{n}")), (entry, None, Vec::new()));
        }
    }
    map
}

/// One file of blocks of these lengths; 0 is a hole.
fn file_of(lengths: &[u8]) -> Map {
    let (root, blocks) = lists(lengths);
    let size = lengths.iter().map(|len| u64::from((*len).max(1))).sum();
    let mut entry = Entry { size, ..Entry::new(FileType::File) };
    let list = match root {
        ListRoot::Pieces(pieces) => {
            entry.content = Content::Pieces(pieces);
            None
        }
        ListRoot::List { key, level, id } => {
            entry.content = Content::List { key, level };
            Some(id)
        }
    };
    Map::from([(ManifestPath::new("file").expect("a path"), (entry, list, blocks))])
}

fn lists(lengths: &[u8]) -> (ListRoot, Vec<BuiltBlock>) {
    let mut blocks = Vec::new();
    let mut builder = ListBuilder::new(&keys(), &small_record());
    for (n, len) in lengths.iter().enumerate() {
        let piece = if *len == 0 { Piece::hole(1) } else { Piece::data((*len).into(), key(n as u8)) };
        builder.push(piece, &mut |b| blocks.push(b));
    }
    (builder.finish(&mut |b| blocks.push(b)), blocks)
}

/// Roots first, then everything below them; references by number instead of by P if wanted.
fn archive(manifests: &[&Built], by_number: bool) -> Vec<u8> {
    let roots = manifests.iter().map(|built| built.root());
    let below = manifests.iter().flat_map(|built| &built.blocks[..built.blocks.len() - 1]);
    let blocks: Vec<&BuiltBlock> = roots.chain(below).collect();
    let mut out = Vec::new();
    for block in &blocks {
        let mut plaintext = block.plaintext.clone();
        for (n, other) in blocks.iter().enumerate().filter(|_| by_number) {
            replace(&mut plaintext, other.key.as_bytes(), &[n as u8; 32]);
        }
        put_blob(&mut out, &plaintext);
    }
    out
}

fn replace(bytes: &mut [u8], from: &[u8; 32], to: &[u8; 32]) {
    for at in 0..bytes.len().saturating_sub(31) {
        if bytes[at..at + 32] == *from {
            bytes[at..at + 32].copy_from_slice(to);
        }
    }
}

fn objects(out: &mut Seeds) {
    out.add("snapshot_object", "fixture", SNAPSHOT);
    let fixture = SnapshotObject::parse(SNAPSHOT).expect("the fixture is a snapshot");
    let keyring = KeyringRef { version: 9, hash: Sum([8; 32]) };
    let stub = SnapshotObject::removal(fixture.record(), 77, keyring, &identity(1).device_key());
    let stub = stub.expect("a snapshot can be removed");
    out.add("snapshot_object", "removal", stub.encode());
    out.add("snapshot_record", "fixture", fixture.record().encode());
    out.add("snapshot_record", "removal", stub.record().encode());
    let back = SnapshotObject::returning(fixture.record(), stub.object_id(), 78, keyring, &identity(1).device_key())
        .expect("the fixture can come back");
    out.add("snapshot_object", "return", back.encode());
    out.add("snapshot_record", "return", back.record().encode());
    out.add("snapshot_record", "second", second(&fixture).record().encode());
    out.add("details", "few", few_details().encode().to_vec());
    out.add("details", "all", all_details().encode().to_vec());
    out.add("keyring", "fixture", [&[0], KEYRING].concat());
    let first = first_keyring();
    out.add("keyring", "body", [&[1], &first.encode()[..]].concat());
    let more = Device { key: PublicKey([3; 32]), label: "another device".to_owned() };
    let next = first.next(&[Change::PutDevice(more)]).expect("a device more");
    out.add("keyring", "refused-body-of-version-2", [&[1], &next.encode()[..]].concat());
    for (name, profile) in [("default", Profile::Default), ("fine", Profile::Fine), ("large", Profile::Large)] {
        out.add("domain", name, DomainRecord::of_profile(profile).encode());
    }
    let later = vec![UnknownField { tag: optional(60), value: b"later".to_vec() }];
    out.add("domain", "small-and-later", DomainRecord { unknown: later, ..small_record() }.encode());
}

fn second(first: &SnapshotObject) -> SnapshotObject {
    let new = NewSnapshot {
        vault: VaultId([1; 16]),
        name: "laptop/documents".parse().expect("a name"),
        seq: 2,
        previous: first.snapshot_id(),
        root: BlockId([4; 32]),
        time_ns: -1,
        keyring: KeyringRef { version: 5, hash: Sum([6; 32]) },
    };
    assert_ne!(new.previous, SnapshotId::ZERO);
    SnapshotObject::build(&new, &few_details(), &[5; 32], &[identity(1).recipient()], &identity(1).device_key())
        .expect("within the limits")
}

fn few_details() -> Details {
    Details::new(key(1), ContentSecret::from_bytes([1; 32]), DomainRecord::default())
}

fn all_details() -> Details {
    let mut details = few_details();
    details.secrets.push(ContentSecret::from_bytes([2; 32]));
    (details.host, details.user, details.program) = ("laptop".to_owned(), "me".to_owned(), "cas 0.1.0".to_owned());
    details.paths = vec![b"/home/me/documents".to_vec(), b"x".to_vec()];
    details.tags = vec!["weekly".to_owned(), "ü".to_owned()];
    details.stats = Stats { files: 3, directories: 2, others: 1, bytes: 1 << 40, new_blocks: 9, new_stored_bytes: 999 };
    details.entry = Entry { mode: 0o755, ..Entry::new(FileType::Directory) }.encode();
    (details.errors, details.duration_ms) = (1, 12_345);
    details.unknown = vec![UnknownField { tag: optional(60), value: vec![1] }];
    details
}

fn first_keyring() -> Keyring {
    let member = |role, n| Member { role, recipient: identity(n).recipient(), label: format!("number {n}") };
    let members = vec![member(Role::Recovery, 1), member(Role::Owner, 2), member(Role::Pusher, 3)];
    let device = Device { key: identity(2).device_key().public(), label: "laptop".to_owned() };
    let vault = RootSeed::from_bytes([7; 32]).vault_id();
    let secret = ContentSecret::from_bytes([9; 32]);
    Keyring::first(vault, DomainRecord::default(), secret, members, vec![device]).expect("a good keyring")
}

fn people(out: &mut Seeds) {
    out.add("identity", "printed", identity::print(&identity(1), &["of me"]).as_bytes().to_vec());
    let two = format!("\n# two\r\n{}\n\n{}", &*identity(1).secret_line(), &*identity(2).secret_line());
    out.add("identity", "two", two);
    out.add("identity", "refused-plugin", "AGE-PLUGIN-YUBIKEY-1QQQQ\n");
    out.add("agebox", "fixture", BOX);
    let mut scrypt = b"age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\n".to_vec();
    scrypt.extend_from_slice(b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n--- AAAA\n");
    out.add("agebox", "refused-passphrase", scrypt);
    for (name, text) in [
        ("name", "laptop/documents"),
        ("tag", "weekly"),
        ("span", "1y6m14d12h"),
        ("count", "unlimited"),
        ("number", "17"),
        ("id", &"0123456789abcdef".repeat(4)),
        ("vault-id", &"0123456789abcdef".repeat(2)),
        ("recipient", &identity(1).recipient().to_string()),
        ("identity", &identity(1).secret_line()),
        ("refused", "a@b:c\u{7},"),
    ] {
        out.add("text", name, text);
    }
    let mut claims_much = b"\x01\0".to_vec();
    claims_much.extend_from_slice(&u32::MAX.to_le_bytes());
    out.add("list", "refused-count", &claims_much[..]);
    claims_much.extend_from_slice(&[0; 40]);
    out.add("page", "refused-count", claims_much);
    let mut object = b"CASN\x01\x01\0\0".to_vec();
    put_bytes32(&mut object, &[3, 16]);
    out.add("snapshot_object", "refused-start", object);
}
