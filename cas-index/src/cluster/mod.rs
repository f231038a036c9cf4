//! Nodes, placement and copies: the part of the state machine that makes many nodes one store. DESIGN §7.1, §8.
//!
//! Promise: every live row has the minimum of copies that count, or a heal row that names whose copies are missing. A
//! copy counts only if a receipt, a copy answer or a list proves it under an epoch not older than the moment since when it
//! was missing, and than the node's membership with this disk. Whatever moves is a partition with one member on its
//! way in, one on its way out; until the flip an acknowledgement needs the minimum among both.
//! Not here: who is alive ([`liveness`] decides and says so by a command), what is done next ([`planner`]), the wire.
//!
//! A store without a layout is the case with which everything begins: every known node is a member of every partition,
//! one copy is enough, nothing is ever short. The embedded store is that, and pays nothing for what stands here.

pub mod command;
mod count;
pub mod heal;
mod join;
pub mod liveness;
mod moves;
mod nodes;
pub mod partition;
pub mod placement;
pub mod planner;
mod refound;

pub use command::Command;
pub use heal::HealRow;
pub use nodes::{NodeRow, Want, node_of, nodes};
pub use partition::{Count, Entry, Partition};
pub use placement::{Placement, Word};
pub(crate) use refound::Holders;

use crate::state::{Applied, Meta, Outcome};
use crate::tables::Tables;

/// Carries out a command.
pub(crate) fn apply(tables: &mut impl Tables, meta: &mut Meta, command: &Command) -> Applied<Outcome> {
    match command {
        Command::AddToken { hash, rack, expires_ns } => join::add_token(tables, meta, hash, rack, *expires_ns),
        Command::Join { node, token, disk, capacity, addresses } => {
            join::join(tables, meta, node, token.as_ref(), disk, *capacity, addresses)
        }
        Command::Adopt { node, rack, disk, capacity, addresses } => {
            join::adopt(tables, meta, node, rack, disk, *capacity, addresses)
        }
        Command::Readdress { node, addresses } => nodes::change(tables, meta, node, |row| {
            row.addresses.clone_from(addresses);
        }),
        Command::Want { node, want } => nodes::change(tables, meta, node, |row| row.want = *want),
        Command::Weigh { node, weight } => nodes::change(tables, meta, node, |row| row.weight = *weight),
        Command::Rerack { node, rack } => nodes::rerack(tables, meta, node, rack),
        Command::Maintain { node, until_ns } => {
            nodes::change(tables, meta, node, |row| row.maintenance_until_ns = *until_ns)
        }
        Command::Down { node, down } => nodes::change(tables, meta, node, |row| row.down = *down),
        Command::NewDisk { node, disk } => join::new_disk(tables, meta, node, disk),
        Command::ApplyLayout { based_on, pool, table } => moves::apply_layout(tables, meta, *based_on, *pool, &table.0),
        Command::Begin { partitions } => moves::begin(tables, meta, partitions),
        Command::Flip { partitions } => moves::flip(tables, meta, partitions),
        Command::Floored { node, partitions, floor } => count::floored(tables, node, partitions, *floor),
        Command::Inventory(chunk) => count::inventory(tables, meta, chunk),
        Command::Copies { node, grant, ids, sums } => count::copies(tables, meta, node, *grant, ids, sums),
        Command::Missing { node, ids } => count::missing(tables, meta, node, ids),
        Command::Register { register, more } => crate::state::register_all(tables, meta, register, more),
    }
}
