//! Reads values from bytes that nobody vouches for: what is wrong, and where.

/// Why bytes are not the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They end too early.
    #[error("byte {at}: {wanted} more bytes expected, {found} found")]
    Cut {
        /// Where.
        at: usize,
        /// How many are missing from here.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// A list says it has more elements than allowed, or than the bytes can hold.
    #[error("byte {at}: a list of {found} elements, at most {limit} are possible")]
    Count {
        /// Where.
        at: usize,
        /// How many it says.
        found: usize,
        /// How many there can be.
        limit: usize,
    },
    /// No such variant.
    #[error("byte {at}: {found} is no {what}")]
    Tag {
        /// Where.
        at: usize,
        /// What was expected.
        what: &'static str,
        /// The number that stands there.
        found: u64,
    },
    /// Not UTF-8.
    #[error("byte {at}: text is not UTF-8")]
    Text {
        /// Where it begins.
        at: usize,
    },
    /// Bytes after the end.
    #[error("byte {at}: {extra} bytes follow the end")]
    Trailing {
        /// Where the value ends.
        at: usize,
        /// How many follow.
        extra: usize,
    },
}

/// Bytes being read.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    items: usize,
}

impl<'a> Reader<'a> {
    /// Reads these bytes, with at most `items` elements in all lists together.
    pub fn new(bytes: &'a [u8], items: usize) -> Self {
        Self { bytes, at: 0, items }
    }

    /// Where it stands.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        if len > self.left() {
            return Err(WireError::Cut { at: self.at, wanted: len, found: self.left() });
        }
        let start = self.at;
        self.at += len;
        Ok(&self.bytes[start..self.at])
    }

    /// The next bytes, as many as the type has.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        Ok(self.bytes(N)?.try_into().expect("as many as asked for"))
    }

    /// The length of a list whose elements take at least a byte each.
    ///
    /// # Errors
    /// More than the bytes can hold or the message may have.
    pub fn count(&mut self) -> Result<usize, WireError> {
        let at = self.at;
        let found = u32::from_le_bytes(self.array()?) as usize;
        let limit = self.items.min(self.left());
        if found > limit {
            return Err(WireError::Count { at, found, limit });
        }
        self.items -= found;
        Ok(found)
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// Something does.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.left() {
            0 => Ok(()),
            extra => Err(WireError::Trailing { at: self.at, extra }),
        }
    }
}
