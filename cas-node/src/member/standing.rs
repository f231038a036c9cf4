//! What a member knows of its cluster: the layout, the time, which tickets are void. DESIGN §8, §10.
//!
//! Promise: what the index said last holds, also while it is away and over a restart; a layout that contradicts itself is
//! never taken. It is kept by a thread of its own ([`Standing::keep`]), a moment later: beats wait for no disk. Not here: asking
//! the index (`beat`).

use super::clock::ClusterClock;
use super::home::{Home, Remembered};
use cas_core::id::{BlockId, Epoch, PublicKey};
use cas_core::layout::PARTITIONS;
use cas_net::NodeId;
use cas_net::cluster::{Layout, NodeInfo, NodeWant};
use cas_net::rights::Revocations;
use cas_net::server::{Changing, Reading, StateLock};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The time is kept at least so often.
const KEEP_TIME: Duration = Duration::from_secs(600);

/// What a member knows of its cluster.
#[derive(Debug)]
pub struct Standing {
    node: NodeId,
    index: PublicKey,
    inside: StateLock<Inside>,
    unkept: Mutex<Unkept>,
    /// Partitions that this node is no member of and may hold something of: it was one, or stood in for one.
    left: Mutex<BTreeSet<u16>>,
}

/// What is not on the disk yet.
#[derive(Debug, Default)]
struct Unkept {
    layout: bool,
    revoked: bool,
}

#[derive(Debug)]
struct Inside {
    clock: ClusterClock,
    revoked: Arc<Revocations>,
    layout: Option<Layout>,
    /// Of the layout.
    places: HashMap<PublicKey, usize>,
    /// Of the layout: which partitions this node is a member of.
    own: Vec<bool>,
    time_kept: Instant,
}

impl Standing {
    /// What was kept, for this node and this index.
    pub fn remembered(home: &Home, node: NodeId, index: PublicKey) -> Self {
        let now = Instant::now();
        let machine_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let machine_ns = i64::try_from(machine_ns).unwrap_or(i64::MAX);
        let kept = home.layout().filter(|kept| kept.index == index);
        let time_ns = kept.as_ref().map_or(machine_ns, |kept| kept.time_ns.max(machine_ns));
        let inside = Inside {
            clock: ClusterClock::guessed(time_ns, now),
            revoked: Arc::new(home.revocations(&index).unwrap_or_default()),
            layout: None,
            places: HashMap::new(),
            own: vec![false; PARTITIONS],
            time_kept: now,
        };
        let standing =
            Self { node, index, inside: StateLock::new(inside), unkept: Mutex::default(), left: Mutex::default() };
        if let Some(kept) = kept {
            standing.take(kept.layout);
        }
        standing
    }

    /// The version of the layout; 0 if there is none.
    pub fn version(&self) -> u64 {
        self.open().layout.as_ref().map_or(0, |layout| layout.version)
    }

    /// Whether this node is a member of the partition of a block.
    pub fn takes(&self, id: &BlockId) -> bool {
        self.open().own[usize::from(id.partition())]
    }

    /// Partitions this node is a member of.
    pub fn partitions(&self) -> usize {
        self.open().own.iter().filter(|own| **own).count()
    }

    /// Takes the partitions that this node gave away, as far as layouts that came since the start say.
    pub fn take_left(&self) -> BTreeSet<u16> {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = self.open();
        std::mem::take(&mut *left).into_iter().filter(|at| !inside.own[usize::from(*at)]).collect()
    }

