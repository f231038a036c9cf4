//! Counts and times every request of a family, whoever answers it.

use super::metrics::Metrics;
use cas_net::server::{Handler, Peer, Reply, Request};
use cas_net::{Result, ServiceError};
use std::sync::Arc;
use std::time::Instant;

/// A handler whose requests are counted.
pub(super) struct Metered<H> {
    inner: H,
    family: &'static str,
    /// Requests by number, with their names.
    names: &'static [(u16, &'static str)],
    metrics: Arc<Metrics>,
}

impl<H: Handler> Metered<H> {
    pub(super) fn new(
        inner: H,
        family: &'static str,
        names: &'static [(u16, &'static str)],
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { inner, family, names, metrics }
    }
}

impl<H: Handler> Handler for Metered<H> {
    fn handle(&self, peer: &Peer, request: Request) -> Result<Reply> {
        let name =
            self.names.iter().find(|(number, _)| *number == request.method()).map_or("unknown", |(_, name)| name);
        self.metrics.request_bytes.of([self.family, name]).add(request.message().len() as u64);
        let begun = Instant::now();
        let answer = self.inner.handle(peer, request);
        let took = begun.elapsed();
        self.metrics.seconds.of([self.family, name]).observe(took);
        let end = answer.as_ref().map_or_else(word, |_| "ok");
        self.metrics.requests.of([self.family, name, end]).add(1);
        if let Err(why) = &answer {
            tracing::debug!(peer = %peer.key(), from = %peer.from(), family = self.family, request = name, %why, "refused");
        }
        answer
    }
}

/// The word for how a request ended.
fn word(why: &ServiceError) -> &'static str {
    match why {
        ServiceError::SessionGone(_) => "session_gone",
        ServiceError::Conflict { .. } => "conflict",
        ServiceError::NotFound { .. } => "not_found",
        ServiceError::RootMissing(_) => "root_missing",
        ServiceError::Stale(_) => "stale",
        ServiceError::Denied(_) => "denied",
        ServiceError::Busy(_) => "busy",
        ServiceError::Full { .. } => "full",
        ServiceError::Damaged { .. } => "damaged",
        ServiceError::Version { .. } => "version",
        ServiceError::Stopped(_) => "stopped",
        ServiceError::Io { .. } => "io",
        ServiceError::Unreachable { .. } => "unreachable",
        ServiceError::WrongKey { .. } => "wrong_key",
        ServiceError::Protocol(_) => "protocol",
        ServiceError::Retained(_) => "retained",
    }
}
