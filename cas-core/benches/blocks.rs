//! What a byte costs on its way into a block and out again: cut, name, seal, open. One thread.
//!
//! `cargo bench -p cas-core --bench blocks`

use cas_core::chunk::Chunker;
use cas_core::domain::DomainRecord;
use cas_core::frame::{Compression, Frame, Opener, Sealer};
use cas_core::id::{BlockId, Kind};
use cas_core::kdf;
use cas_core::secret::{ContentKey, ContentSecret, DomainKeys};
use std::hint::black_box;
use std::time::{Duration, Instant};

const RUNS: usize = 5;
const LEN: usize = 64 << 20;

fn main() {
    let keys = DomainKeys::new(ContentSecret::from_bytes([1; 32]));
    let chunker = Chunker::new(&DomainRecord::default(), &keys);
    for (name, content) in [("text", text()), ("random", random())] {
        let chunks: Vec<&[u8]> = chunker.chunks(&content).collect();
        println!("{name}: {} MiB in {} blocks", LEN >> 20, chunks.len());
        report("cut", best(|| chunker.chunks(&content).map(<[u8]>::len).sum::<usize>()));
        report("name", best(|| named(&keys, &chunks)));
        let named = named(&keys, &chunks);
        for (word, compression) in [("seal, zstd 1", 1), ("seal, zstd 3", 3), ("seal, off", 0)]
            .map(|(w, l)| (w, if l == 0 { Compression::Off } else { Compression::Zstd(l) }))
        {
            let mut sealer = Sealer::new(compression);
            report(word, best(|| sealed(&mut sealer, &keys, &chunks, &named)));
        }
        let frames = sealed(&mut Sealer::new(Compression::Zstd(3)), &keys, &chunks, &named);
        let mut opener = Opener::new();
        report("open, zstd 3", best(|| opened(&mut opener, &keys, &frames, &named)));
        let stored: usize = frames.iter().map(|f| f.bytes.len()).sum();
        println!("  stored at zstd 3: {:.1} %", stored as f64 * 100.0 / LEN as f64);
    }
}

fn named(keys: &DomainKeys, chunks: &[&[u8]]) -> Vec<(ContentKey, BlockId)> {
    let name = |chunk: &&[u8]| {
        let key = keys.content_key(Kind::Data, chunk);
        let id = keys.block_id(Kind::Data, &key, &[]);
        (key, id)
    };
    chunks.iter().map(name).collect()
}

fn sealed(sealer: &mut Sealer, keys: &DomainKeys, chunks: &[&[u8]], named: &[(ContentKey, BlockId)]) -> Vec<Frame> {
    let seal = |(chunk, (key, _)): (&&[u8], &(ContentKey, BlockId))| sealer.seal(keys, Kind::Data, chunk, key, &[]);
    chunks.iter().zip(named).map(seal).collect()
}

fn opened(opener: &mut Opener, keys: &DomainKeys, frames: &[Frame], named: &[(ContentKey, BlockId)]) -> usize {
    let open = |(frame, (key, id)): (&Frame, &(ContentKey, BlockId))| {
        opener.open(keys, id, key, &frame.bytes).expect("just sealed").1.len()
    };
    frames.iter().zip(named).map(open).sum()
}

fn best<T>(mut run: impl FnMut() -> T) -> Duration {
    let once = |_| {
        let began = Instant::now();
        black_box(run());
        began.elapsed()
    };
    (0..RUNS).map(once).min().expect("there are runs")
}

fn report(stage: &str, time: Duration) {
    let ns = time.as_secs_f64() * 1e9 / LEN as f64;
    println!("  {stage:<14} {ns:6.2} ns a byte  {:7.0} MB/s", 1000.0 / ns);
}

fn random() -> Vec<u8> {
    let mut out = vec![0; LEN];
    kdf::derive_into("bench", b"random", &mut out);
    out
}

/// Lines like those of a program: compresses about five to one.
fn text() -> Vec<u8> {
    let mut seed = vec![0; LEN / 32];
    kdf::derive_into("bench", b"text", &mut seed);
    let mut out = Vec::with_capacity(LEN + 64);
    for word in seed.chunks_exact(2).cycle() {
        let n = u16::from_le_bytes([word[0], word[1]]);
        out.extend_from_slice(format!("\tif (state->field_{} == {}) return {};\n", n % 300, n, n % 7).as_bytes());
        if out.len() >= LEN {
            out.truncate(LEN);
            return out;
        }
    }
    out
}
