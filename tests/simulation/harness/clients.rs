//! Clients: each has one request under way, at any node, and records what came of it.

use super::Time;
use super::judge::history::{Act as Asked, Entry, History, Operation, Outcome as Came, Val};
use super::plan::MS;
use super::random::Random;
use paxos::node::Answered;
use paxos::{Command, Request};
use paxos_model::kv::{Put, Query};
use paxos_model::replica::ballot::Slot;
use paxos_model::replica::message::{Act, OperationId, SessionId};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Keys that are written without versions, and never deleted: so the versions count the writes.
const COUNTED: u64 = 3;
/// Keys that are written and deleted with versions.
const VERSIONED: u64 = 3;
/// What listings are of.
const LISTED: [&str; 3] = ["counted-", "versioned-", "pair-"];
/// The pair of keys that are written together. They are never deleted: of two deleted keys one may be forgotten before the other, and then
/// show a higher version.
const PAIR: [&str; 2] = ["pair-0-a", "pair-0-b"];
/// What is written after all faults have ended.
const PROBED: &str = "counted-probe";
/// For how long a write is sent again in its session.
const AGAIN: Time = 1500 * MS;
const TIMEOUT_MS: std::ops::Range<u64> = 20..600;
/// How long the write after all faults is given at a time.
const PROBE_MS: u32 = 500;

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Doing {
    /// One write, of several keys together.
    Write {
        keys: Vec<String>,
        val: Val,
        ver: Option<u64>,
    },
    Read(String),
    /// A read of what the node has, which had shown this slot before.
    Local(String, Slot),
    List(&'static str),
    /// All that is there, once a read is answered.
    Backup,
    OpenSession,
    /// Forgets deleted keys, or ends sessions.
    Upkeep,
}

/// A request that was sent and is not answered.
pub(crate) struct Attempt {
    pub(crate) node: usize,
    /// Of which life of the node it is an answer.
    pub(crate) life: u64,
    pub(crate) answer: oneshot::Receiver<Answered>,
    /// When the client must have an answer, or waits no longer.
    pub(crate) until: Time,
    /// Whether it does not wait for the answer.
    pub(crate) hasty: bool,
}

/// What a client is at.
pub(crate) struct Task {
    pub(crate) doing: Doing,
    pub(crate) request: Request,
    pub(crate) begin: Time,
    /// Until when it is sent again.
    pub(crate) until: Time,
    /// Whether an attempt may have been carried out.
    pub(crate) maybe: bool,
    /// The node of the last attempt.
    pub(crate) node: usize,
    pub(crate) attempt: Option<Attempt>,
}

/// A client.
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) random: Random,
    pub(crate) history: History,
    pub(crate) task: Option<Task>,
    /// When it goes on by itself.
    pub(crate) next: Option<Time>,
    /// The node that it writes at after all faults, for whoever does.
    pub(crate) probes: Option<usize>,
    written: u64,
    /// The latest version that it knows of each key.
    versions: BTreeMap<String, u64>,
    /// Its session, and the last number used in it.
    session: Option<(SessionId, u64)>,
}

fn text(val: Val, random: &mut Random) -> String {
    if val == 0 {
        return String::new();
    }
    let more = if random.percent(10) { random.below(300) } else { 0 };
    if more == 0 { val.to_string() } else { format!("{val}.{}", "x".repeat(more as usize)) }
}

/// The number of a text; none if no client wrote such a one.
pub(crate) fn val(text: &str) -> Option<Val> {
    let (number, more) = text.split_once('.').unwrap_or((text, ""));
    let sound = more.bytes().all(|byte| byte == b'x');
    if text.is_empty() { Some(0) } else { number.parse().ok().filter(|val| *val > 0 && sound) }
}

impl Client {
    pub(crate) fn new(number: u64, seed: u64) -> Client {
        Client {
            number,
            random: Random::new(seed, 100 + number),
            history: History::default(),
            task: None,
            next: None,
            probes: None,
            written: 0,
            versions: BTreeMap::new(),
            session: None,
        }
    }

    fn key(&mut self) -> String {
        match self.random.below(3) {
            0 => format!("counted-{}", self.random.below(COUNTED)),
            1 => format!("versioned-{}", self.random.below(VERSIONED)),
            _ => (*self.random.pick(&PAIR)).to_owned(),
        }
    }

    /// How long an attempt is given.
    pub(crate) fn timeout_ms(&mut self) -> u32 {
        if self.probes.is_some() { PROBE_MS } else { self.random.within(TIMEOUT_MS) as u32 }
    }

