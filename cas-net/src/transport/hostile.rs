//! What a client does with servers that do not keep to the protocol: an error within its patience, never an answer.

use super::{Identity, Network, Settings, endpoint, tls};
use crate::address::Address;
use crate::envelope::{AnswerEnvelope, Status};
use crate::hello::{self, Welcome};
use crate::limits::MAX_ANSWER;
use crate::wire::encode;
use crate::{Node, RemoteNode, ServiceError};
use quinn::{Endpoint, RecvStream, SendStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a server does with each request.
#[derive(Clone)]
enum Manners {
    /// Answers with these bytes, and ends the stream.
    Says(Vec<u8>),
    /// Answers with these bytes, and nothing more.
    Hangs(Vec<u8>),
    /// Ends the connection.
    Closes,
}

struct Desk {
    at: Arc<Network>,
    endpoint: Endpoint,
    remote: RemoteNode,
}

impl Desk {
    fn new(welcome: Vec<u8>, manners: Manners) -> Self {
        let identity = Identity::from_seed(&[1; 32]);
        let at = Network::new(identity.clone(), Settings::default()).unwrap();
        let _inside = at.handle().enter();
        let mut config = quinn::ServerConfig::with_crypto(tls::server(&identity));
        config.transport_config(Arc::new(endpoint::transport(100, endpoint::WINDOW)));
        let endpoint = endpoint::bind(&identity, "127.0.0.1:0".parse().unwrap(), Some(config)).unwrap();
        at.handle().spawn(serve(endpoint.clone(), welcome, manners));
        let settings = Settings {
            patience: Duration::from_secs(2),
            reconnect: Duration::ZERO,
            stall: Duration::from_millis(300),
            ..Settings::default()
        };
        let client = Network::new(Identity::from_seed(&[2; 32]), settings).unwrap();
        let address = Address::new(identity.public(), endpoint.local_addr().unwrap());
        let remote = RemoteNode::new(&client, &address);
        Self { at: at.clone(), endpoint, remote }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _inside = self.at.handle().enter();
        self.endpoint.close(0u32.into(), b"");
    }
}

async fn serve(endpoint: Endpoint, welcome: Vec<u8>, manners: Manners) {
    while let Some(incoming) = endpoint.accept().await {
        let (welcome, manners) = (welcome.clone(), manners.clone());
        tokio::spawn(async move {
            let connection = incoming.await.unwrap();
            let (mut send, mut kept) =
                (connection.accept_bi().await.unwrap().0, Vec::<(SendStream, RecvStream)>::new());
            send.write_all(&welcome).await.unwrap();
            send.finish().unwrap();
            while let Ok((mut send, recv)) = connection.accept_bi().await {
                match &manners {
                    Manners::Says(bytes) => {
                        let _ = send.write_all(bytes).await;
                        let _ = send.finish();
                    }
                    Manners::Hangs(bytes) => {
                        let _ = send.write_all(bytes).await;
                        kept.push((send, recv));
                    }
                    Manners::Closes => connection.close(99u32.into(), b"no mood"),
                }
            }
        });
    }
}

fn welcome() -> Welcome {
    Welcome { version: 1, oldest: 1, newest: 1, families: vec![2], program: "hostile".into() }
}

fn envelope() -> AnswerEnvelope {
    AnswerEnvelope { message_len: 40, bodies: 0, status: Status::Done, flags: 0 }
}

/// The error of a call that must come within the patience.
fn error_of(welcome: Vec<u8>, manners: Manners) -> ServiceError {
    let desk = Desk::new(welcome, manners);
    let start = Instant::now();
    let error = desk.remote.stats().unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}: {error}", start.elapsed());
    error
}

fn error_after(manners: Manners) -> ServiceError {
    error_of(hello::encode(&welcome()), manners)
}

#[test]
fn a_server_of_another_version_is_named() {
    let newer = Welcome { version: 0, oldest: 5, newest: 7, ..welcome() };
    let error = error_of(hello::encode(&newer), Manners::Closes);
    assert!(matches!(error, ServiceError::Version { found: 7, known: 1, .. }), "{error}");
    let wrong = Welcome { version: 3, ..welcome() };
    let error = error_of(hello::encode(&wrong), Manners::Closes);
    assert!(matches!(error, ServiceError::Version { found: 3, known: 1, .. }), "{error}");
}

#[test]
fn a_server_that_welcomes_with_something_else_is_not_asked() {
    for welcome in [&b"SSH-2.0"[..], b"CASN\xff\xff", b""] {
        let error = error_of(welcome.to_vec(), Manners::Closes);
        assert!(matches!(error, ServiceError::Protocol(_)), "{error}");
    }
}

#[test]
fn an_answer_that_is_none_is_an_error() {
    let long = AnswerEnvelope { message_len: MAX_ANSWER as u32 + 1, ..envelope() };
    let bodies = AnswerEnvelope { bodies: u32::MAX, ..envelope() };
    let status = [&encode(&envelope())[..8], &[9, 0]].concat();
    let garbage = [encode(&envelope()), vec![0xee; 39]].concat();
    let trailing = [encode(&AnswerEnvelope { message_len: 41, ..envelope() }), vec![0; 41]].concat();
    for answer in [encode(&long), encode(&bodies), status, trailing] {
        let error = error_after(Manners::Says(answer));
        assert!(matches!(error, ServiceError::Protocol(_)), "{error}");
    }
    for cut in [vec![], garbage] {
        let error = error_after(Manners::Says(cut));
        assert!(matches!(error, ServiceError::Unreachable { .. }), "{error}");
    }
}

#[test]
fn a_server_that_falls_silent_is_given_up() {
    for begun in [vec![], encode(&envelope()), [encode(&envelope()), vec![0; 20]].concat()] {
        let error = error_after(Manners::Hangs(begun));
        assert!(matches!(error, ServiceError::Unreachable { .. }), "{error}");
    }
    let error = error_after(Manners::Closes);
    assert!(matches!(error, ServiceError::Unreachable { .. }), "{error}");
}

#[test]
fn a_put_to_a_server_that_goes_away_is_an_error_and_its_room_is_free_again() {
    let desk = Desk::new(hello::encode(&welcome()), Manners::Closes);
    let network = desk.remote.connection().network().clone();
    let free = network.in_flight().available_permits();
    let key = cas_core::signing::SigningKey::from_seed(&[3; 32]);
    let grant = crate::Grant::sign(&key, crate::SessionId(1), cas_core::id::Epoch(1), false);
    let bytes = vec![1; 1 << 20];
    let sum = cas_core::id::Sum::of(&bytes);
    let block = crate::PutBlock {
        id: cas_core::id::BlockId(sum.0),
        kind: cas_core::id::Kind::Data,
        domain: cas_core::id::DomainId::ZERO,
        sum,
        bytes: bytes.into(),
    };
    let pending = desk.remote.put(&grant, vec![block]).unwrap();
    assert!(matches!(pending.wait(), Err(ServiceError::Unreachable { .. })));
    assert_eq!(network.in_flight().available_permits(), free);
}
