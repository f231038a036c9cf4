//! `cas quota`: how much is stored on whose account, and how much may be.

use crate::exit::Exit;
use crate::measure::size;
use crate::printer::bytes;
use crate::table;
use crate::workplace::Workplace;
use cas_client::Result;
use cas_client::vault::choose;
use cas_net::rights::{Account, Usage};
use clap::{Args, Subcommand};
use serde_json::json;

/// Show and set quotas
///
/// Stored bytes, each block once however many copies there are, on the account of the user and of the vault that stored it
/// first. A push that would pass a quota is refused before its bytes are sent (exit code 13).
#[derive(Debug, Args)]
pub struct Quota {
    #[command(subcommand)]
    command: Option<QuotaCommand>,
}

#[derive(Debug, Subcommand)]
enum QuotaCommand {
    /// Show usage and quotas: of all to an admin or operator, else one's own (the default)
    Show,
    /// Set the quota of a user
    User {
        /// Whose
        name: String,
        /// A size like 500G, or none
        quota: Limit,
    },
    /// Set the quota of a vault
    Vault {
        /// Whose, by the first digits of its id
        id: String,
        /// A size like 500G, or none
        quota: Limit,
    },
}

/// A quota as it is typed.
#[derive(Debug, Clone, Copy)]
pub struct Limit(pub Option<u64>);

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            size_text => size(size_text).map(|bytes| Self(Some(bytes))),
        }
    }
}

impl Quota {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let rights = &**cluster.rights();
        let (of, quota) = match self.command.unwrap_or(QuotaCommand::Show) {
            QuotaCommand::Show => {
                show(work, &rights.usage()?);
                return Ok(Exit::Ok);
            }
            QuotaCommand::User { name, quota } => (Account::User(name), quota),
            QuotaCommand::Vault { id, quota } => (Account::Vault(choose(cluster.index().vaults()?, Some(&id))?), quota),
        };
        rights.set_quota(&of, quota.0)?;
        let limit = quota.0.map_or("no limit".to_owned(), |limit| format!("at most {}", bytes(limit)));
        work.printer.say(format!("{of}: {limit}"));
        Ok(Exit::Ok)
    }
}

fn show(work: &Workplace, usage: &[Usage]) {
    if work.printer.json() {
        for Usage { of, bytes, quota } in usage {
            let (kind, name) = match of {
                Account::User(name) => ("user", name.clone()),
                Account::Vault(vault) => ("vault", vault.to_string()),
            };
            work.printer.object(&json!({"of": kind, "name": name, "bytes": bytes, "quota": quota}));
        }
        return;
    }
    let rows = usage.iter().map(|usage| {
        let quota = usage.quota.map_or("-".to_owned(), bytes);
        let full = match usage.quota {
            Some(0) => "100 %".to_owned(),
            Some(quota) => format!("{:.0} %", usage.bytes as f64 * 100.0 / quota as f64),
            None => String::new(),
        };
        vec![usage.of.to_string(), bytes(usage.bytes), quota, full]
    });
    table::lines(&["ACCOUNT", "STORED>", "QUOTA>", "FULL>"], rows).iter().for_each(|line| work.printer.line(line));
}
