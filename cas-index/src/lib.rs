//! The index: names, manifests' edges, counts and collection. DESIGN §7.
//!
//! Every change is a [`command::Command`], appended to a [`log`] and applied by one deterministic function,
//! [`state::apply`], to [`tables`]. [`Index`] is the handle that joins them and implements [`cas_net::Index`]: a
//! writer thread takes commands in order; reads go to the tables directly.
//!
//! [`serve`] makes a server of it: QUIC, nodes, schedules, metrics.
//!
//! When the index is lost, [`rebuild()`] makes a new one from what the nodes hold. [`inspect`] shows what
//! stands on disk without opening it.

pub mod audit;
mod crc;
mod disk;
mod options;
mod rebuild;
mod service;

pub mod cluster;
pub mod command;
pub mod inspect;
pub mod log;
pub mod recount;
pub mod rights;
pub mod serve;
pub mod state;
pub mod tables;

pub use disk::{Disk, DiskFile, LocalDisk};
pub use options::{
    DEFAULT_CACHE_BYTES, DEFAULT_CHECKPOINT_LOG, DEFAULT_CHECKPOINT_WORTH, DEFAULT_LEASE_NS, DEFAULT_TRASH_NS, Options,
};
pub use rebuild::{Rebuilt, rebuild};
pub use service::Index;
