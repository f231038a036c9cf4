//! Telling the index of copies that are not what they should be, without holding up who found them.
//!
//! Promise: what was found is told before the nodes are dropped, or the index did not answer. It looks itself before it believes.

use cas_net::cluster::{Cluster, Damage, MAX_DAMAGE};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What is to be told. More than [`MAX_DAMAGE`] at once is left to the nodes' own scrub.
pub struct Reports {
    cluster: Arc<dyn Cluster>,
    queue: Arc<Mutex<Queue>>,
    teller: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Damage>,
    is_told: bool,
}

impl Reports {
    /// To this index.
    pub fn to(cluster: Arc<dyn Cluster>) -> Self {
        Self { cluster, queue: Arc::default(), teller: Mutex::default() }
    }

    /// Tells it soon.
    pub fn tell(&self, damage: &[Damage]) {
        let mut queue = lock(&self.queue);
        for found in damage {
            if queue.waiting.len() < MAX_DAMAGE && !queue.waiting.contains(found) {
                queue.waiting.push(*found);
            }
        }
        if queue.waiting.is_empty() || std::mem::replace(&mut queue.is_told, true) {
            return;
        }
        drop(queue);
        let (cluster, queue) = (self.cluster.clone(), self.queue.clone());
        let teller = std::thread::spawn(move || tell(&*cluster, &queue));
        *lock(&self.teller) = Some(teller); // The one before has ended, or does nothing more.
    }

    /// Waits until everything was told.
    pub fn flush(&self) {
        let teller = lock(&self.teller).take();
        if teller.is_some_and(|teller| teller.join().is_err()) {
            tracing::debug!("telling of damaged copies ended in the middle");
        }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.flush();
    }
}

fn tell(cluster: &dyn Cluster, queue: &Mutex<Queue>) {
    loop {
        let mut locked = lock(queue);
        let told = std::mem::take(&mut locked.waiting);
        if told.is_empty() {
            locked.is_told = false;
            return;
        }
        drop(locked);
        if let Err(why) = cluster.report(&told) {
            tracing::debug!("{} damaged copies could not be reported: {why}", told.len());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
