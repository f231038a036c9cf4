//! Extended attributes, in an entry or in a block of their own. FORMAT §5.

use crate::codec::{FormatError, Reader, put_bytes};
use crate::limits::{MAX_INLINE_XATTRS, MAX_RAW};

/// Names and values, by ascending name.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// The longest name of an attribute, in bytes.
pub const MAX_XATTR_NAME: usize = 1 << 10;

const _: () = assert!(MAX_INLINE_XATTRS < MAX_RAW);

/// The bytes of attributes, which must have ascending names.
pub fn encode_xattrs(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(xattrs.iter().map(|(name, value)| name.len() + value.len() + 8).sum());
    for (name, value) in xattrs {
        put_bytes(&mut out, name);
        put_bytes(&mut out, value);
    }
    out
}

/// Reads the attributes of a block ([`Entry::xattr_block`](super::Entry::xattr_block)).
pub fn decode_xattrs(bytes: &[u8]) -> Result<Xattrs, FormatError> {
    let mut r = Reader::new("xattrs", bytes);
    let mut out = Xattrs::new();
    while let Some((name, value)) = read_one(&mut r, out.last().map(|(name, _)| &name[..]))? {
        out.push((name.to_vec(), value.to_vec()));
    }
    Ok(out)
}

/// Checks attributes without keeping them.
pub(super) fn check_xattrs(mut r: Reader<'_>) -> Result<(), FormatError> {
    let mut last = None;
    while let Some((name, _)) = read_one(&mut r, last)? {
        last = Some(name);
    }
    Ok(())
}

type NameAndValue<'a> = (&'a [u8], &'a [u8]);

fn read_one<'a>(r: &mut Reader<'a>, last: Option<&[u8]>) -> Result<Option<NameAndValue<'a>>, FormatError> {
    if r.is_empty() {
        return Ok(None);
    }
    let name = r.bytes(MAX_XATTR_NAME)?;
    if name.is_empty() || name.contains(&0) {
        return Err(r.error("a name without NUL"));
    }
    if last.is_some_and(|last| last >= name) {
        return Err(r.error("ascending names"));
    }
    Ok(Some((name, r.bytes(MAX_RAW)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn attributes_go_there_and_back(found: std::collections::BTreeMap<Vec<u8>, Vec<u8>>) {
            let named = found.into_iter().filter(|(name, _)| !name.is_empty() && !name.contains(&0));
            let xattrs: Xattrs = named.collect();
            prop_assert_eq!(decode_xattrs(&encode_xattrs(&xattrs)), Ok(xattrs));
        }

        #[test]
        fn any_bytes_are_refused_or_encode_again_to_the_same(bytes: Vec<u8>) {
            prop_assert!(decode_xattrs(&bytes).map_or(true, |xattrs| encode_xattrs(&xattrs) == bytes));
        }
    }
}
