//! The threads of a pull, and how they share a large file.
//!
//! ```text
//! jobs ──▶ a thread: walks the pieces of its file ──parts──▶ whoever is idle, or itself when nobody is
//! ```
//!
//! Nobody waits for a part while one lies in the queue: an owner that is done with walking takes parts too, whoever's they
//! are. Writing a part waits for nothing, so owners that wait for each other's parts cannot stand still.

use super::file::{Before, is_small, write_piece};
use super::{FileTask, Progress};
use crate::error::{ClientError, Result};
use crate::fetch::Fetcher;
use cas_core::id::BlockId;
use cas_core::manifest::PieceAt;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, select};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};

/// One thread's view of all.
#[derive(Clone)]
pub struct Crew<'a> {
    offered: Sender<Part>,
    taken: Receiver<Part>,
    progress: &'a Progress,
    stop: &'a AtomicBool,
}

/// Pieces of one open file, in order.
pub struct Part {
    of: Arc<Shared>,
    pieces: Vec<PieceAt>,
}

/// A file that is being written.
pub struct Shared {
    out: File,
    before: Before,
    state: Mutex<State>,
    settled: Condvar,
}

struct State {
    /// Parts that are not written yet.
    undone: usize,
    /// Bytes written, or what went wrong first.
    written: Result<u64>,
}

impl Part {
    /// A part of a file, which from now on is waited for.
    pub fn new(of: &Arc<Shared>, pieces: Vec<PieceAt>) -> Self {
        of.state.lock().expect("no thread panics with this lock").undone += 1;
        Self { of: of.clone(), pieces }
    }
}

impl<'a> Crew<'a> {
    /// A crew of so many threads.
    pub fn new(threads: usize, progress: &'a Progress, stop: &'a AtomicBool) -> Self {
        let (offered, taken) = bounded(threads);
        Self { offered, taken, progress, stop }
    }

    /// One thread's work: all jobs it gets, and parts of other files in between; ends when no thread has a job.
    pub fn work(self, jobs: &Receiver<Vec<FileTask>>, fetcher: &Fetcher, mut job: impl FnMut(&Self, FileTask)) {
        loop {
            select! {
                recv(self.taken) -> part => if let Ok(part) = part { self.write(part, fetcher) },
                recv(jobs) -> tasks => match tasks {
                    Ok(tasks) => {
                        fetcher.expect(&wanted(&tasks));
                        tasks.into_iter().for_each(|task| job(&self, task));
                    }
                    Err(_) => break,
                },
            }
        }
        let Self { offered, taken, progress, stop } = self;
        drop(offered);
        // Ends when the last owner has dropped its end.
        for part in taken {
            write(part, fetcher, progress, stop);
        }
    }

    /// Begins a file.
    pub fn open(&self, out: File, before: Before) -> Arc<Shared> {
        let state = State { undone: 0, written: Ok(0) };
        Arc::new(Shared { out, before, state: Mutex::new(state), settled: Condvar::new() })
    }

    /// Gives a part to whoever is idle, or writes it.
    ///
    /// # Errors
    /// Interrupted, when the person asked to stop.
    pub fn offer(&self, part: Part, fetcher: &Fetcher) -> Result<()> {
        match self.offered.try_send(part) {
            Ok(()) => {}
            Err(TrySendError::Full(part) | TrySendError::Disconnected(part)) => self.write(part, fetcher),
        }
        if self.stop.load(Relaxed) { Err(ClientError::Interrupted) } else { Ok(()) }
    }

    /// Writes a part. What goes wrong is the file's outcome.
    pub fn write(&self, part: Part, fetcher: &Fetcher) {
        write(part, fetcher, self.progress, self.stop);
    }

    /// Waits for all parts of a file. Answers the bytes written, or what went wrong first.
    pub fn finish(&self, file: &Shared, fetcher: &Fetcher) -> Result<u64> {
        while file.is_undone() {
            match self.taken.try_recv() {
                Ok(part) => self.write(part, fetcher),
                Err(_) => break,
            }
        }
        // What is undone still is in the hands of others.
        let state = file.state.lock().expect("no thread panics with this lock");
        let mut state = file.settled.wait_while(state, |s| s.undone > 0).expect("no thread panics with this lock");
        std::mem::replace(&mut state.written, Ok(0))
    }
}

impl Shared {
    /// The file itself.
    pub fn out(&self) -> &File {
        &self.out
    }

    fn is_undone(&self) -> bool {
        self.state.lock().expect("no thread panics with this lock").undone > 0
    }

    fn has_failed(&self) -> bool {
        self.state.lock().expect("no thread panics with this lock").written.is_err()
    }

    fn settle(&self, part: Result<u64>) {
        let mut state = self.state.lock().expect("no thread panics with this lock");
        match (&mut state.written, part) {
            (Ok(sum), Ok(more)) => *sum += more,
            (Ok(_), Err(e)) => state.written = Err(e),
            (Err(_), _) => {}
        }
        state.undone -= 1;
        drop(state);
        self.settled.notify_all();
    }
}

/// The blocks of files that are one block. What stands there may be right already, and then none is wanted.
fn wanted(tasks: &[FileTask]) -> Vec<BlockId> {
    let new = tasks.iter().filter(|task| !task.existing && is_small(&task.file));
    new.filter_map(|task| task.file.ids.first().copied()).collect()
}

fn write(part: Part, fetcher: &Fetcher, progress: &Progress, stop: &AtomicBool) {
    let Part { of, pieces } = part;
    let mut old = Vec::new();
    let mut written = Ok(0);
    if of.before == Before::Empty {
        let ids: Vec<BlockId> = pieces.iter().filter_map(|piece| piece.block.as_ref().map(|(id, _)| *id)).collect();
        fetcher.expect(&ids);
    }
    for piece in pieces {
        if written.is_err() || of.has_failed() {
            break;
        }
        if stop.load(Relaxed) {
            written = Err(ClientError::Interrupted);
            break;
        }
        let one = write_piece(&of.out, of.before, &piece, fetcher, &mut old);
        progress.bytes.fetch_add(piece.len, Relaxed);
        written = written.and_then(|sum: u64| Ok(sum + one?));
    }
    of.settle(written);
}
