//! Reads one file and turns its bytes into blocks: small, cut, sparse.
//!
//! Promise: what comes out is what was read, in order; holes stay holes; memory is a few buffers, whatever the size of the file.

use super::buffers::Buffers;
use super::upload::{Group, NewBlock, Uploader};
use crate::error::{ClientError, Result};
use cas_core::chunk::Chunker;
use cas_core::domain::DomainRecord;
use cas_core::frame::Sealer;
use cas_core::id::{BlockId, Kind};
use cas_core::manifest::{BuiltBlock, Content, ListBuilder, ListRoot, Piece};
use cas_net::Bytes;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Plaintext that waits to be asked for together, about: more than the small files of a usual job, which so are asked for once.
const BATCH_BYTES: usize = 4 << 20;
/// Blocks that wait to be asked for together.
const BATCH_BLOCKS: usize = 256;
/// Read at once from a large file.
const BUFFER: usize = 4 << 20;
/// Lists of one file that wait to be registered together.
const LISTS: usize = 16;

/// Why one file is not there: the push goes on, or it cannot.
pub enum ReadError {
    /// The file could not be read.
    File(std::io::Error),
    /// The push is over.
    Push(ClientError),
}

impl From<std::io::Error> for ReadError {
    fn from(e: std::io::Error) -> Self {
        Self::File(e)
    }
}

impl From<ClientError> for ReadError {
    fn from(e: ClientError) -> Self {
        Self::Push(e)
    }
}

/// What a file holds.
#[derive(Clone)]
pub struct Stored {
    /// For its entry.
    pub content: Content,
    /// How many bytes were read, holes included.
    pub size: u64,
    /// The id of its list, if the content is one.
    pub list: Option<BlockId>,
}

/// Named blocks on their way to the uploader, asked for in batches.
pub struct Batch<'a> {
    uploader: &'a Uploader,
    blocks: Vec<NewBlock>,
    bytes: usize,
    groups: Vec<Arc<Group>>,
    headers: Vec<Vec<u8>>,
}

impl<'a> Batch<'a> {
    /// An empty one.
    pub fn new(uploader: &'a Uploader) -> Self {
        Self { uploader, blocks: Vec::new(), bytes: 0, groups: Vec::new(), headers: Vec::new() }
    }

    /// Adds a data block; asks if there are enough.
    pub fn data(&mut self, plaintext: Bytes, sealer: &mut Sealer) -> Result<Piece> {
        let keys = self.uploader.keys();
        let key = keys.content_key(Kind::Data, &plaintext);
        let id = keys.block_id(Kind::Data, &key, &[]);
        let piece = Piece::data(plaintext.len() as u64, key.clone());
        self.add(NewBlock { kind: Kind::Data, plaintext, key, id, children: Vec::new() }, sealer)?;
        Ok(piece)
    }

    /// Adds a page or list.
    pub fn built(&mut self, built: BuiltBlock, sealer: &mut Sealer) -> Result<()> {
        let BuiltBlock { kind, plaintext, key, id, children } = built;
        self.add(NewBlock { kind, plaintext: plaintext.into(), key, id, children }, sealer)
    }

    fn add(&mut self, block: NewBlock, sealer: &mut Sealer) -> Result<()> {
        self.bytes += block.plaintext.len();
        self.blocks.push(block);
        if self.bytes >= BATCH_BYTES || self.blocks.len() >= BATCH_BLOCKS { self.ask(sealer) } else { Ok(()) }
    }

    /// Asks for what waits.
    pub fn ask(&mut self, sealer: &mut Sealer) -> Result<()> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let offered = self.uploader.offer(std::mem::take(&mut self.blocks), sealer)?;
        self.groups.extend(offered.groups);
        self.headers.extend(offered.headers);
        Ok(())
    }

    /// Takes what was asked for elsewhere along.
    pub fn adopt(&mut self, groups: Vec<Arc<Group>>, headers: Vec<Vec<u8>>) {
        self.groups.extend(groups);
        self.headers.extend(headers);
    }

    /// The groups that came of asking.
    pub fn take_groups(&mut self) -> Vec<Arc<Group>> {
        std::mem::take(&mut self.groups)
    }

    /// The headers of absent pages and lists.
    pub fn take_headers(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.headers)
    }
}

