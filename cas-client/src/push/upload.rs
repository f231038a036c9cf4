//! From named blocks to receipts: ask in batches, seal what is absent on all cores, put, wait for durability.
//!
//! Promise: a block is sealed and sent once in a push, however often it occurs; at most [`QUEUE_TASKS`] groups of about
//! [`TASK_BYTES`] wait to be sealed, and whoever finds the queue full seals himself, so nobody idles and
//! nothing can wait in a circle. A [`Group`] is delivered when the index has the node's word for all its blocks.

use super::counters::Counters;
use crate::error::{ClientError, Result};
use crate::nodes::{Nodes, Places, Sent, View};
use cas_core::frame::{Compression, Header, Sealer};
use cas_core::id::{BlockId, DomainId, Kind, Sum};
use cas_core::secret::{ContentKey, DomainKeys};
use cas_net::{Bytes, Grant, Index, PutBlock, Receipt, Registration, SessionId};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// Groups that wait to be sealed.
const QUEUE_TASKS: usize = 8;
/// Plaintext in one of them, about: each is a request and a receipt of every node, however long.
const TASK_BYTES: usize = 2 << 20;
/// How long to sleep before looking again for something to do.
const IDLE: Duration = Duration::from_millis(2);

/// A block that has its name and is not sealed yet.
pub struct NewBlock {
    /// What it is.
    pub kind: Kind,
    /// Its content.
    pub plaintext: Bytes,
    /// Its key.
    pub key: ContentKey,
    /// Its name.
    pub id: BlockId,
    /// The distinct references in it.
    pub children: Vec<BlockId>,
}

/// Blocks that were found absent together.
pub struct Group {
    ids: Vec<BlockId>,
    state: Mutex<GroupState>,
    changed: Condvar,
}

struct GroupState {
    /// Tasks not put yet; one more until all of them are known.
    tasks_left: usize,
    /// What is on its way to nodes: the layout by which it went, the blocks, the requests.
    view: Option<Arc<View>>,
    absent: Vec<BlockId>,
    sent: Vec<Sent>,
    delivered: bool,
}

/// What came of asking.
#[derive(Default)]
pub struct Offered {
    /// To be delivered before anything that refers to the blocks is registered.
    pub groups: Vec<Arc<Group>>,
    /// Headers of the pages and lists that are absent, in the order asked, to be registered.
    pub headers: Vec<Vec<u8>>,
}

struct Task {
    group: Arc<Group>,
    grant: Grant,
    view: Arc<View>,
    blocks: Vec<(NewBlock, Places)>,
}

/// Asks for and stores the blocks of one push.
pub struct Uploader {
    index: Arc<dyn Index>,
    nodes: Arc<Nodes>,
    session: SessionId,
    keys: Arc<DomainKeys>,
    compression: Compression,
    dry_run: bool,
    counters: Arc<Counters>,
    in_flight: Mutex<HashMap<BlockId, Arc<Group>>>,
    tasks: (Sender<Task>, Receiver<Task>),
    stopped: AtomicBool,
    fault: OnceLock<ClientError>,
}

