//! What every command starts with: where things lie, the open store, the open vault.

use crate::cli::Global;
use crate::printer::Printer;
use cas_client::address::{Address, AddressError};
use cas_client::places::Places;
use cas_client::store::cluster::{Cluster, Reach, is_address};
use cas_client::store::lock::Patience;
use cas_client::store::{Access, LetIn, Store, Visit, now_ns};
use cas_client::vault::Vault;
use cas_client::{ClientError, Result, discover, identity, remembered};
use cas_net::Waiting;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Set by Ctrl-C; every long operation looks at it.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Set when the index that answered has lost its end: what was told may lack versions, and the exit code says so.
pub static LOST_END: AtomicBool = AtomicBool::new(false);

/// Commands that only tell what the index knows: worth having of an index that lost its end. The others refuse it.
const TELLERS: [&str; 8] = ["pull", "snapshots", "ls", "find", "diff", "dump", "versions", "stats"];

/// Commands besides those that use a store through the process that has it open. The others have it for themselves: gc gives up
/// sessions of processes that are gone, check compares what must not change meanwhile.
const WRITERS: [&str; 3] = ["push", "forget", "undelete"];

/// Who had the store open that this command used through it.
pub static HOST: OnceLock<String> = OnceLock::new();

/// The surroundings of one command.
pub struct Workplace {
    /// Options that go with every command.
    pub global: Global,
    /// The folders of the person.
    pub places: Places,
    /// What prints.
    pub printer: Printer,
    command: &'static str,
}

impl Workplace {
    /// For a command with this name.
    pub fn new(global: Global, command: &'static str) -> Result<Self> {
        let places = Places::from_env(|name| std::env::var_os(name));
        let places = places.ok_or_else(|| {
            ClientError::Usage(
                "set HOME, or XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_CACHE_HOME and XDG_STATE_HOME".to_owned(),
            )
        })?;
        let printer = Printer::new(&global);
        Ok(Self { global, places, printer, command })
    }

    /// The folder of the store.
    pub fn store_path(&self) -> PathBuf {
        self.global.store.clone().unwrap_or_else(|| self.places.store())
    }

    /// The address of the store, if it is a cluster: the one that is named, or if none is, the one that was logged in to.
    pub fn address(&self) -> Result<Option<Address>> {
        match &self.global.store {
            None => remembered::read(&self.places.remembered()),
            Some(path) => match path.to_str().filter(|text| is_address(text)) {
                Some(text) => parse_address(text).map(Some),
                None => Ok(None),
            },
        }
    }

    /// The index of the cluster, asked as this device. For commands that need no nodes.
    pub fn cluster(&self) -> Result<Cluster> {
        let address = self.address()?.ok_or_else(|| {
            ClientError::Usage(
                "this is about a cluster: cas login cas://KEY@HOST:PORT, or --store cas://…, names one".to_owned(),
            )
        })?;
        self.reach(address, Cluster::reach)
    }

