//! An index that may be away: what it answered last is told in its place, to readers.
//!
//! ```text
//! keyring, vaults, versions, records   asked for; kept; told as they were kept while the index does not answer
//! everything else                      asked for, or an error: nothing is changed, counted or promised from memory
//! ```
//! Promise: only silence of the index makes what is kept be used, never an answer that somebody does not like. That it was used is
//! said ([`Away`]). While it is away it is asked again now and then.

use super::kept::Kept;
use super::now_ns;
use cas_core::id::{BlockId, Kind, PublicKey, SnapshotId, VaultId};
use cas_core::keyring::KeyringObject;
use cas_core::snapshot::SnapshotObject;
use cas_net::wire::Wire;
use cas_net::{
    Checkpointed, Commit, Committed, Condemned, Delete, Deleted, Grant, HaveAnswer, Index, IndexStatus, NodeId,
    Receipt, Recount, Registered, Registration, Result, ServiceError, SessionId, SessionInfo, SessionStart,
    SnapshotRow, SnapshotState, StartSession, StoredRow,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an index is silent before what is kept stands in its place. Whatever is not kept waits as long as any call does.
const BELIEVED: Duration = Duration::from_secs(3);

/// How long an index that did not answer is not asked for what is kept.
const PAUSE: Duration = Duration::from_secs(30);

/// And for how long it is not asked for what is not kept, when that was waited for: a command that needs several things waits once.
const JUST_NOW: Duration = Duration::from_secs(3);

/// That an index does not answer, and what is told instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Away {
    /// How it does not answer.
    pub why: String,
    /// When the oldest of what was told in its place was heard, nanoseconds since 1970.
    pub told_ns: i64,
}

/// Whether the index answers, and what is kept for when it does not.
pub(crate) struct Watch {
    kept: Kept,
    reach: Reach,
    state: Mutex<State>,
}

/// Reaches the index within a time.
pub(crate) type Reach = Box<dyn Fn(Duration) -> Result<()> + Send + Sync>;

#[derive(Default)]
struct State {
    silent: Option<Silence>,
    away: Option<Away>,
}

/// That the index did not answer.
#[derive(Clone)]
struct Silence {
    since: Instant,
    /// As long as a call waits, not only until it was believed.
    was_waited_for: bool,
    peer: String,
    detail: String,
}

impl From<Silence> for ServiceError {
    fn from(Silence { peer, detail, .. }: Silence) -> Self {
        Self::Unreachable { peer, detail }
    }
}

impl Watch {
    /// Over what is kept here of an index that is reached like this.
    pub fn over(kept: Kept, reach: Reach) -> Self {
        Self { kept, reach, state: Mutex::default() }
    }

    /// What is kept.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What was told in the place of the index, if it does not answer now.
    pub fn away(&self) -> Option<Away> {
        self.lock().away.clone()
    }

    /// Asks, and keeps the answer; or tells what was kept.
    pub fn ask<T: Wire>(&self, name: &str, ask: impl FnOnce() -> Result<T>) -> Result<T> {
        self.ask_and(name, ask, Kept::keep)
    }

    fn ask_and<T: Wire>(
        &self,
        name: &str,
        ask: impl FnOnce() -> Result<T>,
        keep: impl FnOnce(&Kept, &str, &T, i64),
    ) -> Result<T> {
        if self.stands_in(name)
            && let Some(value) = self.tell(name)
        {
            return Ok(value);
        }
        let silent = self.lock().silent.clone();
        if let Some(how) = silent.filter(|how| how.was_waited_for && how.since.elapsed() < JUST_NOW) {
            return Err(how.into());
        }
        match ask() {
            Ok(value) => {
                *self.lock() = State::default();
                keep(&self.kept, name, &value, now_ns());
                Ok(value)
            }
            Err(ServiceError::Unreachable { peer, detail }) => {
                let how = self.note(peer, detail, true);
                self.tell(name).ok_or(how.into())
            }
            Err(why) => Err(why),
        }
    }

