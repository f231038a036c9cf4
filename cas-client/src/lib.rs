//! Push, pull, check and everything else a program needs without a terminal.
//!
//! Promise: nothing here prints, asks or exits; every failure is a value. Work is bounded in memory and
//! can be stopped at any moment through a flag, leaving a store that needs no repair.
//!
//! Where to look: [`store`] joins index and node in one process; [`vault`] holds the keys; [`push`], [`pull`], [`browse`],
//! [`check`], [`forget`] and [`gc`] are one operation each; [`debug`] looks at what does not open.

pub mod attributes;
pub mod audit;
pub mod browse;
pub mod check;
pub mod debug;
pub mod discover;
mod entropy;
mod error;
pub mod fetch;
pub mod fleet;
pub mod forget;
pub mod gc;
pub mod host;
pub mod identity;
pub mod memory;
pub mod nodes;
pub mod places;
pub mod pull;
pub mod push;
pub mod reference;
pub mod remembered;
pub mod serve;
pub mod share;
pub mod store;
pub mod vault;

pub use cas_net::{ServiceError, address};
pub use entropy::random;
pub use error::{ClientError, Result};
