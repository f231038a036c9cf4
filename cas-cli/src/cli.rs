//! The command line: options that go with every command, and the commands. A command is one file in `commands`.

use crate::commands;
use crate::exit::Exit;
use crate::log::Form;
use crate::workplace::Workplace;
use cas_client::Result;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Keeps files: deduplicated, compressed, encrypted before they leave this machine.
#[derive(Debug, Parser)]
#[command(name = "cas", version, long_about = None, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that go with every command. Each is also read from the environment.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Folder of the store, or cas://KEY@HOST:PORT of a cluster [default: the cluster of cas login, else the XDG data folder]
    #[arg(short = 'r', long = "store", alias = "repo", env = "CAS_STORE", global = true, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Identity file that opens the vault [default: in the XDG config folder]
    #[arg(short, long, env = "CAS_IDENTITY", global = true, value_name = "FILE")]
    pub identity: Option<PathBuf>,
    /// Vault, by the first digits of its id; needed only if the store has several
    #[arg(long, env = "CAS_VAULT", global = true, value_name = "ID")]
    pub vault: Option<String>,
    /// Print JSON, one object a line
    #[arg(long, env = "CAS_JSON", global = true)]
    pub json: bool,
    /// Print errors only
    #[arg(short, long, env = "CAS_QUIET", global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say what is done and why; twice for more
    #[arg(short, long, env = "CAS_VERBOSE", global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Fail with exit code 11 instead of waiting when another command works on the store
    #[arg(long, env = "CAS_NO_WAIT", global = true)]
    pub no_wait: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Init(commands::init::Init),
    #[command(visible_alias = "backup")]
    Push(commands::push::Push),
    #[command(visible_alias = "restore", alias = "extract")]
    Pull(commands::pull::Pull),
    #[command(visible_alias = "list")]
    Snapshots(commands::snapshots::Snapshots),
    Ls(commands::ls::Ls),
    Find(commands::find::Find),
    Diff(commands::diff::Diff),
    #[command(visible_alias = "cat")]
    Dump(commands::dump::Dump),
    Versions(commands::versions::Versions),
    Stats(commands::stats::Stats),
    Forget(commands::forget::Forget),
    #[command(visible_alias = "unforget")]
    Undelete(commands::undelete::Undelete),
    #[command(visible_alias = "prune")]
    Gc(commands::gc::Gc),
    #[command(visible_alias = "verify")]
    Check(commands::check::Check),
    Vault(commands::vault::Vault),
    Key(commands::key::Key),
    Discover(commands::discover::Discover),
    Login(commands::login::Login),
    Logout(commands::login::Logout),
    Whoami(commands::login::Whoami),
    User(commands::user::User),
    #[command(visible_alias = "devices")]
    Device(commands::device::Device),
    Grant(commands::grant::Grant),
    Revoke(commands::grant::Revoke),
    #[command(visible_alias = "grants")]
    Roles(commands::grant::Roles),
    Quota(commands::quota::Quota),
    Audit(commands::audit::Audit),
    Clock(commands::clock::Clock),
    Status(commands::status::Status),
    Nodes(commands::nodes::Nodes),
    Node(commands::node::Node),
    Layout(commands::layout::Layout),
    Index(commands::index::Index),
    Up(Box<commands::up::Up>),
    Debug(commands::debug::Debug),
    Completions(commands::completions::Completions),
}

impl Command {
    /// How it logs, if it is a server.
    pub fn server_log(&self) -> Option<Form> {
        match self {
            Self::Index(c) => c.server_log(),
            Self::Node(c) => c.server_log(),
            Self::Up(c) => Some(c.form()),
            _ => None,
        }
    }

    /// Runs it.
    pub fn run(self, global: Global) -> Result<Exit> {
        match self {
            Self::Init(c) => c.run(&Workplace::new(global, "init")?),
            Self::Push(c) => c.run(&Workplace::new(global, "push")?),
            Self::Pull(c) => c.run(&Workplace::new(global, "pull")?),
            Self::Snapshots(c) => c.run(&Workplace::new(global, "snapshots")?),
            Self::Ls(c) => c.run(&Workplace::new(global, "ls")?),
            Self::Find(c) => c.run(&Workplace::new(global, "find")?),
            Self::Diff(c) => c.run(&Workplace::new(global, "diff")?),
            Self::Dump(c) => c.run(&Workplace::new(global, "dump")?),
            Self::Versions(c) => c.run(&Workplace::new(global, "versions")?),
            Self::Stats(c) => c.run(&Workplace::new(global, "stats")?),
            Self::Forget(c) => c.run(&Workplace::new(global, "forget")?),
            Self::Undelete(c) => c.run(&Workplace::new(global, "undelete")?),
            Self::Gc(c) => c.run(&Workplace::new(global, "gc")?),
            Self::Check(c) => c.run(&Workplace::new(global, "check")?),
            Self::Vault(c) => c.run(&Workplace::new(global, "vault")?),
            Self::Key(c) => c.run(&Workplace::new(global, "key")?),
            Self::Discover(c) => c.run(&Workplace::new(global, "discover")?),
            Self::Login(c) => c.run(&Workplace::new(global, "login")?),
            Self::Logout(c) => c.run(&Workplace::new(global, "logout")?),
            Self::Whoami(c) => c.run(&Workplace::new(global, "whoami")?),
            Self::User(c) => c.run(&Workplace::new(global, "user")?),
            Self::Device(c) => c.run(&Workplace::new(global, "device")?),
            Self::Grant(c) => c.run(&Workplace::new(global, "grant")?),
            Self::Revoke(c) => c.run(&Workplace::new(global, "revoke")?),
            Self::Roles(c) => c.run(&Workplace::new(global, "roles")?),
            Self::Quota(c) => c.run(&Workplace::new(global, "quota")?),
            Self::Audit(c) => c.run(&Workplace::new(global, "audit")?),
            Self::Clock(c) => c.run(&Workplace::new(global, "clock")?),
            Self::Status(c) => c.run(&Workplace::new(global, "status")?),
            Self::Nodes(c) => c.run(&Workplace::new(global, "nodes")?),
            Self::Node(c) => c.run(&Workplace::new(global, "node")?),
            Self::Layout(c) => c.run(&Workplace::new(global, "layout")?),
            Self::Index(c) => c.run(&Workplace::new(global, "index")?),
            Self::Up(c) => c.run(&Workplace::new(global, "up")?),
            Self::Debug(c) => c.run(&Workplace::new(global, "debug")?),
            Self::Completions(c) => c.run(),
        }
    }
}
