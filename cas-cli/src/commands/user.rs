//! `cas user`: people of a cluster.

use crate::exit::Exit;
use crate::prompt::{PasswordSource, secret};
use crate::workplace::Workplace;
use crate::{table, time};
use cas_client::Result;
use cas_net::rights::{NewUser, Password, UserChange, UserInfo};
use clap::{Args, Subcommand};
use serde_json::json;

/// Look after the people of a cluster
#[derive(Debug, Args)]
pub struct User {
    #[command(subcommand)]
    command: Option<UserCommand>,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Show all users, to an admin or auditor; oneself, to others (the default)
    List,
    /// Make a user; his password is asked for
    Add {
        /// Letters, digits and . _ - @, at most 64
        name: String,
        /// He may not make vaults of his own, only work in those he is let into
        #[arg(long)]
        no_vaults: bool,
        /// He has no password: his devices log in with tokens (cas device token)
        #[arg(long)]
        no_password: bool,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Set a password: one's own, or as an admin anybody's. Devices stay enrolled
    Password {
        /// Whose [default: one's own]
        name: Option<String>,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Shut a user out: none of his devices may do anything. His name stays, for the audit log
    #[command(visible_alias = "disable")]
    Remove {
        /// Whom
        name: String,
    },
    /// Let a user in again who was shut out
    Enable {
        /// Whom
        name: String,
    },
    /// Say whether a user may make vaults
    Vaults {
        /// Whom
        name: String,
        /// yes or no
        #[arg(value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::Set)]
        may: bool,
    },
}

impl User {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let rights = &**cluster.rights();
        let say = |text: String| work.printer.say(text);
        match self.command.unwrap_or(UserCommand::List) {
            UserCommand::List => list(work, &rights.users()?),
            UserCommand::Add { name, no_vaults, no_password, password } => {
                let password = match no_password {
                    true => None,
                    false => Some(password.fresh(&format!("password for {name}"))?),
                };
                rights.add_user(&NewUser { name: name.clone(), password, may_found: !no_vaults })?;
                say(format!("user {name} is there; he logs in with: cas login {} --user {name}", cluster.address()));
            }
            UserCommand::Password { name, password } => {
                let own = rights.whoami()?.device.user;
                let name = name.unwrap_or_else(|| own.clone());
                let old = match name == own {
                    true => Some(Password::new(match std::env::var("CAS_OLD_PASSWORD") {
                        Ok(old) => old,
                        Err(_) => secret("present password: ")?,
                    })),
                    false => None,
                };
                rights.set_password(&name, old.as_ref(), &password.fresh(&format!("new password for {name}"))?)?;
                say(format!("{name} has a new password"));
            }
            UserCommand::Remove { name } => {
                rights.change_user(&name, UserChange::Disable)?;
                say(format!("{name} is shut out; nodes refuse his devices within seconds"));
            }
            UserCommand::Enable { name } => {
                rights.change_user(&name, UserChange::Enable)?;
                say(format!("{name} may again what he might before"));
            }
            UserCommand::Vaults { name, may } => {
                rights.change_user(&name, UserChange::MayFound(may))?;
                say(format!("{name} {} make vaults", if may { "may" } else { "may not" }));
            }
        }
        Ok(Exit::Ok)
    }
}

fn list(work: &Workplace, users: &[UserInfo]) {
    if work.printer.json() {
        for user in users {
            work.printer.object(&json!({
                "name": user.name, "disabled": user.disabled, "may_found": user.may_found,
                "has_password": user.has_password, "since": time::rfc3339(user.since_ns),
            }));
        }
        return;
    }
    let rows = users.iter().map(|user| {
        let state = if user.disabled { "shut out" } else { "" };
        let word = |is: bool, word: &str| if is { word.to_owned() } else { "-".to_owned() };
        let (password, vaults) = (word(user.has_password, "password"), word(user.may_found, "may make"));
        vec![user.name.clone(), time::local(user.since_ns), password, vaults, state.to_owned()]
    });
    table::lines(&["USER", "SINCE", "LOGIN", "VAULTS", "STATE"], rows).iter().for_each(|line| work.printer.line(line));
}
