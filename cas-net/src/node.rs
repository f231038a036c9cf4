//! The node's side of the border: keeps sealed blocks, says so, gives them back, deletes them when told.

use crate::chain::{PendingChain, Returned, Way};
use crate::wire::wire;
use crate::{Bytes, Delete, Grant, Receipt, Result, ServiceError};
use cas_core::frame::Header;
use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, Sum};
use std::sync::mpsc;
use std::time::Duration;

/// A node, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub PublicKey);

wire!(newtype NodeId);

/// A block to keep: a frame, or an object of kind snapshot or keyring.
#[derive(Debug, Clone)]
pub struct PutBlock {
    /// Its name; the node checks it against the bytes.
    pub id: BlockId,
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub domain: DomainId,
    /// BLAKE3 of the bytes.
    pub sum: Sum,
    /// The bytes to store. Clones share them: they may go to several nodes.
    pub bytes: Bytes,
}

/// A stored block, without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlock {
    /// Its name.
    pub id: BlockId,
    /// Whose it is.
    pub domain: DomainId,
    /// What it is.
    pub kind: Kind,
    /// BLAKE3 of the stored bytes.
    pub sum: Sum,
    /// Their length.
    pub len: u32,
    /// The newest epoch under which it was put or touched.
    pub put_epoch: Epoch,
}

wire!(struct StoredBlock { id, domain, kind, sum, len, put_epoch });

/// What a node has of a block that was asked for among others.
#[derive(Debug, Clone)]
pub enum Found {
    /// The block, with its bytes.
    Here(PutBlock),
    /// It is not here.
    Absent,
    /// Its stored bytes are wrong: where and how.
    Damaged(String),
    /// The answer was long enough without it: ask again.
    Later,
}

/// An answer that will come once blocks are durable. Dropping it does not undo the put.
#[derive(Debug)]
pub struct Pending<T, E = ServiceError> {
    answer: mpsc::Receiver<Result<T, E>>,
    hurry: Option<Hurry>,
}

/// A receipt that will come once the group is durable.
pub type PendingReceipt = Pending<Receipt>;

struct Hurry(Box<dyn Fn() + Send>);

/// What is done with an answer when it comes: on this thread or another, which it must not hold up.
pub type Done<T> = Box<dyn FnOnce(Result<T>) + Send>;

/// The answer to an offer: what is wanted, and the receipt for the rest.
pub type OfferAnswer = (Vec<bool>, PendingReceipt);

impl<T, E: From<ServiceError>> Pending<T, E> {
    /// A pair: what the caller waits on, and where the node sends the answer.
    pub fn new() -> (mpsc::SyncSender<Result<T, E>>, Self) {
        let (sender, answer) = mpsc::sync_channel(1);
        (sender, Self { answer, hurry: None })
    }

    /// Has the node told when somebody begins to wait, so that it does not wait for more to come.
    pub fn hurried_by(self, hurry: impl Fn() + Send + 'static) -> Self {
        Self { hurry: Some(Hurry(Box::new(hurry))), ..self }
    }

    /// Waits until the blocks would survive a power cut.
    pub fn wait(self) -> Result<T, E> {
        if let Some(answer) = self.poll() {
            return answer;
        }
        if let Some(Hurry(hurry)) = &self.hurry {
            hurry();
        }
        self.answer.recv().unwrap_or_else(|_| Err(ServiceError::Stopped("the node went away".into()).into()))
    }

    /// Waits no longer than so long; gives itself back if nothing came. The node is hurried the first time.
    ///
    /// # Errors
    /// Itself.
    pub fn wait_for(mut self, longest: Duration) -> Result<Result<T, E>, Self> {
        if let Some(answer) = self.poll() {
            return Ok(answer);
        }
        if let Some(hurry) = self.take_hurry() {
            hurry();
        }
        match self.answer.recv_timeout(longest) {
            Ok(answer) => Ok(answer),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(self),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                Ok(Err(ServiceError::Stopped("the node went away".into()).into()))
            }
        }
    }

    /// What would hurry the node: whoever takes it says itself when, and waiting no longer does.
    pub fn take_hurry(&mut self) -> Option<Box<dyn Fn() + Send>> {
        self.hurry.take().map(|Hurry(hurry)| hurry)
    }

    /// The answer if it is there already.
    pub fn poll(&self) -> Option<Result<T, E>> {
        self.answer.try_recv().ok()
    }
}

impl std::fmt::Debug for Hurry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hurry")
    }
}

/// What a node answered to one delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// It no longer has the block (or never had it).
    Gone,
    /// It keeps it: put or touched since, or floored.
    Kept,
}

wire!(enum Deleted as "answer to a delete" { 0 = Gone, 1 = Kept });

/// One step of a scrub.
#[derive(Debug, Clone, Default)]
pub struct Scrubbed {
    /// Blocks read in this step.
    pub blocks: u64,
    /// Bytes read in this step.
    pub bytes: u64,
    /// Blocks whose stored bytes are wrong or unreadable, with where and what.
    pub damaged: Vec<(BlockId, String)>,
    /// Where to go on; `None` when the end is reached.
    pub next: Option<BlockId>,
}

