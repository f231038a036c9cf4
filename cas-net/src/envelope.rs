//! Envelopes: what stands before the message of a request and of an answer. PROTOCOL §4.
//!
//! Promise: a receiver knows from these few bytes how much will come, and refuses what is above the limits before it
//! makes room for any of it. Bodies (stored blocks) follow the message as they stand.

use crate::limits::{MAX_ANSWER, MAX_BODIES, MAX_BODY, MAX_BODY_BYTES, MAX_REQUEST};
use crate::wire::{Reader, Wire, WireError, wire};

/// Before a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestEnvelope {
    /// Length of the message in bytes.
    pub message_len: u32,
    /// How many bodies follow; their lengths (u32 each) stand before the message.
    pub bodies: u32,
    /// Who is asked: a byte, because the receiver may not know it.
    pub family: u8,
    /// 0; a receiver refuses what it does not know.
    pub flags: u8,
    /// The number of the request in its family.
    pub method: u16,
    /// How long the caller waits at most, in milliseconds from now; 0: as long as it takes.
    pub patience_ms: u32,
}

wire!(struct RequestEnvelope { message_len, bodies, family, flags, method, patience_ms });

/// Before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerEnvelope {
    /// Length of the message in bytes.
    pub message_len: u32,
    /// How many bodies follow; their lengths (u32 each) stand before the message.
    pub bodies: u32,
    /// Whether the message is the answer or an error.
    pub status: Status,
    /// 0; a receiver refuses what it does not know.
    pub flags: u8,
}

wire!(struct AnswerEnvelope { message_len, bodies, status, flags });

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The answer of the request's type.
    Done,
    /// A `ServiceError`.
    Failed,
}

wire!(enum Status as "status" { 0 = Done, 1 = Failed });

/// Why an envelope is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Something is longer than it may be.
    #[error("{what}: {found}, at most {limit} are allowed")]
    TooLong {
        /// What.
        what: &'static str,
        /// What it says.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Not an envelope.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl RequestEnvelope {
    /// Its length in bytes.
    pub const LEN: usize = 16;

    /// Reads one and checks its limits.
    ///
    /// # Errors
    /// Wrong bytes, or more than the limits.
    pub fn read(bytes: &[u8; Self::LEN]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes, 0);
        let envelope = Self::take(&mut reader)?;
        reader.finish()?;
        known_flags(envelope.flags)?;
        within("bytes of a message", envelope.message_len.into(), MAX_REQUEST)?;
        within("bodies", envelope.bodies.into(), MAX_BODIES)?;
        Ok(envelope)
    }
}

impl AnswerEnvelope {
    /// Its length in bytes.
    pub const LEN: usize = 10;

    /// Reads one and checks its limits.
    ///
    /// # Errors
    /// Wrong bytes, or more than the limits.
    pub fn read(bytes: &[u8; Self::LEN]) -> Result<Self, EnvelopeError> {
        let mut reader = Reader::new(bytes, 0);
        let envelope = Self::take(&mut reader)?;
        reader.finish()?;
        known_flags(envelope.flags)?;
        within("bytes of an answer", envelope.message_len.into(), MAX_ANSWER)?;
        within("bodies", envelope.bodies.into(), MAX_BODIES)?;
        Ok(envelope)
    }
}

/// Reads the lengths of bodies and checks their limits.
///
/// # Errors
/// One is too long, or all together are.
pub fn read_lens(bytes: &[u8]) -> Result<Vec<u32>, EnvelopeError> {
    let lens: Vec<u32> =
        bytes.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().expect("four bytes"))).collect();
    for len in &lens {
        within("bytes of a body", (*len).into(), MAX_BODY)?;
    }
    within("bytes of all bodies", lens.iter().map(|len| u64::from(*len)).sum(), MAX_BODY_BYTES)?;
    Ok(lens)
}

fn known_flags(flags: u8) -> Result<(), WireError> {
    if flags == 0 { Ok(()) } else { Err(WireError::Tag { at: 9, what: "known flag", found: flags.into() }) }
}

fn within(what: &'static str, found: u64, limit: usize) -> Result<(), EnvelopeError> {
    let limit = limit as u64;
    if found <= limit { Ok(()) } else { Err(EnvelopeError::TooLong { what, found, limit }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    const REQUEST: RequestEnvelope =
        RequestEnvelope { message_len: 5, bodies: 2, family: 1, flags: 0, method: 8, patience_ms: 1000 };

    fn read(envelope: RequestEnvelope) -> Result<RequestEnvelope, EnvelopeError> {
        RequestEnvelope::read(&encode(&envelope).try_into().unwrap())
    }

    #[test]
    fn envelopes_have_their_length_and_come_back() {
        assert_eq!(read(REQUEST), Ok(REQUEST));
        let answer = AnswerEnvelope { message_len: 7, bodies: 0, status: Status::Failed, flags: 0 };
        assert_eq!(AnswerEnvelope::read(&encode(&answer).try_into().unwrap()), Ok(answer));
    }

    #[test]
    fn lengths_above_the_limits_are_refused() {
        assert!(
            read(RequestEnvelope { message_len: MAX_REQUEST as u32, bodies: MAX_BODIES as u32, ..REQUEST }).is_ok()
        );
        assert!(read(RequestEnvelope { message_len: MAX_REQUEST as u32 + 1, ..REQUEST }).is_err());
        assert!(read(RequestEnvelope { bodies: MAX_BODIES as u32 + 1, ..REQUEST }).is_err());
        assert!(read(RequestEnvelope { flags: 1, ..REQUEST }).is_err());
        assert!(read_lens(&(MAX_BODY as u32).to_le_bytes()).is_ok());
        assert!(read_lens(&(MAX_BODY as u32 + 1).to_le_bytes()).is_err());
        assert!(read_lens(&(MAX_BODY as u32).to_le_bytes().repeat(2)).is_err());
    }
}
