//! How a call can fail below its answer, divided by whether it may be tried again. PROTOCOL §1, §6.

use crate::ServiceError;
use crate::envelope::EnvelopeError;
use crate::wire::WireError;
use quinn::{ConnectionError, ReadError, TransportErrorCode, VarInt, WriteError};

/// Codes that close a connection.
pub mod close_code {
    /// Finished.
    pub const FINISHED: u32 = 0;
    /// The server shuts down.
    pub const GOING_AWAY: u32 = 1;
    /// No common version.
    pub const NO_VERSION: u32 = 2;
    /// The key is not admitted.
    pub const NOT_ADMITTED: u32 = 3;
    /// The peer breaks the protocol.
    pub const PROTOCOL: u32 = 4;
    /// Too many connections.
    pub const TOO_MANY: u32 = 5;
}

/// Codes that end a stream.
pub mod stream_code {
    /// No longer wanted.
    pub const UNWANTED: u32 = 0;
    /// The server shuts down; nothing was begun.
    pub const GOING_AWAY: u32 = 1;
    /// The peer breaks the protocol.
    pub const PROTOCOL: u32 = 4;
    /// Nothing moved for too long.
    pub const TOO_SLOW: u32 = 6;
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// The peer has certainly not begun: any call may be tried again.
    NotBegun(String),
    /// The connection or stream ended in between: it may have been done or not.
    Lost(String),
    /// The same because the peer said nothing for long: whoever has no reason to wait for this one asks another.
    Silent(String),
    /// Trying again changes nothing.
    Final(ServiceError),
}

impl Failure {
    /// What the caller gets when it is not tried again.
    pub fn into_error(self, peer: &str) -> ServiceError {
        match self {
            Self::NotBegun(detail) | Self::Lost(detail) | Self::Silent(detail) => {
                ServiceError::Unreachable { peer: peer.to_owned(), detail }
            }
            Self::Final(error) => error,
        }
    }

    /// Of a connection that ended, before anything was asked.
    pub fn of_connection(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::of_close(close.error_code, &close.reason),
            ConnectionError::TransportError(e) if is_no_alpn(e.code) => Self::Final(no_alpn()),
            ConnectionError::ConnectionClosed(close) if is_no_alpn(close.error_code) => Self::Final(no_alpn()),
            other => Self::NotBegun(other.to_string()),
        }
    }

    fn of_close(code: VarInt, reason: &[u8]) -> Self {
        let reason = String::from_utf8_lossy(reason).into_owned();
        match u32::try_from(code.into_inner()).unwrap_or(u32::MAX) {
            close_code::NOT_ADMITTED => Self::Final(ServiceError::Denied(reason)),
            close_code::PROTOCOL => Self::Final(ServiceError::Protocol(reason)),
            close_code::GOING_AWAY => Self::NotBegun("it shuts down".into()),
            close_code::TOO_MANY => Self::NotBegun("it has too many connections".into()),
            _ => Self::NotBegun(format!("closed: {reason}")),
        }
    }

    /// The same, once something was asked: what would have been safe to try again may have been done.
    pub fn after_asking(self) -> Self {
        match self {
            Self::NotBegun(detail) => Self::Lost(detail),
            other => other,
        }
    }
}

/// The alert "no application protocol" of TLS.
const NO_ALPN: u8 = 120;

fn is_no_alpn(code: TransportErrorCode) -> bool {
    code == TransportErrorCode::crypto(NO_ALPN)
}

fn no_alpn() -> ServiceError {
    ServiceError::Protocol("the server speaks another protocol than cas/1".into())
}

/// A stream that did not go as it should.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It ended too early.
    #[error("the stream ended too early")]
    Cut,
    /// Nothing moved for too long.
    #[error("nothing moved for too long")]
    Stalled,
    /// Not what the protocol says.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Not what the protocol says.
    #[error(transparent)]
    Wire(#[from] WireError),
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Read(ReadError::ConnectionLost(e)) | StreamError::Write(WriteError::ConnectionLost(e)) => {
                match e {
                    ConnectionError::TimedOut => Self::Silent(e.to_string()),
                    e => Self::of_connection(&e).after_asking(),
                }
            }
            StreamError::Read(ReadError::Reset(code)) | StreamError::Write(WriteError::Stopped(code)) => {
                Self::of_stream(code)
            }
            StreamError::Envelope(_) | StreamError::Wire(_) => Self::Final(ServiceError::Protocol(error.to_string())),
            other => Self::Lost(other.to_string()),
        }
    }
}

impl Failure {
    fn of_stream(code: VarInt) -> Self {
        match u32::try_from(code.into_inner()).unwrap_or(u32::MAX) {
            stream_code::GOING_AWAY => Self::NotBegun("it shuts down".into()),
            stream_code::PROTOCOL => Self::Final(ServiceError::Protocol("it does not understand what was sent".into())),
            stream_code::TOO_SLOW => Self::Lost("nothing moved for too long".into()),
            code => Self::Lost(format!("it ended the stream with code {code}")),
        }
    }
}
