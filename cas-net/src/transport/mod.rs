//! QUIC between two keys: sockets, TLS, frames, pooled connections. PROTOCOL §1 to §5.
//!
//! Async ends here: what is public blocks.

mod connection;
mod dial;
pub(crate) mod endpoint;
mod failure;
pub(crate) mod frame;
#[cfg(test)]
mod hostile;
mod identity;
mod network;
pub(crate) mod tls;

pub use connection::{Connection, Introduce, RawCall};
pub(crate) use connection::{Exchange, Outgoing};
pub(crate) use failure::{Failure, StreamError, close_code, stream_code};
pub use identity::Identity;
pub use network::{Network, Settings, Waiting};
