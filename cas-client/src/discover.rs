//! Finding an index on the local network by multicast DNS (RFC 6762, DNS-SD RFC 6763): for networks without names.
//!
//! Promise: what is found is a place, never a key to trust. An address carries its key as always (`cas://KEY@lan`), and whoever answers
//! at a place that was found has to prove that key; a list of what is there is for people to compare with the key they were told.
//! Names in it are cut to printable letters. Nothing is announced unless somebody asks for it.

use crate::error::{ClientError, Result};
use crate::store::directory::write_private;
use cas_core::id::PublicKey;
use cas_net::ServiceError;
use cas_net::address::Address;
use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// The host of an address whose place is found on the local network.
pub const LAN: &str = "lan";
/// How long an answer is waited for before the last known place is tried.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The kind of service.
const SERVICE: &str = "_cas._udp.local.";
/// The longest name that is shown, in bytes.
const MAX_NAME: usize = 63;

/// An index that says where it is, until this is dropped.
pub struct Announced(#[expect(dead_code, reason = "it is held")] Daemon);

/// An index that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it says it is, and which key it says it has.
    pub address: Address,
    /// The name of its machine, as it says.
    pub name: String,
}

impl Announced {
    /// Announces the index with this key that listens on this UDP address, where others reach it: of an unspecified one on all
    /// networks of this machine, and of IPv4 alone if it is one of those.
    ///
    /// # Errors
    /// The system allows no multicast.
    pub fn start(key: &PublicKey, listen: SocketAddr, name: &str) -> Result<Self> {
        let (daemon, instance) = (Daemon::start()?, key.to_string().chars().take(32).collect::<String>());
        let host = format!("cas-{instance}.local.");
        let properties = [("v", "1".to_owned()), ("key", key.to_string()), ("name", printable(name))];
        let made = |ip: &str| ServiceInfo::new(SERVICE, &instance, &host, ip, listen.port(), &properties[..]);
        let service = match listen.ip() {
            ip if !ip.is_unspecified() => made(&ip.to_string()),
            IpAddr::V6(_) => made("").map(ServiceInfo::enable_addr_auto),
            IpAddr::V4(_) => {
                daemon.0.disable_interface(IfKind::IPv6).map_err(refused)?;
                made("").map(ServiceInfo::enable_addr_auto)
            }
        };
        daemon.0.register(service.map_err(refused)?).map_err(refused)?;
        Ok(Self(daemon))
    }
}

/// Listens and speaks until it is dropped.
struct Daemon(ServiceDaemon);

impl Daemon {
    fn start() -> Result<Self> {
        ServiceDaemon::new().map(Self).map_err(refused)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It says good-bye; if nobody hears it, what it said expires within two minutes.
        if let Ok(ended) = self.0.shutdown() {
            let _ = ended.recv_timeout(Duration::from_secs(1));
        }
    }
}

/// All that answer within this time; with a key, that one alone, as soon as it answers.
///
/// # Errors
/// The system allows no multicast.
pub fn find(wanted: Option<&PublicKey>, patience: Duration) -> Result<Vec<Found>> {
    let (daemon, until) = (Daemon::start()?, Instant::now() + patience);
    let events = daemon.0.browse(SERVICE).map_err(refused)?;
    let mut found: BTreeMap<PublicKey, Found> = BTreeMap::new();
    while let Ok(event) = events.recv_deadline(until) {
        let ServiceEvent::ServiceResolved(service) = event else { continue };
        let said = |name| service.get_property_val_str(name).unwrap_or_default();
        let Ok(key) = said("key").parse::<PublicKey>() else { continue };
        let places = service.get_addresses().iter().map(|address| address.to_ip_addr());
        let Some(ip) = places.filter(is_place).min_by_key(order) else { continue };
        if wanted.is_some_and(|wanted| *wanted != key) || service.get_port() == 0 {
            continue;
        }
        let address = Address::new(key, SocketAddr::new(ip, service.get_port()));
        found.insert(key, Found { address, name: printable(said("name")) });
        if wanted.is_some() {
            break;
        }
    }
    Ok(found.into_values().collect())
}

/// The address with its place: itself, or if its host is [`LAN`] where its key is announced, else where it was the last time.
///
/// # Errors
/// Nobody announces it, and it was never found before.
pub fn located(address: &Address, state: &Path) -> Result<Address> {
    if address.host() != LAN {
        return Ok(address.clone());
    }
    let note = state.join(format!("lan-{}", address.key));
    if let Some(found) = find(Some(&address.key), PATIENCE)?.pop() {
        std::fs::create_dir_all(state).map_err(|e| ClientError::io(format!("make {}", state.display()), e))?;
        write_private(&note, found.address.to_string().as_bytes())?;
        return Ok(found.address);
    }
    let known = std::fs::read_to_string(&note).ok().and_then(|text| text.parse::<Address>().ok());
    known.filter(|known| known.key == address.key).ok_or_else(|| {
        let detail = "nobody announces it on the local network (cas index serve --announce)".to_owned();
        ServiceError::Unreachable { peer: address.to_string(), detail }.into()
    })
}

fn refused(why: mdns_sd::Error) -> ClientError {
    ServiceError::io("use multicast DNS", io::Error::other(why.to_string())).into()
}

/// Link-local addresses of IPv6 mean nothing without an interface.
fn is_place(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

/// Addresses of other machines' networks first, IPv4 before IPv6.
fn order(ip: &IpAddr) -> (bool, bool, IpAddr) {
    (ip.is_loopback(), ip.is_ipv6(), *ip)
}

fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn only_the_local_network_is_searched_for() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = address(&format!("cas://{}@a.example:7", PublicKey([7; 32])));
        assert_eq!(located(&elsewhere, dir.path()).unwrap(), elsewhere);
    }

    #[test]
    fn what_others_call_themselves_is_cut_to_what_prints() {
        assert_eq!(printable("desk\u{1b}[2J of\nada"), "desk[2J ofada");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_NAME);
    }

    #[test]
    fn a_place_that_others_reach_comes_before_one_of_this_machine() {
        let mut all: Vec<IpAddr> = ["127.0.0.1", "2001:db8::1", "192.0.2.1"].map(|ip| ip.parse().unwrap()).into();
        all.sort_by_key(order);
        assert_eq!(all[0].to_string(), "192.0.2.1");
        assert!(!is_place(&"fe80::1".parse().unwrap()));
    }
}
