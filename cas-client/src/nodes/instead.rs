//! Writing where too few members are there: others keep the blocks in their stead. DESIGN §8.
//!
//! Promise: nobody stands in as long as the members that are there are enough. A node that stands in says so with its receipt; the index
//! records who is missing and who has a copy in his stead, has it copied home when the members are back, and calls the copy a stray then.

use super::Nodes;
use super::view::View;
use super::write::{MAX_PLACES, Places, Targets};
use cas_core::id::BlockId;
use cas_net::NodeId;

impl Nodes {
    /// Who is to keep a block beside these, so that they are enough: nodes by their place behind the members. `None` if there
    /// are not so many.
    pub(super) fn stand_ins(&self, view: &View, id: &BlockId, kept: &[NodeId]) -> Option<Places> {
        let members = view.layout.members(id).len();
        let (mut kept, mut places) = (kept.to_vec(), Places::default());
        for (place, number) in (members..MAX_PLACES).zip(view.stand_ins(id)) {
            if view.layout.is_enough(id, &kept) {
                break;
            }
            let node = view.info(number).node;
            if !self.choice.avoids(&node) {
                kept.push(node);
                places.add(place);
            }
        }
        view.layout.is_enough(id, &kept).then_some(places)
    }

    /// Who is to be sent a block once more, that these have: members that have not failed, and others if those are too few; if even
    /// these are, all members.
    pub(super) fn targets_again(&self, view: &View, id: &BlockId, stored: &[NodeId]) -> Targets {
        let is_there = |number: &u16| !stored.contains(&view.info(*number).node);
        let members: Targets = view.members(id).map(|(_, member, _)| member.node).filter(is_there).collect();
        let node = |number: &u16| view.info(*number).node;
        let good: Targets = members.iter().copied().filter(|number| !self.choice.avoids(&node(number))).collect();
        let kept: Vec<NodeId> = stored.iter().copied().chain(good.iter().map(node)).collect();
        match self.stand_ins(view, id, &kept) {
            Some(others) => good.into_iter().chain(view.targets(id, others)).filter(is_there).collect(),
            None => members,
        }
    }
}
