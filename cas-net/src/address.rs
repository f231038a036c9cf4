//! Addresses: where a server is, and which key it has. `cas://KEY@HOST:PORT`, PROTOCOL §2.
//!
//! Promise: what prints parses to the same. The key is the identity: there is no address without one, because
//! a connection to nobody in particular is worth nothing.

use cas_core::id::PublicKey;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What an address begins with.
pub const SCHEME: &str = "cas://";
/// The UDP port of a server that names none.
pub const DEFAULT_PORT: u16 = 9474;
/// The longest host name (RFC 1035).
const MAX_HOST: usize = 253;

/// Where a server is, and which key it has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Its Ed25519 key: whoever answers with another one is somebody else.
    pub key: PublicKey,
    /// A host name or an IP address (IPv6 without brackets).
    host: String,
    /// The UDP port.
    port: u16,
}

/// Text that is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address ({problem}); expected cas://KEY@HOST:PORT")]
pub struct AddressError {
    /// What stood there.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Address {
    /// The address of a socket behind which this key answers.
    pub fn new(key: PublicKey, socket: SocketAddr) -> Self {
        Self { key, host: socket.ip().to_string(), port: socket.port() }
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Without the key, for resolving and for people.
    pub fn place(&self) -> String {
        match self.host.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{}]:{}", self.host, self.port),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}@{}", self.key, self.place())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|problem| AddressError { text: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Address, &'static str> {
    let rest = text.strip_prefix(SCHEME).ok_or("it does not begin with cas://")?;
    let (key, place) = rest.split_once('@').ok_or("it names no key")?;
    let key = key.parse().map_err(|_| "the key is not 64 hexadecimal digits")?;
    let (host, port) = split_port(place)?;
    Ok(Address { key, host: host.to_owned(), port })
}

fn split_port(place: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("the bracket is not closed")?;
            let _: Ipv6Addr = host.parse().map_err(|_| "in brackets stands no IPv6 address")?;
            (
                host,
                if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or("no port after the bracket")?) },
            )
        }
        None => match place.split_once(':') {
            Some((host, port)) => (known_host(host)?, Some(port)),
            None => (known_host(place)?, None),
        },
    };
    Ok((host, port.map_or(Ok(DEFAULT_PORT), known_port)?))
}

fn known_host(host: &str) -> Result<&str, &'static str> {
    let name = !host.is_empty() && host.len() <= MAX_HOST;
    let letters = host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b == b'_');
    if name && (letters || host.parse::<IpAddr>().is_ok()) { Ok(host) } else { Err("the host is not a name") }
}

fn known_port(port: &str) -> Result<u16, &'static str> {
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|port| digits && *port != 0).ok_or("the port is not a number from 1 to 65535")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn an_address_prints_as_it_was_written() {
        for place in ["localhost:1", "10.0.0.7:9474", "[::1]:65535", "[fe80::1]:80", "store-1.example.org:443"] {
            let text = format!("cas://{}@{place}", key());
            let address: Address = text.parse().unwrap();
            assert_eq!((address.to_string(), address.place()), (text, place.to_owned()));
        }
    }

    #[test]
    fn a_missing_port_is_the_default_one() {
        for (short, long) in [("host", "host:9474"), ("[::1]", "[::1]:9474")] {
            let address: Address = format!("cas://{}@{short}", key()).parse().unwrap();
            assert_eq!(address.place(), long);
        }
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_its_reason() {
        let key = key();
        for (text, problem) in [
            (format!("{key}@host:1"), "cas://"),
            ("cas://host:1".into(), "no key"),
            (format!("cas://{}@host:1", &key[1..]), "64 hexadecimal"),
            (format!("cas://{key}@:1"), "host"),
            (format!("cas://{key}@ho st:1"), "host"),
            (format!("cas://{key}@host:0"), "port"),
            (format!("cas://{key}@host:+1"), "port"),
            (format!("cas://{key}@host:65536"), "port"),
            (format!("cas://{key}@host:"), "port"),
            (format!("cas://{key}@::1:80"), "host"),
            (format!("cas://{key}@[::1:80"), "bracket"),
            (format!("cas://{key}@[::1]80"), "port"),
            (format!("cas://{key}@[host]:80"), "IPv6"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_and_printing_agree(key: [u8; 32], port in 1u16.., v6: [u8; 16], v4: [u8; 4], six: bool) {
            let ip = if six { IpAddr::from(v6) } else { IpAddr::from(v4) };
            let address = Address::new(PublicKey(key), SocketAddr::new(ip, port));
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }

        #[test]
        fn no_text_panics(text: String) {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
            }
        }
    }
}
