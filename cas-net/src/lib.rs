//! What the parts of `cas` say to one another.
//!
//! Two traits, [`Index`] and [`Node`], are the whole border between a client, the index and the
//! nodes. The embedded store implements them in one process, the network by messages; whoever calls
//! them cannot tell. Everything here is plain data and blocking calls: async is a coat worn outside.
//! Not here: what an index or a node does with it.
//!
//! The network: an [`Address`](address::Address) names a server and its key, `calls` holds every request,
//! `wire` their bytes. PROTOCOL.md specifies all of it.

pub mod address;
pub mod calls;
pub mod chain;
pub mod cluster;
pub mod encoding;
pub mod envelope;
mod error;
mod error_wire;
mod grant;
pub mod hello;
mod index;
pub mod limits;
mod node;
#[doc(hidden)]
pub mod raw;
mod receipt;
mod remote;
pub mod rights;
pub mod server;
mod transport;
pub mod wire;

pub use bytes::Bytes;
pub use error::{Result, ServiceError};
pub use grant::Grant;
pub use index::{
    Checkpointed, Commit, Committed, Condemned, Delete, GcHolder, HaveAnswer, Index, IndexStatus, Recount, Registered,
    Registration, RowState, SessionId, SessionInfo, SessionStart, SnapshotRow, SnapshotState, StartSession, StoredRow,
};
pub use node::{
    Deleted, Done, Found, Node, NodeId, NodeStats, OfferAnswer, Pending, PendingReceipt, PutBlock, Scrubbed,
    StoredBlock,
};
pub use receipt::{Receipt, Received};
pub use remote::{RemoteIndex, RemoteNode};
pub use transport::{Connection, Identity, Introduce, Network, RawCall, Settings, Waiting};
