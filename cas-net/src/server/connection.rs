//! One connection of a server: handshake, hello, then a task for each request. PROTOCOL §1, §3.

use super::budget::Budget;
use super::request;
use super::{Peer, Shared};
use crate::hello::{self, HEAD, Hello, Welcome};
use crate::transport::frame::{Frames, Sending};
use crate::transport::{StreamError, close_code, stream_code, tls};
use bytes::Bytes;
use quinn::{Incoming, RecvStream, SendStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// How long a client that was sent away is given to hear why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a connection ended that did not simply end.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// No handshake or hello in time.
    #[error("no {0} in time")]
    Late(&'static str),
    /// The transport ended.
    #[error(transparent)]
    Transport(#[from] quinn::ConnectionError),
    /// The hello is not one.
    #[error("hello: {0}")]
    Hello(#[from] StreamError),
    /// Sent away.
    #[error("{0}")]
    Refused(&'static str),
    /// It speaks other versions, and was told which ones there are.
    #[error("no common version")]
    NoVersion,
}

/// A connection, for its requests.
pub struct Caller {
    /// Who it is.
    pub peer: Peer,
    /// Its share of the bytes.
    pub bytes: Budget,
}

/// Serves a connection to its end.
pub async fn serve(shared: &Arc<Shared>, incoming: Incoming) -> Result<(), Ended> {
    let hello_time = shared.settings.hello;
    let connecting = incoming.accept()?;
    let connection = timeout(hello_time, connecting).await.map_err(|_| Ended::Late("handshake"))??;
    let peer = match timeout(hello_time, meet(shared, &connection)).await {
        Ok(Ok(peer)) => peer,
        Ok(Err(why)) => {
            send_away(&connection, &why).await;
            return Err(why);
        }
        Err(_) => {
            connection.close(close_code::PROTOCOL.into(), b"no hello in time");
            return Err(Ended::Late("hello"));
        }
    };
    tracing::debug!(?peer, "connected");
    connection.set_receive_window(shared.settings.window(shared.connections.load(Ordering::Relaxed)).into());
    let caller = Arc::new(Caller { peer, bytes: Budget::new(shared.settings.bytes_per_connection) });
    let mut look = interval_at(Instant::now() + hello_time, hello_time);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept_bi() => accepted,
            _ = look.tick(), if shared.services.knows.is_some() => {
                if shared.services.knows.as_ref().is_some_and(|knows| !knows(&caller.peer)) {
                    // Who has a ticket by now, or a new one, comes again and shows it.
                    connection.close(close_code::FINISHED.into(), b"it has not shown that it may ask anything here");
                    return Ok(());
                }
                continue;
            }
        };
        match accepted {
            Ok((send, recv)) => take(shared, &caller, send, recv).await,
            Err(quinn::ConnectionError::ApplicationClosed(_) | quinn::ConnectionError::LocallyClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn take(shared: &Arc<Shared>, caller: &Arc<Caller>, send: SendStream, recv: RecvStream) {
    let (mut send, mut recv) = (Sending::new(send), recv);
    let seat = timeout(shared.settings.busy_after, shared.requests.clone().acquire_owned()).await;
    match seat {
        Ok(Ok(seat)) if !*shared.closing.borrow() => {
            let (shared, caller) = (shared.clone(), caller.clone());
            tokio::spawn(async move {
                request::serve(&shared, &caller, send, recv).await;
                drop(seat);
            });
        }
        Ok(_) => {
            send.reset(stream_code::GOING_AWAY);
            let _ = recv.stop(stream_code::GOING_AWAY.into());
        }
        Err(_) => request::refuse(shared, send, recv),
    }
}

async fn meet(shared: &Shared, connection: &quinn::Connection) -> Result<Peer, Ended> {
    let key = tls::peer_key(connection).ok_or(Ended::Refused("it has no key"))?;
    let admit = shared.services.admit.as_ref();
    if !admit.is_none_or(|admit| admit(&key)) {
        return Err(Ended::Refused("this key is not admitted"));
    }
    let (send, mut recv) = connection.accept_bi().await?;
    let mut send = Sending::new(send);
    let mut frames = Frames::new(&mut recv, shared.settings.hello);
    let head = frames.bytes(HEAD).await?;
    let len = hello::read_head(&head.try_into().expect("as many as asked for")).map_err(StreamError::from)?;
    let hello: Hello = hello::read(&frames.bytes(len).await?).map_err(StreamError::from)?;
    let welcome = Welcome::to(&hello, shared.services.handlers.keys().copied());
    send.stream().write_chunk(Bytes::from(hello::encode(&welcome))).await.map_err(StreamError::from)?;
    send.finish();
    if welcome.version == 0 {
        return Err(Ended::NoVersion);
    }
    Ok(Peer::new(key, connection.remote_address(), hello.program))
}

async fn send_away(connection: &quinn::Connection, why: &Ended) {
    let code = match why {
        Ended::NoVersion => {
            // It closes when it has read the welcome; if it does not, the code tells it.
            let _ = timeout(LAST_WORDS, connection.closed()).await;
            close_code::NO_VERSION
        }
        Ended::Refused(_) => close_code::NOT_ADMITTED,
        _ => close_code::PROTOCOL,
    };
    connection.close(code.into(), why.to_string().as_bytes());
}
