//! A node as a member of a cluster: serves blocks to clients and peers, beats, obeys the index, looks after its disk. DESIGN §8 to §10.
//!
//! ```text
//! clients, peers ──▶ gate (who may what) ──▶ store        beat ──▶ index ──▶ orders ──▶ desk ──▶ copies, counting, chores
//!                      │ layout, time, revocations ◀── standing ◀──┘             care: scrub, compaction, strays
//! ```
//!
//! Promise: nobody gets or puts a block without a ticket of this cluster's index (peers and the index itself excepted);
//! what was acknowledged is durable; an order is carried out once at a time, and answered only when it is durable; bytes from a
//! peer are verified before they are kept. With the index away, reads go on by what was known last. After a failed sync nothing is
//! acknowledged any more, and [`Member::fault`] says why.
//!
//! Memory for others: what [`ServerSettings`] bounds, and blocks that are sent on once more meanwhile; 16 reads of 8 MiB and a block;
//! for copies [`Settings::copy_workers`] × (2 × [`Settings::copy_fetchers`] + 3) answers of 4 MiB or one block.

mod beat;
mod care;
mod chain;
mod clock;
mod copy;
mod damage;
mod desk;
mod gate;
mod home;
mod join;
mod link;
mod metrics;
mod record;
mod settings;
mod standing;
mod stop;
mod text;
mod throttle;
mod turns;
mod work;

pub use join::{JoinOptions, init, join};
pub use metrics::Metrics;
pub use settings::Settings;

use crate::{Options, Store};
use cas_core::id::PublicKey;
use cas_net::address::Address;
use cas_net::calls::Family;
use cas_net::cluster::{Beat, DiskId, Load, MAX_ADDRESSES, Space};
use cas_net::server::{Server, ServerSettings, Services};
use cas_net::{Grant, Identity, Network, Node, NodeId, PendingReceipt, PutBlock, Result, ServiceError};
use damage::Losses;
use desk::{Desk, Lane};
use gate::Gate;
use home::{Home, Membership};
use link::Link;
use standing::Standing;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use stop::Stop;
use throttle::Throttle;

/// How long a shutdown waits for its own threads; they end between two blocks.
const LAST_WORK: Duration = Duration::from_secs(40);
/// How long the end waits for those who still look at it, so that the directory is free afterwards.
const LAST_HOLDERS: Duration = Duration::from_secs(2);
/// Floors and lists of partitions that are answered at once: the index makes several durable together.
const COUNTERS: usize = 4;
/// Between two looks whether a thread has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// How a node is served.
#[derive(Debug, Clone)]
pub struct MemberOptions {
    /// Its directory: one that has joined a cluster, see [`join`].
    pub dir: PathBuf,
    /// Where it listens; `None`: as it said when it joined. Port 0: the system chooses one.
    pub listen: Option<SocketAddr>,
    /// Where others reach it (host and port); `None`: as it said when it joined, or what follows from where it listens.
    pub addresses: Option<Vec<String>>,
    /// Bounds of the server.
    pub server: ServerSettings,
    /// How patient it is with the index and its peers.
    pub network: cas_net::Settings,
    /// How it beats, copies, and looks after what it holds.
    pub settings: Settings,
    /// How its store is opened. Key and index are those of the directory.
    pub tune: fn(&mut Options),
}

impl MemberOptions {
    /// The defaults, for the node in this directory.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            listen: None,
            addresses: None,
            server: ServerSettings::default(),
            network: patience(),
            settings: Settings::default(),
            tune: |_| (),
        }
    }
}

/// How patient a node is: orders and beats come again, and a chain goes on without who does not answer.
fn patience() -> cas_net::Settings {
    let seconds = Duration::from_secs;
    cas_net::Settings { patience: seconds(20), reconnect: seconds(2), busy: seconds(5), ..cas_net::Settings::default() }
}

