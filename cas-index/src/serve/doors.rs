//! Who asks, and what that lets them ask: every request of a served index passes here.
//!
//! Promise: a request is answered as far as the key that the connection proved goes, looked up anew for each request, so
//! that a revocation holds at once. A key that nobody knows can log in, enrol and join, and hears nothing else. A node
//! speaks for itself alone: it beats, answers orders and looks at the layout. A device acts through [`Guarded`].

use super::keeper::Keeper;
use super::strangers::Strangers;
use super::tasks::RESTORED;
use crate::Index;
use crate::cluster::{self, Want};
use crate::rights::{Caller, Guarded};
use cas_core::id::{BlockId, PublicKey};
use cas_net::calls::Call;
use cas_net::calls::index::{Condemn, DeletesAnswered, EmptyTrash};
use cas_net::cluster::calls as c;
use cas_net::cluster::{Asker, Cluster, Damage};
use cas_net::rights::Rights;
use cas_net::rights::calls::{Enrol, LogIn};
use cas_net::server::{Handler, IndexHandler, Peer, Reply, Request};
use cas_net::{Index as _, Result, ServiceError};
use std::sync::Arc;

/// What the three families share.
pub(super) struct Doors {
    index: Arc<Index>,
    keeper: Arc<Keeper>,
    strangers: Strangers,
}

impl Doors {
    pub(super) fn new(keeper: Arc<Keeper>) -> Self {
        Self { index: keeper.index.clone(), keeper, strangers: Strangers::default() }
    }

    /// The family of the index.
    pub(super) fn index_family(self: &Arc<Self>) -> impl Handler + use<> {
        let (doors, opener) = (self.clone(), self.clone());
        let of_devices = IndexHandler::new(move |peer: &Peer| Ok(Arc::new(opener.guarded(peer)) as _));
        move |peer: &Peer, request: Request| {
            if request.method() == DeletesAnswered::METHOD && doors.is_node(&peer.key())? {
                return request.answer(|call: DeletesAnswered| {
                    speaks_for_itself(peer, &call.node.0)?;
                    doors.index.deleted(call.node, &call.answers)
                });
            }
            doors.must_be_somebody(peer)?;
            if matches!(request.method(), Condemn::METHOD | EmptyTrash::METHOD) {
                doors.must_be_released()?;
            }
            of_devices.handle(peer, request)
        }
    }

    /// The family of the cluster.
    pub(super) fn cluster_family(self: &Arc<Self>) -> impl Handler + use<> {
        let doors = self.clone();
        move |peer: &Peer, request: Request| doors.cluster(peer, request)
    }

    /// The family of rights.
    pub(super) fn rights_family(self: &Arc<Self>) -> impl Handler + use<> {
        let doors = self.clone();
        move |peer: &Peer, mut request: Request| {
            without_bodies(&mut request)?;
            if !matches!(request.method(), LogIn::METHOD | Enrol::METHOD) {
                doors.must_be_somebody(peer)?;
            }
            let answer = cas_net::rights::answer(&doors.guarded(peer), request.method(), request.message())?;
            Ok(Reply::of_bytes(answer))
        }
    }

