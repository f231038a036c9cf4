//! `cas device`: the devices of people, and tokens that enrol one.

use crate::exit::Exit;
use crate::measure::span;
use crate::workplace::Workplace;
use crate::{table, time};
use cas_client::{ClientError, Result};
use cas_core::id::PublicKey;
use cas_net::rights::{DeviceInfo, NewToken, Rights};
use clap::{Args, Subcommand};
use serde_json::json;

/// Look after the devices that may use a cluster
#[derive(Debug, Args)]
pub struct Device {
    #[command(subcommand)]
    command: Option<DeviceCommand>,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Show one's devices; to an admin or auditor, everybody's (the default)
    List,
    /// Revoke a device for ever: at the index at once, at nodes within seconds
    Revoke {
        /// Its key, the first digits are enough; or its name, if only one has it
        device: String,
    },
    /// Print a one-use token with which a device logs in instead of a password
    Token {
        /// Whose device it will be [default: one's own]
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        /// The device gets no rights of its user, only what is granted to it: for a host that only pushes
        #[arg(long)]
        own_rights: bool,
        /// How long the token can be used, at most 7d
        #[arg(long, default_value = "1h", value_parser = span, value_name = "TIME")]
        ttl: i64,
    },
}

impl Device {
    /// Runs it.
    pub fn run(self, work: &Workplace) -> Result<Exit> {
        let cluster = work.cluster()?;
        let rights = &**cluster.rights();
        match self.command.unwrap_or(DeviceCommand::List) {
            DeviceCommand::List => list(work, &rights.devices()?),
            DeviceCommand::Revoke { device } => {
                let chosen = choose(&rights.devices()?, &device)?;
                rights.revoke_device(&chosen)?;
                work.printer.say(format!("device {chosen} is revoked"));
            }
            DeviceCommand::Token { user, own_rights, ttl } => {
                let token = make_token(rights, user, own_rights, ttl)?;
                match work.printer.json() {
                    true => work.printer.object(&json!({"message_type": "token", "token": token})),
                    false => work.printer.line(token),
                }
                work.printer.say(format!("used once, on the device: cas login {} --token -", cluster.address()));
            }
        }
        Ok(Exit::Ok)
    }
}

fn make_token(rights: &dyn Rights, user: Option<String>, own_rights: bool, life_ns: i64) -> Result<String> {
    let user = match user {
        Some(user) => user,
        None => rights.whoami()?.device.user,
    };
    let token = rights.make_token(&NewToken { user, own_rights, life_ns })?;
    Ok(token.0.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The device that a person means, among those that are not revoked.
fn choose(devices: &[DeviceInfo], text: &str) -> Result<PublicKey> {
    let live = || devices.iter().filter(|device| device.revoked_ns.is_none());
    let by_key = live().filter(|device| !text.is_empty() && device.device.to_string().starts_with(text));
    let mut fitting: Vec<&DeviceInfo> = by_key.collect();
    if fitting.is_empty() {
        fitting = live().filter(|device| device.label == text).collect();
    }
    match &fitting[..] {
        [one] => Ok(one.device),
        [] => Err(ClientError::NotFound { what: "device", name: text.to_owned() }),
        several => Err(ClientError::Ambiguous {
            text: text.to_owned(),
            candidates: several.iter().map(|device| device.device.to_string()).collect::<Vec<_>>().join(" or "),
        }),
    }
}

fn list(work: &Workplace, devices: &[DeviceInfo]) {
    if work.printer.json() {
        for device in devices {
            work.printer.object(&json!({
                "device": device.device.to_string(), "label": device.label, "user": device.user,
                "own_rights": device.own_rights, "enrolled": time::rfc3339(device.enrolled_ns),
                "seen": time::rfc3339(device.seen_ns), "revoked": device.revoked_ns.map(time::rfc3339),
            }));
        }
        return;
    }
    let rows = devices.iter().map(|device| {
        let mut key = device.device.to_string();
        key.truncate(16);
        let state = match device.revoked_ns {
            Some(at) => format!("revoked {}", time::local(at)),
            None if device.own_rights => "own rights".to_owned(),
            None => String::new(),
        };
        vec![key, device.user.clone(), device.label.clone(), time::local(device.seen_ns), state]
    });
    table::lines(&["DEVICE", "USER", "NAME", "LAST SEEN", "STATE"], rows)
        .iter()
        .for_each(|line| work.printer.line(line));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(key: u8, label: &str, revoked: bool) -> DeviceInfo {
        DeviceInfo {
            device: PublicKey([key; 32]),
            label: label.to_owned(),
            user: "ada".to_owned(),
            own_rights: false,
            enrolled_ns: 0,
            seen_ns: 0,
            revoked_ns: revoked.then_some(1),
        }
    }

    #[test]
    fn a_device_is_named_by_key_or_label_and_never_guessed() {
        let devices = [
            device(0xaa, "laptop", false),
            device(0xab, "nas", false),
            device(0xac, "nas", false),
            device(1, "x", true),
        ];
        assert_eq!(choose(&devices, "aa").unwrap(), devices[0].device);
        assert_eq!(choose(&devices, "laptop").unwrap(), devices[0].device);
        for unclear in ["a", "nas"] {
            assert!(matches!(choose(&devices, unclear), Err(ClientError::Ambiguous { .. })), "{unclear}");
        }
        for none in ["", "01", "phone"] {
            assert!(matches!(choose(&devices, none), Err(ClientError::NotFound { .. })), "{none}");
        }
    }
}