    /// Whether something is kept under this name, and the index does not answer.
    fn stands_in(&self, name: &str) -> bool {
        if !self.kept.has(name) {
            return false;
        }
        if self.lock().silent.as_ref().is_some_and(|how| how.since.elapsed() < PAUSE) {
            return true;
        }
        match (self.reach)(BELIEVED) {
            Err(ServiceError::Unreachable { peer, detail }) => {
                self.note(peer, detail, false);
                true
            }
            // Whatever else is wrong is said to whoever asks.
            _ => false,
        }
    }

    fn note(&self, peer: String, detail: String, was_waited_for: bool) -> Silence {
        let how = Silence { since: Instant::now(), was_waited_for, peer, detail };
        self.lock().silent = Some(how.clone());
        how
    }

    /// What is kept under a name; that it is used is noted.
    fn tell<T: Wire>(&self, name: &str) -> Option<T> {
        let told = self.kept.get::<T>(name)?;
        let mut state = self.lock();
        let why = state.silent.clone().map_or_else(String::new, |how| ServiceError::from(how).to_string());
        tracing::info!("{name} is told as it was kept: {why}");
        let before = state.away.as_ref().map_or(i64::MAX, |away| away.told_ns);
        state.away = Some(Away { why, told_ns: before.min(told.at_ns) });
        Some(told.value)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An index whose answers are kept.
pub(crate) struct Recalling {
    index: Arc<dyn Index>,
    watch: Arc<Watch>,
}

impl Recalling {
    /// Over this index.
    pub fn over(index: Arc<dyn Index>, watch: Arc<Watch>) -> Self {
        Self { index, watch }
    }

    fn versions(&self, vault: &VaultId) -> Result<Vec<SnapshotRow>> {
        self.watch.ask(&versions_name(vault), || self.index.snapshots(vault, None, true))
    }

    /// A version that this program made is known without asking.
    fn keep_made(&self, object: &[u8], made: &Committed) {
        let kept = self.watch.kept();
        kept.keep_lightly(&object_name(&made.snapshot), &object.to_vec(), now_ns());
        let Ok(parsed) = SnapshotObject::parse(object) else { return };
        let record = parsed.record();
        let Some(mut known) = kept.get::<Vec<SnapshotRow>>(&versions_name(&record.vault)) else { return };
        let row = SnapshotRow {
            vault: record.vault,
            name: record.name.to_string(),
            seq: made.seq,
            snapshot: made.snapshot,
            object: BlockId::of_object(Kind::Snapshot, object),
            root: record.root,
            time_ns: record.time_ns,
            state: SnapshotState::Live,
        };
        known.value.retain(|old| old.snapshot != row.snapshot);
        let at = known.value.partition_point(|old| (&old.name, old.seq) < (&row.name, row.seq));
        known.value.insert(at, row);
        // The others are as old as they were.
        kept.keep(&versions_name(&record.vault), &known.value, known.at_ns);
    }
}

fn versions_name(vault: &VaultId) -> String {
    format!("versions-{vault}")
}

fn keyring_name(vault: &VaultId) -> String {
    format!("keyring-{vault}")
}

fn object_name(snapshot: &SnapshotId) -> String {
    format!("object-{snapshot}")
}

impl Index for Recalling {
    fn keyring(&self, vault: &VaultId) -> Result<Vec<u8>> {
        self.watch.ask(&keyring_name(vault), || self.index.keyring(vault))
    }
    fn put_keyring(&self, object: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.index.put_keyring(object, receipts)?;
        if let Ok(keyring) = KeyringObject::parse(object) {
            self.watch.kept().keep(&keyring_name(&keyring.vault()), &object.to_vec(), now_ns());
        }
        Ok(())
    }
    fn vaults(&self) -> Result<Vec<VaultId>> {
        self.watch.ask("vaults", || self.index.vaults())
    }
    fn snapshots(&self, vault: &VaultId, name: Option<&str>, trash: bool) -> Result<Vec<SnapshotRow>> {
        if name.is_none() && trash {
            return self.versions(vault);
        }
        if !self.watch.stands_in(&versions_name(vault)) {
            return self.index.snapshots(vault, name, trash);
        }
        let mut rows = self.versions(vault)?;
        rows.retain(|row| (trash || row.state == SnapshotState::Live) && name.is_none_or(|name| row.name == name));
        Ok(rows)
    }
    fn snapshot_object(&self, snapshot: &SnapshotId) -> Result<Vec<u8>> {
        let ask = || self.index.snapshot_object(snapshot);
        self.watch.ask_and(&object_name(snapshot), ask, Kept::keep_lightly)
    }
    fn commit(&self, session: SessionId, commit: &Commit) -> Result<Committed> {
        let made = self.index.commit(session, commit)?;
        self.keep_made(&commit.object, &made);
        Ok(made)
    }

    fn public_key(&self) -> PublicKey {
        self.index.public_key()
    }
    fn add_node(&self, node: NodeId) -> Result<()> {
        self.index.add_node(node)
    }
    fn start_session(&self, start: &StartSession) -> Result<SessionStart> {
        self.index.start_session(start)
    }
    fn close_session(&self, session: SessionId) -> Result<()> {
        self.index.close_session(session)
    }
    fn grant(&self, session: SessionId) -> Result<Grant> {
        self.index.grant(session)
    }
    fn have(&self, session: SessionId, ids: &[BlockId]) -> Result<HaveAnswer> {
        self.index.have(session, ids)
    }
    fn register(&self, session: SessionId, registration: Registration) -> Result<Registered> {
        self.index.register(session, registration)
    }
    fn head(&self, vault: &VaultId, name: &str) -> Result<Option<(u64, SnapshotId)>> {
        self.index.head(vault, name)
    }
    fn forget(&self, removal: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.index.forget(removal, receipts)
    }
    fn undelete(&self, returning: &[u8], receipts: &[Receipt]) -> Result<()> {
        self.index.undelete(returning, receipts)
    }
    fn empty_trash(&self, before_ns: i64) -> Result<Vec<SnapshotRow>> {
        self.index.empty_trash(before_ns)
    }
    fn end_sessions_except(&self, keep: &[SessionId]) -> Result<Vec<SessionInfo>> {
        self.index.end_sessions_except(keep)
    }
    fn condemn(&self, limit: usize) -> Result<Condemned> {
        self.index.condemn(limit)
    }
    fn deleted(&self, node: NodeId, answers: &[(Delete, Deleted)]) -> Result<()> {
        self.index.deleted(node, answers)
    }
    fn rows(&self, ids: &[BlockId]) -> Result<Vec<Option<StoredRow>>> {
        self.index.rows(ids)
    }
    fn list_rows(&self, after: Option<BlockId>, limit: usize) -> Result<Vec<StoredRow>> {
        self.index.list_rows(after, limit)
    }
    fn children(&self, id: &BlockId) -> Result<Vec<BlockId>> {
        self.index.children(id)
    }
    fn mark(&self, ids: &[BlockId], bad: bool) -> Result<()> {
        self.index.mark(ids, bad)
    }
    fn recount(&self) -> Result<Recount> {
        self.index.recount()
    }
    fn status(&self) -> Result<IndexStatus> {
        self.index.status()
    }
    fn close(&self) -> Result<Checkpointed> {
        self.index.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClientError;
    use crate::browse::Library;
    use crate::pull::{Overwrite, Progress, PullOptions, pull};
    use crate::push::{Counters, ExcludeRules, PushOptions, push};
    use crate::store::lock::{Lock, Patience};
    use crate::store::{Folder, Home, Store};
    use crate::vault::{NewVault, Vault};
    use cas_core::agebox::Identity as Identities;
    use cas_core::domain::DomainRecord;
    use cas_core::frame::Compression;
    use cas_net::{Identity, Network, RemoteIndex, Settings};
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    /// The same store, with an index that keeps its answers, or with one at an address where nobody is.
    fn reached(store: &Store, folder: &std::path::Path, is_there: bool) -> Store {
        let reach = move |_| if is_there { Ok(()) } else { Err(unreachable_index()) };
        let watch = Arc::new(Watch::over(Kept::in_folder(folder.to_owned()), Box::new(reach)));
        let index: Arc<dyn Index> = if is_there { store.index().clone() } else { Arc::new(nobody()) };
        let dir = store.dir().unwrap().join("another");
        let lock = Lock::take(&dir.with_extension(format!("{is_there}")), "test", Patience::None).unwrap();
        let folder = Folder {
            door: Mutex::default(),
            dir,
            node: store.node().unwrap().clone(),
            lost_end: None,
            _reached: None,
            _lock: lock,
        };
        let index = Arc::new(Recalling::over(index, watch.clone()));
        Store { index, nodes: store.nodes().clone(), home: Home::Folder(folder), watch: Some(watch) }
    }

    fn nobody() -> RemoteIndex {
        let settings =
            Settings { patience: Duration::from_millis(50), reconnect: Duration::ZERO, ..Settings::default() };
        let network = Network::new(Identity::from_seed(&[1; 32]), settings).unwrap();
        // A socket that is bound and never read: nobody else can answer there.
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = format!("cas://{}@{}", "ab".repeat(32), silent.local_addr().unwrap());
        std::mem::forget(silent);
        RemoteIndex::new(&network, &address.parse().unwrap())
    }

    fn push_options(dir: &std::path::Path) -> PushOptions {
        PushOptions {
            paths: vec![dir.to_owned()],
            name: "name".to_owned(),
            excludes: ExcludeRules::default(),
            one_file_system: false,
            compression: Compression::Zstd(1),
            force: true,
            dry_run: false,
            jobs: 1,
            host: "host".to_owned(),
            user: "user".to_owned(),
            tags: Vec::new(),
            time_ns: None,
            program: "test".to_owned(),
        }
    }

    fn pull_options(target: std::path::PathBuf) -> PullOptions {
        PullOptions {
            target,
            path: Vec::new(),
            overwrite: Overwrite::IfChanged,
            delete: false,
            dry_run: false,
            numeric_owner: true,
            excludes: ExcludeRules::default(),
            jobs: 1,
        }
    }

    #[test]
    fn what_was_seen_or_made_here_is_pulled_while_the_index_is_away_and_nothing_is_pushed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let (source, state, go_on) = (at("src"), at("state"), AtomicBool::new(false));
        std::fs::create_dir(&source).unwrap();
        let identity = Identities::from_random(&crate::random());
        let new = NewVault {
            domain: DomainRecord::with_sizes(1 << 10, 4 << 10, 16 << 10).unwrap(),
            owner: identity.recipient(),
            recovery: Identities::from_random(&crate::random()).recipient(),
            label: "test".to_owned(),
        };
        let embedded = Store::create(&at("store"), "test").unwrap();
        let store = reached(&embedded, &at("kept"), true);
        let mut vault = Vault::create(&store, vec![identity.clone()], new, &state).unwrap();
        let push_one = |store: &Store, vault: &mut Vault, content: &str| {
            std::fs::write(source.join("file"), content).unwrap();
            let counters = Arc::<Counters>::default();
            push(store, vault, &at("cache"), &push_options(&source), &counters, &go_on)
        };
        push_one(&store, &mut vault, "first").unwrap();
        // Versions are listed once; then another is made, that is never listed while the index is there.
        Vault::open(&store, vec![identity.clone()], None, &state).unwrap();
        Library::open(&store, &mut vault, None).unwrap();
        push_one(&store, &mut vault, "second").unwrap();
        assert_eq!(store.away(), None);
        drop(store);

        let store = reached(&embedded, &at("kept"), false);
        let mut vault = Vault::open(&store, vec![identity], None, &state).unwrap();
        assert!(store.away().is_some(), "it is said");
        let library = Library::open(&store, &mut vault, None).unwrap();
        for (row, content) in library.rows().iter().zip(["first", "second"]) {
            let opened = library.open_row(row).unwrap();
            let options = pull_options(at(content));
            let pulled = pull(&store, opened.root(), &opened.details, &options, &Progress::default(), &go_on).unwrap();
            assert!(pulled.problems.is_empty());
            assert_eq!(std::fs::read_to_string(at(content).join("file")).unwrap(), content);
        }
        assert_eq!(library.rows().len(), 2);
        let refused = push_one(&store, &mut vault, "third").unwrap_err();
        assert!(matches!(refused, ClientError::Service(ServiceError::Unreachable { .. })), "{refused}");
    }

    fn unreachable_index() -> ServiceError {
        ServiceError::Unreachable { peer: "the index".into(), detail: "it is off".into() }
    }

    /// Over an index that is there as long as this says so.
    fn watch(dir: &tempfile::TempDir, is_there: &Arc<AtomicBool>) -> Watch {
        let is_there = is_there.clone();
        let reach = move |_| if is_there.load(Relaxed) { Ok(()) } else { Err(unreachable_index()) };
        Watch::over(Kept::in_folder(dir.path().to_owned()), Box::new(reach))
    }

    #[test]
    fn what_was_told_last_stands_in_for_an_index_that_is_silent_and_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let is_there = Arc::new(AtomicBool::new(true));
        watch(&dir, &is_there).ask("some", || Ok(vec![1u64])).unwrap();
        let later = watch(&dir, &is_there);
        assert_eq!(later.away(), None);
        let told = later.ask::<Vec<u64>>("some", || Err(unreachable_index())).unwrap();
        assert_eq!(told, [1], "it went away while it was asked");
        is_there.store(false, Relaxed);
        let later = watch(&dir, &is_there);
        let told = later.ask::<Vec<u64>>("some", || unreachable!("what is kept is not waited for long")).unwrap();
        assert_eq!(told, [1]);
        let away = later.away().unwrap();
        assert!(away.why.contains("it is off") && (0..=now_ns()).contains(&away.told_ns) && away.told_ns > 0);
        // It is not looked for again because of what is kept; what is not is waited for.
        is_there.store(true, Relaxed);
        assert_eq!(later.ask::<Vec<u64>>("some", || unreachable!("it is silent")).unwrap(), [1]);
        let mut asked = 0;
        let fails = || {
            asked += 1;
            Err(unreachable_index())
        };
        assert!(later.ask::<Vec<u64>>("other", fails).is_err());
        assert_eq!(asked, 1);
        // Not at once, though: a command that needs several things waits once.
        assert!(later.ask::<Vec<u64>>("other", || unreachable!("it was just silent")).is_err());
        // Once it answers, nothing of the past is left.
        let just_now = later.lock().silent.as_ref().unwrap().since;
        later.lock().silent.as_mut().unwrap().since = just_now.checked_sub(JUST_NOW).unwrap();
        assert_eq!(later.ask("other", || Ok(vec![2u64])).unwrap(), [2]);
        assert_eq!(later.away(), None);
        assert_eq!(later.ask("some", || Ok(vec![3u64])).unwrap(), [3]);
    }

    #[test]
    fn an_answer_that_nobody_likes_is_an_answer() {
        let dir = tempfile::tempdir().unwrap();
        let watch = watch(&dir, &Arc::new(AtomicBool::new(true)));
        watch.ask("some", || Ok(vec![1u64])).unwrap();
        for why in [
            ServiceError::Denied("you were revoked".into()),
            ServiceError::NotFound { what: "vault", name: "x".into() },
            ServiceError::Busy("too much".into()),
            ServiceError::Protocol("what?".into()),
        ] {
            assert!(watch.ask::<Vec<u64>>("some", || Err(why)).is_err());
        }
        assert_eq!(watch.away(), None);
    }
}
