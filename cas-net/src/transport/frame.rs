//! Frames on streams: an envelope, its message, its bodies. PROTOCOL §4, §5.
//!
//! Promise: room is made for bytes that have arrived, never for a length that was named; limits hold before; whoever
//! moves nothing for too long is given up. Bodies are neither copied nor joined when sent, and copied once, out of
//! packets, when received.

use super::failure::StreamError;
use crate::envelope::{AnswerEnvelope, RequestEnvelope, Status, read_lens};
use crate::wire::encode;
use bytes::{BufMut, Bytes};
use quinn::{RecvStream, SendStream};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// Room that is made at first.
const FIRST_ROOM: usize = 64 << 10;
/// Later so many times what has arrived: most bodies are moved once at most.
const MORE_ROOM: usize = 15;

/// A message with its bodies, to be sent.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Envelope, lengths and message.
    head: Bytes,
    bodies: Vec<Bytes>,
}

impl Parcel {
    /// A request.
    pub fn request(envelope: RequestEnvelope, message: &[u8], bodies: Vec<Bytes>) -> Self {
        let envelope = RequestEnvelope { message_len: message.len() as u32, bodies: bodies.len() as u32, ..envelope };
        Self { head: head(encode(&envelope), message, &bodies), bodies }
    }

    /// An answer.
    pub fn answer(status: Status, message: &[u8], bodies: Vec<Bytes>) -> Self {
        let (message_len, count) = (message.len() as u32, bodies.len() as u32);
        let envelope = AnswerEnvelope { message_len, bodies: count, status, flags: 0 };
        Self { head: head(encode(&envelope), message, &bodies), bodies }
    }

    /// Writes all of it.
    pub async fn write(self, to: &mut SendStream, stall: Duration) -> Result<(), StreamError> {
        let mut chunks = Vec::with_capacity(1 + self.bodies.len());
        chunks.push(self.head);
        chunks.extend(self.bodies);
        write_all(to, &mut chunks, stall).await
    }
}

fn head(mut head: Vec<u8>, message: &[u8], bodies: &[Bytes]) -> Bytes {
    head.reserve(bodies.len() * 4 + message.len());
    bodies.iter().for_each(|body| head.extend_from_slice(&(body.len() as u32).to_le_bytes()));
    head.extend_from_slice(message);
    head.into()
}

async fn write_all(to: &mut SendStream, mut chunks: &mut [Bytes], stall: Duration) -> Result<(), StreamError> {
    while !chunks.is_empty() {
        let written = timeout(stall, to.write_chunks(chunks)).await.map_err(|_| StreamError::Stalled)??;
        chunks = &mut chunks[written.chunks..];
    }
    Ok(())
}

/// Reads frames from a stream.
pub struct Frames<'a> {
    stream: &'a mut RecvStream,
    stall: Duration,
}

impl<'a> Frames<'a> {
    /// Reads from this stream, and gives it up when nothing moves for so long.
    pub fn new(stream: &'a mut RecvStream, stall: Duration) -> Self {
        Self { stream, stall }
    }

    /// The envelope of a request and the lengths of its bodies.
    pub async fn request(&mut self) -> Result<(RequestEnvelope, Vec<u32>), StreamError> {
        let bytes = self.bytes(RequestEnvelope::LEN).await?;
        let envelope = RequestEnvelope::read(&bytes.try_into().expect("as many as asked for"))?;
        Ok((envelope, self.lens(envelope.bodies).await?))
    }

    /// The envelope of an answer and the lengths of its bodies.
    pub async fn answer(&mut self) -> Result<(AnswerEnvelope, Vec<u32>), StreamError> {
        let bytes = self.bytes(AnswerEnvelope::LEN).await?;
        let envelope = AnswerEnvelope::read(&bytes.try_into().expect("as many as asked for"))?;
        Ok((envelope, self.lens(envelope.bodies).await?))
    }

    async fn lens(&mut self, bodies: u32) -> Result<Vec<u32>, StreamError> {
        Ok(read_lens(&self.bytes(bodies as usize * 4).await?)?)
    }

    /// So many bytes.
    pub async fn bytes(&mut self, len: usize) -> Result<Vec<u8>, StreamError> {
        let mut out = Vec::new();
        while out.len() < len {
            let missing = len - out.len();
            if out.len() == out.capacity() {
                out.reserve_exact(missing.min((MORE_ROOM * out.len()).max(FIRST_ROOM)));
            }
            let mut room = (&mut out).limit(missing);
            let read = timeout(self.stall, self.stream.read_buf(&mut room)).await;
            match read.map_err(|_| StreamError::Stalled)?.map_err(read_error)? {
                0 => return Err(StreamError::Cut),
                _ => continue,
            }
        }
        Ok(out)
    }

    /// All bodies.
    pub async fn bodies(&mut self, lens: &[u32]) -> Result<Vec<Bytes>, StreamError> {
        let mut bodies = Vec::with_capacity(lens.len());
        for len in lens {
            bodies.push(self.bytes(*len as usize).await?.into());
        }
        Ok(bodies)
    }

    /// Returns when the peer has finished its side, or will send nothing more.
    pub async fn ended(&mut self) {
        // More bytes than the request has are nobody's: they are not read, and the stream ends with the answer.
        let _ = self.stream.read_chunk(1, true).await;
    }
}

fn read_error(error: std::io::Error) -> StreamError {
    match error.downcast::<quinn::ReadError>() {
        Ok(error) => StreamError::Read(error),
        Err(_) => StreamError::Cut,
    }
}

/// A stream that is written to: reset unless it was finished, so that what was cut is never taken for whole.
pub struct Sending {
    stream: SendStream,
    finished: bool,
}

impl Sending {
    /// Guards this stream.
    pub fn new(stream: SendStream) -> Self {
        Self { stream, finished: false }
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut SendStream {
        &mut self.stream
    }

    /// All was sent.
    pub fn finish(&mut self) {
        self.finished = true;
        // An error says that the peer stopped it: whoever reads its answer learns that.
        let _ = self.stream.finish();
    }

    /// Ends it with this code.
    pub fn reset(&mut self, code: u32) {
        self.finished = true;
        // An error says that it has ended already.
        let _ = self.stream.reset(code.into());
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.finished {
            self.reset(super::stream_code::UNWANTED);
        }
    }
}
