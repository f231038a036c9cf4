//! An index as a server: one process, one directory, three families of requests, and what it does by itself.
//!
//! Promise: every request runs as the key that its connection proved (`doors`); what was answered as done is durable as
//! the index promises it; a shutdown answers what was begun and leaves a checkpoint; a process that dies instead loses
//! nothing that was acknowledged. Scheduled work never costs a push that runs ([`pace`]), and stands in [`history`].
//! Memory: the cache of redb and the changes since the last checkpoint ([`crate::Options`]), twice the latter while one is made;
//! what requests hold ([`cas_net::server::ServerSettings`]); receipts of a million blocks that wait for their pages; per node
//! some ten thousand blocks to heal; the newest thousand runs. An export holds one more copy of the changes.
//! Not here: how things are decided (the state machine), the command line, who starts the process.

pub mod backup;
mod bell;
mod chores;
pub mod civil;
pub mod cron;
mod doors;
mod gauges;
pub mod history;
mod home;
pub mod http;
mod keeper;
mod meter;
pub mod metrics;
mod options;
pub mod pace;
pub mod schedule;
mod strangers;
mod tasks;

pub use history::{Cause, End, Run};
pub use home::{console, init, seed};
pub use http::DEFAULT_HTTP;
pub use options::{Backups, ServeOptions, Steady};
pub use schedule::{Schedule, Task};

use crate::Index;
use cas_core::id::PublicKey;
use cas_net::address::Address;
use cas_net::calls::Family;
use cas_net::server::{Load, Server, Services};
use cas_net::{Checkpointed, Identity, Index as _, Network, Result, ServiceError};
use doors::Doors;
use keeper::Keeper;
use meter::Metered;
use metrics::{Metrics, Page};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a shutdown waits for those who still hold the index.
const LAST_HOLDERS: Duration = Duration::from_secs(10);

/// The server, once it runs, for those who want to know how busy it is.
type Slot = Arc<Mutex<Option<Server>>>;

/// A served index. Dropping it ends it as a crash would, without a checkpoint; see [`Running::shutdown`].
pub struct Running {
    server: Slot,
    keeper: Arc<Keeper>,
    threads: Vec<JoinHandle<()>>,
    http: Option<http::Port>,
    index: Option<Arc<Index>>,
}

/// Opens the index and serves it.
///
/// # Errors
/// As [`Index::open`] ([`ServiceError::Busy`] if another process has it open); [`ServiceError::Io`] if a port is taken.
pub fn serve(options: ServeOptions) -> Result<Running> {
    let index = Index::open_cluster(&options.dir, options.index.clone())?;
    serve_opened(index, options)
}

/// Serves an index that is open already: that of an embedded store, for example.
///
/// # Errors
/// [`ServiceError::Io`] if a port is taken.
pub fn serve_opened(index: Arc<Index>, options: ServeOptions) -> Result<Running> {
    let network = Network::new(Identity::from_seed(&options.index.key_seed), options.network.clone());
    let network = network.map_err(|e| ServiceError::io("start the network", e))?;
    let (metrics, server): (Arc<Metrics>, Slot) = Default::default();
    let load = {
        let server = server.clone();
        Box::new(move || load(&server))
    };
    let keeper = Arc::new(Keeper::new(index.clone(), network.clone(), options, metrics, load)?);
    let options = &keeper.options;
    let http = options.http.map(|at| http::Port::open(network.runtime(), at, Arc::new(Window(keeper.clone()))));
    let http = http.transpose()?;
    // Nobody has been heard of, and nobody is late: time begins now.
    index.tick((options.steady)())?;
    let services = services(&keeper);
    let listening = Server::start(&network, options.listen, services, options.server.clone());
    let listening = listening.map_err(|e| ServiceError::io(format!("listen on {}", options.listen), e))?;
    *server.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
    let threads = keeper.start()?.into();
    tracing::info!(key = %network.public_key(), dir = %options.dir.display(), "serving");
    Ok(Running { server, threads, http, index: Some(index), keeper })
}

fn services(keeper: &Arc<Keeper>) -> Services {
    let doors = Arc::new(Doors::new(keeper.clone()));
    let of = |family: &'static str, names| (family, names, keeper.metrics.clone());
    let (index_names, cluster_names) = (cas_net::calls::index::METHODS, cas_net::cluster::calls::METHODS);
    let (family, names, counted) = of("index", index_names);
    let services = Services::new().with(Family::Index, Metered::new(doors.index_family(), family, names, counted));
    let (family, names, counted) = of("cluster", cluster_names);
    let services = services.with(Family::Cluster, Metered::new(doors.cluster_family(), family, names, counted));
    let (family, names, counted) = of("rights", cas_net::rights::calls::METHODS);
    services.with(Family::Rights, Metered::new(doors.rights_family(), family, names, counted))
}

