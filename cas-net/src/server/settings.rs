//! What a server holds at most for all its peers together. PROTOCOL §5.

use crate::limits::{MAX_BODY_BYTES, MAX_REQUEST};
use crate::transport::endpoint::{STREAM_WINDOW, WINDOW};
use std::time::Duration;

/// Bounds of a server. Memory for peers is at most `bytes`, and for what QUIC has received and nobody has read at most
/// about `window_bytes` × (1 + ln(`connections` × `first_window` / `window_bytes` + 1)), at least `first_window` each.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Connections.
    pub connections: usize,
    /// Requests that one connection may have open.
    pub streams: u32,
    /// Requests under way, of all connections.
    pub requests: usize,
    /// Handlers at work at once.
    pub workers: usize,
    /// Bytes of requests and answers held.
    pub bytes: usize,
    /// Those of one connection: at least one request of the largest size.
    pub bytes_per_connection: usize,
    /// Bytes that connections share for what was received and not yet read.
    pub window_bytes: usize,
    /// What a connection may send before it has said who it is, and the least it may send afterwards.
    pub first_window: u32,
    /// How long a request waits for bytes or a worker before the answer is Busy.
    pub busy_after: Duration,
    /// A stream on which nothing moves for so long is given up.
    pub stall: Duration,
    /// How long handshake and hello may take, each.
    pub hello: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            connections: 512,
            streams: 128,
            requests: 512,
            workers: 64,
            bytes: 512 << 20,
            bytes_per_connection: 192 << 20,
            window_bytes: 256 << 20,
            first_window: 1 << 20,
            busy_after: Duration::from_secs(2),
            stall: Duration::from_secs(20),
            hello: Duration::from_secs(10),
        }
    }
}

impl ServerSettings {
    /// # Panics
    /// If no request of the largest size could ever be taken.
    pub(super) fn check(&self) {
        assert!(self.bytes_per_connection >= MAX_BODY_BYTES + MAX_REQUEST, "a connection has room for any request");
        assert!(self.bytes >= self.bytes_per_connection, "all connections have at least the room of one");
        assert!(u32::try_from(self.bytes).is_ok(), "bytes are counted in 32 bits");
        assert!(self.requests > 0 && self.workers > 0 && self.connections > 0, "something is served");
    }

    /// What a connection may send before it is read, as one of so many.
    pub(super) fn window(&self, connections: usize) -> u32 {
        let share = u32::try_from(self.window_bytes / connections.max(1)).unwrap_or(WINDOW);
        share.clamp(self.first_window.min(WINDOW), WINDOW)
    }
}

const _: () = assert!(STREAM_WINDOW <= WINDOW);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_share_the_window() {
        let settings = ServerSettings::default();
        settings.check();
        assert_eq!(settings.window(1), WINDOW);
        assert_eq!(settings.window(16), WINDOW);
        assert_eq!(settings.window(128), 2 << 20);
        assert_eq!(settings.window(10_000), 1 << 20);
    }
}
