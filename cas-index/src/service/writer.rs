//! The writer: takes commands in order, logs them in groups, applies them, syncs, answers, makes checkpoints.
//!
//! Order for each group: written to the log → applied → synced if anyone asked → answered. Who did not ask for a sync is
//! answered before it. (Applying costs microseconds where a sync costs hundreds; running both at once would
//! gain nothing and cost two thread switches per commit.) Any error of a file ends it: no command is taken
//! any more, reads go on, and the next start finds what was durable.

use super::{Shared, flatten};
use crate::command::Command;
use crate::log::Log;
use crate::options::Options;
use crate::state::{self, Answer, Meta, Outcome, Stamp};
use cas_net::{Checkpointed, Result, ServiceError};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Commands in one group.
const MAX_GROUP: usize = 128;
/// Bytes of commands in one group, before the next one opens.
const MAX_GROUP_BYTES: usize = 8 << 20;
/// A checkpoint is also made after this time, if the log is worth it.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(30);

type Reply<T> = mpsc::SyncSender<Result<T>>;

/// What the writer is asked to do.
pub(super) enum Job {
    /// Carry out a command; answer when it is applied, and durable if asked for.
    Apply { command: Command, durable: bool, reply: Reply<Outcome> },
    /// Make everything before durable.
    Sync(Reply<()>),
    /// A checkpoint if it is worth it, and a clean end.
    Close(Reply<Checkpointed>),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    options: Options,
    last_ns: i64,
    checkpointed: Instant,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, log: Log, options: Options) -> Result<Self> {
        let last_ns = Meta::load(&*shared.read())?.time_ns;
        Ok(Self { shared, log, options, last_ns, checkpointed: Instant::now() })
    }

    /// Until the last handle is gone.
    pub(super) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        loop {
            let first = match jobs.recv_timeout(CHECKPOINT_AFTER) {
                Ok(job) => Some(job),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let mut next = first;
            while let Some(job) = next.take() {
                next = self.work(job, jobs);
            }
            if self.checkpoint_is_due() {
                // An error has stopped it, and the next caller is told.
                let _ = self.attempt(|writer| writer.checkpoint(false));
            }
        }
    }

    /// Does one job, or a group of commands. Answers a job that was taken and not done.
    fn work(&mut self, job: Job, jobs: &mpsc::Receiver<Job>) -> Option<Job> {
        match job {
            Job::Apply { command, durable, reply } => {
                let (mut group, mut bytes, mut other) = (Vec::new(), 0, None);
                let encoded = command.encode();
                bytes += encoded.len();
                group.push(Pending { command, encoded, durable, reply });
                while group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                    match jobs.try_recv() {
                        Ok(Job::Apply { command, durable, reply }) => {
                            let encoded = command.encode();
                            bytes += encoded.len();
                            group.push(Pending { command, encoded, durable, reply });
                        }
                        Ok(job) => {
                            other = Some(job);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                self.group(group);
                return other;
            }
            Job::Sync(reply) => {
                let synced = self.attempt(Self::sync);
                let _ = reply.send(synced);
            }
            Job::Close(reply) => {
                let closed = self.attempt(Self::close);
                let _ = reply.send(closed);
            }
        }
        None
    }

    fn group(&mut self, group: Vec<Pending>) {
        let answers = match self.attempt(|writer| writer.log_and_apply(&group)) {
            Ok(answers) => answers,
            Err(why) => {
                let why = why.to_string();
                group.iter().for_each(|p| drop(p.reply.send(Err(ServiceError::Stopped(why.clone())))));
                return;
            }
        };
        let mut waiting = Vec::new();
        for (pending, answer) in group.into_iter().zip(answers) {
            if pending.durable {
                waiting.push((pending.reply, answer));
            } else {
                let _ = pending.reply.send(flatten(Ok(answer)));
            }
        }
        if waiting.is_empty() {
            return;
        }
        let failed = self.attempt(Self::sync).err().map(|why| why.to_string());
        for (reply, answer) in waiting {
            let answer = match &failed {
                None => flatten(Ok(answer)),
                Some(why) => Err(ServiceError::Stopped(why.clone())),
            };
            let _ = reply.send(answer);
        }
    }

    fn log_and_apply(&mut self, group: &[Pending]) -> Result<Vec<Answer>> {
        self.last_ns = self.last_ns.max((self.options.clock)());
        let first = self.log.next();
        let records: Vec<_> = group.iter().map(|p| (self.last_ns, p.encoded.as_slice())).collect();
        self.log.append(&records)?;
        let mut answers = Vec::with_capacity(group.len());
        let mut epoch = first;
        for pending in group {
            let mut tables = self.shared.tables.write();
            answers.push(state::apply(&mut *tables, Stamp { epoch, time_ns: self.last_ns }, &pending.command)?);
            epoch = epoch.next();
        }
        Ok(answers)
    }

    fn sync(&mut self) -> Result<()> {
        self.log.sync()?;
        self.shared.durable.store(self.log.durable().0, Ordering::Release);
        Ok(())
    }

    fn checkpoint_is_due(&self) -> bool {
        let tail = self.log.tail_len();
        self.shared.stopped.get().is_none()
            && (tail >= self.options.checkpoint_log
                || self.shared.read().weight() >= self.options.checkpoint_weight
                || tail >= self.options.checkpoint_worth && self.checkpointed.elapsed() >= CHECKPOINT_AFTER)
    }

    /// Puts all changes into the file and begins a new log. The log is synced first, so that it never ends before the tables.
    fn checkpoint(&mut self, at_end: bool) -> Result<()> {
        self.sync()?;
        let rewritten = {
            let tables = self.shared.read();
            let rewrite = tables.file().wants_rewrite(tables.changes(), at_end)?;
            if rewrite { Some(tables.file().write_new(tables.changes())?) } else { None }
        };
        let write = || self.shared.tables.write();
        match rewritten {
            Some(rewritten) => {
                let mut tables = write();
                tables.file_mut().swap(rewritten)?;
                tables.forget_changes();
            }
            None => {
                write().file_mut().make_writable()?;
                {
                    let tables = self.shared.read();
                    tables.file().merge(tables.changes())?;
                }
                let mut tables = write();
                tables.file_mut().reload()?;
                tables.forget_changes();
            }
        }
        self.checkpointed = Instant::now();
        self.log.rotate()
    }

    fn close(&mut self) -> Result<Checkpointed> {
        if self.log.tail_len() >= self.options.checkpoint_worth {
            self.checkpoint(true)?;
        }
        if self.log.tail_len() > 0 {
            self.log.mark_end()?;
        }
        Ok(Checkpointed { log_tail: self.log.tail_len() })
    }

    /// Does what needs files, unless it has stopped; an error stops it.
    fn attempt<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(broken) = self.shared.read().file().broken() {
            self.shared.stop(&ServiceError::Stopped(broken.to_owned()));
        }
        if let Some(why) = self.shared.stopped.get() {
            return Err(ServiceError::Stopped(why.clone()));
        }
        let done = work(self);
        if let Err(why) = &done {
            self.shared.stop(why);
        }
        done
    }
}

struct Pending {
    command: Command,
    encoded: Vec<u8>,
    durable: bool,
    reply: Reply<Outcome>,
}