impl Uploader {
    /// For one session.
    pub fn new(
        index: Arc<dyn Index>,
        nodes: Arc<Nodes>,
        session: SessionId,
        keys: Arc<DomainKeys>,
        compression: Compression,
        dry_run: bool,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            index,
            nodes,
            session,
            keys,
            compression,
            dry_run,
            counters,
            in_flight: Mutex::default(),
            tasks: bounded(QUEUE_TASKS),
            stopped: AtomicBool::new(false),
            fault: OnceLock::new(),
        }
    }

    /// A sealer for one thread.
    pub fn sealer(&self) -> Sealer {
        Sealer::new(self.compression)
    }

    /// The keys that name the blocks.
    pub fn keys(&self) -> &DomainKeys {
        &self.keys
    }

    /// Asks for blocks and has the absent ones sealed and put.
    pub fn offer(&self, blocks: Vec<NewBlock>, sealer: &mut Sealer) -> Result<Offered> {
        let mut offered = Offered::default();
        let (mine, group) = self.claim(blocks, &mut offered);
        if mine.is_empty() {
            return Ok(offered);
        }
        let ids: Vec<BlockId> = mine.iter().map(|b| b.id).collect();
        let answer = self.index.have(self.session, &ids)?;
        let mut absent = Vec::with_capacity(mine.len());
        for (block, present) in mine.into_iter().zip(&answer.present) {
            if *present {
                self.lock_in_flight().remove(&block.id);
            } else {
                offered.headers.extend(self.header(&block));
                absent.push(block);
            }
        }
        if !absent.is_empty() && !self.dry_run {
            self.put_wanted(&group, answer.grant, absent, sealer)?;
            offered.groups.push(group.clone());
        } else {
            absent.iter().for_each(|block| self.counters.stored(block.kind, block.plaintext.len(), 0));
        }
        group.finish_task();
        Ok(offered)
    }

    /// Splits off what this push has already under way, and claims the rest for a new group.
    fn claim(&self, blocks: Vec<NewBlock>, offered: &mut Offered) -> (Vec<NewBlock>, Arc<Group>) {
        let ids = blocks.iter().map(|b| b.id).collect();
        let group = Group::new(ids);
        let mut in_flight = self.lock_in_flight();
        let mut mine = Vec::with_capacity(blocks.len());
        for block in blocks {
            match in_flight.get(&block.id) {
                None => {
                    in_flight.insert(block.id, group.clone());
                    mine.push(block);
                }
                Some(other) => {
                    offered.headers.extend(self.header(&block));
                    if !Arc::ptr_eq(other, &group) && !offered.groups.iter().any(|g| Arc::ptr_eq(g, other)) {
                        offered.groups.push(other.clone());
                    }
                }
            }
        }
        (mine, group)
    }

    fn header(&self, block: &NewBlock) -> Option<Vec<u8>> {
        block.kind.has_children().then(|| {
            let x = self.keys.name_of(&block.key);
            Header { kind: block.kind, domain: self.keys.domain_id(), x, children: block.children.clone() }.encode()
        })
    }

    /// Offers to the node, and queues what it wants.
    fn put_wanted(&self, group: &Arc<Group>, grant: Grant, blocks: Vec<NewBlock>, sealer: &mut Sealer) -> Result<()> {
        let ids: Vec<BlockId> = blocks.iter().map(|b| b.id).collect();
        let offered = self.nodes.offer(&grant, &ids)?;
        let wanted = blocks.into_iter().zip(offered.wanted).filter(|(_, places)| !places.is_empty());
        let tasks = in_tasks(wanted.collect());
        let mut state = group.lock();
        state.tasks_left += tasks.len();
        state.sent.extend(offered.sent);
        (state.view, state.absent) = (Some(offered.view.clone()), ids);
        drop(state);
        for blocks in tasks {
            let task = Task { group: group.clone(), grant, view: offered.view.clone(), blocks };
            match self.tasks.0.try_send(task) {
                Ok(()) => {}
                Err(TrySendError::Full(task) | TrySendError::Disconnected(task)) => self.run(task, sealer)?,
            }
        }
        Ok(())
    }

    /// Seals and puts one waiting task, if there is one. Answers whether there was.
    pub fn help(&self, sealer: &mut Sealer) -> Result<bool> {
        match self.tasks.1.try_recv() {
            Ok(task) => self.run(task, sealer).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Like [`Self::help`], but waits a moment for a task.
    pub fn help_soon(&self, sealer: &mut Sealer) -> Result<bool> {
        match self.tasks.1.recv_timeout(IDLE) {
            Ok(task) => self.run(task, sealer).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn run(&self, task: Task, sealer: &mut Sealer) -> Result<()> {
        self.check()?;
        let seal = |(block, places): (NewBlock, Places)| {
            let frame = sealer.seal(&self.keys, block.kind, &block.plaintext, &block.key, &block.children);
            self.counters.stored(block.kind, block.plaintext.len(), frame.bytes.len());
            let (id, kind, domain) = (block.id, block.kind, self.keys.domain_id());
            (PutBlock { id, kind, domain, sum: frame.sum, bytes: frame.bytes.into() }, places)
        };
        let sealed = task.blocks.into_iter().map(seal).collect();
        let sent = self.nodes.put(&task.view, &task.grant, sealed);
        task.group.lock().sent.extend(sent);
        task.group.finish_task();
        Ok(())
    }

    /// Puts one object that is stored as it stands, and waits for the receipts.
    pub fn put_object(&self, kind: Kind, object: &[u8]) -> Result<Vec<Receipt>> {
        let grant = self.index.grant(self.session)?;
        put_object(&self.nodes, grant, kind, self.keys.domain_id(), object)
    }

    /// Makes sure that the index has receipts for all blocks of these groups.
    pub fn deliver(&self, groups: &[Arc<Group>], sealer: &mut Sealer) -> Result<()> {
        for group in groups {
            while group.lock().tasks_left > 0 {
                self.check()?;
                if !self.help(sealer)? {
                    group.wait();
                }
            }
            let mut state = group.lock();
            if !state.delivered {
                if let Some(view) = state.view.take() {
                    let GroupState { absent, sent, .. } = &mut *state;
                    let receipts = self.nodes.settle(&view, absent, sent.drain(..))?;
                    state.absent = Vec::new();
                    self.index.register(self.session, Registration { headers: Vec::new(), receipts })?;
                }
                state.delivered = true;
            }
        }
        Ok(())
    }

    /// Registers pages and lists, children before parents. What they refer to must have been delivered.
    pub fn register(&self, headers: Vec<Vec<u8>>) -> Result<()> {
        if headers.is_empty() || self.dry_run {
            return Ok(());
        }
        let registered = self.index.register(self.session, Registration { headers, receipts: Vec::new() })?;
        match registered.missing.first() {
            None => Ok(()),
            Some(_) => Err(cas_net::ServiceError::SessionGone(self.session).into()),
        }
    }

    /// Forgets groups whose blocks are all registered: from now on the index knows them.
    pub fn release(&self, groups: impl IntoIterator<Item = Arc<Group>>) {
        let mut in_flight = self.lock_in_flight();
        for group in groups {
            for id in &group.ids {
                if in_flight.get(id).is_some_and(|g| Arc::ptr_eq(g, &group)) {
                    in_flight.remove(id);
                }
            }
        }
    }

    /// Stops all threads of the push at their next step. The first reason counts.
    pub fn stop(&self, reason: ClientError) {
        let _ = self.fault.set(reason);
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether to go on.
    pub fn check(&self) -> Result<()> {
        if self.stopped.load(Ordering::Acquire) { Err(ClientError::Interrupted) } else { Ok(()) }
    }

    /// Why it was stopped.
    pub fn into_fault(self) -> Option<ClientError> {
        self.fault.into_inner()
    }

    fn lock_in_flight(&self) -> MutexGuard<'_, HashMap<BlockId, Arc<Group>>> {
        self.in_flight.lock().expect("no thread panics with this lock")
    }
}

impl Group {
    fn new(ids: Vec<BlockId>) -> Arc<Self> {
        let state = GroupState { tasks_left: 1, view: None, absent: Vec::new(), sent: Vec::new(), delivered: false };
        Arc::new(Self { ids, state: Mutex::new(state), changed: Condvar::new() })
    }

    fn finish_task(&self) {
        self.lock().tasks_left -= 1;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, GroupState> {
        self.state.lock().expect("no thread panics with this lock")
    }

    fn wait(&self) {
        let state = self.lock();
        if state.tasks_left > 0 {
            drop(self.changed.wait_timeout(state, IDLE).expect("no thread panics with this lock"));
        }
    }
}

/// Blocks in even parts of about [`TASK_BYTES`].
fn in_tasks(blocks: Vec<(NewBlock, Places)>) -> Vec<Vec<(NewBlock, Places)>> {
    let all: usize = blocks.iter().map(|(block, _)| block.plaintext.len()).sum();
    let part = all.div_ceil((all / TASK_BYTES).max(1));
    let (mut tasks, mut task, mut bytes) = (Vec::new(), Vec::new(), 0);
    for block in blocks {
        bytes += block.0.plaintext.len();
        task.push(block);
        if bytes >= part {
            tasks.push(std::mem::take(&mut task));
            bytes = 0;
        }
    }
    tasks.extend((!task.is_empty()).then_some(task));
    tasks
}

/// Puts one object (snapshot, removal, keyring) and waits until it is durable.
pub fn put_object(nodes: &Nodes, grant: Grant, kind: Kind, domain: DomainId, object: &[u8]) -> Result<Vec<Receipt>> {
    let id = BlockId::of_object(kind, object);
    let block = PutBlock { id, kind, domain, sum: Sum::of(object), bytes: object.to_vec().into() };
    Ok(nodes.put_object(&grant, block)?)
}
