//! Sockets and the settings of QUIC. PROTOCOL §5 "Transport".
//!
//! The reset key follows from the identity, so that a server that was killed and started again tells its old peers at
//! their next packet, and they need not wait for their time-outs.

use super::identity::Identity;
use cas_core::kdf;
use quinn::crypto::{CryptoError, HmacKey};
use quinn::{
    ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig,
    VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What a peer may send on one stream before it is read.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// What a peer may send on one connection before it is read.
pub const WINDOW: u32 = 16 << 20;
/// What is sent on one connection and not yet acknowledged, at most.
const SEND_WINDOW: u64 = 16 << 20;
/// Socket buffers, as far as the system lets us.
const SOCKET_BUFFER: usize = 4 << 20;
/// The largest datagram: above about 6 500 a batch of segmentation offload exceeds 64 KiB and is dropped silently.
const MAX_DATAGRAM: u16 = 6_400;
/// A peer that says nothing for so long is gone: a push that goes through it is held up as long.
const IDLE: Duration = Duration::from_secs(3);
/// Both sides say something at least so often.
const KEEP_ALIVE: Duration = Duration::from_millis(700);
/// First guess of a round trip: a lost first packet is sent again after about three times this.
const FIRST_RTT: Duration = Duration::from_millis(100);

const _: () = assert!(STREAM_WINDOW <= WINDOW);
// Some of them may be lost.
const _: () = assert!(KEEP_ALIVE.as_millis() * 4 <= IDLE.as_millis());

/// The settings of a connection whose peer may have `streams` requests open.
pub fn transport(streams: u32, window: u32) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MAX_DATAGRAM);
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(0u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(window.into())
        .send_window(SEND_WINDOW)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE.as_millis() as u32))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .initial_rtt(FIRST_RTT)
        .mtu_discovery_config(Some(mtu));
    config
}

/// An endpoint on this address. Must be called inside of the runtime.
pub fn bind(identity: &Identity, at: SocketAddr, server: Option<quinn::ServerConfig>) -> io::Result<Endpoint> {
    Endpoint::new(config(identity), server, socket(at)?.into(), Arc::new(quinn::TokioRuntime))
}

/// An endpoint that only calls: on any port, IPv6 and IPv4 where the system has both.
pub fn bind_client(identity: &Identity) -> io::Result<Endpoint> {
    bind(identity, (Ipv6Addr::UNSPECIFIED, 0).into(), None)
        .or_else(|_| bind(identity, (Ipv4Addr::UNSPECIFIED, 0).into(), None))
}

/// Whether somebody could listen there now.
pub fn is_free(at: SocketAddr) -> bool {
    std::net::UdpSocket::bind(at).is_ok()
}

fn socket(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    if at.is_ipv6() && at.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // As far as the system's limit allows; it halves nothing but speed.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&at.into())?;
    Ok(socket)
}

fn config(identity: &Identity) -> EndpointConfig {
    let mut config = EndpointConfig::new(Arc::new(ResetKey(identity.reset())));
    config
        .max_udp_payload_size(MAX_DATAGRAM)
        .expect("within the bounds of QUIC")
        .cid_generator(|| Box::new(Cids { chance: RandomState::new(), count: 0 }));
    config
}

/// Makes the tokens of stateless resets.
struct ResetKey([u8; 32]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        out.copy_from_slice(&kdf::keyed(&self.0, data));
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if kdf::keyed(&self.0, data) == signature { Ok(()) } else { Err(CryptoError) }
    }
}

/// Connection ids that nobody foresees. None is refused unseen: those from before a restart get a stateless reset.
struct Cids {
    chance: RandomState,
    count: u64,
}

impl ConnectionIdGenerator for Cids {
    fn generate_cid(&mut self) -> ConnectionId {
        self.count += 1;
        ConnectionId::new(&self.chance.hash_one(self.count).to_le_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
