//! Canonical encoding: varints, bytes, records of tagged fields. FORMAT §1.
//!
//! Encode trusts, decode doubts: a [`Reader`] refuses what is cut short, not shortest, out of
//! order or above a limit, and says where.

use zeroize::{Zeroize, Zeroizing};

/// Bytes that do not follow the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: byte {at}: expected {expected}")]
pub struct FormatError {
    /// What was being read.
    pub what: &'static str,
    /// Offset in it.
    pub at: usize,
    /// What should have stood there.
    pub expected: &'static str,
}

/// Writes the shortest varint of `value`.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Length of the varint of `value`.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a varint length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Writes a u32 length and the bytes.
pub fn put_bytes32(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("objects are far below 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A critical tag: a decoder that does not know it must refuse.
pub const fn critical(number: u64) -> u64 {
    number << 1 | 1
}

/// An uncritical tag: a decoder that does not know it keeps it unread.
pub const fn optional(number: u64) -> u64 {
    number << 1
}

/// Writes one field of a record. Fields must be written in ascending order of tag.
pub fn put_field(out: &mut Vec<u8>, tag: u64, value: &[u8]) {
    put_varint(out, tag);
    put_bytes(out, value);
}

/// A field whose tag this program does not know and may ignore; kept so that encoding again gives equal bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField {
    /// Its tag, uncritical.
    pub tag: u64,
    /// Its value, unread.
    pub value: Vec<u8>,
}

/// Collects the fields of a record in any order and writes them ascending.
#[derive(Debug, Default)]
pub struct RecordWriter {
    fields: Vec<(u64, Vec<u8>)>,
}

impl RecordWriter {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a field.
    pub fn field(&mut self, tag: u64, value: impl Into<Vec<u8>>) -> &mut Self {
        self.fields.push((tag, value.into()));
        self
    }

    /// Adds kept unknown fields back.
    pub fn unknown(&mut self, fields: &[UnknownField]) -> &mut Self {
        self.fields.extend(fields.iter().map(|f| (f.tag, f.value.clone())));
        self
    }

    /// The bytes of the record.
    pub fn finish(&mut self) -> Vec<u8> {
        self.fields.sort_by_key(|(tag, _)| *tag);
        let mut out = Vec::with_capacity(self.fields.iter().map(|f| f.1.len() + 6).sum());
        for (tag, value) in &self.fields {
            put_field(&mut out, *tag, value);
        }
        out
    }

    /// The bytes of a record that holds secrets: wiped when dropped, as are the fields that were collected.
    pub fn finish_secret(&mut self) -> Zeroizing<Vec<u8>> {
        let out = Zeroizing::new(self.finish());
        self.fields.drain(..).for_each(|(_, mut value)| value.zeroize());
        out
    }
}

/// Reads encoded bytes front to back.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    what: &'static str,
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte; `what` names the thing in errors.
    pub fn new(what: &'static str, all: &'a [u8]) -> Self {
        Self { what, all, at: 0 }
    }

    /// An error at the current place.
    pub fn error(&self, expected: &'static str) -> FormatError {
        FormatError { what: self.what, at: self.at, expected }
    }

    /// How far it has read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        &self.all[self.at..]
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.at == self.all.len()
    }

    /// Refuses trailing bytes.
    pub fn finish(self) -> Result<(), FormatError> {
        if self.is_empty() { Ok(()) } else { Err(self.error("the end")) }
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], FormatError> {
        let bytes = self.rest().get(..n).ok_or_else(|| self.error("more bytes"))?;
        self.at += n;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        Ok(self.take(N)?.try_into().expect("take gives what it is asked for"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// A little-endian u32.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A little-endian u64.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A little-endian i64.
    pub fn i64(&mut self) -> Result<i64, FormatError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// Exactly these bytes.
    pub fn expect(&mut self, bytes: &[u8], expected: &'static str) -> Result<(), FormatError> {
        if !self.rest().starts_with(bytes) {
            return Err(self.error(expected));
        }
        self.at += bytes.len();
        Ok(())
    }

    /// A varint in its shortest form.
    pub fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.error("a varint below 2^64"));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(self.error("the shortest varint"));
                }
                return Ok(value);
            }
        }
        Err(self.error("a varint of at most 10 bytes"))
    }

    /// A varint length of at most `limit`, and the bytes.
    pub fn bytes(&mut self, limit: usize) -> Result<&'a [u8], FormatError> {
        let len = self.varint()?;
        if len > limit as u64 {
            return Err(self.error("a length within the limit"));
        }
        self.take(len as usize)
    }

    /// A u32 length of at most `limit`, and the bytes.
    pub fn bytes32(&mut self, limit: usize) -> Result<&'a [u8], FormatError> {
        let len = self.u32()? as usize;
        if len > limit {
            return Err(self.error("a length within the limit"));
        }
        self.take(len)
    }

    /// Reads the rest as a record: calls `field` for each (tag, value), which answers whether it knew the tag.
    /// Unknown critical tags are refused, unknown others are returned.
    pub fn record(
        mut self,
        mut field: impl FnMut(u64, &mut Reader<'a>) -> Result<bool, FormatError>,
    ) -> Result<Vec<UnknownField>, FormatError> {
        let mut unknown = Vec::new();
        let mut next = 0;
        while !self.is_empty() {
            let tag = self.varint()?;
            if tag < next {
                return Err(self.error("ascending tags"));
            }
            next = tag.checked_add(1).ok_or_else(|| self.error("a smaller tag"))?;
            let len = self.varint()?;
            if len > self.rest().len() as u64 {
                return Err(self.error("more bytes"));
            }
            let end = self.at + len as usize;
            let mut value = Reader { what: self.what, all: &self.all[..end], at: self.at };
            if field(tag, &mut value)? {
                value.finish()?;
            } else if tag & 1 == 1 {
                return Err(self.error("a critical field this version knows"));
            } else {
                unknown.push(UnknownField { tag, value: self.all[self.at..end].to_vec() });
            }
            self.at = end;
        }
        Ok(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_go_there_and_back(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let mut r = Reader::new("varint", &out);
            prop_assert_eq!(r.varint().unwrap(), value);
            r.finish().unwrap();
        }

        #[test]
        fn any_bytes_are_refused_or_encode_again_to_the_same(bytes: Vec<u8>) {
            let mut r = Reader::new("varint", &bytes);
            if let Ok(value) = r.varint() {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert_eq!(&out[..], &bytes[..r.offset()]);
            }
        }
    }

    #[test]
    fn records_keep_what_may_be_ignored_and_refuse_what_may_not() {
        let bytes = RecordWriter::new().field(optional(9), *b"later").field(critical(1), [7]).finish();
        assert_eq!(bytes, [3, 1, 7, 18, 5, b'l', b'a', b't', b'e', b'r']);
        let known = |tag, r: &mut Reader<'_>| Ok(tag == critical(1) && r.u8().is_ok());
        let unknown = Reader::new("test", &bytes).record(known).unwrap();
        assert_eq!(unknown, [UnknownField { tag: optional(9), value: b"later".to_vec() }]);
        assert!(Reader::new("test", &bytes).record(|_, _| Ok(false)).is_err());
    }
}
