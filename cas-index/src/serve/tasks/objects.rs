//! Objects that the index itself writes: it puts them on the members of their partition, as a client would.

use super::Job;
use crate::cluster::placement::Placement;
use crate::state::Meta;
use crate::state::interned::{Interned, number_of};
use cas_core::id::{BlockId, DomainId, Kind, Sum};
use cas_net::address::{Address, SCHEME};
use cas_net::cluster::{Cluster, Health, NodeInfo};
use cas_net::{Grant, Node, PutBlock, Receipt, RemoteNode, Result, ServiceError};

/// Puts an object of kind snapshot on every member that is up. Whether the receipts are enough is decided where they are used.
///
/// # Errors
/// No member took it: what the last of them said.
pub(super) fn put_object(job: &Job<'_>, grant: Grant, domain: DomainId, object: &[u8]) -> Result<Vec<Receipt>> {
    let id = BlockId::of_object(Kind::Snapshot, object);
    let block = PutBlock { id, kind: Kind::Snapshot, domain, sum: Sum::of(object), bytes: object.to_vec().into() };
    let (mut receipts, mut fault) = (Vec::new(), None);
    let mut pending = Vec::new();
    for node in members(job, &id)? {
        match remote(job, &node).and_then(|remote| remote.put(&grant, vec![block.clone()])) {
            Ok(receipt) => pending.push(receipt),
            Err(why) => fault = Some(why),
        }
    }
    for receipt in pending {
        match receipt.wait() {
            Ok(receipt) => receipts.push(receipt),
            Err(why) => fault = Some(why),
        }
    }
    match fault {
        Some(why) if receipts.is_empty() => Err(why),
        None if receipts.is_empty() => Err(ServiceError::NotFound { what: "node for", name: id.to_string() }),
        _ => Ok(receipts),
    }
}

/// The members of a block's partition that are up; without a layout all nodes.
fn members(job: &Job<'_>, id: &BlockId) -> Result<Vec<NodeInfo>> {
    let up: Vec<NodeInfo> = job.tools.index.nodes()?.into_iter().filter(|node| node.health == Health::Up).collect();
    let tables = job.tools.index.tables();
    let mut placement = Placement::load(&*tables, &Meta::load(&*tables)?)?;
    let Some(partition) = placement.partition(&*tables, id.partition())? else { return Ok(up) };
    let mut out = Vec::with_capacity(partition.entries.len());
    for node in up {
        let number = number_of(&*tables, Interned::Node, node.node.0.as_bytes())?;
        if number.is_some_and(|number| partition.entry(number).is_some()) {
            out.push(node);
        }
    }
    Ok(out)
}

/// A node, to be asked by the index.
pub(super) fn remote(job: &Job<'_>, node: &NodeInfo) -> Result<RemoteNode> {
    let known = |place: &String| format!("{SCHEME}{}@{place}", node.node.0).parse::<Address>().ok();
    match node.addresses.iter().find_map(known) {
        Some(address) => Ok(RemoteNode::new(job.tools.network, &address)),
        None => Err(ServiceError::NotFound { what: "address of node", name: short(node) }),
    }
}

/// The beginning of its key.
pub(super) fn short(node: &NodeInfo) -> String {
    node.node.0.to_string().chars().take(8).collect()
}
