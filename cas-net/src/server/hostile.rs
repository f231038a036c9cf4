//! What a server does with clients that do not keep to the protocol: it gives them up, holds nothing for them, and goes on.

use super::{Handler, Load, Peer, Reply, Request, Server, ServerSettings, Services};
use crate::calls::{Family, node};
use crate::envelope::{AnswerEnvelope, RequestEnvelope, Status};
use crate::hello::{self, Hello, Welcome};
use crate::limits::{MAX_BODIES, MAX_BODY, MAX_REQUEST};
use crate::transport::frame::Frames;
use crate::transport::{close_code, endpoint, stream_code, tls};
use crate::wire::{decode, encode};
use crate::{Identity, Network, Result, ServiceError, Settings};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const STALL: Duration = Duration::from_millis(400);
const HELLO: Duration = Duration::from_secs(2);
const TELLINGS: usize = 5;

/// Answers every request with 4 MiB.
struct Large;

impl Handler for Large {
    fn handle(&self, _: &Peer, _: Request) -> Result<Reply> {
        Ok(Reply::of::<node::Get>(&()).with_bodies(vec![vec![7; 4 << 20].into()]))
    }
}

struct Desk {
    server: Server,
    client: Arc<Network>,
}

impl Desk {
    fn new() -> Self {
        let settings = ServerSettings { stall: STALL, hello: HELLO, busy_after: STALL, ..ServerSettings::default() };
        let at = Network::new(Identity::from_seed(&[1; 32]), Settings::default()).unwrap();
        let services = Services::new().with(Family::Node, Large);
        let server = Server::start(&at, "127.0.0.1:0".parse().unwrap(), services, settings).unwrap();
        let client = Network::new(Identity::from_seed(&[2; 32]), Settings::default()).unwrap();
        Self { server, client }
    }

    fn run<T>(&self, story: impl Future<Output = T>) -> T {
        self.client.handle().block_on(story)
    }

    async fn connect(&self, alpn: &[u8]) -> std::result::Result<Connection, ConnectionError> {
        let crypto = tls::speaking(alpn, self.client.identity(), self.server.network.public_key(), Arc::default());
        let mut config = quinn::ClientConfig::new(crypto);
        config.transport_config(Arc::new(endpoint::transport(0, endpoint::WINDOW)));
        let endpoint = endpoint::bind_client(self.client.identity()).unwrap();
        endpoint.connect_with(config, self.server.socket().unwrap(), tls::NAME).unwrap().await
    }

    async fn meet(&self) -> Connection {
        let connection = self.connect(hello::ALPN).await.unwrap();
        let welcome = greet(&connection, &hello::encode(&Hello::ours())).await.unwrap();
        assert!(welcome.version == 1 && welcome.answers(Family::Node) && !welcome.answers(Family::Index));
        connection
    }

    /// All that was held is free again, and the next request is answered.
    async fn goes_on(&self, connection: &Connection) {
        let start = Instant::now();
        while self.server.load().bytes > 0 || self.server.load().requests > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", self.server.load());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&encode(&request())).await.unwrap();
        let (answer, lens) = frames(&mut recv).answer().await.unwrap();
        assert_eq!((answer.status, lens), (Status::Done, vec![4 << 20]));
    }
}

async fn greet(connection: &Connection, hello: &[u8]) -> Option<Welcome> {
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    send.write_all(hello).await.ok()?;
    let mut frames = frames(&mut recv);
    let head = frames.bytes(hello::HEAD).await.ok()?;
    let len = hello::read_head(&head.try_into().unwrap()).unwrap();
    Some(hello::read(&frames.bytes(len).await.ok()?).unwrap())
}

fn frames(recv: &mut RecvStream) -> Frames<'_> {
    Frames::new(recv, Duration::from_secs(10))
}

fn request() -> RequestEnvelope {
    RequestEnvelope { message_len: 0, bodies: 0, family: 2, flags: 0, method: 3, patience_ms: 0 }
}

async fn ask(connection: &Connection, bytes: &[u8]) -> (SendStream, RecvStream) {
    let (mut send, recv) = connection.open_bi().await.unwrap();
    send.write_all(bytes).await.unwrap();
    (send, recv)
}

/// The error that is answered.
async fn error(recv: &mut RecvStream) -> ServiceError {
    let mut frames = frames(recv);
    let (answer, _): (AnswerEnvelope, _) = frames.answer().await.unwrap();
    assert_eq!(answer.status, Status::Failed);
    decode(&frames.bytes(answer.message_len as usize).await.unwrap(), 0).unwrap()
}

/// The code with which the stream is ended.
async fn ending(recv: &mut RecvStream) -> u64 {
    match recv.read_chunk(1, true).await {
        Err(ReadError::Reset(code)) => code.into_inner(),
        other => panic!("{other:?}"),
    }
}

