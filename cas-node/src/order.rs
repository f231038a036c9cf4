//! What the writer is asked, what becomes of it, and the answers.
//!
//! Promise: who asked gets one answer, whatever happens; one that names blocks only after they are durable.

use crate::group::{Copied, Group, Looked};
use crate::record::{At, HEADER_LEN, Record};
use cas_core::id::{BlockId, Epoch};
use cas_core::signing::SigningKey;
use cas_net::{Delete, Deleted, PutBlock, Receipt, Received, Result, ServiceError};
use std::io;
use std::sync::mpsc::SyncSender;

/// Where an answer goes.
pub type Answer<T> = SyncSender<Result<T>>;

/// What the writer is asked.
pub enum Order {
    /// Keep blocks; each with what the caller found of it.
    Put { epoch: Epoch, blocks: Vec<(PutBlock, Option<Looked>)>, answer: Answer<Receipt> },
    /// Touch blocks, as far as they are here: `here` is told before the sync, `answer` after it.
    Offer { epoch: Epoch, held: Vec<(BlockId, Looked)>, here: SyncSender<Vec<bool>>, answer: Answer<Receipt> },
    /// Delete blocks.
    Delete { deletes: Vec<Delete>, answer: Answer<Vec<Deleted>> },
    /// Set a floor.
    Floor { partition: u16, epoch: Epoch, answer: Answer<()> },
    /// Append what compaction took out of a segment.
    Move { copies: Vec<Copied>, notes: Vec<(Record, At)>, answer: Answer<()> },
    /// Get ready for emptying these segments.
    StartCompaction { emptying: Vec<u32>, answer: Answer<Start> },
    /// Make the cache durable if that is worth it, and mark a clean end.
    Close { answer: Answer<()> },
    /// Somebody waits for an answer: do not linger.
    Hurry,
}

/// Where compaction starts from.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    /// The segment that is being written: none of those to empty.
    pub active: u32,
    /// The first record that the cache on the disk does not know; nothing if there is no cache.
    pub saved: Option<At>,
}

impl Order {
    /// Bytes that will be written for it, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Put { blocks, .. } => blocks.iter().map(|(block, _)| HEADER_LEN + block.bytes.len()).sum(),
            Self::Move { copies, notes, .. } => {
                let bodies: usize = copies.iter().map(|copied| copied.body.len()).sum();
                bodies + (copies.len() + notes.len()) * HEADER_LEN
            }
            Self::Offer { held, .. } => held.len() * HEADER_LEN,
            Self::Delete { deletes, .. } => deletes.len() * HEADER_LEN,
            _ => 0,
        }
    }

    /// Whether it brings bytes that may be refused on a full disk: all else is what makes room, or small.
    pub fn grows(&self) -> bool {
        matches!(self, Self::Put { blocks, .. } if blocks.iter().any(|(block, _)| block.kind.is_sealed()))
    }

    /// Whether it can wait for others.
    pub fn lingers(&self) -> bool {
        matches!(self, Self::Put { .. })
    }
}

/// An order whose records are in the group, and what will be answered.
pub enum Decided {
    Receipt(Result<(Epoch, Vec<Received>)>, Answer<Receipt>),
    Deleted(Result<Vec<Deleted>>, Answer<Vec<Deleted>>),
    Done(Result<()>, Answer<()>),
    Nothing,
}

impl Order {
    /// Decides what it becomes, at the end of the group.
    pub fn decide(self, group: &mut Group<'_>) -> Decided {
        match self {
            Self::Put { epoch, blocks, answer } => {
                let put = blocks.into_iter().map(|(block, looked)| group.put(epoch, block, looked));
                Decided::Receipt(put.collect::<Result<_>>().map(|blocks| (epoch, blocks)), answer)
            }
            Self::Offer { epoch, held, here, answer } => {
                let offered = held.iter().map(|(id, looked)| group.offer(epoch, id, *looked));
                let found = offered.collect::<Result<Vec<_>>>();
                let _ = here.send(found.as_deref().unwrap_or_default().iter().map(Option::is_some).collect());
                Decided::Receipt(found.map(|found| (epoch, found.into_iter().flatten().collect())), answer)
            }
            Self::Delete { deletes, answer } => {
                Decided::Deleted(deletes.iter().map(|delete| group.delete(delete)).collect(), answer)
            }
            Self::Floor { partition, epoch, answer } => {
                group.floor(partition, epoch);
                Decided::Done(Ok(()), answer)
            }
            Self::Move { copies, notes, answer } => {
                let copied = copies.into_iter().try_for_each(|copied| group.copy(copied));
                let repeated = copied.and_then(|()| notes.iter().try_for_each(|(note, at)| group.repeat(note, *at)));
                Decided::Done(repeated, answer)
            }
            Self::StartCompaction { .. } | Self::Close { .. } | Self::Hurry => Decided::Nothing,
        }
    }

    /// Says that it was not done.
    pub fn refuse(self, e: ServiceError) {
        match self {
            Self::Put { answer, .. } | Self::Offer { answer, .. } => drop(answer.send(Err(e))),
            Self::Delete { answer, .. } => drop(answer.send(Err(e))),
            Self::Floor { answer, .. } | Self::Move { answer, .. } | Self::Close { answer } => {
                drop(answer.send(Err(e)))
            }
            Self::StartCompaction { answer, .. } => drop(answer.send(Err(e))),
            Self::Hurry => {}
        }
    }
}

impl Decided {
    /// Gives the word that was decided.
    pub fn acknowledge(self, key: &SigningKey) {
        match self {
            Self::Receipt(decided, answer) => {
                drop(answer.send(decided.map(|(epoch, blocks)| Receipt::sign(key, epoch, blocks))));
            }
            Self::Deleted(decided, answer) => drop(answer.send(decided)),
            Self::Done(decided, answer) => drop(answer.send(decided)),
            Self::Nothing => {}
        }
    }

    /// Says that it was not done.
    pub fn refuse(self, e: ServiceError) {
        match self {
            Self::Receipt(_, answer) => drop(answer.send(Err(e))),
            Self::Deleted(_, answer) => drop(answer.send(Err(e))),
            Self::Done(_, answer) => drop(answer.send(Err(e))),
            Self::Nothing => {}
        }
    }
}

/// One error for everybody in a group: the first gets it, the others a copy of what it says.
pub fn refusals(error: ServiceError) -> impl FnMut() -> ServiceError {
    let copy: Box<dyn Fn() -> ServiceError> = match &error {
        ServiceError::Full { what, detail } => {
            let (what, detail) = (what.clone(), detail.clone());
            Box::new(move || ServiceError::Full { what: what.clone(), detail: detail.clone() })
        }
        ServiceError::Io { what, source } => {
            let (what, kind, text) = (what.clone(), source.kind(), source.to_string());
            Box::new(move || ServiceError::io(what.clone(), io::Error::new(kind, text.clone())))
        }
        other => {
            let text = other.to_string();
            Box::new(move || ServiceError::Stopped(text.clone()))
        }
    };
    let mut first = Some(error);
    move || first.take().unwrap_or_else(&copy)
}
