//! A node as a member of a cluster: joining, who gets in, orders, and what holds while others are away or lie.

mod chain;
mod copies;
mod failures;
mod index;
mod joining;
mod layout;
mod liar;
mod load;
mod orders;
mod rot;
#[path = "../world/mod.rs"]
mod store;
mod tickets;
mod world;
