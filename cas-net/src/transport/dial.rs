//! Reaching a peer: resolve, handshake with the expected key, hello. PROTOCOL §1 to §3.

use super::failure::{Failure, StreamError};
use super::frame::{Frames, Sending};
use super::network::Network;
use super::{close_code, tls};
use crate::ServiceError;
use crate::address::Address;
use crate::hello::{self, HEAD, Hello, NEWEST, OLDEST, Welcome};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// How long one attempt to reach one socket address may take.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// How long the welcome may take.
const HELLO: Duration = Duration::from_secs(10);
/// Addresses of a name that are tried.
const MAX_SOCKETS: usize = 8;

/// A connection that has said hello.
pub async fn dial(network: &Network, address: &Address) -> Result<(quinn::Connection, Welcome), Failure> {
    let connection = reach(network, address).await?;
    match timeout(HELLO, greet(&connection)).await {
        Ok(Ok(welcome)) => accepted(welcome, address).map(|welcome| (connection, welcome)),
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::NotBegun("it says no welcome".into())),
    }
}

async fn reach(network: &Network, address: &Address) -> Result<quinn::Connection, Failure> {
    let mut last = Failure::NotBegun("the name has no address".into());
    for socket in resolve(address).await? {
        match shake(network, address, socket).await {
            Ok(connection) => return Ok(connection),
            Err(failure @ Failure::Final(_)) => return Err(failure),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, Failure> {
    let found = timeout(HANDSHAKE, tokio::net::lookup_host(address.place())).await;
    let found = found.map_err(|_| Failure::NotBegun("its name is not resolved in time".into()))?;
    let found = found.map_err(|e| Failure::NotBegun(format!("its name is not resolved: {e}")))?;
    Ok(found.take(MAX_SOCKETS).collect())
}

async fn shake(network: &Network, address: &Address, socket: SocketAddr) -> Result<quinn::Connection, Failure> {
    let found = Arc::new(OnceLock::new());
    let config = network.client_config(network.crypto(address.key, found.clone()));
    let connecting = network.endpoint().connect_with(config, socket, tls::NAME);
    let connecting = connecting.map_err(|e| Failure::NotBegun(format!("{socket}: {e}")))?;
    match timeout(HANDSHAKE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(match found.get() {
            Some(found) => wrong_key(address, *found),
            None => Failure::of_connection(&error),
        }),
        Err(_) => Err(Failure::NotBegun(format!("no handshake with {socket} within {} s", HANDSHAKE.as_secs()))),
    }
}

fn wrong_key(address: &Address, found: cas_core::id::PublicKey) -> Failure {
    Failure::Final(ServiceError::WrongKey { address: address.place(), expected: address.key, found })
}

async fn greet(connection: &quinn::Connection) -> Result<Welcome, Failure> {
    let (send, mut recv) = connection.open_bi().await.map_err(|e| Failure::of_connection(&e))?;
    let mut send = Sending::new(send);
    exchange_hello(&mut send, &mut recv).await.map_err(|error| match (&error, connection.close_reason()) {
        // Why it closed says more than that the stream ended.
        (_, Some(closed)) => Failure::of_connection(&closed),
        (StreamError::Wire(_) | StreamError::Cut, None) => {
            connection.close(close_code::PROTOCOL.into(), b"not a welcome");
            Failure::Final(ServiceError::Protocol(format!("not a welcome: {error}")))
        }
        _ => Failure::NotBegun(error.to_string()),
    })
}

async fn exchange_hello(send: &mut Sending, recv: &mut quinn::RecvStream) -> Result<Welcome, StreamError> {
    send.stream().write_chunk(Bytes::from(hello::encode(&Hello::ours()))).await?;
    send.finish();
    let mut frames = Frames::new(recv, HELLO);
    let head = frames.bytes(HEAD).await?;
    let len = hello::read_head(&head.try_into().expect("as many as asked for"))?;
    Ok(hello::read(&frames.bytes(len).await?)?)
}

fn accepted(welcome: Welcome, address: &Address) -> Result<Welcome, Failure> {
    if (OLDEST..=NEWEST).contains(&welcome.version) {
        return Ok(welcome);
    }
    Err(Failure::Final(ServiceError::Version {
        what: format!("the protocol of {} ({})", address.place(), welcome.program),
        found: if welcome.version == 0 { welcome.newest } else { welcome.version }.into(),
        known: NEWEST.into(),
    }))
}
