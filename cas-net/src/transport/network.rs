//! The network as a program sees it: one runtime, one calling socket, one pooled connection per peer.
//!
//! Everything public blocks, and may be called from many threads at once; not from async code.

use super::connection::{Connection, Pooled};
use super::endpoint;
use super::identity::Identity;
use super::{close_code, tls};
use crate::address::Address;
use crate::limits::{MAX_BODY_BYTES, MAX_REQUEST};
use cas_core::id::PublicKey;
use quinn::Endpoint;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::Duration;
use std::{fmt, io};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;

/// Threads of the runtime: the work of QUIC itself. More than a few only pass packets to one another.
const MAX_THREADS: usize = 4;
/// Threads for what blocks (handlers of servers, waiting for receipts), made when needed.
const MAX_BLOCKING: usize = 1024;

/// Hears of a peer, by its place, that does not answer and is waited for: a person may be looking.
#[derive(Clone)]
pub struct Waiting(pub Arc<dyn Fn(&str) + Send + Sync>);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting")
    }
}

/// How patient a caller is, and how much it has under way.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a call may take, connecting included. Those with bodies may take as long as bytes move.
    pub patience: Duration,
    /// How long a call waits for a peer that does not answer to come back, connecting again with growing pauses.
    /// Zero: the first failure is final.
    pub reconnect: Duration,
    /// How long a call is repeated, with growing pauses, when the peer says Busy.
    pub busy: Duration,
    /// A stream on which nothing moves for so long is given up.
    pub stall: Duration,
    /// Bytes of bodies that are sent and not yet acknowledged, to all peers together: `put` blocks above it.
    pub in_flight: usize,
    /// Who hears that a call waits.
    pub waiting: Option<Waiting>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            reconnect: Duration::from_secs(10),
            busy: Duration::from_secs(10),
            stall: Duration::from_secs(20),
            in_flight: 256 << 20,
            waiting: None,
        }
    }
}

const _: () = assert!(MAX_BODY_BYTES + MAX_REQUEST <= 256 << 20);

/// The network.
pub struct Network {
    identity: Identity,
    settings: Settings,
    endpoint: Endpoint,
    pool: Mutex<HashMap<Address, Weak<Pooled>>>,
    in_flight: Arc<Semaphore>,
    /// Taken when dropped.
    runtime: Option<Runtime>,
}

impl Network {
    /// Starts the runtime and opens the socket that calls go out from.
    ///
    /// # Errors
    /// The system gives no threads or no socket.
    pub fn new(identity: Identity, settings: Settings) -> io::Result<Arc<Self>> {
        let threads = available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(MAX_BLOCKING)
            .thread_name("cas-net")
            .enable_all()
            .build()?;
        let endpoint = runtime.block_on(async { endpoint::bind_client(&identity) })?;
        let in_flight = Arc::new(Semaphore::new(settings.in_flight.max(MAX_BODY_BYTES)));
        Ok(Arc::new(Self { identity, settings, endpoint, pool: Mutex::default(), in_flight, runtime: Some(runtime) }))
    }

    /// Who this program is.
    pub fn public_key(&self) -> PublicKey {
        self.identity.public()
    }

    /// The connection to this peer: the same for all who ask. It connects when it is first used.
    pub fn connection(self: &Arc<Self>, address: &Address) -> Connection {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pooled) = pool.get(address).and_then(Weak::upgrade) {
            return Connection::new(pooled);
        }
        pool.retain(|_, pooled| pooled.strong_count() > 0);
        let pooled = Arc::new(Pooled::new(self.clone(), address.clone()));
        pool.insert(address.clone(), Arc::downgrade(&pooled));
        Connection::new(pooled)
    }

    /// Where async work of other parts of the program can run. It ends with the network.
    pub fn runtime(&self) -> &Handle {
        self.handle()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is there until it is dropped").handle()
    }

    pub(crate) fn in_flight(&self) -> &Arc<Semaphore> {
        &self.in_flight
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(super) fn client_config(&self, crypto: Arc<quinn::crypto::rustls::QuicClientConfig>) -> quinn::ClientConfig {
        let mut config = quinn::ClientConfig::new(crypto);
        config.transport_config(Arc::new(endpoint::transport(0, endpoint::WINDOW)));
        config
    }

    pub(super) fn crypto(
        &self,
        expected: PublicKey,
        found: Arc<std::sync::OnceLock<PublicKey>>,
    ) -> Arc<quinn::crypto::rustls::QuicClientConfig> {
        tls::client(&self.identity, expected, found)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.endpoint.close(close_code::FINISHED.into(), b"");
        if let Some(runtime) = self.runtime.take() {
            // Whoever dropped it last may be a task of the runtime itself, which must not wait for it.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({})", self.public_key())
    }
}
