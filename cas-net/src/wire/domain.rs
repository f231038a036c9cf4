//! The names of `cas_core` on the wire: their bytes.

use super::{Reader, Wire, WireError};
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, SnapshotId, Sum, VaultId};

macro_rules! ids {
    ($($name:ident),*) => {$(
        impl Wire for $name {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }
            fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok(Self(from.array()?))
            }
        }
    )*};
}

ids!(BlockId, Sum, DomainId, VaultId, SnapshotId, PublicKey);

impl Wire for Epoch {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self(u64::take(from)?))
    }
}

impl Wire for Kind {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u8).put(out);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let at = from.at();
        let byte = u8::take(from)?;
        Self::from_byte(byte).ok_or(WireError::Tag { at, what: "kind of block", found: byte.into() })
    }
}
