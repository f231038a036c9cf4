//! Where content is cut: FastCDC with the domain's own gear table. FORMAT §4.
//!
//! Promise: cut points depend on the content and the domain record alone; how the bytes arrive in
//! buffers does not matter as long as a buffer holds at least [`Chunker::max`] bytes or the end.

use crate::domain::DomainRecord;
use crate::secret::DomainKeys;
use fastcdc::v2020::cut_gear;
use zeroize::Zeroizing;

/// Cuts the content of one domain.
#[derive(Clone)]
pub struct Chunker {
    min: usize,
    avg: usize,
    max: usize,
    mask_s: u64,
    mask_l: u64,
    gear: Box<Zeroizing<[u64; 256]>>,
    gear_ls: Box<Zeroizing<[u64; 256]>>,
}

impl Chunker {
    /// The chunker of a domain.
    pub fn new(record: &DomainRecord, keys: &DomainKeys) -> Self {
        let gear = keys.gear();
        Self {
            min: record.min as usize,
            avg: record.avg as usize,
            max: record.max as usize,
            mask_s: record.mask_s,
            mask_l: record.mask_l,
            gear_ls: Box::new(Zeroizing::new(gear.map(|word| word << 1))),
            gear: Box::new(Zeroizing::new(gear)),
        }
    }

    /// Content up to this length is never cut.
    pub fn min(&self) -> usize {
        self.min
    }

    /// No chunk is longer.
    pub fn max(&self) -> usize {
        self.max
    }

    /// Length of the first chunk of `buffer`, which must hold at least `max` bytes or reach to the end of the content.
    pub fn cut(&self, buffer: &[u8]) -> usize {
        if buffer.len() <= self.min {
            return buffer.len();
        }
        let (mask_s, mask_l) = (self.mask_s, self.mask_l);
        let (_, length) = cut_gear(
            buffer,
            self.min,
            self.avg,
            self.max,
            mask_s,
            mask_l,
            mask_s << 1,
            mask_l << 1,
            &self.gear[..],
            &self.gear_ls[..],
        );
        length
    }

    /// All chunks of `content` in order.
    pub fn chunks<'a>(&'a self, content: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = content;
        std::iter::from_fn(move || {
            let (chunk, after) = rest.split_at(if rest.is_empty() { return None } else { self.cut(rest) });
            rest = after;
            Some(chunk)
        })
    }
}

impl std::fmt::Debug for Chunker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Chunker({}/{}/{})", self.min, self.avg, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ContentSecret;

    fn chunker() -> Chunker {
        Chunker::new(&DomainRecord::default(), &DomainKeys::new(ContentSecret::from_bytes([1; 32])))
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        crate::kdf::derive_into("test noise", b"", &mut out);
        out
    }

    #[test]
    fn cut_points_are_pinned() {
        let content = noise(3 << 20);
        let lengths: Vec<usize> = chunker().chunks(&content).map(<[u8]>::len).collect();
        let expected =
            [289_702, 204_998, 321_425, 97_811, 373_404, 271_646, 75_008, 108_788, 294_803, 278_240, 337_999, 491_904];
        assert_eq!(lengths, expected);
    }

    #[test]
    fn cut_points_find_themselves_again_after_an_insertion() {
        let content = noise(4 << 20);
        let shifted = [b"some inserted bytes", &content[..]].concat();
        let (chunker, last) = (chunker(), |c: &Chunker, b: &[u8]| c.chunks(b).last().map(<[u8]>::len));
        assert_eq!(last(&chunker, &content), last(&chunker, &shifted));
    }

    #[test]
    fn every_length_keeps_its_bytes_and_the_limits() {
        let (content, chunker) = (noise(3 << 20), chunker());
        for len in (0..content.len()).step_by(99_991) {
            let lengths: Vec<usize> = chunker.chunks(&content[..len]).map(<[u8]>::len).collect();
            assert_eq!(lengths.iter().sum::<usize>(), len);
            assert!(lengths.iter().all(|l| *l <= chunker.max()));
            assert!(lengths.iter().rev().skip(1).all(|l| *l >= chunker.min()));
        }
    }
}
