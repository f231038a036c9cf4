//! Whether bytes are too dense to compress, by a few samples of them: most bytes in the world are in files that are
//! compressed already, and finding that out by compressing them costs as much as all the rest of a push.
//!
//! Promise: what is called dense would gain nothing worth having, as far as samples can tell; looking costs next to nothing
//! where bytes do compress. It decides how a block is stored, never what it is called.

/// Below this, compressing is no dearer than looking.
const MIN_BYTES: usize = 64 << 10;
/// Places that are looked at.
const SAMPLES: usize = 8;
/// Bytes at each of them that are counted.
const COUNTED: usize = 1 << 10;
/// Bytes at each of them that are tried.
const TRIED: usize = 2 << 10;

const _: () = assert!(COUNTED <= TRIED && SAMPLES * TRIED <= MIN_BYTES);

/// Whether `bytes` are dense. `try_it` answers how long a sample is when it is compressed, and is asked only where all bytes are
/// about as frequent.
pub fn is_dense(bytes: &[u8], try_it: impl FnOnce(&[u8]) -> usize) -> bool {
    if bytes.len() < MIN_BYTES || !is_even(bytes) {
        return false;
    }
    let mut sample = Vec::with_capacity(SAMPLES * TRIED);
    pieces(bytes, TRIED).for_each(|piece| sample.extend_from_slice(piece));
    try_it(&sample) >= sample.len()
}

/// Whether all byte values are about as frequent: the sum of squared counts is near what chance gives.
fn is_even(bytes: &[u8]) -> bool {
    let mut counts = [0u64; 256];
    pieces(bytes, COUNTED).flatten().for_each(|byte| counts[usize::from(*byte)] += 1);
    let (seen, values) = ((SAMPLES * COUNTED) as u64, counts.len() as u64);
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    squares < seen * seen / values + 2 * seen
}

/// So many bytes from each place, the first and the last among them.
fn pieces(bytes: &[u8], len: usize) -> impl Iterator<Item = &[u8]> {
    let step = (bytes.len() - len) / (SAMPLES - 1);
    (0..SAMPLES).map(move |n| &bytes[n * step..n * step + len])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kdf;

    fn noise(len: usize) -> Vec<u8> {
        let part = |n: usize| kdf::hash(&n.to_le_bytes());
        (0..len.div_ceil(32)).flat_map(part).take(len).collect()
    }

    fn zstd(bytes: &[u8]) -> usize {
        zstd::bulk::compress(bytes, 1).unwrap().len()
    }

    #[test]
    fn noise_is_dense_whatever_its_length() {
        for len in [MIN_BYTES, MIN_BYTES + 1, 300_001, 1 << 20] {
            assert!(is_dense(&noise(len), zstd), "{len}");
        }
        assert!(!is_dense(&noise(MIN_BYTES - 1), zstd), "too short to ask");
    }

    #[test]
    fn what_compresses_is_not_even_tried() {
        let texts: [Vec<u8>; 3] = [
            vec![0; 200_000],
            b"the quick brown fox ".repeat(20_000),
            noise(200_000).iter().map(|b| b & 0x7f).collect(),
        ];
        for text in texts {
            assert!(!is_dense(&text, |_| panic!("nobody needs to compress it")));
        }
    }

    #[test]
    fn noise_that_repeats_nearby_is_not_dense() {
        let repeated: Vec<u8> = noise(300_000).chunks(512).flat_map(|part| [part, part].concat()).collect();
        assert!(!is_dense(&repeated, zstd));
    }

    #[test]
    fn one_text_among_noise_is_found_where_it_is_looked_for() {
        let mut mixed = noise(400_000);
        mixed[..100_000].fill(b'a');
        assert!(!is_dense(&mixed, zstd));
    }
}
