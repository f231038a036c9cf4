//! What others call this machine.

use cas_net::address::Address;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// An address that stands for everything beyond this network (RFC 5737); nothing is sent there.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The address with which this machine would speak to others; the loopback if it knows no way out.
pub fn own_ip() -> IpAddr {
    let way = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(ELSEWHERE)?;
        socket.local_addr()
    });
    way.map(|own| own.ip()).ok().filter(|ip| !ip.is_unspecified()).unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// The address of a server for whoever reads it: with the host that was given, else with that on which it listens, and
/// for a server that listens everywhere, with this machine's.
pub fn advertised(address: &Address, listen: SocketAddr, host: Option<&str>) -> String {
    let (key, port) = (address.key, address.port());
    let place = match host {
        Some(host) if host.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        Some(host) if host.contains(':') => host.to_owned(),
        Some(host) => format!("{host}:{port}"),
        None if listen.ip().is_unspecified() => SocketAddr::new(own_ip(), port).to_string(),
        None => address.place(),
    };
    format!("{}{key}@{place}", cas_net::address::SCHEME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed_and_names_a_place_that_others_can_reach() {
        let address: Address = format!("cas://{}@127.0.0.1:77", "ab".repeat(32)).parse().unwrap();
        let shown = |listen: &str, host| {
            let text = advertised(&address, listen.parse().unwrap(), host);
            text.parse::<Address>().unwrap().place()
        };
        assert_eq!(shown("127.0.0.1:0", None), "127.0.0.1:77");
        assert_eq!(shown("0.0.0.0:77", Some("store.example")), "store.example:77");
        assert_eq!(shown("0.0.0.0:77", Some("store.example:9")), "store.example:9");
        assert_eq!(shown("0.0.0.0:77", Some("fe80::1")), "[fe80::1]:77");
        assert_eq!(shown("[::]:77", None), format!("{}:77", own_ip()));
    }
}
