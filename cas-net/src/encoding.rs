//! Plain data to bytes and back (postcard), with a limit. PROTOCOL.md; also the index's command log.

use serde::{Serialize, de::DeserializeOwned};

/// Bytes that are not the expected message.
#[derive(Debug, thiserror::Error)]
#[error("not a valid {what}: {cause}")]
pub struct DecodeError {
    /// The type that was expected.
    pub what: &'static str,
    /// What the decoder said.
    pub cause: String,
}

/// Encodes a message.
pub fn to_bytes<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).expect("messages are plain data")
}

/// Decodes a message; trailing bytes are an error.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let error = |cause: String| DecodeError { what: std::any::type_name::<T>(), cause };
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(|e| error(e.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(error(format!("{} trailing bytes", rest.len()))) }
}
