//! `cas login`, `cas logout`, `cas whoami`: this device at a cluster.

use crate::exit::Exit;
use crate::prompt::{PasswordSource, secret};
use crate::time;
use crate::workplace::{Workplace, parse_address};
use cas_client::share::Card;
use cas_client::store::cluster::Cluster;
use cas_client::{ClientError, Result, host, identity, remembered};
use cas_core::id::Sum;
use cas_net::address::Address;
use cas_net::rights::{EnrolToken, Enrolled, Login as Words, RoleGrant};
use clap::Args;
use serde_json::{Value, json};

/// Make this device known to a cluster, and use the cluster from now on
///
/// The address is remembered: commands that name no store (--store, CAS_STORE) go there until cas logout. A store in a
/// folder stays where it is, -r FOLDER names it. Without an identity file one is made; what other devices pushed is opened
/// by an identity that was restored (cas key restore) before, or by one that an owner has let in (cas grant --card).
#[derive(Debug, Args)]
pub struct Login {
    /// Address of the index, cas://KEY@HOST:PORT, as it prints it [default: the store that is named or remembered]
    address: Option<String>,
    /// Name of the user [default: the name on this machine]
    #[arg(long, env = "CAS_USER", value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
    /// Instead of a password: a one-use token (cas device token); - reads it from standard input
    #[arg(long, env = "CAS_TOKEN", value_name = "TOKEN", conflicts_with = "user")]
    token: Option<String>,
    /// What the device shall be called [default: the name of this machine]
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Do not remember the address
    #[arg(long)]
    no_remember: bool,
}

impl Login {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let address = match &self.address {
            Some(text) => Some(parse_address(text)?),
            None => work.address()?,
        };
        let address =
            address.ok_or_else(|| ClientError::Usage("name an address: cas login cas://KEY@HOST:PORT".into()))?;
        let (card, is_new) = own_card(work)?;
        let cluster = work.reach(address.clone(), Cluster::reach)?;
        let enrolled = self.enrol(&cluster)?;
        if !self.no_remember {
            remembered::write(&work.places.remembered(), &address)?;
        }
        self.tell(work, &address, &enrolled, &card, is_new);
        Ok(Exit::Ok)
    }

    fn enrol(&self, cluster: &Cluster) -> Result<Enrolled> {
        let label = self.label.clone().unwrap_or_else(host::host_name);
        if let Some(token) = &self.token {
            let token = if token == "-" { secret("token: ")? } else { token.clone() };
            return Ok(cluster.rights().enrol(&parse_token(&token)?, &label)?);
        }
        let user = self.user.clone().unwrap_or_else(host::user_name);
        let password = self.password.known(&format!("password of {user}: "))?;
        Ok(cluster.rights().login(&Words { user, password, label })?)
    }

    fn tell(&self, work: &Workplace, address: &Address, enrolled: &Enrolled, card: &Card, is_new: bool) {
        let printer = &work.printer;
        if printer.json() {
            printer.object(&json!({
                "message_type": "logged_in", "store": address.to_string(), "user": enrolled.user,
                "own_rights": enrolled.own_rights, "device": card.device.to_string(), "card": card.to_string(),
                "remembered": !self.no_remember,
            }));
            return;
        }
        let alone = if enrolled.own_rights { ", with rights of its own" } else { "" };
        printer.say(format!("this device is one of {}{alone}", enrolled.user));
        if is_new {
            printer.say(format!("identity  {} (new)", work.identity_path().display()));
        }
        printer.say(format!("card      {card}"));
        printer.say("An owner of a vault lets this device in with the card: cas grant ROLE VAULT USER --card CARD");
        if !self.no_remember {
            printer.say(format!("cas now works with {}; -r FOLDER names another store", address.place()));
        }
    }
}

/// The card of this device; the identity is made if there is none. Answers whether it was.
fn own_card(work: &Workplace) -> Result<(Card, bool)> {
    match work.identities() {
        Err(ClientError::NoIdentity(path)) => {
            let comment = format!("cas identity of {}", host::host_name());
            Ok((Card::of(&identity::create(&path, &comment)?), true))
        }
        found => Ok((Card::of(&found?[0]), false)),
    }
}

fn parse_token(text: &str) -> Result<EnrolToken> {
    let bytes: std::result::Result<Sum, _> = text.trim().parse();
    bytes
        .map(|bytes| EnrolToken(bytes.0))
        .map_err(|_| ClientError::Usage("a token has 64 hexadecimal digits".to_owned()))
}

/// Go back to the store in the data folder
#[derive(Debug, Args)]
pub struct Logout {
    /// Also revoke this device at the cluster, for ever: the identity can log in nowhere any more
    #[arg(long)]
    revoke: bool,
}

impl Logout {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        if self.revoke {
            let device = work.identities()?[0].device_key().public();
            work.cluster()?.rights().revoke_device(&device)?;
            work.printer.say(format!("device {device} is revoked"));
        }
        let was = remembered::forget(&work.places.remembered())?;
        let store = work.places.store();
        work.printer.say(match was {
            true => format!("commands that name no store go to {} again", store.display()),
            false => "no cluster was remembered".to_owned(),
        });
        Ok(Exit::Ok)
    }
}

/// Show who this device is at the cluster, and what it may
#[derive(Debug, Args)]
pub struct Whoami {}

impl Whoami {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let me = cluster.rights().whoami()?;
        let (card, _) = own_card(work)?;
        let printer = &work.printer;
        if printer.json() {
            printer.object(&json!({
                "store": cluster.address().to_string(), "user": me.device.user, "device": me.device.device.to_string(),
                "label": me.device.label, "own_rights": me.device.own_rights, "may_found": me.may_found,
                "enrolled": time::rfc3339(me.device.enrolled_ns), "card": card.to_string(),
                "roles": me.roles.iter().map(grant_object).collect::<Vec<_>>(),
            }));
            return Ok(Exit::Ok);
        }
        let alone = if me.device.own_rights { ", with rights of its own" } else { "" };
        printer.line(format!("cluster  {}", cluster.address()));
        printer.line(format!("user     {}{alone}", me.device.user));
        printer.line(format!("device   {}  {}", me.device.device, me.device.label));
        printer.line(format!("since    {}", time::local(me.device.enrolled_ns)));
        printer.line(format!("card     {card}"));
        for role in &me.roles {
            printer.line(format!("role     {}", grant_text(role)));
        }
        if me.may_found {
            printer.line("role     may make vaults");
        }
        Ok(Exit::Ok)
    }
}

/// `writer on laptop in vault 3f…`.
pub fn grant_text(grant: &RoleGrant) -> String {
    match (&grant.vault, grant.prefix.as_str()) {
        (None, _) => format!("{} of the system", grant.role),
        (Some(vault), "") => format!("{} of vault {vault}", grant.role),
        (Some(vault), prefix) => format!("{} of {prefix} in vault {vault}", grant.role),
    }
}

/// The same as an object.
pub fn grant_object(grant: &RoleGrant) -> Value {
    json!({
        "role": grant.role.name(), "vault": grant.vault.map(|vault| vault.to_string()), "prefix": grant.prefix,
        "who": grant.who.to_string(),
    })
}
