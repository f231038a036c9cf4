//! One request of a server: read within the limits, handed to its handler, answered. PROTOCOL §4, §5.

use super::budget::Held;
use super::connection::Caller;
use super::handler::Second;
use super::{Reply, Request, Shared};
use crate::calls::Family;
use crate::envelope::{EnvelopeError, RequestEnvelope, Status};
use crate::limits::{MAX_ANSWER, MAX_BODIES, MAX_BODY, MAX_BODY_BYTES};
use crate::transport::frame::{Frames, Parcel, Sending};
use crate::transport::{StreamError, stream_code};
use crate::wire::{Wire, encode};
use crate::{Pending, Result, ServiceError};
use bytes::Bytes;
use quinn::RecvStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How long an answer that was sent is waited for to arrive: a peer that has died must not hold up a shutdown.
const LINGER: Duration = Duration::from_secs(3);

/// Serves one request to its end.
pub async fn serve(shared: &Arc<Shared>, caller: &Arc<Caller>, mut send: Sending, mut recv: RecvStream) {
    match answer(shared, caller, &mut send, &mut recv).await {
        Ok(()) => {
            send.finish();
            let _ = recv.stop(stream_code::UNWANTED.into());
            delivered(&mut send, shared.settings.stall).await;
        }
        Err(error) => {
            tracing::debug!(peer = ?caller.peer, %error, "request ended");
            let code = code(&error);
            send.reset(code);
            let _ = recv.stop(code.into());
        }
    }
}

/// Answers Busy without reading anything.
pub fn refuse(shared: &Arc<Shared>, mut send: Sending, mut recv: RecvStream) {
    let stall = shared.settings.stall;
    tokio::spawn(async move {
        let _ = recv.stop(stream_code::UNWANTED.into());
        if fail(&mut send, &busy("requests"), stall).await.is_ok() {
            send.finish();
        }
    });
}

/// Waits until the peer has everything, so that a shutdown does not cut an answer off.
async fn delivered(send: &mut Sending, wait: Duration) {
    let _ = timeout(wait.min(LINGER), send.stream().stopped()).await;
}

fn code(error: &StreamError) -> u32 {
    match error {
        StreamError::Stalled => stream_code::TOO_SLOW,
        StreamError::Envelope(_) | StreamError::Wire(_) | StreamError::Cut => stream_code::PROTOCOL,
        StreamError::Read(_) | StreamError::Write(_) => stream_code::UNWANTED,
    }
}

/// Reads the request and sends whatever there is to say; an error means that nothing can be said.
async fn answer(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    send: &mut Sending,
    recv: &mut RecvStream,
) -> Result<(), StreamError> {
    let stall = shared.settings.stall;
    let taken = match read(shared, caller, recv).await {
        Ok(taken) => taken,
        Err(Unread::Refused(error)) => return fail(send, &error, stall).await,
        Err(Unread::Stream(error)) => return Err(error),
    };
    let (mut held, until) = (taken.held, taken.until);
    let (reply, worker) = match handle(shared, caller, taken.request, until).await {
        Ok(reply) => reply,
        Err(error) => return fail(send, &error, stall).await,
    };
    if let Err(error) = hold(shared, caller, &mut held, size(&reply)).await {
        return fail(send, &error, stall).await;
    }
    // Not before: answers that wait for their bytes are as many as workers.
    drop(worker);
    Parcel::answer(Status::Done, &reply.message, reply.bodies).write(send.stream(), stall).await?;
    let second = match reply.second {
        None => return Ok(()),
        Some(Second::Receipt(pending)) => later(pending, recv).await,
        Some(Second::Chain(pending)) => later(pending, recv).await.map_err(|returned| returned.why),
    };
    match second {
        Ok(answer) => Parcel::answer(Status::Done, &answer, vec![]).write(send.stream(), stall).await,
        Err(error) => fail(send, &error, stall).await,
    }
}

/// A request that was read, and the bytes reserved for it.
struct Taken {
    request: Request,
    held: Held,
    /// When the caller will have gone.
    until: Option<Instant>,
}

/// Why a request was not read.
enum Unread {
    /// The peer can be told.
    Refused(ServiceError),
    /// It cannot.
    Stream(StreamError),
}

impl<E: Into<StreamError>> From<E> for Unread {
    fn from(error: E) -> Self {
        match error.into() {
            StreamError::Envelope(error @ EnvelopeError::TooLong { .. }) => {
                Self::Refused(ServiceError::Protocol(error.to_string()))
            }
            error => Self::Stream(error),
        }
    }
}