    /// Something of these is still here.
    pub fn keep_left(&self, partitions: impl IntoIterator<Item = u16>) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).extend(partitions);
    }

    /// Another node of the cluster, if it is one and was not given up.
    pub fn peer(&self, key: &PublicKey) -> Option<NodeInfo> {
        let inside = self.open();
        let info = &inside.layout.as_ref()?.nodes[*inside.places.get(key)?];
        (info.want != NodeWant::Removed).then(|| info.clone())
    }

    /// Whether this is the key of another node of the cluster that was not given up.
    pub fn is_peer(&self, key: &PublicKey) -> bool {
        let inside = self.open();
        let info = |layout: &Layout| inside.places.get(key).map(|at| layout.nodes[*at].want);
        inside.layout.as_ref().and_then(info).is_some_and(|want| want != NodeWant::Removed)
    }

    /// Cluster time, nanoseconds since 1970, and which tickets are void.
    pub fn judges(&self) -> (i64, Arc<Revocations>) {
        let inside = self.open();
        (inside.clock.now_ns(Instant::now()), inside.revoked.clone())
    }

    /// Cluster time, nanoseconds since 1970.
    pub fn now_ns(&self) -> i64 {
        self.open().clock.now_ns(Instant::now())
    }

    /// The version of the list of tickets that are void.
    pub fn revoked(&self) -> Epoch {
        self.open().revoked.version
    }

    /// The index said what time it is.
    pub fn tell_time(&self, time_ns: i64) {
        let mut inside = self.change();
        inside.clock.tell(time_ns, Instant::now());
        if inside.time_kept.elapsed() >= KEEP_TIME {
            inside.time_kept = Instant::now();
            drop(inside);
            self.unkept().layout = true;
        }
    }

    /// The index said which tickets are void: in force when this returns.
    pub fn tell_revocations(&self, revoked: Revocations) {
        self.change().revoked = Arc::new(revoked.bounded());
        self.unkept().revoked = true;
    }

    /// The index said how the layout is. Answers whether it was taken.
    pub fn tell_layout(&self, layout: Layout) -> bool {
        let version = layout.version;
        if !self.take(layout) {
            tracing::error!(version, "the index sent a layout that contradicts itself: it is not used");
            return false;
        }
        tracing::debug!(version, partitions = self.partitions(), "layout");
        self.unkept().layout = true;
        true
    }

    /// Keeps what is not on the disk yet. For one thread.
    pub fn keep(&self, home: &Home) {
        let Unkept { layout, revoked } = std::mem::take(&mut *self.unkept());
        let (time_ns, kept, void) = {
            let inside = self.open();
            let kept = inside.layout.clone().filter(|_| layout);
            (inside.clock.now_ns(Instant::now()), kept, inside.revoked.clone())
        };
        let remembered = kept.map(|layout| Remembered { index: self.index, time_ns, layout });
        if let Some(Err(error)) = remembered.map(|kept| home.keep_layout(&kept)) {
            tracing::warn!(%error, "the layout is not kept");
        }
        if revoked && let Err(error) = home.keep_revocations(&self.index, &void) {
            tracing::warn!(%error, "the revocations are not kept");
        }
    }

    fn take(&self, layout: Layout) -> bool {
        let nodes = layout.nodes.len();
        let is_whole = layout.partitions.len() == PARTITIONS;
        if !is_whole || layout.partitions.iter().flatten().any(|member| usize::from(member.node) >= nodes) {
            return false;
        }
        let places: HashMap<PublicKey, usize> = layout.nodes.iter().map(|info| info.node.0).zip(0..).collect();
        let own = places.get(&self.node.0);
        let is_own =
            |members: &Vec<_>| members.iter().any(|m: &cas_net::cluster::Member| Some(&usize::from(m.node)) == own);
        let own: Vec<bool> = layout.partitions.iter().map(is_own).collect();
        let mut inside = self.change();
        let left = inside.own.iter().zip(&own).zip(0..).filter(|((was, is), _)| **was && !**is).map(|(_, at)| at);
        let left: Vec<u16> = left.collect();
        (inside.layout, inside.places, inside.own) = (Some(layout), places, own);
        drop(inside);
        self.keep_left(left);
        true
    }

    fn unkept(&self) -> MutexGuard<'_, Unkept> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Reading<'_, Inside> {
        self.inside.read()
    }

    fn change(&self) -> Changing<'_, Inside> {
        self.inside.write()
    }
}