/// A running node. Dropping it ends it as a crash would; see [`Member::shutdown`].
pub struct Member {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

/// What all threads of a member share.
struct Inner {
    home: Home,
    store: Store,
    node: NodeId,
    disk: DiskId,
    capacity: u64,
    /// Bytes that may still be stored, as of the last look and what came since.
    room: AtomicI64,
    network: Arc<Network>,
    link: Link,
    standing: Standing,
    settings: Settings,
    desk: Desk,
    losses: Losses,
    metrics: Metrics,
    stop: Stop,
    copying: Mutex<Throttle>,
    addresses: Vec<String>,
    server: Mutex<Option<Server>>,
    fault: Mutex<Option<String>>,
    faulty: Condvar,
}

/// Opens the node in a directory and serves it. The index need not answer.
///
/// # Errors
/// [`ServiceError::NotFound`] if it has joined no cluster; [`ServiceError::Busy`] if another process has it open;
/// as [`Store::open`]; [`ServiceError::Io`] if the port is taken.
pub fn serve(options: MemberOptions) -> Result<Member> {
    let home = Home::new(&options.dir)?;
    let none = || ServiceError::NotFound { what: "membership of", name: options.dir.display().to_string() };
    let Membership { index, capacity, listen, addresses } = home.membership()?.ok_or_else(none)?;
    let (listen, addresses) = (options.listen.unwrap_or(listen), options.addresses.unwrap_or(addresses));
    let (store, disk) = open(&home, &index.key, options.tune)?;
    let network = Network::new(Identity::from_seed(&home.seed()?), options.network);
    let network = network.map_err(|e| ServiceError::io("start the network", e))?;
    let node = store.id();
    let gate = gate::Slot::default();
    let services = Services::new()
        .with(Family::Node, gate::Blocks::new(gate.clone()))
        .with(Family::Rights, gate::Tickets::new(gate.clone()))
        .knows(gate.knows());
    let server = Server::start(&network, listen, services, options.server);
    let server = server.map_err(|e| ServiceError::io(format!("listen on {listen}"), e))?;
    let socket = server.socket().map_err(|e| ServiceError::io("ask where the server listens", e))?;
    let inner = Arc::new(Inner {
        standing: Standing::remembered(&home, node, index.key),
        addresses: if addresses.is_empty() { reached_at(socket, &index) } else { addresses },
        link: Link::new(&network, &index),
        copying: Mutex::new(Throttle::new(options.settings.copy_bytes_per_second)),
        settings: options.settings,
        server: Mutex::new(Some(server)),
        capacity: if capacity == 0 { disk_bytes(home.dir())? } else { capacity },
        room: AtomicI64::new(0),
        desk: Desk::default(),
        losses: Losses::default(),
        metrics: Metrics::default(),
        stop: Stop::default(),
        fault: Mutex::default(),
        faulty: Condvar::new(),
        home,
        store,
        node,
        disk,
        network,
    });
    inner.look_at_room()?;
    // Only now does anybody get in: before, requests are answered Busy.
    gate.open(Gate::new(inner.clone()));
    let mut member = Member { inner, threads: Vec::new() };
    member.start()?;
    tracing::info!(key = %node.0, %socket, dir = %member.inner.home.dir().display(), "serving");
    Ok(member)
}

/// Opens the store, and says what its disk is called.
fn open(home: &Home, index: &PublicKey, tune: fn(&mut Options)) -> Result<(Store, DiskId)> {
    let mut options = Options::new(home.seed()?, *index);
    tune(&mut options);
    // Looked at before the store makes a new one.
    let was_empty = std::fs::read_dir(home.dir().join("segments")).map_or(true, |mut found| found.next().is_none());
    let store = Store::open(home.dir(), options)?;
    if store.is_rebuilt() {
        tracing::warn!(
            "segments are missing and the node's index was not there to say what they held: all is counted anew"
        );
    }
    let is_lost = (was_empty && store.stats()?.blocks == 0) || store.is_rebuilt();
    let disk = home.disk(is_lost)?;
    Ok((store, disk))
}

impl Member {
    /// Its key: its name on the network.
    pub fn public_key(&self) -> PublicKey {
        self.inner.node.0
    }

    /// Its address, as others on this machine see it.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<Address> {
        let server = self.inner.server.lock().unwrap_or_else(PoisonError::into_inner);
        let server = server.as_ref().expect("it runs until it is shut down");
        server.address().map_err(|e| ServiceError::io("ask for the address of the server", e))
    }

    /// What it tells the index of where it is reached.
    pub fn addresses(&self) -> &[String] {
        &self.inner.addresses
    }

    /// What its disk is called.
    pub fn disk(&self) -> DiskId {
        self.inner.disk
    }

    /// What it is doing.
    pub fn load(&self) -> Load {
        self.inner.load()
    }

    /// What it has room for.
    ///
    /// # Errors
    /// [`ServiceError::Io`].
    pub fn space(&self) -> Result<Space> {
        self.inner.space()
    }

