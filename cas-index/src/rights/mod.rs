//! People and rights: users, devices, roles, locks, quotas, login, tickets. DESIGN §10.
//!
//! Promise (law 10): no device does what its roles do not say, no version goes before its lock ends, no account holds
//! more than its quota, under any order of events and any clock. Every decision is made where the change is applied
//! (`apply`), from the tables alone; [`Guarded`] asks the same question earlier, for what is only read.
//! Whoever opens the index itself, without a [`Guarded`], owns it: that is the embedded store, and it costs nothing there.
//!
//! One file per matter: [`holder`] (who may what), people, sharing, locks, retention, quotas, domains, voids; [`clock`], [`password`] and
//! [`throttle`] stand outside of the state machine. Bytes: FORMAT §9.

mod apply;
pub mod clock;
pub mod command;
mod deeds;
pub mod domains;
mod guarded;
pub mod holder;
pub mod lock;
pub mod password;
mod people;
pub mod quota;
mod refusals;
pub mod retention;
pub mod row;
mod serve;
mod sharing;
pub mod throttle;
pub mod voids;

pub(crate) use apply::apply;
pub use clock::{ClusterClock, govern};
pub use command::Command;
pub(crate) use guarded::carried;
pub use guarded::{Caller, Guarded};
pub use holder::{Action, Holder, Refusal, Where, may};
pub(crate) use refusals::Doors;
