//! A store that a test holds, breaks and watches.

use paxos::Stored;
use paxos::storage::identity::Identity;
use paxos::storage::memory::MemoryStore;
use paxos::storage::{CommitError, OpenError, Store, Usage};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Where a commit dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Nothing is written.
    Before,
    /// It is written, and the node never hears of it: the process is gone.
    In,
    /// It is written, and reported as failed.
    After,
}

/// What there is no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// For the log or a snapshot: what a store promises to keep room for is taken.
    Log,
    /// For anything: other files have taken the last of the disk.
    All,
}

/// What the test tells the store, and what the store has seen.
#[derive(Debug, Default)]
struct State {
    begun: u64,
    done: u64,
    /// Commits up to this one may be carried out; none: all.
    allowed: Option<u64>,
    death: Option<(u64, Death)>,
    dead: bool,
    buried: bool,
    full: Option<Full>,
    /// Reports a commit as done before it is: a must-fail twin.
    early: bool,
    committed: Option<Stored>,
    usage: Option<Usage>,
}

/// The test's hand on a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control(Arc<(Mutex<State>, Condvar)>);

impl Control {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.0.lock().unwrap())
    }

    fn wait(&self, what: &str, until: impl Fn(&State) -> bool) {
        let end = Instant::now() + PATIENCE;
        let mut state = self.0.0.lock().unwrap();
        while !until(&state) {
            let left = end.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("waited for {what}"));
            state = self.0.1.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Carries out no commit beyond the first `count`.
    pub(crate) fn allow(&self, count: u64) {
        self.change(|state| state.allowed = Some(count));
    }

    /// Carries out one commit more.
    pub(crate) fn allow_one(&self) {
        self.change(|state| state.allowed = state.allowed.map(|count| count + 1));
    }

    /// Carries out all.
    pub(crate) fn allow_all(&self) {
        self.change(|state| state.allowed = None);
    }

    /// Dies at commit `number`, counted from 1.
    pub(crate) fn die_at(&self, number: u64, death: Death) {
        self.change(|state| state.death = Some((number, death)));
    }

    /// Lets a commit in which the store died return, now that nobody hears of it.
    pub(crate) fn bury(&self) {
        self.change(|state| state.buried = true);
    }

    /// Whether it died.
    pub(crate) fn is_dead(&self) -> bool {
        self.read(|state| state.dead)
    }

    /// Has no room from now on, or has room again.
    pub(crate) fn set_full(&self, full: Option<Full>) {
        self.change(|state| state.full = full);
    }

    /// Says that so much is used.
    pub(crate) fn set_usage(&self, usage: Usage) {
        self.change(|state| state.usage = Some(usage));
    }

    /// From now on says that commits are done before they are.
    pub(crate) fn report_early(&self) {
        self.change(|state| state.early = true);
    }

    /// Waits until commit `number` has begun.
    pub(crate) fn begun(&self, number: u64) {
        self.wait("a commit to begin", |state| state.begun >= number);
    }

    /// How many commits have begun.
    pub(crate) fn begun_now(&self) -> u64 {
        self.read(|state| state.begun)
    }

    /// How many commits are done.
    pub(crate) fn done_now(&self) -> u64 {
        self.read(|state| state.done)
    }

    /// What is on the disk.
    pub(crate) fn committed(&self) -> Option<Stored> {
        self.read(|state| state.committed.clone())
    }
}

/// The store: one in memory underneath, which outlives the node.
#[derive(Clone, Debug)]
pub(crate) struct GateStore {
    pub(crate) inner: MemoryStore,
    pub(crate) control: Control,
}

impl GateStore {
    pub(crate) fn new(node: u64) -> Self {
        GateStore { inner: MemoryStore::new("faults", node), control: Control::default() }
    }

    /// The same disk in another process.
    pub(crate) fn reopened(&self) -> Self {
        let control = Control::default();
        let committed = self.inner.clone().load().unwrap();
        control.change(|state| state.committed = committed);
        GateStore { inner: self.inner.clone(), control }
    }

    fn lacks_room(&self, value: &Stored) -> bool {
        self.control.read(|state| match state.full {
            None => false,
            Some(Full::All) => true,
            Some(Full::Log) => state.committed.as_ref().is_none_or(|before| {
                let held = |stored: &Stored| (stored.log.clone(), stored.snapshot.applied, stored.arriving.clone());
                held(before) != held(value)
            }),
        })
    }

    fn write(&mut self, value: &Stored) -> Result<(), CommitError> {
        self.inner.commit(value)?;
        let value = value.clone();
        self.control.change(|state| {
            state.committed = Some(value);
            state.done += 1;
        });
        Ok(())
    }
}

impl Store for GateStore {
    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn load(&mut self) -> Result<Option<Stored>, OpenError> {
        self.inner.load()
    }

    fn commit(&mut self, value: &Stored) -> Result<(), CommitError> {
        let mut number = 0;
        self.control.change(|state| {
            state.begun += 1;
            number = state.begun;
        });
        if self.control.read(|state| state.early) {
            let (mut store, value) = (self.clone(), value.clone());
            std::thread::spawn(move || {
                store.control.wait("the test", |state| state.allowed.is_none_or(|count| count >= number));
                store.write(&value)
            });
            return Ok(());
        }
        self.control.wait("the test", |state| state.allowed.is_none_or(|count| count >= number));
        match self.control.read(|state| state.death) {
            Some((at, death)) if number >= at => {
                if death != Death::Before && number == at {
                    self.write(value)?;
                }
                self.control.change(|state| state.dead = true);
                if death == Death::In {
                    self.control.wait("the test", |state| state.buried);
                }
                Err(CommitError::Failed(format!("it died {death:?} commit {at}")))
            }
            _ if self.lacks_room(value) => Err(CommitError::Full("the test says so".into())),
            _ => self.write(value),
        }
    }

    fn usage(&self) -> Usage {
        self.control.read(|state| state.usage).unwrap_or_else(|| self.inner.usage())
    }

    fn has_room(&mut self) -> bool {
        self.control.read(|state| state.full.is_none())
    }
}
