//! An embedded store, served as it lies there, so that others can use it over the network.
//!
//! Promise: nothing is converted. While it is served it is a cluster of one node, with people and rights; afterwards it is the
//! folder it was, with what others pushed in it. Whoever can write the folder may everything, as before.

use super::directory::{Directory, write_private};
use super::lock::Lock;
use super::{Access, NODE_CHANGES, index_options, reached};
use crate::error::{ClientError, Result};
use crate::serve::local::kept_password;
use cas_core::signing::SigningKey;
use cas_index::DEFAULT_LEASE_NS;
use cas_index::rights::{Caller, Guarded};
use cas_index::serve::{Running, ServeOptions, serve_opened};
use cas_net::address::Address;
use cas_net::cluster::Cluster;
use cas_net::rights::{NewUser, Rights, Role, RoleGrant, Who};
use cas_net::{Index, NodeId, ServiceError};
use cas_node::member::{JoinOptions, Member, MemberOptions, join, serve};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the token of its node lives: it is used at once.
const TOKEN_NS: i64 = 60 * 1_000_000_000;
/// The rack of its node, until somebody says otherwise.
const RACK: &str = "rack1";

/// How it is served.
#[derive(Debug, Clone)]
pub struct ServedOptions {
    /// Where the index listens; the node takes any port beside it.
    pub listen: SocketAddr,
    /// Where metrics are read.
    pub http: Option<SocketAddr>,
    /// The name of the first user.
    pub admin: String,
}

/// A store that is being served.
pub struct Served {
    index: Running,
    node: Member,
    admin: String,
    password: PathBuf,
    /// Before the lock, so that it is written under it.
    reached: reached::Note,
    lock: Lock,
}

impl Served {
    /// Opens and serves it.
    ///
    /// # Errors
    /// As [`super::Store::open`]; a port is taken.
    pub fn start(dir: &Path, access: Access<'_>, options: &ServedOptions) -> Result<Self> {
        let directory = Directory::open(dir)?;
        let lock = Lock::take(&directory.lock(), &access.label, access.patience)?;
        let mut opened = index_options(&directory, false)?;
        // Its clients are processes that come and go: a silent one is gone.
        (opened.must_exist, opened.lease_ns) = (true, DEFAULT_LEASE_NS);
        let noted = opened.reached;
        let index = cas_index::Index::open_cluster(&directory.index(), opened.clone())?;
        let note = reached::Note::keep(directory.reached(), index.clone(), noted);
        let node_key = SigningKey::from_seed(&directory.node_seed()?).public();
        index.add_node(NodeId(node_key))?;
        let password = directory.root().join("password");
        let admin = first_user(&index, &password, &options.admin)?;
        let mut serving = ServeOptions::new(directory.index(), opened.key_seed);
        (serving.index, serving.listen, serving.http) = (opened, options.listen, options.http);
        let running = serve_opened(index, serving)?;
        let node = node(&directory, &running, options.listen)?;
        Ok(Self { index: running, node, admin, password, reached: note, lock })
    }

    /// The address of its index.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> Result<Address> {
        Ok(self.index.address()?)
    }

    /// Where metrics are read.
    pub fn http(&self) -> Option<SocketAddr> {
        self.index.http()
    }

    /// The first user, who owns the vaults that were there.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The file with the password of the first user.
    pub fn password_file(&self) -> &Path {
        &self.password
    }

    /// Why its node acknowledges nothing any more, if that is so.
    pub fn fault(&self) -> Option<String> {
        self.node.fault()
    }

    /// Ends serving.
    ///
    /// # Errors
    /// Something did not end cleanly; nothing that was acknowledged is lost.
    pub fn shutdown(self, grace: Duration) -> Result<()> {
        let Self { index, node, reached, lock, .. } = self;
        let ended = node.shutdown(grace).map(drop);
        // It holds the index, which gives its directory back only when nobody does.
        drop(reached);
        let ended = ended.and(index.shutdown(grace).map(drop));
        drop(lock);
        ended.map_err(ClientError::from)
    }
}

/// Serves the node; the first time, it joins under the key it has always had.
fn node(directory: &Directory, index: &Running, listen: SocketAddr) -> Result<Member> {
    let dir = directory.node();
    let key = dir.join("key");
    if !key.exists() {
        write_private(&key, &directory.node_seed()?)?;
    }
    let listen = SocketAddr::new(listen.ip(), 0);
    let member = || {
        let mut member = MemberOptions::new(&dir);
        (member.listen, member.tune) = (Some(listen), tune);
        serve(member)
    };
    match member() {
        Err(ServiceError::NotFound { what: "membership of", .. }) => {}
        served => return Ok(served?),
    }
    join(&JoinOptions {
        dir: dir.clone(),
        index: index.address()?,
        token: Some(index.index().join_token(RACK, TOKEN_NS)?),
        capacity: 0,
        listen,
        addresses: Vec::new(),
        network: cas_net::Settings::default(),
        tune,
    })?;
    Ok(member()?)
}

/// As an embedded store opens its node.
fn tune(node: &mut cas_node::Options) {
    node.fresh = NODE_CHANGES;
}

/// The user who may let others in; made the first time, as owner of what is there.
fn first_user(index: &std::sync::Arc<cas_index::Index>, password: &Path, name: &str) -> Result<String> {
    let console = Guarded::new(index.clone(), Caller::Console);
    let is_admin = |grant: &RoleGrant| grant.role == Role::Admin && grant.vault.is_none();
    let admin = console.roles(None)?.into_iter().find(is_admin).and_then(|grant| match grant.who {
        Who::User(name) => Some(name),
        Who::Device(_) => None,
    });
    if let Some(admin) = admin {
        return Ok(admin);
    }
    let password = kept_password(password)?;
    match console.users()?.iter().any(|user| user.name == name) {
        true => console.set_password(name, None, &password)?,
        false => console.add_user(&NewUser { name: name.to_owned(), password: Some(password), may_found: true })?,
    }
    let grant = |role, vault| RoleGrant { role, vault, prefix: String::new(), who: Who::User(name.to_owned()) };
    for vault in index.vaults()? {
        console.grant_role(&grant(Role::Owner, Some(vault)))?;
    }
    // Last: as long as there is no admin, the next start begins again.
    console.grant_role(&grant(Role::Admin, None))?;
    Ok(name.to_owned())
}
