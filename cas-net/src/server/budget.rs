//! Bytes that may be held: reserved before they are read, or refused. PROTOCOL §5.
//!
//! A request reserves all it needs at once and holds nothing while it waits, so that no two wait for one another; an
//! answer that needs more than was reserved waits only for a moment.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Bytes that may be held.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    size: usize,
}

impl Budget {
    /// So many.
    pub fn new(size: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(size)), size }
    }

    /// How many are held.
    pub fn used(&self) -> usize {
        self.size - self.free.available_permits()
    }

    async fn take(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes.min(self.size)).expect("the size has 32 bits");
        self.free.clone().acquire_many_owned(bytes).await.expect("it is never closed")
    }
}

/// Bytes that are held, of a connection's share and of all.
#[derive(Debug)]
pub struct Held {
    /// Released when dropped.
    _parts: Vec<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Held {
    /// Waits so long for so many bytes.
    pub async fn take(own: &Budget, all: &Budget, bytes: usize, wait: Duration) -> Option<Self> {
        let both = async { (own.take(bytes).await, all.take(bytes).await) };
        let both = timeout(wait, both).await.ok()?;
        Some(Self { _parts: vec![both] })
    }

    /// Waits so long for more.
    pub async fn more(&mut self, own: &Budget, all: &Budget, bytes: usize, wait: Duration) -> bool {
        match Self::take(own, all, bytes, wait).await {
            Some(mut more) => {
                self._parts.append(&mut more._parts);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_refused_when_held_and_free_when_dropped() {
        let (own, all) = (Budget::new(10), Budget::new(15));
        let other = Budget::new(10);
        let wait = Duration::from_millis(10);
        let first = Held::take(&own, &all, 8, wait).await.unwrap();
        assert!(Held::take(&own, &all, 3, wait).await.is_none(), "the connection's share is used up");
        assert!(Held::take(&other, &all, 8, wait).await.is_none(), "all bytes are used up");
        assert_eq!((own.used(), other.used(), all.used()), (8, 0, 8));
        drop(first);
        assert!(Held::take(&own, &all, 10, wait).await.is_some());
        assert_eq!(all.used(), 0);
    }
}
