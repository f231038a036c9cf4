//! `cas node`: a node as a server, and what an operator does with the nodes of a cluster.

use super::serving::{Serving, listening, until_stopped};
use crate::exit::Exit;
use crate::log::Form;
use crate::measure::{moment, size, span, span_text};
use crate::prompt::secret;
use crate::time;
use crate::workplace::{STOP, Workplace, parse_address};
use cas_client::serve::index::http::Port;
use cas_client::serve::node::{self, JoinOptions, MemberOptions};
use cas_client::serve::window;
use cas_client::store::now_ns;
use cas_client::{ClientError, Result, ServiceError, discover, fleet};
use cas_net::address::{DEFAULT_PORT, SCHEME};
use cas_net::cluster::{BEAT_NS, Cluster, JoinToken, NodeChange, NodeInfo};
use clap::{Args, Subcommand};
use serde_json::json;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks at a node that is waited for.
const PAUSE: Duration = Duration::from_millis(500);
/// The UDP port of a node that names none: the one after the index's, so that both can be on one machine.
const NODE_PORT: u16 = DEFAULT_PORT + 1;
/// The least time between two beats: each is a request.
const MIN_BEAT_NS: i64 = 50_000_000;

/// Look after the nodes of a cluster
#[derive(Debug, Args)]
pub struct Node {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Serve a node, until SIGTERM or Ctrl-C
    ///
    /// The first time it joins the cluster, with --join and --token; the same line again simply serves it, whether the index
    /// is there or not. Its rack is that of the token. A new node holds nothing until cas layout apply.
    Serve(Box<Serve>),
    /// Print a one-use token with which a node joins: cas node serve DIR --join ADDRESS --token TOKEN
    JoinToken {
        /// What fails together with the node: copies of a block lie in different racks
        #[arg(long, value_name = "NAME")]
        rack: String,
        /// How long the token can be used, at most 7d
        #[arg(long, default_value = "1h", value_parser = span, value_name = "TIME")]
        ttl: i64,
    },
    /// Have a node give away what it holds, so that it can be removed
    Drain {
        /// First digits of its key, or its address
        node: String,
        /// Wait until it holds nothing
        #[arg(long)]
        wait: bool,
    },
    /// Have a node hold its share again
    Undrain {
        /// First digits of its key, or its address
        node: String,
    },
    /// Give a node up: what it holds counts no more, and is copied from others
    ///
    /// Refused while it holds the last copy of anything: drain it first.
    Remove {
        /// First digits of its key, or its address
        node: String,
        /// Its disk is gone for good, whatever it held
        #[arg(long)]
        lost: bool,
    },
    /// Expect a node to be silent for a while: nothing is healed because of it until then
    Maintenance {
        /// First digits of its key, or its address
        node: String,
        /// How long (2h) or until when (2026-11-21T18:00)
        #[arg(long, value_name = "WHEN", required_unless_present = "end")]
        until: Option<String>,
        /// It is over
        #[arg(long, conflicts_with = "until")]
        end: bool,
    },
    /// Give a node another share, relative to the others; at first it is its capacity in bytes
    Weight {
        /// First digits of its key, or its address
        node: String,
        /// A size, like 4T
        #[arg(value_parser = size)]
        weight: u64,
    },
    /// Say that a node stands in another rack
    Rack {
        /// First digits of its key, or its address
        node: String,
        /// Which
        rack: String,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Folder of the node, on the disk that it is to use
    dir: PathBuf,
    /// Address of the index, cas://KEY@HOST:PORT
    #[arg(long, env = "CAS_JOIN", value_name = "ADDRESS")]
    join: Option<String>,
    /// Token of cas node join-token; - reads it from standard input
    #[arg(long, env = "CAS_JOIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Bytes it may use, said when it joins [default: what the disk has]
    #[arg(long, env = "CAS_CAPACITY", value_parser = size, value_name = "SIZE")]
    capacity: Option<u64>,
    /// UDP address and port to listen on; port 0 takes any [default: port 9475 of all, or as when it joined]
    #[arg(long, env = "CAS_LISTEN", value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Host and port at which others reach it; may be repeated [default: where it listens, or its address on the way to the index]
    #[arg(long, env = "CAS_ADVERTISE", value_name = "HOST:PORT", value_delimiter = ',')]
    advertise: Vec<String>,
    /// TCP address and port of /metrics and /healthz, which ask nobody who he is
    #[arg(long, env = "CAS_HTTP", value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Say capacity and addresses to the index again: they have changed since it joined
    #[arg(long, requires = "join")]
    rejoin: bool,
    /// Bytes a second that it copies from other nodes to heal, at most; 0: as fast as it goes
    #[arg(long, env = "CAS_COPY_RATE", value_parser = size, value_name = "SIZE")]
    copy_rate: Option<u64>,
    /// Between two signs of life to the index, at most 2s; with them come its orders, so shorter ones make small clusters quicker
    #[arg(long, env = "CAS_BEAT", value_parser = span, value_name = "TIME", default_value = "2s")]
    beat: i64,
    #[command(flatten)]
    serving: Serving,
}

impl Serve {
    fn run(self, work: &Workplace) -> Result<Exit> {
        let grace = self.serving.grace();
        let member = self.member(work)?;
        let address = match member.addresses().first() {
            Some(place) => format!("{SCHEME}{}@{place}", member.public_key()),
            None => member.address()?.to_string(),
        };
        let http = self.http.map(|at| window::open(&member, at)).transpose()?;
        listening(work, "node", &address, http.as_ref().map(Port::socket));
        let fault = until_stopped(|| member.fault());
        drop(http);
        let ended = member.shutdown(grace);
        match fault {
            Some(why) => Err(ServiceError::Stopped(why).into()),
            None => {
                ended?;
                work.printer.say("ended");
                Ok(Exit::Ok)
            }
        }
    }