/// Reads files of one domain.
pub struct ContentReader<'a> {
    uploader: &'a Uploader,
    chunker: &'a Chunker,
    record: &'a DomainRecord,
    buffers: Buffers,
}

impl<'a> ContentReader<'a> {
    /// A reader; one per thread.
    pub fn new(uploader: &'a Uploader, chunker: &'a Chunker, record: &'a DomainRecord) -> Self {
        Self { uploader, chunker, record, buffers: Buffers::default() }
    }

    /// Reads a file whose stat said `size`, of which `allocated` bytes lie on the disk. Blocks of small files go into `small`; large files
    /// are complete, lists registered, when this returns.
    pub fn read(
        &mut self,
        file: &File,
        size: u64,
        allocated: u64,
        small: &mut Batch<'_>,
        sealer: &mut Sealer,
    ) -> std::result::Result<Stored, ReadError> {
        if size <= self.chunker.min() as u64
            && let Some(bytes) = self.read_small(file, size as usize)?
        {
            return Ok(self.small(bytes, small, sealer)?);
        }
        self.large(file, size, allocated < size, small, sealer)
    }

    /// The whole file if it is as small as its stat said.
    fn read_small(&self, file: &File, size: usize) -> std::io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; size + 1];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes.truncate(filled);
        Ok((filled <= size).then_some(bytes))
    }

    fn small(&self, bytes: Vec<u8>, batch: &mut Batch<'_>, sealer: &mut Sealer) -> Result<Stored> {
        let size = bytes.len() as u64;
        let content = match bytes.len() {
            0 => Content::None,
            n if n <= self.record.inline_limit as usize => Content::Inline(bytes),
            _ => Content::Pieces(vec![batch.data(bytes.into(), sealer)?]),
        };
        Ok(Stored { content, size, list: None })
    }

    fn large(
        &mut self,
        file: &File,
        size: u64,
        sparse: bool,
        job: &mut Batch<'_>,
        sealer: &mut Sealer,
    ) -> std::result::Result<Stored, ReadError> {
        let mut lists = FileLists::new(self.uploader, self.record);
        let mut at = 0;
        let mut end = size;
        if sparse {
            while let Some((start, stop)) = data_region(file, at, size)? {
                lists.hole(start - at, sealer)?;
                at = self.region(file, start, stop, &mut lists, sealer)?;
                if at < stop {
                    end = at;
                    break;
                }
            }
            lists.hole(end.saturating_sub(at), sealer)?;
            at = at.max(end);
        } else {
            at = self.region(file, 0, u64::MAX, &mut lists, sealer)?;
        }
        Ok(lists.finish(at, job, sealer)?)
    }

    /// Reads and cuts one region; answers where it ended, which is before `stop` only at the end of the file.
    fn region(
        &mut self,
        file: &File,
        start: u64,
        stop: u64,
        lists: &mut FileLists<'_>,
        sealer: &mut Sealer,
    ) -> std::result::Result<u64, ReadError> {
        let size = BUFFER.max(2 * self.chunker.max());
        let (mut read_at, mut rest, mut ended) = (start, Bytes::new(), false);
        loop {
            let (mut buffer, mut to) = (self.buffers.take(size), rest.len());
            buffer[..to].copy_from_slice(&rest);
            while !ended && to < buffer.len() {
                let wanted = (buffer.len() - to).min(usize::try_from(stop - read_at).unwrap_or(usize::MAX));
                match file.read_at(&mut buffer[to..to + wanted], read_at) {
                    Ok(0) => ended = true,
                    Ok(n) => {
                        to += n;
                        read_at += n as u64;
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => return Err(e.into()),
                }
            }
            let is_little = to < size / 2;
            rest = self.buffers.lend(buffer, to);
            while rest.len() >= self.chunker.max() || (ended && !rest.is_empty()) {
                let block = rest.split_to(self.chunker.cut(&rest));
                // A little block must not hold a large buffer.
                let block = if is_little { Bytes::copy_from_slice(&block) } else { block };
                lists.data(block, sealer)?;
            }
            if ended {
                return Ok(read_at);
            }
            self.uploader.check()?;
        }
    }
}

