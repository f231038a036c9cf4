//! Files that follow from a seed and do not compress.

use std::fs;
use std::path::Path;

/// A stream of numbers.
struct Noise(u64);

impl Noise {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.next().to_le_bytes()[..part.len()]);
        }
    }
}

/// So many bytes.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    Noise::of(seed).fill(&mut out);
    out
}

/// Bytes of one large file.
const LARGE: usize = 64 << 20;

/// A folder of large files. Answers their bytes.
pub fn large(dir: &Path, seed: u64, mib: usize) -> usize {
    fs::create_dir_all(dir).expect("a folder");
    let mut left = mib << 20;
    for n in 0.. {
        if left == 0 {
            break;
        }
        let len = left.min(LARGE);
        fs::write(dir.join(format!("f{n}")), noise(seed * 1000 + n, len)).expect("a file");
        left -= len;
    }
    mib << 20
}

/// Files of 1 KiB to so many, a hundred in a folder. Answers their bytes.
pub fn small(dir: &Path, seed: u64, files: usize, longest_kib: usize) -> usize {
    let (mut noise, mut total) = (Noise::of(seed), 0);
    let mut buffer = vec![0; longest_kib << 10];
    for n in 0..files {
        let folder = dir.join(format!("d{:04}", n / 100));
        if n % 100 == 0 {
            fs::create_dir_all(&folder).expect("a folder");
        }
        let len = 1024 + noise.next() as usize % ((longest_kib - 1) << 10);
        noise.fill(&mut buffer[..len]);
        fs::write(folder.join(format!("f{n:06}")), &buffer[..len]).expect("a file");
        total += len;
    }
    total
}