    /// Reaches an address as this device.
    pub fn reach<T>(&self, address: Address, with: impl FnOnce(&Reach<'_>) -> Result<T>) -> Result<T> {
        let address = discover::located(&address, &self.places.state)?;
        let identities = self.identities()?;
        let device = identities[0].device_seed();
        let rack = std::env::var("CAS_RACK").ok();
        let (printer, said) = (self.printer, AtomicBool::new(false));
        let waiting = Waiting(Arc::new(move |index| {
            if !said.swap(true, Ordering::Relaxed) {
                printer.say(format!("{index} does not answer: waiting for it"));
            }
        }));
        with(&Reach { address, device: &device, rack, state: &self.places.state, waiting: Some(waiting) })
    }

    /// The identity file.
    pub fn identity_path(&self) -> PathBuf {
        self.global.identity.clone().unwrap_or_else(|| self.places.identity())
    }

    /// Who we are, for those who wait for us.
    pub fn label(&self) -> String {
        format!("cas {} (process {})", self.command, std::process::id())
    }

    /// The identities in the identity file.
    pub fn identities(&self) -> Result<Vec<cas_core::agebox::Identity>> {
        let path = self.identity_path();
        match identity::read(&path, self.passphrase().as_deref()) {
            Err(ClientError::LockedIdentity(_)) if std::io::stdin().is_terminal() => {
                identity::read(&path, Some(&crate::prompt::secret("passphrase of the identity: ")?))
            }
            read => read,
        }
    }

    /// The passphrase from the environment.
    pub fn passphrase(&self) -> Option<String> {
        std::env::var("CAS_PASSPHRASE").ok()
    }

    /// Opens the store, waiting for whoever holds it. Where it may not be written, it is opened for reading.
    pub fn open(&self) -> Result<Store> {
        if let Some(address) = self.address()? {
            return self.reach(address, Store::connect);
        }
        let store = self.open_for(self.visit())?;
        if let Some(host) = store.host() {
            self.printer.explain(format!("using the store through {host}"));
            _ = HOST.set(host.to_owned());
        }
        match self.visit() {
            Some(_) => self.let_in(&store, LetIn::All),
            None if self.command == "check" => self.let_in(&store, LetIn::Readers),
            None => {}
        }
        Ok(store)
    }

    /// As [`Self::open`], neither through another process nor with others coming in.
    pub fn open_alone(&self) -> Result<Store> {
        match self.address()? {
            Some(address) => self.reach(address, Store::connect),
            None => self.open_for(None),
        }
    }

    fn open_for(&self, as_guest: Option<Visit>) -> Result<Store> {
        let store = self.access(self.is_read_only(), as_guest, Store::open)?;
        if let Some(why) = store.lost_end() {
            LOST_END.store(true, Ordering::Relaxed);
            self.printer.warn(format!("{why}; newer versions may be missing. cas index rebuild brings them back"));
        }
        Ok(store)
    }

    /// Lets other commands use the store through this one, if it stays open for more than a moment.
    pub fn let_in(&self, store: &Store, who: LetIn) {
        let printer = self.printer;
        let waiting = move || printer.say("other commands use the store through this one: waiting for them");
        store.let_in(who, Box::new(waiting));
    }

    fn visit(&self) -> Option<Visit> {
        match self.command {
            command if TELLERS.contains(&command) => Some(Visit::Reads),
            command if WRITERS.contains(&command) => Some(Visit::Writes),
            _ => None,
        }
    }

    /// Whether the store lies where nothing can be written.
    pub fn is_read_only(&self) -> bool {
        cas_client::store::is_read_only(&self.store_path())
    }

    /// Calls `open` with the path of the store and how to wait.
    pub fn with_access<T>(
        &self,
        read_only: bool,
        open: impl FnOnce(&std::path::Path, Access<'_>) -> Result<T>,
    ) -> Result<T> {
        self.access(read_only, None, open)
    }

    fn access<T>(
        &self,
        read_only: bool,
        as_guest: Option<Visit>,
        open: impl FnOnce(&std::path::Path, Access<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut said = false;
        let mut wait = |holder: &str| {
            if !std::mem::replace(&mut said, true) {
                self.printer.say(format!("waiting for {holder}"));
            }
            !STOP.load(Ordering::Relaxed)
        };
        let patience = if self.global.no_wait { Patience::None } else { Patience::Wait(&mut wait) };
        let despite_lost_end = TELLERS.contains(&self.command);
        open(&self.store_path(), Access { patience, label: self.label(), read_only, despite_lost_end, as_guest })
    }

    /// Opens the vault of an open store.
    pub fn vault(&self, store: &Store) -> Result<Vault> {
        self.vault_of(store, self.global.vault.as_deref())
    }

    /// Opens the only vault of an open store, or the one whose id begins with `wanted`.
    pub fn vault_of(&self, store: &Store, wanted: Option<&str>) -> Result<Vault> {
        let mut vault = Vault::open(store, self.identities()?, wanted, &self.places.state)?;
        if let Some(cluster) = store.cluster() {
            cluster.admit(&vault.id(), &vault.keys().domain_id())?;
        }
        if let Some(away) = store.away() {
            let ago = now_ns().saturating_sub(away.told_ns).max(0) as u64;
            let ago = crate::printer::duration(Duration::from_nanos(ago));
            self.printer.warn(format!("{}; what it said {ago} ago stands in its place", away.why));
        }
        let memory = vault.memory();
        if let Some(damage) = memory.damage() {
            self.printer.warn(format!(
                "what was remembered of this vault is damaged and begins anew: that the store went back would not be noticed this once ({}: {damage})",
                memory.path().display()
            ));
        }
        Ok(vault)
    }
}

/// An address as it was typed.
pub fn parse_address(text: &str) -> Result<Address> {
    text.parse().map_err(|e: AddressError| ClientError::Usage(e.to_string()))
}
