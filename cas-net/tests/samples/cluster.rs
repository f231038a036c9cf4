//! One value of every message of the cluster.

use super::{Visit, grant, id, key};
use cas_core::id::{Epoch, PublicKey, Sum};
use cas_net::cluster::calls as c;
use cas_net::cluster::*;
use cas_net::rights::Revocations;
use cas_net::{Delete, NodeId};

fn node(n: u8) -> NodeId {
    NodeId(PublicKey([n; 32]))
}

fn disk() -> DiskId {
    DiskId([6; 16])
}

fn info() -> NodeInfo {
    NodeInfo {
        node: node(4),
        rack: "r1".into(),
        weight: 5,
        addresses: vec!["a.example:7227".into(), "[::1]:7228".into()],
        want: NodeWant::Draining,
        maintenance_until_ns: Some(-6),
        health: Health::Suspect,
        silent_ms: Some(7),
        space: Space { capacity: 8, used: 9, free: 10 },
        load: Load { requests: 11, bytes: 12, sync_us: 13 },
        partitions: 14,
    }
}

fn blocks() -> Vec<CopyBlock> {
    vec![CopyBlock { id: id(1), sum: Sum([2; 32]), len: 3 }]
}

fn orders() -> Vec<Order> {
    vec![
        Order::Copy(CopyOrder { from: vec![node(1), node(2)], grant: grant(), blocks: blocks() }),
        Order::Floor { partitions: vec![0, 4095], epoch: Epoch(3) },
        Order::Inventory { partition: 5, floor: Epoch(6), after: Some(id(7)) },
        Order::Delete(vec![Delete { id: id(8), epoch: Epoch(9) }]),
        Order::Verify(vec![id(10)]),
    ]
}

fn failed() -> Vec<CopyFailed> {
    let faults = [CopyFault::Absent, CopyFault::WrongBytes, CopyFault::Unreachable, CopyFault::Full];
    faults.into_iter().map(|fault| CopyFailed { id: id(1), from: node(2), fault }).collect()
}

fn layout() -> Layout {
    let member = |node, flags| Member { node, flags };
    let partitions = vec![vec![member(0, Member::LEAVING), member(1, Member::JOINING | Member::UNCOUNTED)], vec![]];
    let another = NodeInfo { node: node(5), want: NodeWant::New, health: Health::Up, silent_ms: None, ..info() };
    Layout { version: 3, pool: 2, nodes: vec![info(), another], partitions }
}

fn plan() -> PlanShown {
    let traffic = NodeTraffic { node: node(1), before: 2, after: 3, bytes_in: 4, bytes_out: 5 };
    PlanShown { based_on: 1, pool: "r3".into(), table: Sum([2; 32]), nodes: vec![traffic], copies: 6, bytes: 7 }
}

fn status() -> ClusterStatus {
    ClusterStatus {
        layout: 1,
        pool: "r3".into(),
        nodes: 2,
        suspect: 3,
        down: 4,
        to_move: 5,
        moving: 6,
        uncounted: 7,
        unreachable: 8,
        short: 9,
        lost: 10,
        suspended: true,
        copied: 11,
        copied_bytes: 12,
    }
}

fn runs() -> Vec<RunInfo> {
    let run = |end, slot_s, ended_ns| RunInfo {
        task: "gc".into(),
        slot_s,
        began_ns: 2,
        ended_ns,
        waited_ns: 4,
        end,
        items: 5,
        bytes: 6,
        note: "note".into(),
    };
    vec![
        run(RunEnd::Done, Some(1), Some(3)),
        run(RunEnd::Held("a push".into()), None, Some(3)),
        run(RunEnd::Stopped, None, None),
        run(RunEnd::Failed("why".into()), None, Some(3)),
    ]
}

/// Every request of the cluster, with an answer.
pub fn visit(to: &mut impl Visit) {
    of_nodes(to);
    of_people(to);
}

fn of_nodes(to: &mut impl Visit) {
    let addresses = vec!["a.example:7227".to_owned()];
    let join = Join {
        node: node(1),
        token: Some(JoinToken([2; 32])),
        disk: disk(),
        capacity: 3,
        addresses: addresses.clone(),
    };
    let joined = Joined { rack: "r1".into(), index: key().public(), epoch: Epoch(4) };
    to.call(c::JoinCluster { join }, joined);
    let damage = vec![Damage { node: node(1), id: id(2) }];
    let (space, load) = (info().space, info().load);
    let beat = Beat {
        node: node(1),
        disk: disk(),
        addresses,
        space,
        load,
        layout: 14,
        damage: damage.clone(),
        takes_orders: true,
    };
    to.call(c::SendBeat { beat }, BeatAnswer { layout: 15, time_ns: -16, orders: orders() });
    let done = CopyDone { node: node(1), disk: disk(), grant: Epoch(2), stored: blocks(), failed: failed() };
    to.call(c::CopiesDone { done }, ());
    let floored = Floored { node: node(1), disk: disk(), partitions: vec![2, 3], floor: Epoch(4) };
    to.call(c::FloorWritten { floored }, ());
    let chunk = InventoryChunk {
        node: node(1),
        disk: disk(),
        partition: 2,
        floor: Epoch(3),
        after: Some(id(4)),
        blocks: vec![(id(5), Sum([6; 32]))],
        upto: Some(id(5)),
    };
    to.call(c::Inventory { chunk }, true);
    to.call(c::Strays { node: node(1), ids: vec![id(2), id(3)] }, vec![Delete { id: id(2), epoch: Epoch(4) }]);
    to.call(c::Report { damage }, ());
    let revoked =
        Revocations { version: Epoch(1), all_before: Epoch(2), devices: vec![(PublicKey([3; 32]), Epoch(4))] };
    to.call(c::GetRevocations { known: Epoch(5) }, Some(revoked));
}

fn of_people(to: &mut impl Visit) {
    to.call(c::MakeJoinToken { rack: "r1".into(), lives_ns: 2 }, JoinToken([3; 32]));
    to.call(c::GetLayout { known: 1 }, Some(layout()));
    let located =
        Located { id: id(1), sum: Sum([2; 32]), len: 3, nodes: vec![node(4)], missing: vec![node(5), node(6)] };
    to.call(c::Locate { ids: vec![id(1), id(2)] }, vec![Some(located), None]);
    to.call(c::Nodes {}, vec![info()]);
    to.call(c::GetClusterStatus {}, status());
    to.call(c::ChangeNode { node: node(1), change: NodeChange::Maintenance(Some(2)) }, ());
    to.call(c::PlanLayout { pool: Some("r3".into()) }, plan());
    to.call(c::ApplyLayout { plan: plan() }, ());
    to.call(c::GetRuns { limit: 1 }, runs());
    to.call(c::AskRun { task: "scrub".into() }, ());
    to.call(c::ReleaseIndex {}, ());
}

/// What an operator changes: each has its bytes.
pub fn changes() -> Vec<NodeChange> {
    vec![
        NodeChange::Member,
        NodeChange::Drain,
        NodeChange::Remove { lost: true },
        NodeChange::Weight(2),
        NodeChange::Rack("r2".into()),
        NodeChange::Maintenance(None),
    ]
}
