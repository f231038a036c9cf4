//! The pure core of `cas`: ids, limits, chunking, sealing, formats, the manifest map, plans.
//!
//! Promise: everything here is a function of its arguments. No files, sockets, clocks, threads,
//! printing or async; randomness comes in as an argument. (The one exception is inside the
//! `age` library, which draws the file key of each box itself.)
//! Bytes: FORMAT.md, section by section.

pub mod agebox;
pub mod chunk;
pub mod codec;
mod density;
pub mod domain;
pub mod frame;
pub mod id;
pub mod identity;
pub mod kdf;
pub mod keyring;
pub mod layout;
pub mod limits;
pub mod manifest;
pub mod retention;
pub mod secret;
pub mod signing;
pub mod snapshot;
