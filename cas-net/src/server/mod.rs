//! A server: takes connections, knows who they are, answers requests by what it serves. PROTOCOL §1, §3 to §7.
//!
//! Promise: a peer costs bounded memory and time, whatever it sends; what was answered was done; a shutdown answers what
//! was begun. Not here: who may do what (handlers decide, by the peer's key).

mod budget;
mod connection;
mod handler;
#[cfg(test)]
mod hostile;
mod index;
mod node;
mod peer;
mod request;
mod settings;
mod state_lock;

pub use handler::{Handler, Reply, Request};
pub use index::IndexHandler;
pub use node::NodeHandler;
pub use peer::Peer;
pub use settings::ServerSettings;
pub use state_lock::{Changing, Reading, StateLock};

use crate::address::Address;
use crate::calls::Family;
use crate::transport::{Network, close_code, endpoint, tls};
use budget::Budget;
use cas_core::id::PublicKey;
use quinn::{Endpoint, Incoming};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

/// How long peers are given to hear that a server has ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// Between two looks whether the port is free.
const PORT_PAUSE: Duration = Duration::from_millis(2);

/// Whether a key may connect at all; without one, every key may.
pub type Admit = dyn Fn(&PublicKey) -> bool + Send + Sync;

/// Whether a connected peer has shown by now that it may ask something.
pub type Knows = dyn Fn(&Peer) -> bool + Send + Sync;

/// What a server answers, by family.
#[derive(Default, Clone)]
pub struct Services {
    handlers: BTreeMap<Family, Arc<dyn Handler>>,
    admit: Option<Arc<Admit>>,
    knows: Option<Arc<Knows>>,
}

impl Services {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers requests of a family with this handler.
    #[must_use]
    pub fn with(mut self, family: Family, handler: impl Handler + 'static) -> Self {
        self.handlers.insert(family, Arc::new(handler));
        self
    }

    /// Lets only some keys connect. The others are told so and sent away.
    #[must_use]
    pub fn admit(mut self, admit: impl Fn(&PublicKey) -> bool + Send + Sync + 'static) -> Self {
        self.admit = Some(Arc::new(admit));
        self
    }

    /// Sends peers away that are not known some time after their hello, and whenever they are looked at after it: so that
    /// strangers cannot hold all connections. Asked as often as [`ServerSettings::hello`] passes; must not block.
    #[must_use]
    pub fn knows(mut self, knows: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.knows = Some(Arc::new(knows));
        self
    }
}

/// What a server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Connections.
    pub connections: usize,
    /// Requests taken and not yet answered.
    pub requests: usize,
    /// Bytes of requests and answers that it holds.
    pub bytes: usize,
}

/// A running server. Dropping it ends it at once; see [`Server::shutdown`].
pub struct Server {
    shared: Arc<Shared>,
    network: Arc<Network>,
}

/// What all connections of a server share.
pub(crate) struct Shared {
    endpoint: Endpoint,
    services: Services,
    settings: ServerSettings,
    connections: AtomicUsize,
    /// One permit a request under way.
    requests: Arc<Semaphore>,
    /// One permit a handler at work.
    workers: Arc<Semaphore>,
    bytes: Budget,
    closing: watch::Sender<bool>,
}

