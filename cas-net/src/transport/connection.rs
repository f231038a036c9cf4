//! The pooled connection to one peer: dialled when needed, again when lost, with growing pauses. PROTOCOL §6.
//!
//! Promise: a call ends within its patience. What the peer has certainly not begun is tried again; what it may have
//! done is tried again only if that means the same. A caller that goes away takes its stream with it.

use super::dial::dial;
use super::failure::{Failure, StreamError, stream_code};
use super::frame::{Frames, Parcel, Sending};
use super::network::{Network, Waiting};
use crate::address::Address;
use crate::calls::{Call, Family};
use crate::envelope::{RequestEnvelope, Status};
use crate::hello::Welcome;
use crate::limits::{MAX_ANSWER_ITEMS, MAX_BODIES, MAX_BODY, MAX_BODY_BYTES, MAX_REQUEST};
use crate::rights::Ask;
use crate::wire::{decode, encode};
use crate::{Result, ServiceError};
use bytes::Bytes;
use quinn::{RecvStream, WriteError};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The first pause before dialling again; each further one is twice as long, give or take half.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// How often a call that means the same when asked twice is asked again after a lost connection.
const LOST_TRIES: u32 = 3;
/// Bodies move at least this fast, or the caller has no use for them.
const SLOWEST_BYTES_PER_SECOND: usize = 64 << 10;

/// A call in bytes.
#[derive(Debug, Clone)]
pub struct RawCall {
    family: Family,
    method: u16,
    message: Vec<u8>,
}

impl RawCall {
    /// Of a call.
    pub fn of<C: Call>(call: &C) -> Self {
        Self { family: C::FAMILY, method: C::METHOD, message: encode(call) }
    }
}

/// What is said on each new connection before anything else: tickets, for example.
pub trait Introduce: Send + Sync {
    /// The calls, made anew each time. An error as an answer to one is the error of whatever was to be asked.
    fn calls(&self) -> Vec<RawCall>;
}

/// A request with its bodies, ready to be sent, and sent again.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    parcel: Parcel,
    body_bytes: usize,
    again: bool,
    patience: Duration,
    /// Whether a peer that is not reached is given up at once.
    hasty: bool,
}

impl Outgoing {
    /// The same after its connection was lost: a peer that is there answers, and nobody waits once more for one that is gone.
    pub(crate) fn again(&self) -> Self {
        Self { hasty: true, ..self.clone() }
    }
}

/// The connection to a peer. Clones share it.
#[derive(Clone)]
pub struct Connection {
    pooled: Arc<Pooled>,
}

/// What the clones share.
pub(super) struct Pooled {
    network: Arc<Network>,
    address: Address,
    live: Mutex<Live>,
    introduce: RwLock<Option<Arc<dyn Introduce>>>,
    chance: RandomState,
}

#[derive(Default)]
struct Live {
    connection: Option<(quinn::Connection, Welcome)>,
    failures: u32,
    /// When the last dial failed, and how.
    failed: Option<(Instant, String)>,
    not_before: Option<Instant>,
}

impl Pooled {
    pub(super) fn new(network: Arc<Network>, address: Address) -> Self {
        Self { network, address, live: Mutex::default(), introduce: RwLock::default(), chance: RandomState::new() }
    }
}

impl Connection {
    pub(super) fn new(pooled: Arc<Pooled>) -> Self {
        Self { pooled }
    }

    /// Whom it goes to.
    pub fn address(&self) -> &Address {
        &self.pooled.address
    }

    /// What is said on each new connection from now on.
    pub fn introduce(&self, introduce: Arc<dyn Introduce>) {
        *self.pooled.introduce.write().unwrap_or_else(PoisonError::into_inner) = Some(introduce);
    }

