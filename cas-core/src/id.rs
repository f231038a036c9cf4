//! Names of things: blocks, domains, vaults, sums, kinds, epochs. FORMAT §3.
//!
//! All of them are plain values of fixed width that print as lower-case hex.

use crate::kdf;
use std::fmt;
use std::str::FromStr;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Width in bytes.
            pub const LEN: usize = $len;

            /// All zeros: "none" where a format says so.
            pub const ZERO: Self = Self([0; $len]);

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            fn from_str(s: &str) -> Result<Self, HexError> {
                let mut out = [0; $len];
                parse_hex(s, &mut out)?;
                Ok(Self(out))
            }
        }
    };
}

hex_id!(
    /// The name of a block: follows from its content, kind, domain and children.
    BlockId, 32
);
hex_id!(
    /// BLAKE3 of the stored bytes of a block.
    Sum, 32
);
hex_id!(
    /// A group that shares a dedup secret.
    DomainId, 16
);
hex_id!(
    /// What users see as one store of their own; follows from its root key.
    VaultId, 16
);
hex_id!(
    /// The id of a snapshot: follows from its record alone.
    SnapshotId, 32
);
hex_id!(
    /// An Ed25519 public key: a device, a node or an index.
    PublicKey, 32
);

/// Text that is not the hex of such an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, found {found:?}")]
pub struct HexError {
    /// How many digits were wanted.
    pub expected: usize,
    /// What stood there.
    pub found: String,
}

fn parse_hex(s: &str, out: &mut [u8]) -> Result<(), HexError> {
    let err = || HexError { expected: out.len() * 2, found: s.to_owned() };
    let digits: Option<Vec<u8>> = s.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|d| d.len() == out.len() * 2).ok_or_else(err)?;
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Ok(())
}

impl BlockId {
    /// The first digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }

    /// The id of an object (a block of kind snapshot or keyring), which is stored as it stands.
    pub fn of_object(kind: Kind, bytes: &[u8]) -> Self {
        Self(kdf::deriver("object").update(&[kind as u8]).update(bytes).finalize().into())
    }

    /// The placement partition: the top 12 bits.
    pub fn partition(&self) -> u16 {
        u16::from(self.0[0]) << 4 | u16::from(self.0[1]) >> 4
    }
}

impl SnapshotId {
    /// The first digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl Sum {
    /// BLAKE3 of stored bytes.
    pub fn of(stored: &[u8]) -> Self {
        Self(kdf::hash(stored))
    }
}

/// What a block holds. FORMAT §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A piece of a file.
    Data = 1,
    /// A page of a manifest.
    Page = 2,
    /// A list of pieces.
    List = 3,
    /// A snapshot object.
    Snapshot = 4,
    /// A keyring object.
    Keyring = 5,
}

impl Kind {
    /// Reads the byte of a format.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Data,
            2 => Self::Page,
            3 => Self::List,
            4 => Self::Snapshot,
            5 => Self::Keyring,
            _ => return None,
        })
    }

    /// The word for it, also in key derivation.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Page => "page",
            Self::List => "list",
            Self::Snapshot => "snapshot",
            Self::Keyring => "keyring",
        }
    }

    /// Whether it is sealed in a frame (else it is an object, stored as it stands).
    pub fn is_sealed(self) -> bool {
        matches!(self, Self::Data | Self::Page | Self::List)
    }

    /// Whether it can have children.
    pub fn has_children(self) -> bool {
        matches!(self, Self::Page | Self::List)
    }
}

/// A point in the history of an index: 16 bits of era, 48 bits of commands applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// The first epoch of an era.
    pub fn of_era(era: u16) -> Self {
        Self(u64::from(era) << 48)
    }

    /// The era.
    pub fn era(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// The epoch after one more command.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.era(), self.0 & ((1 << 48) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_there_and_back_and_refuses_the_rest() {
        let id = DomainId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<DomainId>().unwrap(), id);
        for bad in ["", "0", "zz", "é", &"0".repeat(33)] {
            assert!(bad.parse::<DomainId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn partition_is_the_top_twelve_bits() {
        let mut id = BlockId::ZERO;
        id.0[..2].copy_from_slice(&[0xab, 0xcd]);
        assert_eq!(id.partition(), 0xabc);
    }
}
