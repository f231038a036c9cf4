//! One value of every message, with every optional part and every variant somewhere.

pub mod cluster;
pub mod rights;

use cas_core::id::{BlockId, DomainId, Epoch, Kind, PublicKey, SnapshotId, Sum, VaultId};
use cas_core::signing::SigningKey;
use cas_net::calls::node::{FoundHead, PutHead};
use cas_net::calls::{Call, index, node};
use cas_net::chain::Way;
use cas_net::*;
use std::io;

/// What is done with each request and its answer.
pub trait Visit {
    /// One of them.
    fn call<C: Call>(&mut self, call: C, answer: C::Answer);
}

fn id(n: u8) -> BlockId {
    BlockId([n; 32])
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn grant() -> Grant {
    Grant::sign(&key(), SessionId(0x1122), Epoch::of_era(1).next(), true)
}

fn receipt() -> Receipt {
    let block = Received { id: id(0x21), kind: Kind::Data, sum: Sum([0x22; 32]), len: 0x010203 };
    Receipt::sign(&key(), Epoch(9), vec![block, Received { kind: Kind::List, ..block }])
}

fn session() -> SessionInfo {
    SessionInfo { session: SessionId(3), epoch: Epoch(4), started_ns: -5, label: "laptop".into() }
}

fn snapshot(state: SnapshotState) -> SnapshotRow {
    SnapshotRow {
        vault: VaultId([1; 16]),
        name: "laptop/documents".into(),
        seq: 7,
        snapshot: SnapshotId([2; 32]),
        object: id(3),
        root: id(4),
        time_ns: 1_700_000_000_000_000_000,
        state,
    }
}

fn trashed() -> SnapshotRow {
    snapshot(SnapshotState::Trash { since_ns: 6, by: PublicKey([8; 32]), removal: id(7) })
}

fn row(state: RowState) -> StoredRow {
    StoredRow { id: id(1), domain: DomainId([2; 16]), kind: Kind::Page, count: 3, sum: Sum([4; 32]), len: 5, state }
}

fn delete() -> Delete {
    Delete { id: id(9), epoch: Epoch(10) }
}

/// Every request of every family, with an answer.
pub fn visit(to: &mut impl Visit) {
    visit_index(to);
    visit_node(to);
    cluster::visit(to);
    rights::visit(to);
}

fn visit_index(to: &mut impl Visit) {
    let (vault, session_id, snapshot_id) = (VaultId([1; 16]), SessionId(0x1122), SnapshotId([2; 32]));
    let object = b"object".to_vec();
    let start =
        StartSession { vault, domain: DomainId([2; 16]), device: PublicKey([3; 32]), label: "host 17 über".into() };
    let registration = Registration { headers: vec![b"page".to_vec(), vec![]], receipts: vec![receipt()] };
    let commit = Commit { object: object.clone(), receipts: vec![receipt()], key: [5; 16] };
    to.call(index::AddNode { node: NodeId(PublicKey([1; 32])) }, ());
    to.call(index::Keyring { vault }, object.clone());
    to.call(index::PutKeyring { object: object.clone(), receipts: vec![receipt()] }, ());
    to.call(index::Vaults {}, vec![vault, VaultId([9; 16])]);
    to.call(index::Start { start }, SessionStart { session: session_id, epoch: Epoch(1), damaged: 2 });
    to.call(index::CloseSession { session: session_id }, ());
    to.call(index::GetGrant { session: session_id }, grant());
    to.call(
        index::Have { session: session_id, ids: vec![id(1), id(2)] },
        HaveAnswer { present: vec![true, false], grant: grant() },
    );
    to.call(index::Register { session: session_id, registration }, Registered { missing: vec![id(1)] });
    to.call(index::MakeCommit { session: session_id, commit }, Committed { snapshot: snapshot_id, seq: 3 });
    to.call(
        index::Snapshots { vault, name: Some("laptop".into()), trash: true },
        vec![snapshot(SnapshotState::Live), trashed()],
    );
    to.call(index::Head { vault, name: "laptop".into() }, Some((7, snapshot_id)));
    to.call(index::SnapshotObject { snapshot: snapshot_id }, object.clone());
    to.call(index::Forget { removal: object.clone(), receipts: vec![receipt()] }, ());
    to.call(index::EmptyTrash { before_ns: -1 }, vec![trashed()]);
    to.call(index::EndSessionsExcept { keep: vec![session_id] }, vec![session()]);
    to.call(
        index::Condemn { limit: 1000 },
        Condemned { deletes: vec![delete()], bytes: 11, held: Some(GcHolder::Session(session())), more: true },
    );
    let answers = vec![(delete(), Deleted::Gone), (delete(), Deleted::Kept)];
    to.call(index::DeletesAnswered { node: NodeId(PublicKey([1; 32])), answers }, ());
    let states = [RowState::Live, RowState::Bad, RowState::Condemned(Epoch(6))];
    let rows = states.map(|state| Some(row(state))).into_iter().chain([None]).collect();
    to.call(index::Rows { ids: vec![id(1); 4] }, rows);
    to.call(index::ListRows { after: Some(id(1)), limit: 5 }, vec![row(RowState::Live)]);
    to.call(index::Children { id: id(1) }, vec![id(2), id(3)]);
    to.call(index::Mark { ids: vec![id(1)], bad: true }, ());
    let recount = Recount { rows: 1, edges: 2, wrong: vec![(id(1), 3, 4)], dangling: vec![id(5)] };
    to.call(index::CompareCounts {}, recount);
    let status = IndexStatus {
        epoch: Epoch(1),
        live: 2,
        bad: 3,
        condemned: 4,
        unreferenced: 5,
        bytes: 6,
        sessions: vec![session()],
    };
    to.call(index::Status {}, status);
    to.call(index::Close {}, Checkpointed { log_tail: 12 });
    to.call(index::Undelete { returning: object, receipts: vec![receipt()] }, ());
}

fn visit_node(to: &mut impl Visit) {
    let (domain, sum) = (DomainId([2; 16]), Sum([3; 32]));
    let head = PutHead { id: id(1), kind: Kind::Data, domain, sum };
    let stored = StoredBlock { id: id(1), domain, kind: Kind::Snapshot, sum, len: 4, put_epoch: Epoch(5) };
    let scrubbed =
        Scrubbed { blocks: 1, bytes: 2, damaged: vec![(id(3), "segment 4, byte 5".into())], next: Some(id(6)) };
    let stats = NodeStats { blocks: 1, live_bytes: 2, dead_bytes: 3, segment_bytes: 4, segments: 5 };
    to.call(node::Offer { grant: grant(), ids: vec![id(1), id(2)] }, vec![false, true]);
    to.call(node::Put { grant: grant(), blocks: vec![head, PutHead { kind: Kind::Keyring, ..head }] }, ());
    to.call(node::Get { id: id(1) }, ());
    to.call(node::Locality { ids: vec![id(1), id(2)] }, vec![Some(0x0102), None]);
    to.call(node::DeleteBlocks { deletes: vec![delete()] }, vec![Deleted::Gone, Deleted::Kept]);
    to.call(node::List { after: None, limit: 5 }, vec![stored]);
    to.call(node::Scrub { after: Some(id(1)), byte_limit: 1 << 40 }, scrubbed);
    to.call(node::Compact { dead_share: 0.05 }, 77);
    to.call(node::Stats {}, stats);
    to.call(node::Close {}, ());
    let way = Way { nodes: vec![NodeId(PublicKey([4; 32]))], hops: vec![vec![0], vec![]], instead: true };
    to.call(node::PutOn { grant: grant(), way, blocks: vec![head, head] }, ());
    let found = vec![
        FoundHead::Here(head),
        FoundHead::Absent,
        FoundHead::Damaged("segment 4, byte 5".into()),
        FoundHead::Later,
    ];
    to.call(node::GetMany { ids: vec![id(1), id(2), id(3), id(4)], byte_limit: 1 << 20 }, found);
}

/// Every error.
pub fn errors() -> Vec<(&'static str, ServiceError)> {
    let text = || "why".to_owned();
    vec![
        ("01-session-gone", ServiceError::SessionGone(SessionId(3))),
        ("02-conflict", ServiceError::Conflict { name: "laptop".into(), latest: 4 }),
        ("03-not-found", ServiceError::NotFound { what: "block", name: "7c1f".into() }),
        ("04-root-missing", ServiceError::RootMissing(id(1))),
        ("05-denied", ServiceError::Denied(text())),
        ("06-busy", ServiceError::Busy(text())),
        ("07-full", ServiceError::Full { what: "disk".into(), detail: text() }),
        ("08-damaged", ServiceError::Damaged { what: "segment".into(), detail: text() }),
        ("09-version", ServiceError::Version { what: "index".into(), found: 9, known: 1 }),
        ("10-stopped", ServiceError::Stopped(text())),
        ("11-io", ServiceError::io("write", io::Error::new(io::ErrorKind::StorageFull, "no space"))),
        ("12-retained", ServiceError::Retained(Box::new(trashed()))),
        ("13-unreachable", ServiceError::Unreachable { peer: "node-7:9474".into(), detail: text() }),
        (
            "14-wrong-key",
            ServiceError::WrongKey {
                address: "node-7:9474".into(),
                expected: PublicKey([1; 32]),
                found: PublicKey([2; 32]),
            },
        ),
        ("15-protocol", ServiceError::Protocol(text())),
        ("16-stale", ServiceError::Stale(id(1))),
    ]
}