    /// Thinks of something to do. `applied` is what a node it looks at has applied, `shown` what each node has shown by local reads.
    pub(crate) fn think(&mut self, now: Time, nodes: usize, applied: Slot, shown: &[Slot]) {
        let mut node = self.random.below(nodes as u64) as usize;
        let (mut doing, mut request) = match self.random.below(100) {
            0..30 => self.write_counted(),
            30..48 => self.write_versioned(),
            48..54 => self.write_pair(),
            54..72 => {
                let key = self.key();
                (Doing::Read(key.clone()), Request::Read(Query::Get(key.into())))
            }
            72..86 => {
                let key = self.key();
                (Doing::Local(key.clone(), shown[node]), Request::LocalRead(Query::Get(key.into())))
            }
            86..91 => {
                let prefix = *self.random.pick(&LISTED);
                let query = Query::Keys { prefix: prefix.into(), start: "".into(), limit: u64::MAX };
                (Doing::List(prefix), Request::Read(query))
            }
            91..95 => (Doing::Backup, Request::Read(Query::Get("".into()))),
            95..98 => (Doing::OpenSession, Request::Write { session: None, act: Act::OpenSession }),
            _ => {
                let act = if self.random.percent(70) {
                    Act::Apply(Command::Collect { keep: self.random.below(3) })
                } else {
                    Act::ExpireUnused(applied.saturating_sub(self.random.below(30)))
                };
                (Doing::Upkeep, Request::Write { session: None, act })
            }
        };
        if let Some(probed) = self.probes {
            node = probed;
            // As a leader's upkeep does where values are refused: with the next commit a node learns that there is room again.
            let nothing = (Doing::Upkeep, Request::Write { session: None, act: Act::ExpireUnused(0) });
            (doing, request) = if self.random.percent(70) { self.write_probe() } else { nothing };
        }
        self.task = Some(Task { doing, request, begin: now, until: now + AGAIN, maybe: false, node, attempt: None });
    }

    fn next_val(&mut self) -> Val {
        self.written += 1;
        (self.number + 1) << 32 | self.written
    }

    fn write(&mut self, keys: &[&str], val: Val, ver: Option<u64>) -> (Doing, Request) {
        let text = text(val, &mut self.random);
        let put = |key: &&str| Put { key: (*key).into(), val: text.as_str().into(), ver };
        let act = Act::Apply(Command::Write { puts: keys.iter().map(put).collect(), atomic: keys.len() > 1 });
        let mut session = None;
        if self.random.percent(60)
            && let Some((id, sequence)) = &mut self.session
        {
            *sequence += 1;
            // All before are over, and nobody asks for them again; but a client need not say so at once.
            let acknowledged_below = sequence.saturating_sub(*self.random.pick(&[0, 0, 1, 5])).max(1);
            session = Some((OperationId { session: *id, sequence: *sequence }, acknowledged_below));
        }
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        (Doing::Write { keys, val, ver }, Request::Write { session, act })
    }

    fn write_counted(&mut self) -> (Doing, Request) {
        let (key, val) = (format!("counted-{}", self.random.below(COUNTED)), self.next_val());
        self.write(&[&key], val, None)
    }

    fn write_versioned(&mut self) -> (Doing, Request) {
        let key = format!("versioned-{}", self.random.below(VERSIONED));
        let val = if self.random.percent(35) { 0 } else { self.next_val() };
        let known = self.versions.get(&key).copied().unwrap_or(0);
        // Mostly the next one, and sometimes one that leaves some out, or that is there already.
        let ver = (known + *self.random.pick(&[1, 1, 1, 1, 2, 3, 0])).max(1);
        self.write(&[&key], val, Some(ver))
    }

    fn write_pair(&mut self) -> (Doing, Request) {
        let ver = self.versions.get(PAIR[0]).copied().unwrap_or(0) + 1;
        let val = self.next_val();
        self.write(&PAIR, val, Some(ver))
    }

    fn write_probe(&mut self) -> (Doing, Request) {
        let val = self.next_val();
        self.session = None;
        self.write(&[PROBED], val, None)
    }

    /// Whether what it is at may be sent again: where a session tells that it was done already.
    pub(crate) fn may_repeat(&self, now: Time) -> bool {
        self.task
            .as_ref()
            .is_some_and(|task| matches!(task.request, Request::Write { session: Some(_), .. }) && now < task.until)
    }

    /// Its session is no more.
    pub(crate) fn lose_session(&mut self) {
        self.session = None;
    }

    /// It has a session now.
    pub(crate) fn has_session(&mut self, session: SessionId) {
        self.session = Some((session, 0));
    }

    /// Records what came of `key`.
    pub(crate) fn record(&mut self, key: &str, task: &Task, end: Time, act: Asked, came: Came) {
        if let Came::Applied(ver) | Came::Seen(Entry { ver, .. }) = came {
            self.versions.insert(key.to_owned(), ver);
        }
        self.history.push(key, Operation { node: task.node, begin: task.begin, end, act, outcome: came });
    }
}
