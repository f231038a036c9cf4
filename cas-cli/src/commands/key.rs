//! `cas key`: the identity file of this person or machine.

use crate::exit::Exit;
use crate::workplace::Workplace;
use cas_client::share::Card;
use cas_client::{ClientError, Result, identity};
use cas_core::agebox::Identity;
use clap::{Args, Subcommand};
use serde_json::json;

/// Look after the identity file
#[derive(Debug, Args)]
pub struct Key {
    #[command(subcommand)]
    command: Option<KeyCommand>,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Show the public key, the device key, and both as the card that cas grant takes (the default)
    Show,
    /// Make an identity, to be added to a vault by one of its owners
    New,
    /// Make an identity file from the recovery key, which is asked for or read from standard input
    Restore,
    /// Lock the file with a passphrase, from CAS_NEW_PASSPHRASE or asked for
    Lock,
    /// Take the passphrase off again
    Unlock,
}

impl Key {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let path = work.identity_path();
        let passphrase = work.passphrase();
        match self.command.unwrap_or(KeyCommand::Show) {
            KeyCommand::Show => show(work, &work.identities()?),
            KeyCommand::New => {
                let comment = format!("cas identity of {}", cas_client::host::host_name());
                show(work, &[identity::create(&path, &comment)?]);
            }
            KeyCommand::Restore => {
                let line = crate::prompt::secret("recovery key: ")?;
                let restored: std::result::Result<Identity, _> = line.trim().parse();
                let restored = restored.map_err(|e| ClientError::Usage(e.to_string()))?;
                identity::write(&path, &restored, "made from the recovery key")?;
                show(work, &[restored]);
            }
            KeyCommand::Lock => {
                let new = match std::env::var("CAS_NEW_PASSPHRASE") {
                    Ok(new) => new,
                    Err(_) => crate::prompt::secret("new passphrase: ")?,
                };
                if new.is_empty() {
                    return Err(ClientError::Usage("an empty passphrase locks nothing".to_owned()));
                }
                identity::relock(&path, passphrase.as_deref(), Some(&new))?;
                work.printer.say(format!("{} is locked", path.display()));
            }
            KeyCommand::Unlock => {
                identity::relock(&path, passphrase.as_deref(), None)?;
                work.printer.say(format!("{} is not locked any more", path.display()));
            }
        }
        Ok(Exit::Ok)
    }
}

fn show(work: &Workplace, identities: &[Identity]) {
    for identity in identities {
        let (public, device) = (identity.recipient().to_string(), identity.device_key().public().to_string());
        if work.printer.json() {
            let card = Card::of(identity).to_string();
            work.printer.object(
                &json!({"public_key": public, "device_key": device, "card": card, "file": work.identity_path()}),
            );
        } else {
            work.printer.line(format!("identity    {}", work.identity_path().display()));
            work.printer.line(format!("public key  {public}"));
            work.printer.line(format!("device key  {device}"));
            work.printer.line(format!("card        {}", Card::of(identity)));
        }
    }
}