/// The code with which a connection of this story is closed. A machine that is too busy to send it in time answers
/// later packets with a reset, so the story may be told again.
async fn closed_with(story: impl AsyncFn() -> Connection) -> u64 {
    for _ in 0..TELLINGS {
        match story().await.closed().await {
            ConnectionError::ApplicationClosed(close) => return close.error_code.into_inner(),
            ConnectionError::Reset => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("it never said why")
}

#[test]
fn a_client_of_another_version_is_told_which_ones_there_are() {
    let desk = Desk::new();
    desk.run(async {
        let code = closed_with(async || {
            let connection = desk.connect(hello::ALPN).await.unwrap();
            let hello = Hello { oldest: 9, newest: 12, program: "of tomorrow".into() };
            let welcome = greet(&connection, &hello::encode(&hello)).await.unwrap();
            assert_eq!((welcome.version, welcome.oldest, welcome.newest), (0, 1, 1));
            connection
        });
        assert_eq!(code.await, close_code::NO_VERSION.into());
    });
}

#[test]
fn another_application_protocol_ends_in_the_handshake() {
    let desk = Desk::new();
    let refused = desk.run(desk.connect(b"h3")).unwrap_err();
    let failure = crate::transport::Failure::of_connection(&refused).into_error("there");
    assert!(matches!(&failure, ServiceError::Protocol(text) if text.contains("cas/1")), "{failure}");
}

#[test]
fn who_says_no_hello_or_another_one_is_sent_away() {
    let desk = Desk::new();
    desk.run(async {
        let silent = closed_with(async || desk.connect(hello::ALPN).await.unwrap());
        assert_eq!(silent.await, close_code::PROTOCOL.into(), "silence");
        for hello in [&b"GET / HTTP/1.1"[..], b"CASN\xff\xff", b"CASN\x04\x00\x01\x00\x01\x00"] {
            let code = closed_with(async || {
                let connection = desk.connect(hello::ALPN).await.unwrap();
                let _ = greet(&connection, hello).await;
                connection
            });
            assert_eq!(code.await, close_code::PROTOCOL.into(), "{hello:?}");
        }
        desk.goes_on(&desk.meet().await).await;
    });
}

#[test]
fn lengths_above_the_limits_are_refused_and_hold_nothing() {
    let desk = Desk::new();
    desk.run(async {
        let connection = desk.meet().await;
        let (over, many) = (MAX_REQUEST as u32 + 1, MAX_BODIES as u32 + 1);
        for envelope in [
            RequestEnvelope { message_len: over, ..request() },
            RequestEnvelope { message_len: u32::MAX, ..request() },
            RequestEnvelope { bodies: many, ..request() },
            RequestEnvelope { bodies: u32::MAX, ..request() },
            RequestEnvelope { family: 99, ..request() },
        ] {
            let (_send, mut recv) = ask(&connection, &encode(&envelope)).await;
            assert!(matches!(error(&mut recv).await, ServiceError::Protocol(_)), "{envelope:?}");
        }
        for lens in [vec![MAX_BODY as u32 + 1], vec![MAX_BODY as u32; 2], vec![u32::MAX; 4]] {
            let envelope = RequestEnvelope { bodies: lens.len() as u32, ..request() };
            let lens: Vec<u8> = lens.iter().flat_map(|len| len.to_le_bytes()).collect();
            let (_send, mut recv) = ask(&connection, &[encode(&envelope), lens].concat()).await;
            assert!(matches!(error(&mut recv).await, ServiceError::Protocol(_)));
        }
        assert_eq!(desk.server.load().bytes, 0);
        desk.goes_on(&connection).await;
    });
}

#[test]
fn a_request_that_is_cut_or_stands_still_is_given_up() {
    let desk = Desk::new();
    desk.run(async {
        let connection = desk.meet().await;
        let long = encode(&RequestEnvelope { message_len: MAX_REQUEST as u32, ..request() });
        let (mut cut, mut cut_answer) = ask(&connection, &[&long[..], b"begun"].concat()).await;
        cut.finish().unwrap();
        assert_eq!(ending(&mut cut_answer).await, stream_code::PROTOCOL.into());
        let (mut gone, mut gone_answer) = ask(&connection, &long[..5]).await;
        gone.reset(0u32.into()).unwrap();
        assert_eq!(ending(&mut gone_answer).await, stream_code::UNWANTED.into());
        let (mut flags, mut flags_answer) = ask(&connection, &encode(&RequestEnvelope { flags: 8, ..request() })).await;
        flags.finish().unwrap();
        assert_eq!(ending(&mut flags_answer).await, stream_code::PROTOCOL.into());
        let start = Instant::now();
        let (still, mut still_answer) = ask(&connection, &[&long[..], b"begun"].concat()).await;
        assert_eq!(ending(&mut still_answer).await, stream_code::TOO_SLOW.into());
        assert!(start.elapsed() >= STALL);
        drop(still);
        desk.goes_on(&connection).await;
    });
}

#[test]
fn one_connection_that_reserves_all_it_can_does_not_starve_another() {
    let desk = Desk::new();
    desk.run(async {
        let greedy = desk.meet().await;
        let long = encode(&RequestEnvelope { message_len: MAX_REQUEST as u32, ..request() });
        let mut streams = Vec::new();
        for _ in 0..40 {
            streams.push(ask(&greedy, &long).await);
        }
        tokio::time::sleep(STALL / 4).await;
        let Load { bytes, .. } = desk.server.load();
        assert!(bytes > 0 && bytes <= ServerSettings::default().bytes_per_connection, "{bytes}");
        let other = desk.meet().await;
        let (mut send, mut recv) = ask(&other, &encode(&request())).await;
        send.finish().unwrap();
        assert_eq!(frames(&mut recv).answer().await.unwrap().0.status, Status::Done);
        drop((send, recv, streams));
        desk.goes_on(&other).await;
    });
}

#[test]
fn who_does_not_read_its_answers_is_given_up() {
    let desk = Desk::new();
    desk.run(async {
        let connection = desk.meet().await;
        let mut streams = Vec::new();
        for _ in 0..30 {
            streams.push(ask(&connection, &encode(&request())).await);
        }
        let start = Instant::now();
        while desk.server.load().requests > 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "{:?}", desk.server.load());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(desk.server.load().bytes, 0);
        drop(streams);
        desk.goes_on(&connection).await;
    });
}
