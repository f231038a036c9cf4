//! One file for each command: its options, what it does, how it tells.

pub mod check;
pub mod completions;
pub mod debug;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod gc;
pub mod index;
pub mod init;
pub mod key;
pub mod ls;
pub mod pull;
pub mod push;
pub mod snapshots;
pub mod stats;
pub mod undelete;
pub mod vault;
pub mod versions;
