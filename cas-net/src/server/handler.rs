//! What a family's requests are answered by. A new family is one more of these.

use super::Peer;
use crate::calls::{Call, Family};
use crate::chain::PendingChain;
use crate::limits::MAX_REQUEST_ITEMS;
use crate::wire::{decode, encode};
use crate::{Bytes, PendingReceipt, Result, ServiceError};

/// Answers the requests of one family.
///
/// ```text
/// fn handle(&self, peer: &Peer, request: Request) -> Result<Reply> {
///     match request.method() {
///         Beat::METHOD => request.answer(|beat: Beat| self.cluster.beat(peer.key(), beat)),
///         _ => Err(request.unknown()),
///     }
/// }
/// ```
pub trait Handler: Send + Sync {
    /// Whether this request is read at all, so that nobody sends what will be refused anyway. Must not block.
    ///
    /// # Errors
    /// Whatever the peer is to be told at once.
    fn admit(&self, _peer: &Peer, _method: u16) -> Result<()> {
        Ok(())
    }

    /// Answers a request. May block; runs on a bounded pool. A panic is answered as
    /// [`Stopped`](ServiceError::Stopped), and the server goes on.
    ///
    /// # Errors
    /// Whatever the peer is to be told.
    fn handle(&self, peer: &Peer, request: Request) -> Result<Reply>;
}

/// A function is a handler.
impl<F: Fn(&Peer, Request) -> Result<Reply> + Send + Sync> Handler for F {
    fn handle(&self, peer: &Peer, request: Request) -> Result<Reply> {
        self(peer, request)
    }
}

/// A request that has arrived whole.
#[derive(Debug)]
pub struct Request {
    pub(super) family: Family,
    pub(super) method: u16,
    pub(super) message: Vec<u8>,
    pub(super) bodies: Vec<Bytes>,
}

impl Request {
    /// Its number in the family.
    pub fn method(&self) -> u16 {
        self.method
    }

    /// Its arguments, in bytes.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The bodies; afterwards it has none.
    pub fn bodies(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.bodies)
    }

    /// Its arguments.
    ///
    /// # Errors
    /// They are not those of this request, or more than allowed.
    pub fn take<C: Call>(&self) -> Result<C> {
        decode(&self.message, MAX_REQUEST_ITEMS)
            .map_err(|e| ServiceError::Protocol(format!("{} {}: {e}", C::FAMILY, C::NAME)))
    }

    /// Reads its arguments, and answers with what is made of them.
    ///
    /// # Errors
    /// Wrong arguments, or the error that is made of them.
    pub fn answer<C: Call>(&self, make: impl FnOnce(C) -> Result<C::Answer>) -> Result<Reply> {
        if !self.bodies.is_empty() {
            return Err(ServiceError::Protocol(format!("{} {} has no bodies", C::FAMILY, C::NAME)));
        }
        Ok(Reply::of::<C>(&make(self.take()?)?))
    }

    /// The error for a request that the family does not have.
    pub fn unknown(&self) -> ServiceError {
        ServiceError::Protocol(format!("there is no request {} of the {}", self.method, self.family))
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub(super) message: Vec<u8>,
    pub(super) bodies: Vec<Bytes>,
    pub(super) second: Option<Second>,
}

/// An answer that comes later.
#[derive(Debug)]
pub(super) enum Second {
    Receipt(PendingReceipt),
    Chain(PendingChain),
}

impl Reply {
    /// The answer to a call.
    pub fn of<C: Call>(answer: &C::Answer) -> Self {
        Self::of_bytes(encode(answer))
    }

    /// An answer that is encoded already.
    pub fn of_bytes(message: Vec<u8>) -> Self {
        Self { message, bodies: vec![], second: None }
    }

    /// With these bodies.
    #[must_use]
    pub fn with_bodies(self, bodies: Vec<Bytes>) -> Self {
        Self { bodies, ..self }
    }

    /// With this receipt as a second answer, when it comes.
    #[must_use]
    pub fn with_receipt(self, receipt: PendingReceipt) -> Self {
        Self { second: Some(Second::Receipt(receipt)), ..self }
    }

    /// With what becomes of a chain as a second answer.
    #[must_use]
    pub fn with_chain(self, chain: PendingChain) -> Self {
        Self { second: Some(Second::Chain(chain)), ..self }
    }

    /// Bytes it holds.
    pub(super) fn size(&self) -> usize {
        self.message.len() + self.bodies.iter().map(Bytes::len).sum::<usize>()
    }
}
