//! Keeps sealed blocks in append-only segments.
//!
//! Promise: a block whose receipt was given is found again after any crash, as it was; what is damaged is named and
//! never given out. The segments are the truth, `index.redb` is a cache of them. Bytes: FORMAT §8.
//! Not here: which block goes where, who may write (grants are verified, not judged), the network: all that is [`member`]'s.
//!
//! ```text
//! put      answers (verifies) → writer (one group: decide, write, sync) → state (findable) → receipt
//! get      answers → state (where) → files (reads, verifies)
//! open     store → index (cache) → replay (the rest of the segments) → writer
//! gc       writer (deletes) → compact (copies) → retire (removes)
//! ```

mod answers;
mod compact;
mod files;
mod group;
mod index;
mod latency;
mod listing;
mod options;
mod order;
mod record;
mod replay;
mod reserve;
mod retire;
mod scan;
mod scrub;
mod segment;
mod shared;
mod state;
mod store;
mod verify;
mod writer;

pub mod disk;
pub mod inspect;
pub mod member;

pub use answers::MAX_PUT_BYTES;
pub use index::Region;
pub use latency::{Counter, LATENCY_BOUNDS_US, Latency};
pub use options::{
    DEFAULT_FRESH, DEFAULT_GROUP_BYTES, DEFAULT_RESERVE, DEFAULT_SEGMENT_BYTES, DEFAULT_SOFT_FREE, MAX_SEGMENT_BYTES,
    Options,
};
pub use record::{At, HEADER_LEN, Record, Salt, What};
pub use store::Store;
