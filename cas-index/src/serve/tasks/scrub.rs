//! Has every node verify all it holds, a piece at a time, node after node. What a node finds it reports with its next beat,
//! and it is healed from a peer; here it is counted.

use super::Job;
use super::objects::{remote, short};
use crate::serve::history::End;
use cas_core::id::BlockId;
use cas_net::cluster::{Cluster, Damage, Health, NodeInfo};
use cas_net::{Node, Result};

/// Bytes that a node verifies in one step.
const FULL_STEP: u64 = 256 << 20;
/// And beside a push.
const SMALL_STEP: u64 = 16 << 20;

pub(super) fn run(job: &mut Job<'_>) -> Result<End> {
    let (mut damaged, mut unreached) = (0, Vec::new());
    for node in job.tools.index.nodes()? {
        if node.health != Health::Up {
            unreached.push(format!("{} is {:?}", short(&node), node.health).to_lowercase());
            continue;
        }
        match scrub(job, &node) {
            Ok(Some(found)) => damaged += found,
            Ok(None) => return Ok(End::Stopped),
            Err(why) => unreached.push(format!("{}: {why}", short(&node))),
        }
    }
    job.note = format!("{damaged} damaged");
    if unreached.is_empty() { Ok(End::Done) } else { Ok(End::Held(unreached.join("; "))) }
}

/// Answers how many damaged blocks it found; `None`: the index is to end.
fn scrub(job: &mut Job<'_>, node: &NodeInfo) -> Result<Option<u64>> {
    let remote = remote(job, node)?;
    let (mut after, mut damaged): (Option<BlockId>, u64) = (None, 0);
    loop {
        let Some(is_full) = job.turn()? else { return Ok(None) };
        let step = remote.scrub(after, if is_full { FULL_STEP } else { SMALL_STEP })?;
        job.items += step.blocks;
        job.bytes += step.bytes;
        damaged += step.damaged.len() as u64;
        let found: Vec<Damage> = step.damaged.iter().map(|(id, _)| Damage { node: node.node, id: *id }).collect();
        job.tools.index.report(&found)?;
        match step.next {
            None => return Ok(Some(damaged)),
            next => after = next,
        }
    }
}
