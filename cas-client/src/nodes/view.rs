//! A layout with a way to each of its nodes.

use super::Reach;
use super::write::Places;
use cas_core::id::BlockId;
use cas_core::layout::{PARTITIONS, Pool};
use cas_net::cluster::{Health, Layout, Load, Member, NodeInfo, NodeWant, Space};
use cas_net::{Node, NodeId};
use std::sync::Arc;

/// A layout that can be used.
pub struct View {
    /// Who is a member of what.
    pub layout: Layout,
    /// As [`Layout::nodes`]; `None` for those that cannot be reached.
    nodes: Vec<Option<Arc<dyn Node>>>,
}

impl View {
    /// One node that holds everything.
    pub fn one(node: Arc<dyn Node>) -> Self {
        let info = NodeInfo {
            node: node.id(),
            rack: String::new(),
            weight: 1,
            addresses: Vec::new(),
            want: NodeWant::Member,
            maintenance_until_ns: None,
            health: Health::Up,
            silent_ms: None,
            space: Space::default(),
            load: Load::default(),
            partitions: PARTITIONS as u32,
        };
        let partitions = vec![vec![Member { node: 0, flags: 0 }]; PARTITIONS];
        let layout = Layout { version: 0, pool: Pool::R1 as u8, nodes: vec![info], partitions };
        Self { layout, nodes: vec![Some(node)] }
    }

    /// The nodes of a layout; those of an older view whose addresses are the same are kept with their connections.
    pub fn of(layout: Layout, reach: &Reach, old: Option<&Self>) -> Self {
        let kept = |info: &NodeInfo| {
            let old = old?;
            let at = old.layout.nodes.iter().position(|i| i.node == info.node && i.addresses == info.addresses)?;
            old.nodes[at].clone()
        };
        let nodes = layout.nodes.iter().map(|info| kept(info).or_else(|| reach(info))).collect();
        Self { layout, nodes }
    }

    /// The members of the partition of a block that can be reached at all, by their number among the members.
    pub fn members(&self, id: &BlockId) -> impl Iterator<Item = (usize, Member, &Arc<dyn Node>)> {
        let members = self.layout.members(id).iter().enumerate();
        members.filter_map(|(at, member)| Some((at, *member, self.nodes.get(usize::from(member.node))?.as_ref()?)))
    }

    /// Nodes by their places: members first, then those that may stand in for them.
    pub fn targets(&self, id: &BlockId, places: Places) -> Vec<u16> {
        let members = self.members(id).filter(|(at, ..)| places.has(*at)).map(|(_, member, _)| member.node);
        let count = self.layout.members(id).len();
        if !places.any_from(count) {
            return members.collect();
        }
        let others = self.stand_ins(id).into_iter().zip(count..).filter(|(_, at)| places.has(*at));
        members.chain(others.map(|(number, _)| number)).collect()
    }

    /// Nodes that may keep a block in the stead of its members: all others that are up, in an order that is the same for everybody and
    /// another one in each partition.
    pub fn stand_ins(&self, id: &BlockId) -> Vec<u16> {
        let may = |info: &NodeInfo| info.want == NodeWant::Member && info.health == Health::Up;
        let is_member = |number: u16| self.layout.members(id).iter().any(|member| member.node == number);
        let others = self.layout.nodes.iter().zip(0u16..).filter(|(info, number)| may(info) && !is_member(*number));
        let mut others: Vec<(u64, u16)> = others
            .filter(|(_, number)| self.node(*number).is_some())
            .map(|(info, number)| (turn(id.partition(), &info.node), number))
            .collect();
        others.sort_unstable();
        others.into_iter().map(|(_, number)| number).collect()
    }

    /// What is known of a node of this layout.
    pub fn info(&self, number: u16) -> &NodeInfo {
        &self.layout.nodes[usize::from(number)]
    }

    /// A node by its number.
    pub fn node(&self, number: u16) -> Option<&Arc<dyn Node>> {
        self.nodes.get(usize::from(number))?.as_ref()
    }

    /// A node by its key.
    pub fn by_id(&self, id: &NodeId) -> Option<&Arc<dyn Node>> {
        self.node(u16::try_from(self.layout.nodes.iter().position(|info| info.node == *id)?).ok()?)
    }
}

/// The place of a node among those that may stand in for members of a partition.
fn turn(partition: u16, node: &NodeId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = node.0.0;
    let mut mixed =
        u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ u64::from(partition).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ mixed >> 31
}