    fn cluster(&self, peer: &Peer, mut request: Request) -> Result<Reply> {
        without_bodies(&mut request)?;
        let (key, method) = (peer.key(), request.method());
        let mut asker = Asker { key, operates: false };
        if method == c::JoinCluster::METHOD {
            if !self.is_node(&key)? {
                self.strangers.admit(self.index.cluster_time_ns())?;
            }
        } else if is_of_nodes(method) {
            self.must_be_node(&key)?;
            if method == c::Strays::METHOD && self.keeper.held.is_held() {
                return Ok(Reply::of::<c::Strays>(&Vec::new()));
            }
        } else if is_of_operators(method) || !self.is_node(&key)? {
            self.must_be_somebody(peer)?;
            if is_of_operators(method) {
                self.guarded(peer).must_operate()?;
                asker.operates = true;
            } else if method == c::Locate::METHOD {
                return request.answer(|call: c::Locate| self.locate(peer, &call.ids));
            } else if method == c::Report::METHOD {
                return request.answer(|call: c::Report| self.report(peer, &call.damage));
            }
        }
        match method {
            c::GetRuns::METHOD => request.answer(|call: c::GetRuns| Ok(self.keeper.newest_runs(call.limit))),
            c::AskRun::METHOD => request.answer(|call: c::AskRun| self.keeper.ask(&call.task)),
            c::ReleaseIndex::METHOD => request.answer(|_: c::ReleaseIndex| self.keeper.release()),
            _ => Ok(Reply::of_bytes(cas_net::cluster::answer(&*self.index, &asker, method, request.message())?)),
        }
    }

    /// Where blocks are, of those that the device may read.
    fn locate(&self, peer: &Peer, ids: &[BlockId]) -> Result<Vec<Option<cas_net::cluster::Located>>> {
        let rows = self.guarded(peer).rows(ids)?;
        let located = self.index.locate(ids)?;
        Ok(located.into_iter().zip(rows).map(|(located, row)| located.filter(|_| row.is_some())).collect())
    }

    /// Damage that the device can have seen.
    fn report(&self, peer: &Peer, damage: &[Damage]) -> Result<()> {
        let ids: Vec<BlockId> = damage.iter().map(|damage| damage.id).collect();
        let rows = self.guarded(peer).rows(&ids)?;
        let seen = damage.iter().zip(rows).filter(|(_, row)| row.is_some()).map(|(damage, _)| *damage);
        self.index.report(&seen.collect::<Vec<_>>())
    }

    fn guarded(&self, peer: &Peer) -> Guarded {
        let caller = Caller::Device { key: peer.key(), peer: Some(peer.from().ip()) };
        Guarded::new(self.index.clone(), caller)
    }

    /// The time is what everybody may ask who is anybody; who is not is written down.
    fn must_be_somebody(&self, peer: &Peer) -> Result<()> {
        self.guarded(peer).clock().map(drop)
    }

    fn must_be_released(&self) -> Result<()> {
        if self.keeper.held.is_held() { Err(ServiceError::Denied(RESTORED.into())) } else { Ok(()) }
    }

    fn must_be_node(&self, key: &PublicKey) -> Result<()> {
        if self.is_node(key)? {
            return Ok(());
        }
        Err(ServiceError::NotFound { what: "node", name: key.to_string() })
    }

    /// Whether it has joined and was not given up for lost.
    fn is_node(&self, key: &PublicKey) -> Result<bool> {
        let row = cluster::node_of(&*self.index.tables(), &key.0)?;
        Ok(row.is_some_and(|row| row.want != Want::Lost))
    }
}

fn speaks_for_itself(peer: &Peer, node: &PublicKey) -> Result<()> {
    if peer.key() == *node {
        return Ok(());
    }
    Err(ServiceError::Denied(format!("{} speaks for node {node}", peer.key())))
}

fn without_bodies(request: &mut Request) -> Result<()> {
    if request.bodies().is_empty() {
        return Ok(());
    }
    Err(ServiceError::Protocol(format!("request {} has no bodies", request.method())))
}

/// What nodes say of themselves.
fn is_of_nodes(method: u16) -> bool {
    [c::SendBeat::METHOD, c::CopiesDone::METHOD, c::FloorWritten::METHOD, c::Inventory::METHOD, c::Strays::METHOD]
        .contains(&method)
}

fn is_of_operators(method: u16) -> bool {
    [
        c::MakeJoinToken::METHOD,
        c::ChangeNode::METHOD,
        c::PlanLayout::METHOD,
        c::ApplyLayout::METHOD,
        c::GetRuns::METHOD,
        c::AskRun::METHOD,
        c::ReleaseIndex::METHOD,
    ]
    .contains(&method)
}
