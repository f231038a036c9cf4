//! A relay before a server: everything that is said to it and that it answers passes here, under the weather.
//!
//! The server says the relay's port to everybody. For each caller the relay has a socket of its own, so that answers find back.

use crate::sky::{Party, Sky, lock};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The longest datagram there is.
const DATAGRAM: usize = 65_536;
/// Between two looks whether to end.
const LOOK: Duration = Duration::from_millis(500);
/// A caller that is silent for so long is forgotten: longer than QUIC keeps a silent connection.
const FORGET: Duration = Duration::from_secs(60);
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// See the module.
pub struct Relay {
    front: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A caller as the relay knows it.
#[derive(Clone)]
struct Caller {
    who: Party,
    back: Arc<UdpSocket>,
    heard: Instant,
}

type Callers = Arc<Mutex<BTreeMap<SocketAddr, Caller>>>;

impl Relay {
    /// Before the server at this port.
    pub fn start(server: Party, port: u16, sky: Arc<Sky>) -> Self {
        let front = Arc::new(socket());
        let stop = Arc::<AtomicBool>::default();
        let to = SocketAddr::new(LOCAL.ip(), port);
        let thread = {
            let (front, stop) = (front.clone(), stop.clone());
            std::thread::spawn(move || listen(server, to, &sky, &front, &stop))
        };
        Self { front, stop, thread: Some(thread) }
    }

    /// Where others reach the server.
    pub fn port(&self) -> u16 {
        self.front.local_addr().expect("it is bound").port()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind(LOCAL).expect("a port");
    socket.set_read_timeout(Some(LOOK)).expect("a timeout");
    socket
}

fn listen(server: Party, to: SocketAddr, sky: &Arc<Sky>, front: &Arc<UdpSocket>, stop: &Arc<AtomicBool>) {
    let callers = Callers::default();
    let mut buffer = vec![0; DATAGRAM];
    while let Some((len, from)) = next(front, &mut buffer, stop) {
        let known = lock(&callers).get_mut(&from).map(|caller| {
            caller.heard = Instant::now();
            caller.clone()
        });
        let caller = known.unwrap_or_else(|| {
            let caller = Caller { who: sky.behind(from.port()), back: Arc::new(socket()), heard: Instant::now() };
            lock(&callers).insert(from, caller.clone());
            let (callers, caller_of, sky, front, stop) =
                (callers.clone(), caller.clone(), sky.clone(), front.clone(), stop.clone());
            std::thread::spawn(move || answer(server, from, &caller_of, &callers, &sky, &front, &stop));
            caller
        });
        sky.carry(caller.who, server, &caller.back, to, &buffer[..len]);
    }
}

/// Carries back what the server answers, until its caller is forgotten.
fn answer(
    server: Party,
    caller_at: SocketAddr,
    caller: &Caller,
    callers: &Callers,
    sky: &Sky,
    front: &Arc<UdpSocket>,
    stop: &AtomicBool,
) {
    let mut buffer = vec![0; DATAGRAM];
    loop {
        match caller.back.recv_from(&mut buffer) {
            Ok((len, _)) => sky.carry(server, caller.who, front, caller_at, &buffer[..len]),
            Err(_) => {
                let mut callers = lock(callers);
                let is_forgotten = callers.get(&caller_at).is_none_or(|caller| caller.heard.elapsed() > FORGET);
                if is_forgotten || stop.load(Ordering::Relaxed) {
                    callers.remove(&caller_at);
                    return;
                }
            }
        }
    }
}

/// The next datagram; none if the relay ends.
fn next(socket: &UdpSocket, buffer: &mut [u8], stop: &AtomicBool) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Ok(read) => return Some(read),
            _ if stop.load(Ordering::Relaxed) => return None,
            // Nothing came, or what was sent before found nobody: it is UDP.
            Err(_) => {}
        }
    }
}