fn load(server: &Slot) -> Load {
    server.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map_or(Load::default(), Server::load)
}

impl Running {
    /// The index's key: its name on the network.
    pub fn public_key(&self) -> PublicKey {
        self.index().public_key()
    }

    /// Its address, as others on this machine see it.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<Address> {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let server = server.as_ref().expect("it runs until it is shut down");
        server.address().map_err(|e| ServiceError::io("ask for the address of the server", e))
    }

    /// Where metrics are read, if anywhere.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(http::Port::socket)
    }

    /// The index, for whoever serves it: it checks no rights.
    pub fn index(&self) -> &Arc<Index> {
        self.index.as_ref().expect("it is there until it is shut down")
    }

    /// Has a task done as soon as the one under way has ended.
    pub fn ask(&self, task: Task) {
        self.keeper.bell.ask(task);
    }

    /// Whether it was restored from an export and sweeps nothing yet.
    pub fn is_held(&self) -> bool {
        self.keeper.held.is_held()
    }

    /// Somebody has looked at what a restored index knows: sweeping begins.
    ///
    /// # Errors
    /// [`ServiceError::Io`]: it is held as before.
    pub fn release(&self) -> Result<()> {
        self.keeper.release()
    }

    /// The task that is under way.
    pub fn under_way(&self) -> Option<Task> {
        self.keeper.under_way()
    }

    /// Past runs, oldest first.
    pub fn runs(&self) -> Vec<Run> {
        self.keeper.runs()
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.keeper.metrics
    }

    /// Takes nothing new, answers what was begun for at most so long, stops its own work, makes a checkpoint and gives the
    /// directory back. Answers what the next start will replay.
    ///
    /// # Errors
    /// As [`cas_net::Index::close`]: then the next start replays the log. [`ServiceError::Busy`] if not everything that was
    /// begun ended in time.
    pub fn shutdown(mut self, grace: Duration) -> Result<Checkpointed> {
        self.keeper.bell.close();
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let answered = server.is_none_or(|server| server.shutdown(grace));
        self.stop();
        let index = self.index.take().expect("it is there until it is shut down");
        let checkpointed = index.close()?;
        let released = last_holder(index, &self.keeper);
        match answered && released {
            true => Ok(checkpointed),
            false => Err(ServiceError::Busy("requests were still under way".into())),
        }
    }

    /// Ends what is in the background.
    fn stop(&mut self) {
        self.keeper.bell.close();
        drop(self.server.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.http = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Waits until nobody but the keeper holds the index. Then dropping both gives the directory back.
fn last_holder(index: Arc<Index>, keeper: &Arc<Keeper>) -> bool {
    let until = Instant::now() + LAST_HOLDERS;
    drop(index);
    while Arc::strong_count(&keeper.index) > 1 || Arc::strong_count(keeper) > 1 {
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
        // Whoever serves the same directory next must not be told that it is still open.
        if let Some(index) = self.index.take()
            && !last_holder(index, &self.keeper)
        {
            tracing::warn!("the index is still held by a request");
        }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({}, {:?})", self.keeper.options.dir.display(), load(&self.server))
    }
}

/// What the HTTP port shows.
struct Window(Arc<Keeper>);

impl http::Shown for Window {
    fn metrics(&self) -> Result<String> {
        let mut page = Page::default();
        gauges::write(&mut page, &self.0.index, (self.0.load)())?;
        page.head("cas_run_under_way", "gauge", "1 for the task that is being done.");
        for task in Task::ALL {
            let is_it = u8::from(self.0.under_way() == Some(task));
            page.value("cas_run_under_way", &[("task", task.name())], is_it);
        }
        page.gauge("cas_held", "1 while a restored index sweeps nothing.", u8::from(self.0.held.is_held()));
        self.0.metrics.write(&mut page);
        Ok(page.into_text())
    }

    fn health(&self) -> Result<()> {
        match self.0.fault() {
            None => self.0.index.status().map(drop),
            Some(why) => Err(ServiceError::Stopped(why)),
        }
    }
}