    /// Connects if it is not connected, and answers what the server calls itself.
    ///
    /// # Errors
    /// It is not reached within this time, has another key, or speaks no common version.
    pub fn connect(&self, within: Duration) -> Result<String> {
        let until = Instant::now() + within;
        self.network().handle().block_on(async {
            loop {
                match self.live(until).await {
                    Ok((_, welcome)) => return Ok(welcome.program),
                    Err(Failure::NotBegun(_)) if Instant::now() < until => {}
                    Err(failure) => return Err(failure.into_error(&self.peer())),
                }
            }
        })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Whatever the peer answers; [`ServiceError::Unreachable`] if it does not within the patience.
    pub fn call<C: Call>(&self, call: &C) -> Result<C::Answer> {
        let outgoing = self.outgoing(call, vec![])?;
        let mut exchange = self.network().handle().block_on(self.begin(&outgoing))?;
        exchange.end();
        exchange.answer::<C>()
    }

    pub(crate) fn network(&self) -> &Arc<Network> {
        &self.pooled.network
    }

    pub(crate) fn peer(&self) -> String {
        self.address().place()
    }

    /// A request that respects the limits.
    pub(crate) fn outgoing<C: Call>(&self, call: &C, bodies: Vec<Bytes>) -> Result<Outgoing> {
        let message = encode(call);
        let body_bytes = bodies.iter().map(Bytes::len).sum();
        within(C::NAME, "bytes", message.len(), MAX_REQUEST)?;
        within(C::NAME, "blocks", bodies.len(), MAX_BODIES)?;
        within(C::NAME, "bytes of one block", bodies.iter().map(Bytes::len).max().unwrap_or(0), MAX_BODY)?;
        within(C::NAME, "bytes of blocks", body_bytes, MAX_BODY_BYTES)?;
        let patience = self.network().settings().patience;
        let envelope = envelope(C::FAMILY, C::METHOD, patience);
        Ok(Outgoing {
            parcel: Parcel::request(envelope, &message, bodies),
            body_bytes,
            again: C::AGAIN,
            patience,
            hasty: false,
        })
    }

    /// Asks until there is a first answer, or no hope for one.
    pub(crate) async fn begin(&self, outgoing: &Outgoing) -> Result<Exchange> {
        let settings = self.network().settings();
        let start = Instant::now();
        let until = start + outgoing.patience + drain_time(outgoing.body_bytes);
        let reconnect = if outgoing.hasty { Duration::ZERO } else { settings.reconnect };
        let (reconnect, busy) = (until.min(start + reconnect), until.min(start + settings.busy));
        let (mut lost, mut refused) = (0, 0);
        loop {
            let failure = match self.attempt(outgoing, until).await {
                Ok(exchange) => return Ok(exchange),
                Err(failure) => failure,
            };
            let now = Instant::now();
            match &failure {
                Failure::NotBegun(_) if now < reconnect => {
                    if let Some(Waiting(hear)) = &settings.waiting {
                        hear(&self.peer());
                    }
                }
                Failure::Lost(_) if outgoing.again && lost < LOST_TRIES && now < until => lost += 1,
                Failure::Silent(_) if outgoing.again && now < reconnect => {}
                Failure::Final(ServiceError::Busy(_)) if now + self.pause(refused) < busy => {
                    sleep(self.pause(refused)).await;
                    refused += 1;
                }
                _ => return Err(failure.into_error(&self.peer())),
            }
        }
    }

    async fn attempt(&self, outgoing: &Outgoing, until: Instant) -> Result<Exchange, Failure> {
        let (connection, _) = self.live(until).await?;
        let opened = timeout_at(until, connection.open_bi()).await.map_err(|_| too_late())?;
        let (send, recv) = opened.map_err(|e| Failure::of_connection(&e))?;
        let mut exchange = Exchange::new(Sending::new(send), recv, self.network().settings().stall);
        let asked = timeout_at(until, exchange.first(outgoing.parcel.clone())).await;
        match asked.unwrap_or_else(|_| Err(too_late())) {
            Ok(()) => Ok(exchange),
            Err(failure) => {
                if matches!(failure, Failure::NotBegun(_)) {
                    self.retire(&connection).await;
                }
                Err(failure)
            }
        }
    }

    /// A connection that lives, dialled if need be. Whoever waits while another dials shares how that ends.
    async fn live(&self, until: Instant) -> Result<(quinn::Connection, Welcome), Failure> {
        let asked = Instant::now();
        let mut live = timeout_at(until, self.pooled.live.lock()).await.map_err(|_| too_late())?;
        if let Some((connection, welcome)) = &live.connection {
            if connection.close_reason().is_none() {
                return Ok((connection.clone(), welcome.clone()));
            }
            live.connection = None;
        }
        if let Some((failed, how)) = &live.failed
            && *failed >= asked
        {
            return Err(Failure::NotBegun(how.clone()));
        }
        if let Some(at) = live.not_before {
            timeout_at(until, sleep_until(at)).await.map_err(|_| too_late())?;
        }
        let dialled = timeout_at(until, self.dial()).await.unwrap_or_else(|_| Err(too_late()));
        self.note(&mut live, &dialled);
        dialled
    }

    async fn dial(&self) -> Result<(quinn::Connection, Welcome), Failure> {
        let (connection, welcome) = dial(self.network(), self.address()).await?;
        let introduce = self.pooled.introduce.read().unwrap_or_else(PoisonError::into_inner).clone();
        for call in introduce.map(|introduce| introduce.calls()).unwrap_or_default() {
            self.say(&connection, call).await?;
        }
        Ok((connection, welcome))
    }

    async fn say(&self, connection: &quinn::Connection, call: RawCall) -> Result<(), Failure> {
        let settings = self.network().settings();
        let (send, recv) = connection.open_bi().await.map_err(|e| Failure::of_connection(&e))?;
        let mut exchange = Exchange::new(Sending::new(send), recv, settings.stall);
        let envelope = envelope(call.family, call.method, settings.patience);
        exchange.first(Parcel::request(envelope, &call.message, vec![])).await?;
        exchange.end();
        Ok(())
    }

    fn note(&self, live: &mut Live, dialled: &Result<(quinn::Connection, Welcome), Failure>) {
        match dialled {
            Ok(reached) => {
                *live = Live { connection: Some(reached.clone()), ..Live::default() };
            }
            Err(failure) => {
                if let Failure::NotBegun(how) = failure {
                    live.failed = Some((Instant::now(), how.clone()));
                }
                self.hold_off(live);
            }
        }
    }

    fn hold_off(&self, live: &mut Live) {
        live.not_before = Some(Instant::now() + self.pause(live.failures));
        live.failures = live.failures.saturating_add(1);
    }

    /// No new request goes to this connection; those under way may end.
    async fn retire(&self, connection: &quinn::Connection) {
        let mut live = self.pooled.live.lock().await;
        if live.connection.as_ref().is_some_and(|(known, _)| known.stable_id() == connection.stable_id()) {
            live.connection = None;
            self.hold_off(&mut live);
        }
    }

    /// The pause after so many failures: doubling, and different for everybody.
    fn pause(&self, failures: u32) -> Duration {
        let longest = LAST_PAUSE.min(FIRST_PAUSE * 2u32.saturating_pow(failures.min(16)));
        let share = self.pooled.chance.hash_one(failures) % 1024;
        longest / 2 + longest * share as u32 / 2048
    }
}

/// Other families ask over it.
impl Ask for Connection {
    fn ask<C: Call>(&self, call: &C) -> Result<C::Answer> {
        self.call(call)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({})", self.address())
    }
}

fn envelope(family: Family, method: u16, patience: Duration) -> RequestEnvelope {
    let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1);
    RequestEnvelope { message_len: 0, bodies: 0, family: family as u8, flags: 0, method, patience_ms }
}

