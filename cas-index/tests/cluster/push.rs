//! What clients do: they push, with as few copies as are allowed, and forget.

use crate::Sim;
use crate::support::{data, device, domain, page, removal, snapshot, vault};
use cas_core::frame::Header;
use cas_core::id::{BlockId, Kind};
use cas_core::snapshot::SnapshotObject;
use cas_net::{Commit, Grant, Index as _, NodeId, Receipt, Registration, ServiceError, SessionId, StartSession};
use std::collections::BTreeSet;

impl Sim {
    /// A page with some blocks, to nodes that are up; as few copies as are allowed, sometimes. Not acknowledged if
    /// too few nodes take it.
    pub fn push(&mut self) {
        self.pushes += 1;
        let start = StartSession { vault: vault(), domain: domain(), device: device().public(), label: String::new() };
        let session = self.index().start_session(&start).unwrap().session;
        let children: BTreeSet<u64> = (0..1 + self.dice.below(5)).map(|_| self.dice.below(24) as u64).collect();
        let mut blocks: Vec<Header> = children.iter().map(|n| data(*n)).collect();
        let ids: Vec<BlockId> = blocks.iter().map(Header::id).collect();
        blocks.push(page(children.iter().fold(0, |all, n| all * 31 + n), &ids));
        let root = blocks.last().unwrap().id();
        let salt = self.dice.below(2) as u8;
        for _ in 0..4 {
            let ids: Vec<BlockId> = blocks.iter().map(Header::id).collect();
            let have = self.index().have(session, &ids).unwrap();
            let mut receipts = Vec::new();
            for (block, _) in blocks.iter().zip(&have.present).filter(|(_, present)| !**present) {
                let bytes = [block.encode(), vec![salt]].concat();
                receipts.extend(self.send(&have.grant, block.kind, block.id(), bytes));
            }
            if self.dice.chance(10) {
                self.events(false); // Something happens in between.
            }
            let headers = vec![blocks.last().unwrap().encode()];
            match self.index().register(session, Registration { headers, receipts }) {
                Ok(registered) if registered.missing.is_empty() => return self.commit(session, root, ids),
                Ok(_) => {}
                Err(ServiceError::SessionGone(_)) => return,
                Err(other) => panic!("{other}"),
            }
        }
        self.index().close_session(session).unwrap();
    }

    /// Puts a block on members that are up, and on others if they are too few.
    fn send(&mut self, grant: &Grant, kind: Kind, id: BlockId, bytes: Vec<u8>) -> Vec<Receipt> {
        let layout = self.layout();
        let members: Vec<NodeId> =
            layout.members(&id).iter().filter_map(|member| layout.node(*member)).map(|info| info.node).collect();
        let mut order: Vec<usize> = (0..self.nodes.len()).filter(|n| self.nodes[*n].is_up).collect();
        order.sort_by_key(|n| !members.contains(&self.nodes[*n].id()));
        let is_short = self.dice.chance(3);
        let (mut receipts, mut stored) = (Vec::new(), Vec::new());
        for n in order {
            let is_member = members.contains(&self.nodes[n].id());
            let enough = layout.is_enough(&id, &stored) || stored.len() > members.len();
            if enough && (is_short || !is_member) {
                break;
            }
            receipts.push(self.nodes[n].keep(grant, &[(kind, id, bytes.clone())]));
            stored.push(self.nodes[n].id());
        }
        receipts
    }

    fn commit(&mut self, session: SessionId, root: BlockId, mut blocks: Vec<BlockId>) {
        let name = format!("n{}", self.dice.below(3));
        let (seq, previous) = self.index().head(&vault(), &name).unwrap().unwrap_or_default();
        let object = snapshot(&name, seq + 1, previous, root, self.clock.now());
        let grant = self.index().grant(session).unwrap();
        let receipts = self.send(&grant, Kind::Snapshot, object.object_id(), object.encode());
        let is_enough = self.is_enough(&object.object_id(), &receipts);
        let key = cas_core::kdf::derive("test key", &self.pushes.to_le_bytes())[..16].try_into().unwrap();
        let commit = Commit { object: object.encode(), receipts, key };
        match self.index().commit(session, &commit) {
            Ok(done) => {
                assert!(is_enough, "a version was acknowledged with too few copies of its record");
                blocks.push(object.object_id());
                self.kept.insert(done.snapshot, blocks);
                self.say("push");
            }
            Err(ServiceError::Unreachable { .. }) => {}
            Err(ServiceError::Denied(_) | ServiceError::RootMissing(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Whether so many nodes took an object as an acknowledgement needs.
    fn is_enough(&self, id: &BlockId, receipts: &[Receipt]) -> bool {
        let nodes: Vec<NodeId> = receipts.iter().map(|receipt| receipt.node).collect();
        self.layout().is_enough(id, &nodes)
    }

    pub fn forget(&mut self) {
        let Some(snapshot) = self.kept.keys().nth(self.dice.below(self.kept.len())).copied() else { return };
        let object = SnapshotObject::parse(&self.index().snapshot_object(&snapshot).unwrap()).unwrap();
        let removal = removal(&object, self.clock.now());
        let start = StartSession { vault: vault(), domain: domain(), device: device().public(), label: String::new() };
        let session = self.index().start_session(&start).unwrap().session;
        let grant = self.index().grant(session).unwrap();
        let receipts = self.send(&grant, Kind::Snapshot, removal.object_id(), removal.encode());
        self.index().close_session(session).unwrap();
        if self.index().forget(&removal.encode(), &receipts).is_ok() {
            self.kept.remove(&snapshot);
            self.say("forget");
        }
    }
}
