//! What is asked: families of requests, each request with its number and the type of its answer. PROTOCOL §7.
//!
//! A new request is one entry in the file of its family; a new family is a number here, a file with its calls, and
//! a [`Handler`](crate::server::Handler). Numbers are never reused and never change their meaning.

pub mod index;
pub mod node;

use crate::limits::{MAX_ANSWER_ITEMS, MAX_REQUEST_ITEMS};
use crate::wire::{self, Wire, WireError};
use std::fmt;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// The index: `cas_net::Index`.
    Index = 1,
    /// A node: `cas_net::Node`.
    Node = 2,
    /// The index about nodes: registration, heartbeats, layout, peers.
    Cluster = 3,
    /// The index about people: login, users, tickets; and whoever a ticket is shown to.
    Rights = 4,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Index, Self::Node, Self::Cluster, Self::Rights];

    /// Reads the byte of an envelope.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|family| *family as u8 == byte)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Index => "index",
            Self::Node => "node",
            Self::Cluster => "cluster",
            Self::Rights => "rights",
        })
    }
}

/// A request: its arguments are the message.
pub trait Call: Wire + Send {
    /// Who is asked.
    const FAMILY: Family;
    /// Its number in the family.
    const METHOD: u16;
    /// Its name, for errors and logs.
    const NAME: &'static str;
    /// Whether asking twice is the same as asking once: then a lost connection is no error yet.
    const AGAIN: bool;
    /// What is answered.
    type Answer: Wire + Send;
}

/// Decodes and encodes again.
pub(crate) type Check = fn(&[u8]) -> Result<bool, WireError>;

pub(crate) fn same_request<C: Call>(bytes: &[u8]) -> Result<bool, WireError> {
    Ok(wire::encode(&wire::decode::<C>(bytes, MAX_REQUEST_ITEMS)?) == bytes)
}

pub(crate) fn same_answer<C: Call>(bytes: &[u8]) -> Result<bool, WireError> {
    Ok(wire::encode(&wire::decode::<C::Answer>(bytes, MAX_ANSWER_ITEMS)?) == bytes)
}

pub(crate) fn check_request(known: &[(u16, Check)], method: u16, bytes: &[u8]) -> Option<Result<bool, WireError>> {
    known.iter().find(|(number, _)| *number == method).map(|(_, check)| check(bytes))
}