impl Server {
    /// Listens, and answers from now on. Port 0: the system chooses one, see [`Server::socket`].
    ///
    /// # Errors
    /// The address is taken or not ours.
    ///
    /// # Panics
    /// If the settings contradict one another.
    pub fn start(
        network: &Arc<Network>,
        listen: SocketAddr,
        services: Services,
        settings: ServerSettings,
    ) -> io::Result<Self> {
        settings.check();
        let _inside = network.handle().enter();
        let shared = Arc::new(Shared {
            endpoint: endpoint::bind(network.identity(), listen, Some(config(network, &settings)))?,
            services,
            connections: AtomicUsize::new(0),
            requests: Arc::new(Semaphore::new(settings.requests)),
            workers: Arc::new(Semaphore::new(settings.workers)),
            bytes: Budget::new(settings.bytes),
            closing: watch::Sender::new(false),
            settings,
        });
        network.handle().spawn(accept(shared.clone()));
        Ok(Self { shared, network: network.clone() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn socket(&self) -> io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// Its address as others on this machine or, for an address that was named, elsewhere see it.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<Address> {
        let mut socket = self.socket()?;
        if socket.ip().is_unspecified() {
            let loopback: std::net::IpAddr = match socket {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            socket.set_ip(loopback);
        }
        Ok(Address::new(self.network.public_key(), socket))
    }

    /// What it is doing.
    pub fn load(&self) -> Load {
        let shared = &self.shared;
        Load {
            connections: shared.connections.load(Ordering::Relaxed),
            requests: shared.settings.requests - shared.requests.available_permits(),
            bytes: shared.bytes.used(),
        }
    }

    /// Takes nothing new, answers what was begun, for at most so long, then says farewell and gives its port back.
    /// Answers whether everything that was begun was answered.
    pub fn shutdown(self, grace: Duration) -> bool {
        let (network, socket) = (self.network.clone(), self.socket());
        let done = network.handle().block_on(shutdown(&self.shared, grace));
        drop(self);
        if let Ok(socket) = socket {
            network.handle().block_on(given_back(socket));
        }
        done
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closing.send_replace(true);
        self.shared.endpoint.close(close_code::GOING_AWAY.into(), b"it shuts down");
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({}, {:?})", self.network.public_key(), self.load())
    }
}

async fn shutdown(shared: &Shared, grace: Duration) -> bool {
    shared.closing.send_replace(true);
    shared.endpoint.set_server_config(None);
    let all = shared.settings.requests as u32;
    let done = timeout(grace, shared.requests.acquire_many(all)).await.is_ok();
    shared.endpoint.close(close_code::GOING_AWAY.into(), b"it shuts down");
    // Whoever does not hear it in time learns it at its next request.
    let _ = timeout(FAREWELL, shared.endpoint.wait_idle()).await;
    done
}

/// The socket closes when the last task that knows it has ended.
async fn given_back(socket: SocketAddr) {
    let free = async {
        while !endpoint::is_free(socket) {
            sleep(PORT_PAUSE).await;
        }
    };
    // Somebody else may have taken it: not ours to wait for.
    let _ = timeout(FAREWELL, free).await;
}

fn config(network: &Network, settings: &ServerSettings) -> quinn::ServerConfig {
    let mut config = quinn::ServerConfig::with_crypto(tls::server(network.identity()));
    config
        .transport_config(Arc::new(endpoint::transport(settings.streams, settings.first_window)))
        .max_incoming(settings.connections)
        .incoming_buffer_size(settings.first_window.into())
        .incoming_buffer_size_total(u64::from(settings.first_window) * 16);
    config
}

async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        if *shared.closing.borrow() {
            incoming.refuse();
            continue;
        }
        let open = shared.connections.load(Ordering::Relaxed);
        if open >= shared.settings.connections {
            tracing::warn!(from = %incoming.remote_address(), open, "too many connections: refused one");
            incoming.refuse();
        } else if open >= shared.settings.connections / 2 && !incoming.remote_address_validated() {
            // Under load nobody gets in who cannot be reached at the address it claims.
            let _ = incoming.retry();
        } else {
            take(&shared, incoming);
        }
    }
}

fn take(shared: &Arc<Shared>, incoming: Incoming) {
    let seat = Seat::take(shared.clone());
    tokio::spawn(async move {
        let from = incoming.remote_address();
        if let Err(why) = connection::serve(&seat.0, incoming).await {
            tracing::debug!(%from, %why, "connection ended");
        }
    });
}

/// One of the connections a server has.
struct Seat(Arc<Shared>);

impl Seat {
    fn take(shared: Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
