//! The HTTP port: `/metrics` for Prometheus, `/healthz` for whoever restarts things. Reads only, says nothing secret;
//! it listens on the loopback unless told otherwise, since it asks nobody who he is.
//!
//! Bounded: few connections, one request each, a head of at most some kilobytes, a few seconds for all of it.

use cas_net::{Result, ServiceError};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Where it listens unless told otherwise: the TCP port after the UDP port of the index.
pub const DEFAULT_HTTP: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), cas_net::address::DEFAULT_PORT + 1);
/// Connections at once; others wait.
const MAX_CONNECTIONS: usize = 16;
/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Before the next try when no connection can be taken (no more file descriptors, say).
const PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is shown.
pub trait Shown: Send + Sync + 'static {
    /// The text of `/metrics`.
    ///
    /// # Errors
    /// It cannot be read.
    fn metrics(&self) -> Result<String>;

    /// Whether it works.
    ///
    /// # Errors
    /// Why not.
    fn health(&self) -> Result<()>;
}

/// The port, open until it is dropped.
#[derive(Debug)]
pub struct Port {
    socket: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Port {
    /// Listens.
    ///
    /// # Errors
    /// [`ServiceError::Io`]: the port is taken.
    pub fn open(runtime: &Handle, at: SocketAddr, shown: Arc<dyn Shown>) -> Result<Self> {
        let io = |e| ServiceError::io(format!("listen on {at} for HTTP"), e);
        let listener = std::net::TcpListener::bind(at).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let socket = listener.local_addr().map_err(io)?;
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(listener).map_err(io)?;
        Ok(Self { socket, accepting: runtime.spawn(accept(listener, shown)) })
    }

    /// Where it listens.
    pub fn socket(&self) -> SocketAddr {
        self.socket
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shown: Arc<dyn Shown>) {
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let seat = seats.clone().acquire_owned().await.expect("it is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let shown = shown.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(PATIENCE, serve(stream, shown)).await;
                    drop(seat);
                });
            }
            Err(why) => {
                tracing::warn!(%why, "no HTTP connection could be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shown: Arc<dyn Shown>) {
    let answer = service_fn(move |request| {
        let shown = shown.clone();
        async move { Ok::<_, Infallible>(answered(&request, shown).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(why) = served {
        tracing::debug!(%why, "HTTP connection ended");
    }
}

async fn answered(request: &Request<Incoming>, shown: Arc<dyn Shown>) -> Response<Whole> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET\n".into());
    }
    let path = request.uri().path().to_owned();
    let looked = tokio::task::spawn_blocking(move || match path.as_str() {
        "/metrics" => match shown.metrics() {
            Ok(text) => response(StatusCode::OK, PROMETHEUS, text),
            Err(why) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        "/healthz" => match shown.health() {
            Ok(()) => response(StatusCode::OK, TEXT, "ok\n".into()),
            Err(why) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n")),
        },
        _ => response(StatusCode::NOT_FOUND, TEXT, "there are /metrics and /healthz\n".into()),
    });
    looked.await.unwrap_or_else(|_| response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "it broke\n".into()))
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<Whole> {
    let built = Response::builder().status(status).header("content-type", kind).body(Whole(Some(text.into())));
    built.expect("its parts are constants")
}

/// A body that is there at once.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
