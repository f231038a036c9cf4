//! Values to bytes and back, on the wire. PROTOCOL §4.
//!
//! Promise: one value has one encoding, and what decodes encodes again to equal bytes. Widths are fixed, so that ids
//! cost a copy; lists are bounded in all, by what the message may hold and by the bytes that are there, before
//! anything is allocated. Not serde: its arrays cost a call a byte, its enums take their numbers from the order in
//! the source, and a number may have several encodings.

mod domain;
mod macros;
mod plain;
mod reader;

pub(crate) use macros::{calls, wire};
pub use reader::{Reader, WireError};

/// A value with one encoding.
pub trait Wire: Sized {
    /// Appends its bytes.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it.
    ///
    /// # Errors
    /// Bytes that no value has, or more than the reader allows.
    fn take(from: &mut Reader<'_>) -> Result<Self, WireError>;

    /// Appends the elements of a list.
    fn put_all(list: &[Self], out: &mut Vec<u8>) {
        list.iter().for_each(|item| item.put(out));
    }

    /// Reads a list: its length, then its elements.
    ///
    /// # Errors
    /// Those of an element, and lists that are too long.
    fn take_all(from: &mut Reader<'_>) -> Result<Vec<Self>, WireError> {
        let count = from.count()?;
        let mut list = Vec::with_capacity(count.min(RESERVE));
        for _ in 0..count {
            list.push(Self::take(from)?);
        }
        Ok(list)
    }
}

/// Elements for which a list makes room before it has seen them.
const RESERVE: usize = 4096;

/// The bytes of a value.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// Reads a value that takes all the bytes, with at most `items` elements in all its lists together.
///
/// # Errors
/// Bytes that are not such a value, or have more elements.
pub fn decode<T: Wire>(bytes: &[u8], items: usize) -> Result<T, WireError> {
    let mut reader = Reader::new(bytes, items);
    let value = T::take(&mut reader)?;
    reader.finish()?;
    Ok(value)
}