    /// The version of the layout it goes by; 0 if it knows none.
    pub fn layout(&self) -> u64 {
        self.inner.standing.version()
    }

    /// What it counts.
    pub fn counters(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// What it counts, as the text that Prometheus reads.
    ///
    /// # Errors
    /// [`ServiceError::Io`].
    pub fn metrics(&self) -> Result<String> {
        text::write(&self.inner)
    }

    /// Whether it works: it writes, and the index hears it.
    ///
    /// # Errors
    /// Why not.
    pub fn health(&self) -> Result<()> {
        self.inner.health()
    }

    /// Something that reads [`Self::metrics`] and [`Self::health`] from elsewhere, for as long as it wants.
    pub fn window(&self) -> Window {
        Window(self.inner.clone())
    }

    /// Where async work beside it can run.
    pub fn runtime(&self) -> &Arc<Network> {
        &self.inner.network
    }

    /// Why it acknowledges nothing any more, if that is so: the process should end, with this error.
    pub fn fault(&self) -> Option<String> {
        self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a fault, at most so long.
    pub fn wait_fault(&self, at_most: Duration) -> Option<String> {
        let fault = self.inner.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.inner.faulty.wait_timeout_while(fault, at_most, |fault| fault.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Takes nothing new, answers what was begun for at most so long, ends its own work, and gives the directory back. Answers
    /// whether everything that was begun was answered in time, and heard.
    ///
    /// # Errors
    /// As [`Node::close`]: what was acknowledged is durable all the same.
    pub fn shutdown(mut self, grace: Duration) -> Result<bool> {
        self.inner.stop.say();
        self.inner.desk.close();
        let server = self.inner.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let answered = server.is_none_or(|server| server.shutdown(grace));
        let ended = self.join(Instant::now() + LAST_WORK);
        self.inner.store.close()?;
        Ok(answered && ended)
    }

    fn start(&mut self) -> Result<()> {
        self.spawn("node-beat", beat::run)?;
        for _ in 0..self.inner.settings.copy_workers.max(1) {
            self.spawn("node-copy", |inner| work::run(inner, Lane::Copies))?;
        }
        for _ in 0..COUNTERS {
            self.spawn("node-count", |inner| work::run(inner, Lane::Counting))?;
        }
        self.spawn("node-chores", |inner| work::run(inner, Lane::Chores))?;
        self.spawn("node-remember", care::remember)?;
        self.spawn("node-scrub", care::scrub)?;
        self.spawn("node-compact", care::compact)?;
        self.spawn("node-strays", care::strays)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce(&Inner) + Send + 'static) -> Result<()> {
        let inner = self.inner.clone();
        let guarded = move || {
            let _guard = Guard(&inner);
            work(&inner);
        };
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(guarded);
        self.threads.push(spawned.map_err(|e| ServiceError::io(format!("start {name}"), e))?);
        Ok(())
    }

    /// Waits for its threads. Answers whether all have ended.
    fn join(&mut self, until: Instant) -> bool {
        while Instant::now() < until && self.threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(PAUSE);
        }
        let (ended, left): (Vec<_>, Vec<_>) = self.threads.drain(..).partition(JoinHandle::is_finished);
        let sound = ended.into_iter().all(|thread| thread.join().is_ok());
        sound && left.is_empty()
    }
}

/// A node without one of its threads would look alive and not be: it ends.
struct Guard<'a>(&'a Inner);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("a thread").to_owned();
            self.0.fail(format!("{name} failed: a fault of the program"));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.inner.stop.say();
        self.inner.desk.close();
        drop(self.inner.server.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.join(Instant::now() + LAST_WORK);
        let until = Instant::now() + LAST_HOLDERS;
        while Arc::strong_count(&self.inner) > 1 && Instant::now() < until {
            std::thread::sleep(PAUSE);
        }
    }
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Member({}, {:?})", self.inner.node.0, self.inner.load())
    }
}

/// Looks at a member from elsewhere.
#[derive(Clone)]
pub struct Window(Arc<Inner>);

impl Window {
    /// As [`Member::metrics`].
    ///
    /// # Errors
    /// [`ServiceError::Io`].
    pub fn metrics(&self) -> Result<String> {
        text::write(&self.0)
    }

    /// As [`Member::health`].
    ///
    /// # Errors
    /// Why it does not work.
    pub fn health(&self) -> Result<()> {
        self.0.health()
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({})", self.0.node.0)
    }
}

