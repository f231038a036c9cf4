//! `cas grant`, `cas revoke`, `cas roles`: who may do what.

use super::login::{grant_object, grant_text};
use crate::exit::Exit;
use crate::table;
use crate::workplace::Workplace;
use cas_client::share::{self, Card};
use cas_client::store::cluster::Cluster;
use cas_client::vault::choose;
use cas_client::{ClientError, Result};
use cas_core::id::VaultId;
use cas_net::rights::{Role, RoleGrant, Who};
use clap::Args;

/// Let somebody into a vault, or give a role in the system
///
/// Roles on a vault: owner (everything), writer (pushes, reads, forgets), reader, pusher (pushes new versions, reads nothing,
/// removes nothing), auditor (sees what versions there are). On the system: admin, operator, auditor.
///
/// A prefix (laptop) means that name and those under it (laptop/documents). It is the server's promise: what a reader or
/// writer of a prefix holds could open the whole vault. The border that cryptography draws is the vault.
///
/// What is stored is sealed, so a role alone opens nothing: --card gives the device of that person (cas whoami prints the card
/// there) the keys that the role needs, for versions pushed from now on. Only an owner of the vault can do that. A pusher
/// gets nothing that opens a snapshot.
#[derive(Debug, Args)]
#[command(override_usage = "cas grant [OPTIONS] ROLE [VAULT [PREFIX]] WHO")]
pub struct Grant {
    /// owner, writer, reader, pusher, auditor, admin or operator
    role: Role,
    /// Vault (first digits of its id; needed only if there are several), prefix of names, and a user, device key or card
    #[arg(value_name = "VAULT PREFIX WHO", num_args = 1..=3, required = true)]
    rest: Vec<String>,
    /// Card of the device that gets the keys; may be repeated
    #[arg(long, value_name = "CARD")]
    card: Vec<Card>,
}

/// Take a role back
///
/// Devices that hold keys of the vault for that person are taken out of its keyring if no other role of his needs them; what
/// they could open before stays open to them.
#[derive(Debug, Args)]
#[command(override_usage = "cas revoke [OPTIONS] ROLE [VAULT [PREFIX]] WHO")]
pub struct Revoke {
    /// owner, writer, reader, pusher, auditor, admin or operator
    role: Role,
    /// As in cas grant
    #[arg(value_name = "VAULT PREFIX WHO", num_args = 1..=3, required = true)]
    rest: Vec<String>,
}

/// Show who has which role
#[derive(Debug, Args)]
pub struct Roles {
    /// Only those on this vault, by the first digits of its id
    #[arg(value_name = "VAULT")]
    on: Option<String>,
}

/// What was typed behind the role.
struct Typed {
    vault: Option<String>,
    prefix: String,
    who: Who,
    card: Option<Card>,
}

impl Typed {
    fn of(rest: &[String]) -> Result<Self> {
        let (last, before) = rest.split_last().expect("clap wants one at least");
        let (who, card) = share::who(last)?;
        let text = |place: usize| before.get(place).cloned();
        Ok(Self { vault: text(0), prefix: text(1).unwrap_or_default(), who, card })
    }

    /// The grant; a role that is of the system alone needs no vault, and an auditor without one is the system's.
    fn grant(self, work: &Workplace, cluster: &Cluster, role: Role) -> Result<RoleGrant> {
        let of_system = !role.is_of_vaults() || (role.is_of_system() && self.wanted(work).is_none());
        let vault = match (of_system, self.wanted(work)) {
            (true, None) => None,
            (true, Some(_)) => {
                return Err(ClientError::Usage(format!("{role} is a role of the system: cas grant {role} WHO")));
            }
            (false, wanted) => Some(choose(cluster.index().vaults()?, wanted.as_deref())?),
        };
        Ok(RoleGrant { role, vault, prefix: self.prefix, who: self.who })
    }

    fn wanted(&self, work: &Workplace) -> Option<String> {
        self.vault.clone().or_else(|| work.global.vault.clone())
    }
}

impl Grant {
    /// Runs it.
    pub fn run(mut self, work: &Workplace) -> Result<Exit> {
        let mut typed = Typed::of(&self.rest)?;
        self.card.extend(typed.card.take());
        let cluster = work.cluster()?;
        let grant = typed.grant(work, &cluster, self.role)?;
        if let (Who::Device(device), Some(other)) =
            (&grant.who, self.card.iter().find(|c| grant.who != Who::Device(c.device)))
        {
            return Err(ClientError::Usage(format!("the card is of device {}, not of {device}", other.device)));
        }
        cluster.rights().grant_role(&grant)?;
        work.printer.say(format!("{} is {}", grant.who, grant_text(&grant)));
        let opens = grant.vault.filter(|_| !matches!(grant.role, Role::Auditor));
        match (opens, self.card.is_empty()) {
            (Some(vault), false) => self.seal(work, vault, &grant.who)?,
            (Some(_), true) => work.printer.say(
                "the devices of a new member open nothing yet: run this again with --card, which cas whoami prints there",
            ),
            (None, _) => {}
        }
        Ok(Exit::Ok)
    }

    fn seal(&self, work: &Workplace, vault: VaultId, who: &Who) -> Result<()> {
        let store = work.open()?;
        let mut vault = work.vault_of(&store, Some(&vault.to_string()))?;
        for card in &self.card {
            let changed = share::share(&store, &mut vault, who, self.role, card)?;
            let said = if changed { "has what the role needs from now on" } else { "had what the role needs" };
            work.printer.say(format!("device {} {said}", card.device));
        }
        store.close()
    }
}

impl Revoke {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let typed = Typed::of(&self.rest)?;
        let cluster = work.cluster()?;
        let grant = typed.grant(work, &cluster, self.role)?;
        cluster.rights().withdraw_role(&grant)?;
        work.printer.say(format!("{} is not {} any more", grant.who, grant_text(&grant)));
        if let Some(id) = grant.vault.filter(|_| grant.role != Role::Auditor) {
            let left = cluster.rights().roles(Some(&id))?;
            let store = work.open()?;
            match work.vault_of(&store, Some(&id.to_string())) {
                Ok(mut vault) => {
                    if share::unshare(&store, &mut vault, &grant.who, &left)? {
                        work.printer.say("the keyring is sealed without his devices now");
                    }
                }
                Err(why) => work.printer.warn(format!("an owner has to take his devices out of the keyring: {why}")),
            }
            store.close()?;
        }
        Ok(Exit::Ok)
    }
}

impl Roles {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let wanted = self.on.or_else(|| work.global.vault.clone());
        let vault = match wanted {
            Some(wanted) => Some(choose(cluster.index().vaults()?, Some(&wanted))?),
            None => None,
        };
        let roles = cluster.rights().roles(vault.as_ref())?;
        if work.printer.json() {
            roles.iter().for_each(|role| work.printer.object(&grant_object(role)));
            return Ok(Exit::Ok);
        }
        let rows = roles.iter().map(|grant| {
            let on = grant.vault.map_or("the system".to_owned(), |vault| vault.to_string());
            let prefix = if grant.prefix.is_empty() { "all".to_owned() } else { grant.prefix.clone() };
            vec![grant.role.to_string(), on, prefix, grant.who.to_string()]
        });
        table::lines(&["ROLE", "ON", "NAMES", "WHO"], rows).iter().for_each(|line| work.printer.line(line));
        Ok(Exit::Ok)
    }
}