/// The next region with data at or after `at`, and where it ends.
fn data_region(file: &File, at: u64, size: u64) -> std::io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => at,
        Err(e) => return Err(e.into()),
    };
    let stop = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        Ok(stop) => stop.min(size),
        Err(Errno::INVAL | Errno::NXIO) => size,
        Err(e) => return Err(e.into()),
    };
    Ok(Some((start, stop)))
}

/// The pieces of one large file, and the lists that hold them once they are many.
struct FileLists<'a> {
    builder: ListBuilder,
    batch: Batch<'a>,
    /// Groups asked for, with how many pieces came before them.
    groups: VecDeque<(u64, Arc<Group>)>,
    pieces: u64,
    /// Pieces in lists that are closed.
    listed: u64,
    lists: Vec<BuiltBlock>,
}

impl<'a> FileLists<'a> {
    fn new(uploader: &'a Uploader, record: &DomainRecord) -> Self {
        Self {
            builder: ListBuilder::new(uploader.keys(), record),
            batch: Batch::new(uploader),
            groups: VecDeque::new(),
            pieces: 0,
            listed: 0,
            lists: Vec::new(),
        }
    }

    fn hole(&mut self, len: u64, sealer: &mut Sealer) -> Result<()> {
        if len > 0 { self.piece(Piece::hole(len), sealer) } else { Ok(()) }
    }

    fn data(&mut self, plaintext: Bytes, sealer: &mut Sealer) -> Result<()> {
        let piece = self.batch.data(plaintext, sealer)?;
        self.piece(piece, sealer)
    }

    fn piece(&mut self, piece: Piece, sealer: &mut Sealer) -> Result<()> {
        self.pieces += 1;
        let before = self.lists.len();
        self.builder.push(piece, &mut |list| self.lists.push(list));
        if self.lists.len() > before {
            self.listed = self.pieces - 1;
        }
        if self.lists.len() >= LISTS { self.register_lists(sealer) } else { Ok(()) }
    }

    /// Delivers what has been asked for, stores and registers the lists that are closed, forgets the blocks in them.
    fn register_lists(&mut self, sealer: &mut Sealer) -> Result<()> {
        let uploader = self.batch.uploader;
        self.batch.ask(sealer)?;
        let asked = self.batch.take_groups();
        self.groups.extend(asked.into_iter().map(|group| (self.pieces, group)));
        let waiting: Vec<_> = self.groups.iter().map(|(_, group)| group.clone()).collect();
        uploader.deliver(&waiting, sealer)?;
        for list in std::mem::take(&mut self.lists) {
            self.batch.built(list, sealer)?;
        }
        self.batch.ask(sealer)?;
        let groups = self.batch.take_groups();
        uploader.deliver(&groups, sealer)?;
        uploader.register(self.batch.take_headers())?;
        uploader.release(groups);
        while self.groups.front().is_some_and(|(pieces, _)| *pieces <= self.listed) {
            uploader.release(self.groups.pop_front().map(|(_, group)| group));
        }
        Ok(())
    }

    /// Ends the file. What is not registered yet goes along with the small blocks of its job.
    fn finish(self, size: u64, job: &mut Batch<'_>, sealer: &mut Sealer) -> Result<Stored> {
        let Self { builder, mut batch, groups, mut lists, .. } = self;
        let root = builder.finish(&mut |list| lists.push(list));
        for list in lists {
            batch.built(list, sealer)?;
        }
        batch.ask(sealer)?;
        job.adopt(groups.into_iter().map(|(_, group)| group).chain(batch.groups).collect(), batch.headers);
        let (content, list) = match root {
            ListRoot::Pieces(pieces) if pieces.is_empty() => (Content::None, None),
            ListRoot::Pieces(pieces) => (Content::Pieces(pieces), None),
            ListRoot::List { key, level, id } => (Content::List { key, level }, Some(id)),
        };
        Ok(Stored { content, size, list })
    }
}