impl Inner {
    fn load(&self) -> Load {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let load = server.as_ref().map_or_else(Default::default, Server::load);
        Load {
            requests: u32::try_from(load.requests).unwrap_or(u32::MAX),
            bytes: load.bytes as u64,
            sync_us: self.store.syncs().recent_us(),
        }
    }

    fn connections(&self) -> usize {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.as_ref().map_or(0, |server| server.load().connections)
    }

    fn space(&self) -> Result<Space> {
        let used = self.store.stats()?.segment_bytes;
        let on_disk = self.store.free_bytes()?;
        let free = self.capacity.saturating_sub(used).min(on_disk);
        Ok(Space { capacity: self.capacity, used, free })
    }

    /// Looks how much may still be stored.
    fn look_at_room(&self) -> Result<Space> {
        let space = self.space()?;
        self.room.store(i64::try_from(space.free).unwrap_or(i64::MAX), Ordering::Relaxed);
        Ok(space)
    }

    /// Room for blocks of others.
    fn take_room(&self, bytes: u64) -> Result<()> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let before = self.room.fetch_sub(bytes, Ordering::Relaxed);
        if before >= bytes {
            return Ok(());
        }
        self.room.fetch_add(bytes, Ordering::Relaxed);
        Err(ServiceError::Full {
            what: format!("node {}", self.node.0),
            detail: format!("{} of {} bytes are left", before.max(0), self.capacity),
        })
    }

    /// Keeps blocks of others, counts them, and their room.
    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt> {
        let bytes: u64 = blocks.iter().map(|block| block.bytes.len() as u64).sum();
        let sealed: u64 = blocks.iter().filter(|b| b.kind.is_sealed()).map(|b| b.bytes.len() as u64).sum();
        self.take_room(sealed)?;
        let count = blocks.len() as u64;
        let receipt = self.store.put(grant, blocks)?;
        self.metrics.puts.add(count);
        self.metrics.put_bytes.add(bytes);
        Ok(receipt)
    }

    fn a_beat(&self) -> Result<Beat> {
        Ok(Beat {
            node: self.node,
            disk: self.disk,
            addresses: self.addresses.clone(),
            space: self.look_at_room()?,
            load: self.load(),
            layout: self.standing.version(),
            damage: self.losses.next(self.node),
            takes_orders: !self.stop.is_said() && self.metrics.beats.get() > 0,
        })
    }

    fn health(&self) -> Result<()> {
        if let Some(why) = &*self.fault.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(ServiceError::Stopped(why.clone()));
        }
        self.store.check()?;
        self.link.health()
    }

    /// Ends all work for good.
    fn fail(&self, why: String) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if fault.is_none() {
            tracing::error!(why, "the node stops");
            *fault = Some(why);
            self.faulty.notify_all();
        }
        drop(fault);
        self.desk.close();
        self.stop.say();
    }
}

/// Where a node is reached that listens there: on which of this machine's addresses, is what the way to the index says.
fn reached_at(socket: SocketAddr, index: &Address) -> Vec<String> {
    if !socket.ip().is_unspecified() {
        return vec![socket.to_string()];
    }
    let outward = || {
        let way = UdpSocket::bind(SocketAddr::new(socket.ip(), 0))?;
        way.connect(index.place())?;
        way.local_addr()
    };
    match outward() {
        Ok(own) => vec![SocketAddr::new(own.ip().to_canonical(), socket.port()).to_string()],
        Err(error) => {
            tracing::warn!(%error, "where others reach this node is not known: name an address");
            Vec::new()
        }
    }
}

/// Addresses that the index would refuse.
fn check_addresses(addresses: &[String]) -> Result<()> {
    let is_good = |place: &String| format!("cas://{}@{place}", PublicKey::ZERO).parse::<Address>().is_ok();
    match addresses.iter().find(|place| !is_good(place)) {
        Some(place) => Err(ServiceError::Denied(format!("{place:?} is not an address; expected HOST:PORT"))),
        None if addresses.len() > MAX_ADDRESSES => {
            Err(ServiceError::Denied(format!("a node has at most {MAX_ADDRESSES} addresses")))
        }
        None => Ok(()),
    }
}

/// All bytes of the disk that a directory is on.
fn disk_bytes(dir: &Path) -> Result<u64> {
    let found =
        rustix::fs::statvfs(dir).map_err(|e| ServiceError::io(format!("look at {}", dir.display()), e.into()))?;
    Ok(found.f_blocks.saturating_mul(found.f_frsize))
}
