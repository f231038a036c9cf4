//! Where a reader gets blocks from, and what it says when it does not get one.

use crate::codec::FormatError;
use crate::id::{BlockId, Kind};
use crate::secret::ContentKey;
use std::error::Error;
use std::sync::Arc;

/// A block, opened and verified against its id and key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedBlock {
    /// What it holds.
    pub plaintext: Vec<u8>,
    /// The child ids of its header.
    pub children: Vec<BlockId>,
}

/// Gives opened blocks. What it answers was verified (as [`Opener::open`](crate::frame::Opener::open) does).
pub trait BlockSource {
    /// Why a block is not there.
    type Error: Error + 'static;

    /// Opens the block `id`, which is of this kind, with its key.
    fn open(&self, kind: Kind, id: &BlockId, key: &ContentKey) -> Result<OpenedBlock, Self::Error>;

    /// These blocks will probably be opened soon, in this order. Nothing needs to happen.
    fn expect(&self, _kind: Kind, _ids: &[BlockId]) {}
}

impl<T: BlockSource + ?Sized> BlockSource for &T {
    type Error = T::Error;

    fn open(&self, kind: Kind, id: &BlockId, key: &ContentKey) -> Result<OpenedBlock, T::Error> {
        (**self).open(kind, id, key)
    }

    fn expect(&self, kind: Kind, ids: &[BlockId]) {
        (**self).expect(kind, ids);
    }
}

impl<T: BlockSource + ?Sized> BlockSource for Arc<T> {
    type Error = T::Error;

    fn open(&self, kind: Kind, id: &BlockId, key: &ContentKey) -> Result<OpenedBlock, T::Error> {
        (**self).open(kind, id, key)
    }

    fn expect(&self, kind: Kind, ids: &[BlockId]) {
        (**self).expect(kind, ids);
    }
}

/// Why a page or a list is not used.
#[derive(Debug, thiserror::Error)]
pub enum ReadCause<E: Error + 'static> {
    /// The source did not give it.
    #[error(transparent)]
    Source(E),
    /// It is not canonical in itself.
    #[error(transparent)]
    Format(FormatError),
    /// It does not fit what stands above it or before it.
    #[error("expected {expected}")]
    Broken {
        /// What the format promises at this place.
        expected: &'static str,
    },
}

pub(super) fn require<E: Error>(holds: bool, expected: &'static str) -> Result<(), ReadCause<E>> {
    if holds { Ok(()) } else { Err(ReadCause::Broken { expected }) }
}