    /// Serves it; joins first if it has joined nothing.
    fn member(&self, work: &Workplace) -> Result<node::Member> {
        if self.rejoin {
            self.join(work)?;
        }
        match node::serve(self.options()) {
            Err(ServiceError::NotFound { what: "membership of", name }) if self.join.is_none() => {
                Err(ClientError::Usage(format!("{name} has joined no cluster: name one with --join and --token")))
            }
            Err(ServiceError::NotFound { what: "membership of", .. }) => {
                self.join(work)?;
                Ok(node::serve(self.options())?)
            }
            served => Ok(served?),
        }
    }

    fn options(&self) -> MemberOptions {
        let mut options = MemberOptions::new(&self.dir);
        options.listen = self.listen;
        options.addresses = (!self.advertise.is_empty()).then(|| self.advertise.clone());
        options.settings.beat = Duration::from_nanos(self.beat.clamp(MIN_BEAT_NS, BEAT_NS).unsigned_abs());
        if let Some(rate) = self.copy_rate {
            options.settings.copy_bytes_per_second = rate;
        }
        options
    }

    fn join(&self, work: &Workplace) -> Result<()> {
        let index = parse_address(self.join.as_deref().unwrap_or_default())?;
        let index = discover::located(&index, &self.dir)?;
        let token = match self.token.as_deref() {
            Some("-") => Some(secret("token: ")?),
            token => token.map(str::to_owned),
        };
        let token = token.map(|token| token.trim().parse::<JoinToken>());
        let token =
            token.transpose().map_err(|_| ClientError::Usage("a token has 64 hexadecimal digits".to_owned()))?;
        let joined = node::join(&JoinOptions {
            dir: self.dir.clone(),
            index: index.clone(),
            token,
            capacity: self.capacity.unwrap_or(0),
            listen: self.listen.unwrap_or(SocketAddr::from((Ipv6Addr::UNSPECIFIED, NODE_PORT))),
            addresses: self.advertise.clone(),
            network: Default::default(),
            tune: |_| (),
        })?;
        work.printer.say(format!("joined the cluster at {}, rack {}", index.place(), joined.rack));
        Ok(())
    }
}

impl Node {
    /// The form of its log, if it serves.
    pub fn server_log(&self) -> Option<Form> {
        match &self.command {
            NodeCommand::Serve(serve) => Some(serve.serving.form()),
            _ => None,
        }
    }

    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        if let NodeCommand::Serve(serve) = self.command {
            return serve.run(work);
        }
        let cluster = work.cluster()?;
        let placement = &**cluster.placement();
        if let NodeCommand::JoinToken { rack, ttl } = self.command {
            let token = placement.join_token(&rack, ttl)?.reveal();
            let (address, lives) = (cluster.address().to_string(), span_text(ttl));
            match work.printer.json() {
                true => work
                    .printer
                    .object(&json!({"message_type": "token", "token": token, "rack": rack, "store": address})),
                false => work.printer.line(&token),
            }
            work.printer.say(format!("within {lives}, once: cas node serve DIR --join {address} --token {token}"));
            return Ok(Exit::Ok);
        }
        let nodes = placement.nodes()?;
        let node = fleet::choose(&nodes, self.command.node())?;
        let change = self.command.change()?;
        placement.change_node(node.node, &change)?;
        work.printer.say(format!("node {} {}", fleet::short(node), told(&change)));
        if matches!(self.command, NodeCommand::Drain { wait: true, .. }) {
            wait_until_empty(work, placement, node)?;
        }
        Ok(Exit::Ok)
    }
}