async fn read(shared: &Shared, caller: &Caller, recv: &mut RecvStream) -> Result<Taken, Unread> {
    let settings = &shared.settings;
    let mut frames = Frames::new(recv, settings.stall);
    let (envelope, lens) = frames.request().await?;
    let until = until(&envelope);
    let family = Family::from_byte(envelope.family).filter(|family| shared.services.handlers.contains_key(family));
    let Some(family) = family else {
        return Err(Unread::Refused(ServiceError::Protocol(format!("family {} is not served here", envelope.family))));
    };
    if let Err(error) = shared.services.handlers[&family].admit(&caller.peer, envelope.method) {
        return Err(Unread::Refused(error));
    }
    let size = envelope.message_len as usize + lens.iter().map(|len| *len as usize).sum::<usize>();
    let Some(held) = Held::take(&caller.bytes, &shared.bytes, size, settings.busy_after).await else {
        return Err(Unread::Refused(busy("bytes")));
    };
    let message = frames.bytes(envelope.message_len as usize).await?;
    let bodies = frames.bodies(&lens).await?;
    Ok(Taken { request: Request { family, method: envelope.method, message, bodies }, held, until })
}

fn until(envelope: &RequestEnvelope) -> Option<Instant> {
    let patience = Duration::from_millis(envelope.patience_ms.into());
    (envelope.patience_ms > 0).then(|| Instant::now() + patience)
}

/// The answer, and the worker that made it.
async fn handle(
    shared: &Arc<Shared>,
    caller: &Arc<Caller>,
    request: Request,
    until: Option<Instant>,
) -> Result<(Reply, OwnedSemaphorePermit)> {
    let worker = timeout(shared.settings.busy_after, shared.workers.clone().acquire_owned()).await;
    let worker = worker.map_err(|_| busy("workers"))?.expect("it is never closed");
    if request.bodies.is_empty() && until.is_some_and(|until| Instant::now() > until) {
        return Err(ServiceError::Busy("the caller's time was over before it was begun".into()));
    }
    let (shared, caller) = (shared.clone(), caller.clone());
    let done = spawn_blocking(move || {
        let handler = &shared.services.handlers[&request.family];
        handler.handle(&caller.peer, request).map(|reply| (reply, worker))
    });
    done.await.unwrap_or_else(|error| {
        tracing::error!(%error, "a handler panicked");
        Err(ServiceError::Stopped("the request met a fault of the program".into()))
    })
}

/// The bytes of an answer, within the limits.
fn size(reply: &Reply) -> Result<usize> {
    let longest = reply.bodies.iter().map(Bytes::len).max().unwrap_or(0);
    let fits = reply.message.len() <= MAX_ANSWER
        && reply.bodies.len() <= MAX_BODIES
        && longest <= MAX_BODY
        && reply.size() - reply.message.len() <= MAX_BODY_BYTES;
    if fits {
        return Ok(reply.size());
    }
    Err(ServiceError::Protocol(format!("the answer has {} bytes, more than allowed", reply.size())))
}

/// Reserves the bytes of an answer.
async fn hold(shared: &Shared, caller: &Caller, held: &mut Held, size: Result<usize>) -> Result<()> {
    if held.more(&caller.bytes, &shared.bytes, size?, shared.settings.busy_after).await {
        return Ok(());
    }
    Err(busy("bytes for the answer"))
}

/// Waits for a second answer; hurries when the peer has finished its side, which says that it waits.
async fn later<T, E>(mut pending: Pending<T, E>, recv: &mut RecvStream) -> Result<Vec<u8>, E>
where
    T: Wire + Send + 'static,
    E: From<ServiceError> + Send + 'static,
{
    let hurry = pending.take_hurry();
    let waiting = spawn_blocking(move || pending.wait());
    tokio::pin!(waiting);
    let mut frames = Frames::new(recv, Duration::MAX);
    let answer = tokio::select! {
        answer = &mut waiting => answer,
        () = frames.ended() => {
            if let Some(hurry) = hurry {
                // It may wait for the node's writer.
                drop(spawn_blocking(hurry));
            }
            waiting.await
        }
    };
    let fault = || ServiceError::Stopped("the request met a fault of the program".into()).into();
    answer.unwrap_or_else(|_| Err(fault())).map(|answer| encode(&answer))
}

fn busy(what: &str) -> ServiceError {
    ServiceError::Busy(format!("too many {what} are under way"))
}

async fn fail(send: &mut Sending, error: &ServiceError, stall: Duration) -> Result<(), StreamError> {
    Parcel::answer(Status::Failed, &encode(error), vec![]).write(send.stream(), stall).await
}
