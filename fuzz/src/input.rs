//! Arbitrary bytes, read as a series of choices. Past the end everything is zero.

/// What is left of an input.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub fn number<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let bytes = self.take(N);
        out[..bytes.len()].copy_from_slice(bytes);
        out
    }

    /// At most `n` bytes.
    pub fn take(&mut self, n: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Bytes with a u16 length before them; `None` at the end.
    pub fn blob(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let len = u16::from_le_bytes(self.number());
        Some(self.take(len.into()))
    }
}

/// What [`Input::blob`] reads.
pub fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    let len = u16::try_from(blob.len()).expect("blobs of seeds are short");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(blob);
}