wire!(struct Scrubbed { blocks, bytes, damaged, next });

/// What a node holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Live blocks.
    pub blocks: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Bytes of dead records, until compaction.
    pub dead_bytes: u64,
    /// Bytes of all segment files.
    pub segment_bytes: u64,
    /// Segment files.
    pub segments: u64,
}

wire!(struct NodeStats { blocks, live_bytes, dead_bytes, segment_bytes, segments });

/// Keeps sealed blocks. Implemented by the local store and by the network.
pub trait Node: Send + Sync {
    /// Who it is.
    fn id(&self) -> NodeId;

    /// Which of these it has already: those are touched under the grant (put_epoch = max, durably, by the time the
    /// receipt arrives). Answers per id whether it is wanted, and the receipt for those it has.
    fn offer(&self, grant: &Grant, ids: &[BlockId]) -> Result<(Vec<bool>, PendingReceipt)>;

    /// Like [`Self::offer`], for a caller who asks several nodes at once.
    fn offer_then(&self, grant: &Grant, ids: Vec<BlockId>, done: Done<OfferAnswer>) {
        done(self.offer(grant, &ids));
    }

    /// Keeps blocks. Refuses a wrong grant, a wrong name or a wrong sum; keeps its own bytes of a block it has,
    /// unless the grant says replace. Blocks while too much is waiting.
    fn put(&self, grant: &Grant, blocks: Vec<PutBlock>) -> Result<PendingReceipt>;

    /// Whether it sends blocks on, see [`Self::put_on`].
    fn sends_on(&self) -> bool {
        false
    }

    /// Keeps blocks, and sends them on to others: one way for each.
    fn put_on(&self, _grant: &Grant, blocks: Vec<PutBlock>, _way: Way) -> Result<PendingChain, Returned> {
        let why = ServiceError::Protocol("this node sends nothing on".into());
        Err(Returned { why, blocks })
    }

    /// The stored bytes, verified against their sum.
    fn get(&self, id: &BlockId) -> Result<Vec<u8>>;

    /// Several blocks at once, about `byte_limit` bytes of them: as many of the first ones as that allows, but at least one.
    ///
    /// # Errors
    /// If none can be told anything of; what is wrong with single blocks stands in the answer.
    fn get_many(&self, ids: &[BlockId], byte_limit: u64) -> Result<Vec<Found>> {
        let mut bytes = 0;
        let mut get = |id: &BlockId| {
            if bytes >= byte_limit {
                return Ok(Found::Later);
            }
            match self.get(id) {
                Ok(block) => {
                    bytes += (block.len() as u64).max(1);
                    named(id, block)
                }
                Err(ServiceError::NotFound { .. }) => Ok(Found::Absent),
                Err(e @ ServiceError::Damaged { .. }) => Ok(Found::Damaged(e.to_string())),
                Err(e) => Err(e),
            }
        };
        ids.iter().map(&mut get).collect()
    }

    /// Like [`Self::get_many`], for a caller who does not wait for one node alone.
    fn get_then(&self, ids: Vec<BlockId>, byte_limit: u64, done: Done<Vec<Found>>) {
        done(self.get_many(&ids, byte_limit));
    }

    /// Where a block lies: a number that grows with its place on disk, so that a reader can go in that order.
    fn locality(&self, ids: &[BlockId]) -> Result<Vec<Option<u64>>>;

    /// Deletes what was not put or touched since: see [`Delete`].
    fn delete(&self, deletes: &[Delete]) -> Result<Vec<Deleted>>;

    /// At most `limit` stored blocks in order of id, after `after`.
    fn list(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredBlock>>;

    /// Verifies stored bytes in order of id, after `after`, about `byte_limit` bytes.
    fn scrub(&self, after: Option<BlockId>, byte_limit: u64) -> Result<Scrubbed>;

    /// Rewrites the deadest segments until dead bytes are at most this share of the live ones. Answers the bytes freed.
    fn compact(&self, dead_share: f64) -> Result<u64>;

    /// What it holds.
    fn stats(&self) -> Result<NodeStats>;

    /// Makes its cache durable and marks a clean end.
    fn close(&self) -> Result<()>;
}

/// A block as its bytes describe it. Objects do not say whose they are: then the domain is zero.
fn named(id: &BlockId, bytes: Vec<u8>) -> Result<Found> {
    let sum = Sum::of(&bytes);
    if let Ok((header, _)) = Header::parse(&bytes) {
        return Ok(Found::Here(PutBlock {
            id: *id,
            kind: header.kind,
            domain: header.domain,
            sum,
            bytes: bytes.into(),
        }));
    }
    let kind = [Kind::Snapshot, Kind::Keyring].into_iter().find(|kind| BlockId::of_object(*kind, &bytes) == *id);
    Ok(match kind {
        Some(kind) => Found::Here(PutBlock { id: *id, kind, domain: DomainId::ZERO, sum, bytes: bytes.into() }),
        None => Found::Damaged(format!("block {id} is neither a frame nor the object of its name")),
    })
}