fn drain_time(bytes: usize) -> Duration {
    Duration::from_secs((bytes / SLOWEST_BYTES_PER_SECOND) as u64)
}

fn too_late() -> Failure {
    Failure::Lost("no answer in time".into())
}

fn within(call: &str, what: &str, found: usize, limit: usize) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(ServiceError::Protocol(format!("{call}: {found} {what}, at most {limit} are allowed")))
}

/// A request under way: its stream, and the first answer.
pub(crate) struct Exchange {
    send: Sending,
    recv: RecvStream,
    stall: Duration,
    message: Vec<u8>,
    bodies: Vec<Bytes>,
}

impl Exchange {
    fn new(send: Sending, recv: RecvStream, stall: Duration) -> Self {
        Self { send, recv, stall, message: vec![], bodies: vec![] }
    }

    async fn first(&mut self, parcel: Parcel) -> Result<(), Failure> {
        match parcel.write(self.send.stream(), self.stall).await {
            // It has answered before it read everything.
            Err(StreamError::Write(WriteError::Stopped(code))) if code == stream_code::UNWANTED.into() => {}
            other => other?,
        }
        self.read().await
    }

    async fn read(&mut self) -> Result<(), Failure> {
        let read = read_answer(&mut self.recv, self.stall).await;
        self.keep(read)
    }

    /// The second answer. `hurry` says when somebody waits for it.
    pub(crate) async fn second(&mut self, hurry: &Notify, patience: Duration) -> Result<(), Failure> {
        let until = Instant::now() + patience;
        let read = {
            let read = read_answer(&mut self.recv, self.stall);
            tokio::pin!(read);
            tokio::select! {
                read = timeout_at(until, &mut read) => read,
                () = hurry.notified() => {
                    self.send.finish();
                    timeout_at(until, &mut read).await
                }
            }
        };
        self.keep(read.unwrap_or_else(|_| Err(too_late())))
    }

    fn keep(&mut self, read: Result<(Vec<u8>, Vec<Bytes>), Failure>) -> Result<(), Failure> {
        match read {
            Ok((message, bodies)) => {
                (self.message, self.bodies) = (message, bodies);
                Ok(())
            }
            Err(failure) => {
                self.end();
                Err(failure)
            }
        }
    }

    /// Nothing more will be asked on it.
    pub(crate) fn end(&mut self) {
        self.send.finish();
    }

    /// The answer that came last.
    pub(crate) fn answer<C: Call>(&self) -> Result<C::Answer> {
        self.value()
    }

    /// The answer that came last, as a value.
    pub(crate) fn value<T: crate::wire::Wire>(&self) -> Result<T> {
        decode(&self.message, MAX_ANSWER_ITEMS).map_err(|e| ServiceError::Protocol(format!("answer: {e}")))
    }

    /// The bodies that came with it.
    pub(crate) fn bodies(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.bodies)
    }
}

/// An answer may take as long as the caller is patient: the time-out for silence begins with its first byte.
async fn read_answer(recv: &mut RecvStream, stall: Duration) -> Result<(Vec<u8>, Vec<Bytes>), Failure> {
    let (envelope, lens) = Frames::new(recv, Duration::MAX).answer().await?;
    let mut frames = Frames::new(recv, stall);
    let message = frames.bytes(envelope.message_len as usize).await?;
    match envelope.status {
        Status::Done => Ok((message, frames.bodies(&lens).await?)),
        Status::Failed => Err(Failure::Final(decode(&message, 0).map_err(StreamError::from)?)),
    }
}
