//! The protocol of counting and collecting (DESIGN §7.1) as models that are searched exhaustively.
//!
//! A block is written by a push, counted while snapshots need it, and deleted when nobody does. What makes this hard is
//! that nothing is in step: puts, deletes and answers arrive late or twice, clients die and come back, disks are lost,
//! the index crashes, nodes go away and return with what they had. There are no clocks in it. The whole protocol in
//! seven sentences:
//!
//! 1. Every change is a command of the index, and the number of commands applied is the **epoch**.
//! 2. A push is a **session** with a start; it asks what is there, and gets either "present" or a **grant** with the
//!    epoch of the answer, under which it writes to nodes; each node keeps the newest grant as the block's `put_epoch`.
//! 3. It **registers** its pages with the nodes' **receipts**: rows come into being, parents count on children; its
//!    **commit** counts on the root.
//! 4. What counts zero is **condemned**, if it fell to zero before every live session started.
//! 5. A delete carries its condemnation's epoch, and a node obeys only if its `put_epoch` is older.
//! 6. A copy counts only by a grant that is younger than the last time it was known to be missing, or by a list that a
//!    node made after it wrote a **FLOOR**, which makes older deletes void.
//! 7. What has no row is swept only up to the start of the oldest live session.
//!
//! Read [`rules`] first: each rule as a switch. Then [`one_block`] from its `State` down, then the others in any order:
//! [`pages`], [`replicas`], [`moving`], [`sums`], [`trash`]. Every model asks the same three questions ([`check`]): is
//! it safe; does switching a rule off break it (or the model is blind); can garbage always be collected and a push
//! always get through (or the protocol is safe because it does nothing).
//!
//! The models share nothing with the index's code: they are a second opinion. What they leave out: more than one
//! partition, erasure coding, quotas, a restored index (new era).
//!
//! `cargo test -p cas-tests --test model -- --nocapture` prints the number of states. `CAS_MODEL_PATHS=1` also prints
//! how each missing rule loses data; `CAS_MODEL=long` searches larger bounds: tens of
//! millions of states at a time, with gigabytes of memory.

mod check;
mod epoch;
mod moving;
mod one_block;
mod pages;
mod replicas;
mod rules;
mod sums;
mod trash;
