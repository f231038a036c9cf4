//! `cas up`: a small cluster in one process, or the store in a folder for others to use.

use super::index::OrNone;
use super::serving::{Serving, announced, listening, until_stopped};
use crate::exit::Exit;
use crate::log::Form;
use crate::measure::size;
use crate::workplace::Workplace;
use cas_client::serve::local::{LocalCluster, LocalOptions};
use cas_client::serve::{advertised, index::DEFAULT_HTTP};
use cas_client::store::served::{Served, ServedOptions};
use cas_client::{ClientError, Result, ServiceError, host};
use cas_net::address::DEFAULT_PORT;
use clap::Args;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Serve the store in a folder to others, or with --nodes a small cluster for trying out, until SIGTERM or Ctrl-C
///
/// The store is not converted: when this has ended, commands open the folder directly again. A password for the first user
/// is drawn and lies in the folder, for its owner's eyes only.
///
/// With --nodes N: an index and N nodes in this one process, each in a rack of its own, with as many copies as there are
/// nodes up to three. It survives what a cluster does, except this machine.
#[derive(Debug, Args)]
pub struct Up {
    /// So many nodes of a small cluster, at least
    #[arg(long, value_name = "N")]
    nodes: Option<usize>,
    /// Folder of the small cluster [default: in the XDG data folder]
    #[arg(long, value_name = "DIR", requires = "nodes")]
    dir: Option<PathBuf>,
    /// Bytes each node may use [default: what the disk has]
    #[arg(long, value_parser = size, value_name = "SIZE", requires = "nodes")]
    capacity: Option<u64>,
    /// UDP address and port of the index: 0.0.0.0:9474 lets other machines in
    #[arg(long, env = "CAS_LISTEN", value_name = "ADDRESS", default_value_t = here())]
    listen: SocketAddr,
    /// Announce it on the local network, for cas discover and cas://KEY@lan; with --listen 0.0.0.0:9474
    #[arg(long, env = "CAS_ANNOUNCE")]
    announce: bool,
    /// TCP address and port of /metrics and /healthz, or none
    #[arg(long, env = "CAS_HTTP", value_name = "ADDRESS", default_value_t = OrNone(Some(DEFAULT_HTTP)))]
    http: OrNone<SocketAddr>,
    /// Name of the first user [default: the name on this machine]
    #[arg(long, value_name = "NAME")]
    admin: Option<String>,
    #[command(flatten)]
    serving: Serving,
}

/// This machine alone, at the usual port.
fn here() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))
}

impl Up {
    /// The form of its log.
    pub fn form(&self) -> Form {
        self.serving.form()
    }

    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let admin = self.admin.clone().unwrap_or_else(host::user_name);
        match self.nodes {
            Some(nodes) => self.cluster(work, nodes, admin),
            None => self.folder(work, admin),
        }
    }

    fn cluster(self, work: &Workplace, nodes: usize, admin: String) -> Result<Exit> {
        let dir = self.dir.unwrap_or_else(|| work.places.data.join("cluster"));
        let capacity = self.capacity.unwrap_or(0);
        let options = LocalOptions { dir, nodes, listen: self.listen, http: self.http.0, capacity, admin };
        let cluster = LocalCluster::start(&options)?;
        let address = advertised(&cluster.address()?, self.listen, None);
        listening(work, "cluster", &address, cluster.http());
        tell(work, &format!("{} nodes", cluster.nodes()), &address, cluster.admin(), cluster.password_file());
        let announced = announced(self.announce, &cluster.address()?, self.listen)?;
        let fault = until_stopped(|| cluster.fault());
        drop(announced);
        ended(fault, cluster.shutdown(self.serving.grace()))
    }

    fn folder(self, work: &Workplace, admin: String) -> Result<Exit> {
        if let Some(address) = work.global.store.as_ref().and_then(|_| work.address().transpose()) {
            return Err(ClientError::Cluster(address?.to_string()));
        }
        let options = ServedOptions { listen: self.listen, http: self.http.0, admin };
        let served = work.with_access(false, |dir, access| Served::start(dir, access, &options))?;
        let address = advertised(&served.address()?, self.listen, None);
        listening(work, "folder", &address, served.http());
        let store = work.store_path().display().to_string();
        tell(work, &store, &address, served.admin(), served.password_file());
        let announced = announced(self.announce, &served.address()?, self.listen)?;
        let fault = until_stopped(|| served.fault());
        drop(announced);
        ended(fault, served.shutdown(self.serving.grace()))
    }
}

/// What a person needs next.
fn tell(work: &Workplace, what: &str, address: &str, admin: &str, password: &Path) {
    work.printer.say(format!("serving  {what}"));
    work.printer.say(format!("log in   cas login {address} --user {admin} --password-file {}", password.display()));
    work.printer.say("then     cas push ~/documents; cas status; cas user add NAME lets others in");
}

fn ended(fault: Option<String>, done: Result<()>) -> Result<Exit> {
    match fault {
        Some(why) => Err(ServiceError::Stopped(why).into()),
        None => done.map(|()| Exit::Ok),
    }
}
