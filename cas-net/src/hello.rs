//! The first words of a connection: which versions the client speaks, which one is spoken. PROTOCOL §3.

use crate::calls::Family;
use crate::limits::MAX_HELLO;
use crate::wire::{Reader, Wire, WireError, wire};

/// The application protocol of TLS: its number grows only when the hello itself changes.
pub const ALPN: &[u8] = b"cas/1";
/// The oldest version this program speaks.
pub const OLDEST: u16 = 1;
/// The newest version this program speaks.
pub const NEWEST: u16 = 1;
/// What a hello and a welcome begin with.
pub const MAGIC: [u8; 4] = *b"CASN";

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The oldest version it speaks.
    pub oldest: u16,
    /// The newest version it speaks.
    pub newest: u16,
    /// For people: program and version.
    pub program: String,
}

wire!(struct Hello { oldest, newest, program });

/// What the server answers: `Ok` is a version, the newest that both speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The version spoken from now on; 0 if there is none that both speak, and the connection ends.
    pub version: u16,
    /// The oldest version the server speaks.
    pub oldest: u16,
    /// The newest version the server speaks.
    pub newest: u16,
    /// The families it answers.
    pub families: Vec<u8>,
    /// For people: program and version.
    pub program: String,
}

wire!(struct Welcome { version, oldest, newest, families, program });

impl Hello {
    /// What this program says.
    pub fn ours() -> Self {
        Self { oldest: OLDEST, newest: NEWEST, program: program() }
    }
}

impl Welcome {
    /// The answer of a server of this program that answers these families.
    pub fn to(hello: &Hello, families: impl IntoIterator<Item = Family>) -> Self {
        Self {
            version: choose(hello.oldest, hello.newest).unwrap_or(0),
            oldest: OLDEST,
            newest: NEWEST,
            families: families.into_iter().map(|family| family as u8).collect(),
            program: program(),
        }
    }

    /// Whether it answers this family.
    pub fn answers(&self, family: Family) -> bool {
        self.families.contains(&(family as u8))
    }
}

/// `magic ‖ length u16 ‖ value`.
pub fn encode<T: Wire>(value: &T) -> Vec<u8> {
    let value = crate::wire::encode(value);
    let len = u16::try_from(value.len()).expect("a hello is short");
    [&MAGIC[..], &len.to_le_bytes(), &value].concat()
}

/// Bytes before the value.
pub const HEAD: usize = 6;

/// How long the value after the first [`HEAD`] bytes is.
///
/// # Errors
/// Another protocol, or a length above the limit.
pub fn read_head(head: &[u8; HEAD]) -> Result<usize, WireError> {
    if head[..4] != MAGIC {
        let found = u32::from_le_bytes(head[..4].try_into().expect("four bytes"));
        return Err(WireError::Tag { at: 0, what: "hello of cas", found: found.into() });
    }
    let len = usize::from(u16::from_le_bytes([head[4], head[5]]));
    if len > MAX_HELLO { Err(WireError::Count { at: 4, found: len, limit: MAX_HELLO }) } else { Ok(len) }
}

/// Reads the value. Bytes that follow it are of a later version and are ignored: only here.
///
/// # Errors
/// Bytes that are not such a value.
pub fn read<T: Wire>(bytes: &[u8]) -> Result<T, WireError> {
    T::take(&mut Reader::new(bytes, MAX_HELLO))
}

fn choose(oldest: u16, newest: u16) -> Option<u16> {
    let version = newest.min(NEWEST);
    (version >= oldest.max(OLDEST)).then_some(version)
}

fn program() -> String {
    concat!("cas ", env!("CARGO_PKG_VERSION")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(oldest: u16, newest: u16) -> u16 {
        let hello = Hello { oldest, newest, program: String::new() };
        Welcome::to(&hello, [Family::Node]).version
    }

    #[test]
    fn the_newest_common_version_is_spoken_or_none() {
        assert_eq!(version(1, 1), 1);
        assert_eq!(version(0, 9), 1);
        assert_eq!(version(2, 9), 0);
        assert_eq!(version(0, 0), 0);
        assert_eq!(version(9, 0), 0);
    }

    #[test]
    fn a_hello_of_tomorrow_may_say_more() {
        let mut bytes = encode(&Hello::ours());
        bytes.extend_from_slice(b"and more");
        let head: &[u8; HEAD] = bytes[..HEAD].try_into().unwrap();
        assert_eq!(read_head(head).unwrap(), bytes.len() - HEAD - 8);
        assert_eq!(read::<Hello>(&bytes[HEAD..]).unwrap(), Hello::ours());
    }

    #[test]
    fn another_protocol_and_long_hellos_are_refused() {
        assert!(read_head(b"GET / ").is_err());
        assert!(read_head(b"CASN\xff\xff").is_err());
    }
}
