//! Gets blocks from the nodes and opens them.
//!
//! Promise: what comes back was verified against its id and its key. A missing block and a damaged one are the same to a
//! reader: [`ClientError::Damaged`], with the reason as its cause. Pages and lists that were opened last are kept, since
//! the versions of a name share most of theirs. One fetcher serves one thread well.

use crate::error::{ClientError, Result};
use crate::nodes::{Coming, Nodes};
use cas_core::frame::Opener;
use cas_core::id::{BlockId, Kind};
use cas_core::limits::MAX_FRAME;
use cas_core::manifest::{BlockSource, OpenedBlock};
use cas_core::secret::{ContentKey, DomainKeys};
use cas_net::ServiceError;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Bytes of opened pages and lists to keep.
const KEEP_BYTES: usize = 4 << 20;
/// How many of them: they are looked through one by one.
const KEEP_BLOCKS: usize = 256;
/// Bytes of a stored page, about: few are longer.
const PAGE_BYTES: usize = 64 << 10;
/// Sets of blocks that are on their way at once: those of a job, and those of a file in it; or the pages of each level.
const KEEP_COMING: usize = 4;

/// Opens the blocks of one domain.
pub struct Fetcher {
    nodes: Arc<Nodes>,
    keys: Arc<DomainKeys>,
    desk: Mutex<Desk>,
}

/// What one thread works with.
struct Desk {
    opener: Opener,
    kept: Kept,
    coming: VecDeque<Coming>,
}

impl Fetcher {
    /// A fetcher.
    pub fn new(nodes: Arc<Nodes>, keys: Arc<DomainKeys>) -> Self {
        Self {
            nodes,
            keys,
            desk: Mutex::new(Desk { opener: Opener::new(), kept: Kept::default(), coming: VecDeque::new() }),
        }
    }

    /// Another one for another thread.
    pub fn again(&self) -> Self {
        Self::new(self.nodes.clone(), self.keys.clone())
    }

    /// The keys it opens with.
    pub fn keys(&self) -> &Arc<DomainKeys> {
        &self.keys
    }

    /// Data blocks that will be wanted soon, best all of a job at once: they are asked for together.
    pub fn expect(&self, ids: &[BlockId]) {
        self.ask_ahead(ids, MAX_FRAME);
    }

    fn ask_ahead(&self, ids: &[BlockId], longest: usize) {
        let Some(coming) = self.nodes.ahead(ids, longest) else { return };
        let mut desk = self.desk.lock().expect("no thread panics with this lock");
        desk.coming.retain(|coming| !coming.is_over());
        desk.coming.push_front(coming);
        desk.coming.truncate(KEEP_COMING);
    }

    /// The content of a data block.
    pub fn data(&self, id: &BlockId, key: &ContentKey) -> Result<Vec<u8>> {
        Ok(self.open(Kind::Data, id, key)?.plaintext)
    }

    /// The content of a data block that its file says has `len` bytes.
    pub fn piece(&self, id: &BlockId, key: &ContentKey, len: u64) -> Result<Vec<u8>> {
        let data = self.data(id, key)?;
        if data.len() as u64 != len {
            return Err(ClientError::damaged(*id, format!("it holds {} bytes, its file says {len}", data.len())));
        }
        Ok(data)
    }
}

impl BlockSource for Fetcher {
    type Error = ClientError;

    /// Pages beside one that is opened: without this, each would be a trip of its own.
    fn expect(&self, kind: Kind, ids: &[BlockId]) {
        if kind == Kind::Page {
            self.ask_ahead(ids, PAGE_BYTES);
        }
    }

    fn open(&self, kind: Kind, id: &BlockId, key: &ContentKey) -> Result<OpenedBlock> {
        let mut desk = self.desk.lock().expect("no thread panics with this lock");
        if let Some(kept) = desk.kept.find(kind, id, key) {
            return Ok(kept);
        }
        let Desk { opener, coming, .. } = &mut *desk;
        let mut open = |frame: Vec<u8>| {
            let opened = opener.open(&self.keys, id, key, &frame);
            let (header, plaintext) = opened.map_err(|e| ClientError::damaged(*id, e))?;
            if header.kind != kind {
                return Err(ClientError::damaged(
                    *id,
                    format!("it is a {}, not a {}", header.kind.name(), kind.name()),
                ));
            }
            Ok(OpenedBlock { plaintext, children: header.children })
        };
        let ahead = coming.iter().find_map(|coming| coming.take(id));
        let ahead = ahead.and_then(|(node, frame)| {
            let opened = open(frame);
            if opened.is_err() {
                self.nodes.sent_wrong(node, id);
            }
            opened.ok()
        });
        let opened = ahead.map_or_else(|| self.nodes.read(id, &mut open), Ok);
        let opened = opened.map_err(|e| match e {
            ClientError::Service(e @ (ServiceError::Damaged { .. } | ServiceError::NotFound { .. })) => {
                ClientError::damaged(*id, e)
            }
            other => other,
        })?;
        desk.kept.keep(kind, id, key, &opened);
        Ok(opened)
    }
}

/// Pages and lists, the last used in front.
#[derive(Default)]
struct Kept {
    blocks: VecDeque<(Kind, BlockId, ContentKey, OpenedBlock)>,
    bytes: usize,
}

impl Kept {
    /// A block that was opened with this very key: a wrong key must fail as it does without a memory.
    fn find(&mut self, kind: Kind, id: &BlockId, key: &ContentKey) -> Option<OpenedBlock> {
        let place = self.blocks.iter().position(|(k, i, p, _)| (k, i, p) == (&kind, id, key))?;
        let block = self.blocks.remove(place)?;
        let opened = block.3.clone();
        self.blocks.push_front(block);
        Some(opened)
    }

    fn keep(&mut self, kind: Kind, id: &BlockId, key: &ContentKey, opened: &OpenedBlock) {
        if !kind.has_children() {
            return;
        }
        self.bytes += weight(opened);
        self.blocks.push_front((kind, *id, key.clone(), opened.clone()));
        while self.bytes > KEEP_BYTES || self.blocks.len() > KEEP_BLOCKS {
            let Some((.., oldest)) = self.blocks.pop_back() else { return };
            self.bytes -= weight(&oldest);
        }
    }
}

fn weight(opened: &OpenedBlock) -> usize {
    opened.plaintext.len() + opened.children.len() * BlockId::LEN
}
