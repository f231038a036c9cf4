//! Who asks: the key whose owner completed the handshake, and what handlers have learnt about it.

use cas_core::id::PublicKey;
use std::any::Any;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// A connected peer. One value a connection.
pub struct Peer {
    key: PublicKey,
    from: SocketAddr,
    program: String,
    attached: RwLock<Option<Arc<dyn Any + Send + Sync>>>,
}

impl Peer {
    pub(super) fn new(key: PublicKey, from: SocketAddr, program: String) -> Self {
        Self { key, from, program, attached: RwLock::default() }
    }

    /// Its key: it has proved that it owns it.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Where it calls from. Whoever is in between can change it.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// What it calls itself; anything.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Keeps what a handler has learnt about it (tickets it showed) for this connection, instead of what was kept before.
    pub fn attach(&self, value: Arc<dyn Any + Send + Sync>) {
        *self.attached.write().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// What was attached, if it is of this type.
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.attached.read().unwrap_or_else(PoisonError::into_inner).clone()?.downcast().ok()
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peer({} at {}, {})", self.key, self.from, self.program)
    }
}
