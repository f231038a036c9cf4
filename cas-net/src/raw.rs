//! QUIC with the settings of this crate and nothing above it: what the benchmark compares with.

use crate::Identity;
use crate::transport::{endpoint, tls};
use quinn::{Connection, Endpoint};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// An endpoint that takes connections. Inside of a runtime.
///
/// # Errors
/// The address is taken.
pub fn listen(identity: &Identity, at: SocketAddr, streams: u32) -> io::Result<Endpoint> {
    let mut config = quinn::ServerConfig::with_crypto(tls::server(identity));
    config.transport_config(Arc::new(endpoint::transport(streams, endpoint::WINDOW)));
    endpoint::bind(identity, at, Some(config))
}

/// A connection to such an endpoint. Inside of a runtime.
///
/// # Errors
/// It is not reached.
pub async fn connect(identity: &Identity, server: &Identity, at: SocketAddr) -> io::Result<Connection> {
    let crypto = tls::client(identity, server.public(), Arc::default());
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::new(endpoint::transport(0, endpoint::WINDOW)));
    let endpoint = endpoint::bind_client(identity)?;
    Ok(endpoint.connect_with(config, at, tls::NAME).map_err(io::Error::other)?.await?)
}
