//! The weather between any two parties: what is lost, comes twice, late or out of order. And who is behind a port.

use crate::dice::Dice;
use std::collections::{BTreeMap, BinaryHeap};
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    Index,
    Node(usize),
    /// Any command of a person.
    Person,
}

/// What happens to a datagram on one way. Shares are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weather {
    pub lost: u64,
    pub twice: u64,
    /// Each comes later by up to so many milliseconds, and so out of order.
    pub delay_ms: u64,
}

impl Weather {
    pub const WALL: Self = Self { lost: 1000, twice: 0, delay_ms: 0 };
}

/// A datagram on its way.
struct Late {
    due: Instant,
    socket: Arc<UdpSocket>,
    to: SocketAddr,
    bytes: Vec<u8>,
}

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Late {}

impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The earliest is the greatest.
impl Ord for Late {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.due.cmp(&self.due)
    }
}

/// All weather of a town.
pub struct Sky {
    rules: Mutex<BTreeMap<(Party, Party), Weather>>,
    processes: Mutex<BTreeMap<u32, Party>>,
    dice: Mutex<Dice>,
    late: Mutex<(BinaryHeap<Late>, bool)>,
    comes: Condvar,
}

impl Sky {
    pub fn new(dice: Dice) -> Arc<Self> {
        let sky = Arc::new(Self {
            rules: Mutex::default(),
            processes: Mutex::default(),
            dice: Mutex::new(dice),
            late: Mutex::default(),
            comes: Condvar::new(),
        });
        let deliverer = sky.clone();
        std::thread::spawn(move || deliverer.deliver());
        sky
    }

    /// From now on, one way.
    pub fn set(&self, from: Party, to: Party, weather: Weather) {
        lock(&self.rules).insert((from, to), weather);
    }

    /// Both ways.
    pub fn set_between(&self, a: Party, b: Party, weather: Weather) {
        self.set(a, b, weather);
        self.set(b, a, weather);
    }

    /// Nothing happens to anything.
    pub fn clear(&self) {
        lock(&self.rules).clear();
    }

    /// A process that is a party.
    pub fn knows(&self, process: u32, party: Party) {
        lock(&self.processes).insert(process, party);
    }

    /// Whose socket has this port: a command of a person, unless it is a server's.
    pub fn behind(&self, port: u16) -> Party {
        let Some(inode) = inode_of(port) else { return Party::Person };
        let link = format!("socket:[{inode}]");
        let processes = lock(&self.processes).clone();
        let has_it = |process: &u32| {
            let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
            open.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_str() == Some(&link)))
        };
        processes.iter().find(|(process, _)| has_it(process)).map_or(Party::Person, |(_, party)| *party)
    }

    /// Carries a datagram, or does not.
    pub fn carry(&self, from: Party, to: Party, socket: &Arc<UdpSocket>, place: SocketAddr, bytes: &[u8]) {
        let weather = lock(&self.rules).get(&(from, to)).copied().unwrap_or_default();
        if weather == Weather::default() {
            _ = socket.send_to(bytes, place);
            return;
        }
        let (times, delays) = {
            let mut dice = lock(&self.dice);
            let lost = dice.below(1000) < weather.lost;
            let times = if lost { 0 } else { 1 + usize::from(dice.below(1000) < weather.twice) };
            (times, [dice.below(weather.delay_ms + 1), dice.below(weather.delay_ms + 1)])
        };
        for delay in delays.into_iter().take(times) {
            let due = Instant::now() + Duration::from_millis(delay);
            let late = Late { due, socket: socket.clone(), to: place, bytes: bytes.to_vec() };
            lock(&self.late).0.push(late);
            self.comes.notify_one();
        }
    }

    /// Ends the thread that delivers.
    pub fn end(&self) {
        lock(&self.late).1 = true;
        self.comes.notify_one();
    }

    fn deliver(&self) {
        let mut late = lock(&self.late);
        while !late.1 {
            let wait = match late.0.peek() {
                Some(next) => next.due.saturating_duration_since(Instant::now()),
                None => Duration::from_secs(1),
            };
            if wait.is_zero() {
                let next = late.0.pop().expect("it was there");
                _ = next.socket.send_to(&next.bytes, next.to);
                continue;
            }
            late = self.comes.wait_timeout(late, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Of the UDP socket at this port, on any address of this machine.
fn inode_of(port: u16) -> Option<String> {
    let wanted = format!(":{port:04X}");
    ["/proc/net/udp", "/proc/net/udp6"].into_iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        let line = table.lines().find(|line| line.split_whitespace().nth(1).is_some_and(|at| at.ends_with(&wanted)))?;
        line.split_whitespace().nth(9).map(str::to_owned)
    })
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
