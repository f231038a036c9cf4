//! How long a manifest of 80 000 entries takes, stage by stage: encode, build, build from encoded entries, read, compare.
//!
//! Run: `cargo bench -p cas-core --bench manifest`. Prints the best of several runs, on one thread.

use cas_core::domain::DomainRecord;
use cas_core::id::{BlockId, Kind};
use cas_core::kdf;
use cas_core::manifest::{
    BlockSource, BuiltBlock, Content, Diff, Entry, FileType, Manifest, MapBuilder, Mtime, OpenedBlock, Piece, Root,
};
use cas_core::secret::{ContentKey, ContentSecret, DomainKeys};
use std::collections::HashMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

const DIRECTORIES: u32 = 5_000;
const FILES_EACH: u32 = 15;
const RUNS: usize = 9;

struct Store(HashMap<BlockId, BuiltBlock>);

impl BlockSource for Store {
    type Error = Infallible;

    fn open(&self, _kind: Kind, id: &BlockId, _key: &ContentKey) -> Result<OpenedBlock, Infallible> {
        let block = &self.0[id];
        Ok(OpenedBlock { plaintext: block.plaintext.clone(), children: block.children.clone() })
    }
}

/// A tree like that of a large program: directories of files with one block each.
fn tree() -> Vec<(Vec<u8>, Entry)> {
    let mut tree = Vec::new();
    for d in 0..DIRECTORIES {
        let dir = format!("module{:02}-{:03}", d / 100, d % 100);
        tree.push((dir.clone().into_bytes(), entry(FileType::Directory, d)));
        for f in 0..FILES_EACH {
            let n = d * FILES_EACH + f;
            let mut file = entry(FileType::File, n);
            file.size = 9_000 + u64::from(n % 977);
            let key = ContentKey::from_bytes(kdf::hash(&n.to_le_bytes()));
            file.content = Content::Pieces(vec![Piece::data(file.size, key)]);
            tree.push((format!("{dir}/implementation-{f:02}.c").into_bytes(), file));
        }
    }
    tree
}

fn entry(file_type: FileType, n: u32) -> Entry {
    let mut entry = Entry::new(file_type);
    (entry.mode, entry.uid, entry.gid) = (0o644, 1000, 1000);
    (entry.user, entry.group) = (b"builder".to_vec(), b"builder".to_vec());
    entry.mtime = Mtime { seconds: 1_700_000_000 + i64::from(n), nanoseconds: n * 3 };
    entry
}

fn best<T>(name: &str, count: usize, mut run: impl FnMut() -> T) -> T {
    let mut shortest = Duration::MAX;
    let mut last = None;
    for _ in 0..RUNS {
        let start = Instant::now();
        last = Some(run());
        shortest = shortest.min(start.elapsed());
    }
    let each = shortest.as_nanos() / count.max(1) as u128;
    println!("{name:<28} {:>8.2} ms   {each:>6} ns an entry", shortest.as_secs_f64() * 1e3);
    last.expect("at least one run")
}

fn build(keys: &DomainKeys, encoded: &[(&[u8], Vec<u8>)]) -> (Root, Vec<BuiltBlock>) {
    let mut blocks = Vec::new();
    let mut builder = MapBuilder::new(keys, &DomainRecord::default());
    for (path, entry) in encoded {
        builder.push_encoded(path, entry, None, &mut |block| blocks.push(block)).expect("a valid tree");
    }
    let root = builder.finish(&mut |block| blocks.push(block));
    (root, blocks)
}

fn main() {
    let keys = DomainKeys::new(ContentSecret::from_bytes([1; 32]));
    let mut tree = tree();
    let count = tree.len();
    let encode = |tree: &[(Vec<u8>, Entry)]| tree.iter().map(|(_, entry)| entry.encode()).collect::<Vec<_>>();
    let entries = best("encode", count, || encode(&tree));
    let encoded: Vec<_> = tree.iter().map(|(path, _)| &path[..]).zip(entries).collect();
    let (old_root, blocks) = best("build from encoded entries", count, || build(&keys, &encoded));
    let bytes: usize = blocks.iter().map(|block| block.plaintext.len()).sum();
    println!("{count} entries, {} pages, {bytes} bytes, level {}", blocks.len(), old_root.level);
    let mut store = Store(blocks.into_iter().map(|block| (block.id, block)).collect());

    for n in (0..count).step_by(60) {
        tree[n].1.mode = 0o600;
    }
    let encoded: Vec<_> = tree.iter().map(|(path, entry)| (&path[..], entry.encode())).collect();
    let (new_root, blocks) = build(&keys, &encoded);
    store.0.extend(blocks.into_iter().map(|block| (block.id, block)));

    let record = DomainRecord::default();
    let manifest = |root: &Root| Manifest::new(&store, &keys, &record, root.id, root.key.clone());
    let (old, new) = (manifest(&old_root), manifest(&new_root));
    let read = best("read all", count, || new.cursor().filter(Result::is_ok).count());
    assert_eq!(read, count);
    let changes = best("compare, one in 60 differs", count, || Diff::new(&old, &new).filter(Result::is_ok).count());
    assert_eq!(changes, count.div_ceil(60));
}