impl NodeCommand {
    fn node(&self) -> &str {
        match self {
            Self::Serve(_) | Self::JoinToken { .. } => "",
            Self::Drain { node, .. }
            | Self::Undrain { node }
            | Self::Remove { node, .. }
            | Self::Maintenance { node, .. }
            | Self::Weight { node, .. }
            | Self::Rack { node, .. } => node,
        }
    }

    fn change(&self) -> Result<NodeChange> {
        Ok(match self {
            Self::Serve(_) | Self::JoinToken { .. } | Self::Undrain { .. } => NodeChange::Member,
            Self::Drain { .. } => NodeChange::Drain,
            Self::Remove { lost, .. } => NodeChange::Remove { lost: *lost },
            Self::Maintenance { until, .. } => {
                NodeChange::Maintenance(until.as_ref().map(|until| moment(until, now_ns())).transpose()?)
            }
            Self::Weight { weight, .. } => NodeChange::Weight(*weight),
            Self::Rack { rack, .. } => NodeChange::Rack(rack.clone()),
        })
    }
}

fn told(change: &NodeChange) -> String {
    match change {
        NodeChange::Member => "holds its share again".to_owned(),
        NodeChange::Drain => "gives away what it holds; cas nodes shows its share, cas node remove ends it".to_owned(),
        NodeChange::Remove { .. } => "is given up; cas status shows what is copied from others".to_owned(),
        NodeChange::Maintenance(None) => "is expected to be heard again".to_owned(),
        NodeChange::Maintenance(Some(until)) => format!("may be silent until {}", time::local(*until)),
        NodeChange::Weight(weight) => format!("has weight {weight}"),
        NodeChange::Rack(rack) => format!("stands in rack {rack}"),
    }
}

fn wait_until_empty(work: &Workplace, placement: &dyn Cluster, node: &NodeInfo) -> Result<()> {
    let mut last = u32::MAX;
    loop {
        let now = placement.nodes()?.into_iter().find(|info| info.node == node.node);
        let held = now.map_or(0, |info| info.partitions);
        if held == 0 {
            work.printer.say("it holds nothing any more");
            return Ok(());
        }
        if held != last {
            work.printer.say(format!("it holds {held} partitions"));
            last = held;
        }
        let began = Instant::now();
        while began.elapsed() < PAUSE {
            if STOP.load(Ordering::Relaxed) {
                return Err(ClientError::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
