//! `cas vault`: who can open it, which devices may push to it.

use super::quota::Limit;
use crate::exit::Exit;
use crate::keep::KeepOptions;
use crate::measure::{span, span_text};
use crate::printer::bytes;
use crate::workplace::Workplace;
use cas_client::store::Store;
use cas_client::store::cluster::Cluster;
use cas_client::vault::{Vault as OpenVault, choose};
use cas_client::{ClientError, Result};
use cas_core::agebox::Recipient;
use cas_core::id::{PublicKey, VaultId};
use cas_core::keyring::{Change, Device, Member, Role};
use cas_net::rights::{Account, Lock, Retention};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::collections::BTreeMap;

/// Look after the vault: members, devices, what this client remembers of it
#[derive(Debug, Args)]
pub struct Vault {
    #[command(subcommand)]
    command: Option<VaultCommand>,
}

#[derive(Debug, Subcommand)]
enum VaultCommand {
    /// Show the vault, its members and devices (the default)
    Show,
    /// Let another key open the vault: snapshots made from now on, and with it everything equal in them
    AddMember {
        /// Public key, age1…; cas key show prints it
        recipient: String,
        /// What the key may open
        #[arg(long, value_enum, default_value = "reader")]
        role: RoleArg,
        /// What to call it
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Seal nothing for this key any more; what it could open before stays open to it
    RemoveMember {
        /// Public key, age1…
        recipient: String,
    },
    /// Let another device push
    AddDevice {
        /// Its device key; cas key show prints it
        device: String,
        /// What to call it
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Let a device push no more
    RemoveDevice {
        /// Its device key
        device: String,
    },
    /// Accept the store as it is now, after it was restored from an older copy on purpose
    Trust,
    /// Set a retention lock, rules of retention or the quota of a vault in a cluster
    ///
    /// A lock only grows: no role and no clock shortens it. Rules (--keep-daily 7 …) say which versions the index keeps when it forgets
    /// by its schedule (cas index serve --retention): the others go to the trash, but never the newest of a name, nor what a lock keeps.
    /// Each call says all rules of its prefix; a name follows those of its longest prefix.
    Set(Box<Settings>),
    /// Show the rules of retention of a vault in a cluster
    Rules,
    /// Show the retention locks of a vault in a cluster
    Locks,
}

#[derive(Debug, Args)]
struct Settings {
    /// Versions cannot be forgotten for so long after they were pushed, like 30d. For an owner
    #[arg(long, value_parser = span, value_name = "TIME")]
    keep_locked: Option<i64>,
    #[command(flatten)]
    keep: KeepOptions,
    /// Take the rules of retention away
    #[arg(long, conflicts_with = "KeepOptions")]
    keep_all: bool,
    /// Lock, or keep by these rules, only this name and those under it
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Stored bytes it may have, like 1T, or none. For an admin
    #[arg(long, value_name = "SIZE")]
    quota: Option<Limit>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleArg {
    /// Everything, also changing members
    Owner,
    /// Reads and pushes
    Writer,
    /// Reads
    Reader,
    /// Pushes, and reads no snapshot
    Pusher,
}

impl Vault {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let command = match self.command.unwrap_or(VaultCommand::Show) {
            VaultCommand::Set(settings) => return settings.set(work),
            VaultCommand::Locks => return locks(work),
            VaultCommand::Rules => return rules(work),
            command => command,
        };
        let store = work.open()?;
        let done = command.run(work, &store);
        let closed = store.close();
        done?;
        closed?;
        Ok(Exit::Ok)
    }
}

impl VaultCommand {
    fn run(self, work: &Workplace, store: &Store) -> Result<()> {
        if let Self::Trust = self {
            let wanted = work.global.vault.as_deref();
            let vault = OpenVault::trust(store, work.identities()?, wanted, &work.places.state)?;
            work.printer.say(format!("vault {} is trusted as it is now", vault.id()));
            return Ok(());
        }
        let mut vault = work.vault(store)?;
        if let Some(change) = self.change()? {
            vault.change(store, &[change])?;
        }
        show(work, &vault);
        Ok(())
    }

    fn change(self) -> Result<Option<Change>> {
        Ok(Some(match self {
            Self::Show | Self::Trust | Self::Set(_) | Self::Locks | Self::Rules => return Ok(None),
            Self::AddMember { recipient, role, label } => {
                let role = match role {
                    RoleArg::Owner => Role::Owner,
                    RoleArg::Writer => Role::Writer,
                    RoleArg::Reader => Role::Reader,
                    RoleArg::Pusher => Role::Pusher,
                };
                Change::PutMember(Member { role, recipient: parse_recipient(&recipient)?, label })
            }
            Self::RemoveMember { recipient } => Change::RemoveMember(parse_recipient(&recipient)?),
            Self::AddDevice { device, label } => Change::PutDevice(Device { key: parse_device(&device)?, label }),
            Self::RemoveDevice { device } => Change::RemoveDevice(parse_device(&device)?),
        }))
    }
}

impl Settings {
    fn set(self, work: &Workplace) -> Result<Exit> {
        let policy = self.keep.policy();
        if self.keep_locked.is_none() && self.quota.is_none() && policy.is_empty() && !self.keep_all {
            let ways = "--keep-locked 30d, --keep-daily 7 (or another rule), --keep-all, --quota 1T";
            return Err(ClientError::Usage(format!("say what to set: {ways}")));
        }
        let (cluster, vault) = of_cluster(work)?;
        let rights = cluster.rights();
        let of =
            if self.prefix.is_empty() { format!("vault {vault}") } else { format!("{} in vault {vault}", self.prefix) };
        if let Some(keep_ns) = self.keep_locked {
            rights.set_lock(&Lock { vault, prefix: self.prefix.clone(), keep_ns })?;
            work.printer.say(format!("versions of {of} are kept for {} at least", span_text(keep_ns)));
        }
        if self.keep_all || !policy.is_empty() {
            let keep = policy.to_text().expect("it has no tags");
            let said = if keep.is_empty() { "all versions".to_owned() } else { spoken(&keep) };
            rights.set_retention(&Retention { vault, prefix: self.prefix, keep })?;
            work.printer.say(format!("of {of} the index keeps {said}"));
        }
        if let Some(Limit(quota)) = self.quota {
            rights.set_quota(&Account::Vault(vault), quota)?;
            let limit = quota.map_or("no limit".to_owned(), |limit| format!("at most {}", bytes(limit)));
            work.printer.say(format!("vault {vault}: {limit}"));
        }
        Ok(Exit::Ok)
    }
}

/// The cluster, and which of its vaults is meant.
fn of_cluster(work: &Workplace) -> Result<(Cluster, VaultId)> {
    let cluster = work.cluster()?;
    let vault = choose(cluster.index().vaults()?, work.global.vault.as_deref())?;
    Ok((cluster, vault))
}

fn locks(work: &Workplace) -> Result<Exit> {
    let (cluster, vault) = of_cluster(work)?;
    let locks = cluster.rights().locks(&vault)?;
    for Lock { vault, prefix, keep_ns } in &locks {
        if work.printer.json() {
            let seconds = keep_ns / 1_000_000_000;
            work.printer.object(&json!({"vault": vault.to_string(), "prefix": prefix, "keep_seconds": seconds}));
        } else {
            let of = if prefix.is_empty() { "all names" } else { prefix };
            work.printer.line(format!("{of}  kept for {}", span_text(*keep_ns)));
        }
    }
    if locks.is_empty() {
        work.printer.say("no version is locked");
    }
    Ok(Exit::Ok)
}

fn rules(work: &Workplace) -> Result<Exit> {
    let (cluster, vault) = of_cluster(work)?;
    let rules = cluster.rights().retentions(&vault)?;
    for Retention { vault, prefix, keep } in &rules {
        if work.printer.json() {
            let keep: BTreeMap<&str, &str> = keep.split(',').filter_map(|rule| rule.split_once('=')).collect();
            work.printer.object(&json!({"vault": vault.to_string(), "prefix": prefix, "keep": keep}));
        } else {
            let of = if prefix.is_empty() { "all names" } else { prefix };
            work.printer.line(format!("{of}  {}", spoken(keep)));
        }
    }
    if rules.is_empty() {
        work.printer.say("the index forgets nothing by itself");
    }
    Ok(Exit::Ok)
}

/// Rules as one would say them: `last 3, within 1y`.
fn spoken(keep: &str) -> String {
    keep.split(',').map(|rule| rule.trim_start_matches("keep-").replace('=', " ")).collect::<Vec<_>>().join(", ")
}

fn parse_recipient(text: &str) -> Result<Recipient> {
    text.parse().map_err(|e: cas_core::agebox::BoxError| ClientError::Usage(e.to_string()))
}

fn parse_device(text: &str) -> Result<PublicKey> {
    text.parse().map_err(|e: cas_core::id::HexError| ClientError::Usage(format!("a device key: {e}")))
}

fn show(work: &Workplace, vault: &OpenVault) {
    let keyring = vault.keyring();
    let printer = &work.printer;
    if printer.json() {
        printer.object(&json!({
            "vault": vault.id().to_string(),
            "keyring_version": keyring.version,
            "domain": keyring.domain_id().to_string(),
            "blocks": {"min": keyring.domain.min, "avg": keyring.domain.avg, "max": keyring.domain.max},
            "members": keyring.members.iter().map(|m| json!({
                "role": role_name(m.role), "recipient": m.recipient.to_string(), "label": m.label,
            })).collect::<Vec<_>>(),
            "devices": keyring.devices.iter().map(|d| json!({"key": d.key.to_string(), "label": d.label})).collect::<Vec<_>>(),
        }));
        return;
    }
    printer.line(format!("vault    {}", vault.id()));
    printer.line(format!("keyring  version {}", keyring.version));
    for member in &keyring.members {
        printer.line(format!("member   {:<8} {}  {}", role_name(member.role), member.recipient, member.label));
    }
    for device in &keyring.devices {
        let this = if device.key == vault.device().public() { "  (this one)" } else { "" };
        printer.line(format!("device   {}  {}{this}", device.key, device.label));
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Recovery => "recovery",
        Role::Owner => "owner",
        Role::Writer => "writer",
        Role::Reader => "reader",
        Role::Pusher => "pusher",
    }
}
