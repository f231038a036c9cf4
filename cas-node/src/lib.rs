//! Keeps sealed blocks in append-only segments.
//!
//! Promise: a block whose receipt was given is found again after any crash, as it was; what is damaged is named and
//! never given out. The segments are the truth, `index.redb` is a cache of them. Bytes: FORMAT §8.
//! Not here: which block goes where, who may write (grants are verified, not judged), the network.
//!
//! A put goes: `store` checks → `writer` appends the group, one write, one `fdatasync` → places → receipt.

mod compact;
pub mod inspect;
mod places;
mod record;
mod replay;
mod segment;
mod store;
mod writer;

pub use record::{HEADER_LEN, Record, What};
pub use store::{Options, Store};
