//! Buffers that large files are read into. Blocks are parts of them, not copies; when the last part is gone the buffer is read
//! into again, and its memory need not be asked for anew.

use cas_net::Bytes;
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that are kept for later.
const KEPT: usize = 4;

/// Where buffers lie until they are needed. Clones share it.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer in use.
struct Lent {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// A buffer of this length, with anything in it.
    pub fn take(&self, len: usize) -> Vec<u8> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// The first bytes of a buffer, to be shared: it comes back when nobody has a part of it any more.
    pub fn lend(&self, buffer: Vec<u8>, len: usize) -> Bytes {
        Bytes::from_owner(Lent { bytes: buffer, home: self.clone() }).slice(..len)
    }

    fn take_back(&self, buffer: Vec<u8>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(buffer);
        }
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.take_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_part_is_gone() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take(100);
        buffer[..3].copy_from_slice(b"abc");
        let at = buffer.as_ptr();
        let whole = buffers.lend(buffer, 3);
        let part = whole.slice(1..);
        drop(whole);
        let other = buffers.take(100);
        assert_ne!(other.as_ptr(), at, "somebody reads it");
        assert_eq!(part, "bc");
        drop(part);
        let again = buffers.take(100);
        assert_eq!(again.as_ptr(), at);
    }

    #[test]
    fn no_more_are_kept_than_are_of_use() {
        let buffers = Buffers::default();
        let lent: Vec<Bytes> = (0..2 * KEPT).map(|_| buffers.lend(buffers.take(8), 8)).collect();
        drop(lent);
        assert_eq!(buffers.0.lock().unwrap().len(), KEPT);
    }
}
