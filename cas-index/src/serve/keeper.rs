//! The two threads of a served index: one lets time pass, one does what schedules or people want. Time, load and the end
//! come from outside; what a tick or a slot means is decided in [`chores`](super::chores) and [`schedule`].

use super::backup::{self, Held};
use super::bell::Bell;
use super::chores::{self, Chore};
use super::history::{Cause, End, History, Run};
use super::metrics::Metrics;
use super::options::ServeOptions;
use super::schedule::{self, Past, Task};
use super::tasks::{Job, Tools};
use crate::Index;
use crate::cluster::liveness::Action;
use cas_net::cluster::{MAX_RUNS, RunEnd, RunInfo};
use cas_net::server::Load;
use cas_net::{Network, Result, ServiceError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SECOND_NS: i64 = 1_000_000_000;
/// The longest sleep, in ticks: cluster time is looked at again, since it does not pass like other time.
const LONGEST_SLEEP_TICKS: u32 = 30;

/// What the threads share.
pub(super) struct Keeper {
    pub index: Arc<Index>,
    pub network: Arc<Network>,
    pub options: ServeOptions,
    pub metrics: Arc<Metrics>,
    pub bell: Bell,
    pub held: Held,
    pub load: Box<dyn Fn() -> Load + Send + Sync>,
    history: Mutex<History>,
    /// And when it began.
    under_way: Mutex<Option<(Task, i64)>>,
    /// The last fault of a chore, so that one that lasts is logged once.
    fault: Mutex<Option<String>>,
}

impl Keeper {
    pub fn new(
        index: Arc<Index>,
        network: Arc<Network>,
        options: ServeOptions,
        metrics: Arc<Metrics>,
        load: Box<dyn Fn() -> Load + Send + Sync>,
    ) -> Result<Self> {
        let history = Mutex::new(History::open(&options.dir)?);
        let held = backup::held(&options.dir);
        let (bell, under_way, fault) = Default::default();
        Ok(Self { index, network, options, metrics, bell, held, load, history, under_way, fault })
    }

    /// Starts both.
    pub fn start(self: &Arc<Self>) -> Result<[JoinHandle<()>; 2]> {
        let spawn = |name: &str, work: fn(&Self)| {
            let keeper = self.clone();
            let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&keeper));
            thread.map_err(|e| ServiceError::io(format!("start {name}"), e))
        };
        let ticking = spawn("cas-ticks", Self::tick)?;
        match spawn("cas-runs", Self::run) {
            Ok(running) => Ok([ticking, running]),
            Err(why) => {
                self.bell.close();
                let _ = ticking.join();
                Err(why)
            }
        }
    }

    /// Past runs, oldest first.
    pub fn runs(&self) -> Vec<Run> {
        self.history().runs().cloned().collect()
    }

    /// The newest runs, newest first; the one that is under way has no end yet.
    pub fn newest_runs(&self, limit: u32) -> Vec<RunInfo> {
        let running = self.running();
        let past = self.history().runs().rev().map(RunInfo::from).collect::<Vec<_>>();
        let under_way = running.map(|(task, began_ns)| RunInfo {
            task: task.name().to_owned(),
            slot_s: None,
            began_ns,
            ended_ns: None,
            waited_ns: 0,
            end: RunEnd::Done,
            items: 0,
            bytes: 0,
            note: String::new(),
        });
        under_way.into_iter().chain(past).take(limit.min(MAX_RUNS) as usize).collect()
    }

    /// Has a task done that somebody names.
    pub fn ask(&self, task: &str) -> Result<()> {
        let unknown = |_| ServiceError::NotFound { what: "task", name: task.to_owned() };
        self.bell.ask(task.parse().map_err(unknown)?);
        Ok(())
    }

    /// A restored index sweeps from now on.
    pub fn release(&self) -> Result<()> {
        backup::release(&self.options.dir)?;
        self.held.end();
        Ok(())
    }

    /// What is being done.
    pub fn under_way(&self) -> Option<Task> {
        self.running().map(|(task, _)| task)
    }

    fn running(&self) -> Option<(Task, i64)> {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong again and again, if anything does.
    pub fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        for number in 0.. {
            for chore in chores::of_tick(number) {
                let done = unbroken(|| self.chore(chore));
                self.note_fault(chore, done.err());
            }
            if self.bell.sleep(self.options.tick) {
                return;
            }
        }
    }

    fn chore(&self, chore: Chore) -> Result<()> {
        match chore {
            Chore::Nodes => self.index.tick((self.options.steady)())?.iter().for_each(say),
            Chore::Sessions => {
                let expired = self.index.expire()?;
                self.metrics.expired.add(expired as u64);
                if expired > 0 {
                    tracing::info!(expired, "push sessions expired: their clients were silent");
                }
            }
            Chore::Rights => self.index.tick_rights()?,
        }
        Ok(())
    }

    fn note_fault(&self, chore: Chore, why: Option<ServiceError>) {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            // A chore that went well says nothing about the others, but the nodes' comes each time.
            None if chore == Chore::Nodes => *fault = None,
            None => {}
            Some(why) => {
                self.metrics.faults.of([chore.name()]).add(1);
                let why = format!("{}: {why}", chore.name());
                if fault.as_ref() != Some(&why) {
                    tracing::error!(why, "background work failed");
                    *fault = Some(why);
                }
            }
        }
    }

    fn run(&self) {
        let since_s = self.now_s();
        while !self.bell.is_closing() {
            let planned = schedule::next(&self.options.schedules, &self.past(), since_s, &self.options.index.key_seed);
            let left_s = planned.map_or(i64::MAX, |planned| planned.at_s.saturating_sub(self.now_s()));
            let left = Duration::from_secs(u64::try_from(left_s).unwrap_or(0));
            let longest = self.options.tick * LONGEST_SLEEP_TICKS;
            match (self.bell.wait(left.min(longest)), planned) {
                _ if self.bell.is_closing() => return,
                (Some(task), _) => self.do_run(task, Cause::Asked),
                (None, Some(planned)) if left <= longest => {
                    self.do_run(planned.task, Cause::Slot(planned.slot_s));
                }
                (None, _) => {}
            }
        }
    }

    fn past(&self) -> Vec<Past> {
        self.history().runs().map(|run| Past { task: run.task, began_s: run.began_ns.div_euclid(SECOND_NS) }).collect()
    }

    fn do_run(&self, task: Task, cause: Cause) {
        let (began_ns, begun) = (self.index.cluster_time_ns(), Instant::now());
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = Some((task, began_ns));
        let (index, network, options, bell) = (&self.index, &self.network, &self.options, &self.bell);
        let mut job = Job::new(Tools { index, network, options, bell, held: &self.held, load: &*self.load });
        let end = unbroken(|| job.run(task)).unwrap_or_else(|why| End::Failed(why.to_string()));
        let waited_ns = i64::try_from(job.waited.as_nanos()).unwrap_or(i64::MAX);
        let ended_ns = self.index.cluster_time_ns();
        let Job { items, bytes, note, .. } = job;
        match &end {
            End::Failed(why) => tracing::error!(%task, why, "run failed"),
            end => tracing::info!(%task, ?end, items, bytes, note, took_ms = begun.elapsed().as_millis() as u64, "run"),
        }
        self.metrics.runs.of([task.name(), word(&end)]).add(1);
        self.metrics.run_items.of([task.name()]).add(items);
        self.metrics.run_bytes.of([task.name()]).add(bytes);
        self.metrics.run_seconds.of([task.name()]).observe(begun.elapsed());
        let run = Run { task, cause, began_ns, ended_ns, waited_ns, end, items, bytes, note };
        if let Err(why) = self.history().add(run) {
            tracing::error!(%why, "a run could not be written down");
        }
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn now_s(&self) -> i64 {
        self.index.cluster_time_ns().div_euclid(SECOND_NS)
    }
}

/// A panic in one piece of work must not end all of it.
fn unbroken<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ServiceError::Stopped("it panicked; see above".into())))
}

fn word(end: &End) -> &'static str {
    match end {
        End::Done => "done",
        End::Held(_) => "held",
        End::Stopped => "stopped",
        End::Failed(_) => "failed",
    }
}

fn say(action: &Action) {
    match action {
        Action::Suspect(node) => tracing::warn!(%node, "node is silent: readers avoid it"),
        Action::Trust(node) => tracing::info!(%node, "node is heard again"),
        Action::Down(node) => tracing::error!(%node, "node is down: its copies are made elsewhere"),
        Action::Up(node) => tracing::info!(%node, "node is back"),
        Action::Suspend { silent, of } => {
            tracing::error!(silent, of, "many nodes vanished at once: only last copies are healed");
        }
        Action::Resume => tracing::info!("nodes are back: everything is healed again"),
    }
}
