//! QUIC with the settings of cas and nothing above it: a server in a process of its own, a client in this one.

use super::meter::{Cost, measure};
use super::town::Server;
use bytes::Bytes;
use cas_net::{Identity, raw};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

/// What makes this program that server.
pub const SERVER: &str = "raw-server";
/// Bytes of one request: what a client of cas puts together.
const PART: usize = 1 << 20;
const AT_ONCE: usize = 16;
const STREAMS: u32 = 128;
const HERE: [u8; 32] = [7; 32];
const THERE: [u8; 32] = [8; 32];

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// Takes what comes, or gives [`PART`] bytes to who sends one.
pub fn serve(_: &str) {
    runtime().block_on(async {
        let endpoint = raw::listen(&Identity::from_seed(&THERE), "127.0.0.1:0".parse().expect("it is one"), STREAMS);
        let endpoint = endpoint.expect("a socket");
        println!("{}", endpoint.local_addr().expect("it is bound"));
        let part = Bytes::from(super::data::noise(1, PART));
        let connection = endpoint.accept().await.expect("somebody comes").await.expect("it connects");
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            let part = part.clone();
            tokio::spawn(async move {
                let mut got = 0;
                while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.expect("it sends") {
                    got += chunk.bytes.len();
                }
                let answer = if got > 1 { Bytes::from_static(b"taken") } else { part };
                send.write_chunk(answer).await.expect("it reads");
                let _ = send.finish();
            });
        }
    });
}

/// The client.
pub struct Raw {
    server: Server,
    runtime: Runtime,
    connection: quinn::Connection,
    part: Bytes,
}

impl Raw {
    /// Starts the server and connects to it.
    pub fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a benchmark is a program"));
        command.arg(SERVER);
        let log = tempfile::NamedTempFile::new().expect("a file");
        let server = Server::start(SERVER, command, log.path());
        let at: SocketAddr = server.address.parse().expect("it prints its address");
        let runtime = runtime();
        let (here, there) = (Identity::from_seed(&HERE), Identity::from_seed(&THERE));
        let connection = runtime.block_on(raw::connect(&here, &there, at)).expect("it is reached");
        Self { server, runtime, connection, part: Bytes::from(super::data::noise(2, PART)) }
    }

    /// Sends so many bytes.
    pub fn push(&self, size: usize) -> Cost {
        self.ask(size, self.part.clone(), b"taken".len())
    }

    /// Receives so many.
    pub fn pull(&self, size: usize) -> Cost {
        self.ask(size, Bytes::from_static(b"?"), PART)
    }

    fn ask(&self, size: usize, request: Bytes, answer: usize) -> Cost {
        let all = async {
            let room = Arc::new(Semaphore::new(AT_ONCE));
            let mut tasks = Vec::new();
            for _ in 0..size / PART {
                let permit = room.clone().acquire_owned().await.expect("it is never closed");
                let (connection, request) = (self.connection.clone(), request.clone());
                tasks.push(tokio::spawn(async move {
                    let got = exchange(connection, request).await;
                    drop(permit);
                    got
                }));
            }
            for task in tasks {
                assert_eq!(task.await.expect("it ends"), answer);
            }
        };
        measure(&[self.server.pid()], || self.runtime.block_on(all)).1
    }
}

async fn exchange(connection: quinn::Connection, request: Bytes) -> usize {
    let (mut send, mut recv) = connection.open_bi().await.expect("it is connected");
    send.write_chunk(request).await.expect("it reads");
    let _ = send.finish();
    let mut got = 0;
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.expect("it sends") {
        got += chunk.bytes.len();
    }
    got
}
