//! Clients: each sends one request after the other to any node, and records what came of it.

use super::judge::history::{Act, Cut, Entry, History, Listing, NEVER, Operation, Outcome, Time, Val};
use super::random::Random;
use super::request::{Attempt, Sender, longer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Keys that are written without versions, and never deleted: so the versions count the writes.
const COUNTED: u64 = 6;
/// Keys that are written and deleted with versions.
const VERSIONED: u64 = 6;
/// Pairs of keys that are written together.
const PAIRS: u64 = 2;
/// What listings are of.
const LISTED: [&str; 3] = ["counted-", "versioned-", "pair-"];
/// Keys that nobody looks at: they give a snapshot some size.
pub(crate) const FILLING: &str = "filling-";
/// For how long a write is sent again in its session.
const AGAIN: Duration = Duration::from_secs(4);
/// So many local reads go to a node that was found away, so that the first that it answers again are seen.
const EAGER: u32 = 60;
/// The longest pause between two requests of a client.
const PAUSE_US: u64 = 8_000;

/// What all clients share.
pub(crate) struct Load {
    pub(crate) stores: Vec<SocketAddr>,
    pub(crate) began: Instant,
    pub(crate) seed: u64,
    stop: AtomicBool,
    pub(crate) gaps: Gaps,
    /// What should never have been answered.
    pub(crate) faults: Mutex<Vec<String>>,
}

/// How long nobody had an answer that needs a quorum.
#[derive(Default)]
pub(crate) struct Gaps(Mutex<(Time, Time)>);

impl Gaps {
    fn done(&self, now: Time) {
        let mut gaps = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        gaps.1 = gaps.1.max(now.saturating_sub(gaps.0));
        gaps.0 = gaps.0.max(now);
    }

    /// The longest gap since this was asked last, in which one that goes on counts as far as it goes, in microseconds.
    pub(crate) fn take(&self, now: Time) -> Time {
        let mut gaps = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let longest = gaps.1.max(now.saturating_sub(gaps.0));
        gaps.1 = 0;
        longest
    }

    /// When somebody had one last.
    pub(crate) fn latest(&self) -> Time {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }
}

impl Load {
    pub(crate) fn new(stores: Vec<SocketAddr>, seed: u64) -> Load {
        let (stop, gaps, faults) = Default::default();
        Load { stores, began: Instant::now(), seed, stop, gaps, faults }
    }

    pub(crate) fn now(&self) -> Time {
        self.began.elapsed().as_micros() as Time
    }

    pub(crate) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if faults.len() < 20 {
            faults.push(what);
        }
    }

    /// Client `number`, until the load is to end; returns what it saw.
    pub(crate) fn client(&self, number: u64) -> History {
        let random = Random::new(self.seed, number + 1);
        let client = Client {
            load: self,
            number,
            sender: Sender::new(),
            random,
            history: History::default(),
            written: 0,
            versions: BTreeMap::new(),
            session: None,
            eager: None,
        };
        client.run()
    }
}

/// A write's text: its number, and sometimes more, so that messages are large too.
fn text(val: Val, random: &mut Random) -> String {
    if val == 0 {
        return String::new();
    }
    let more = if random.percent(2) { random.below(20_000) } else { 0 };
    if more == 0 { val.to_string() } else { format!("{val}.{}", "x".repeat(more as usize)) }
}

/// The number of a text; none if no client wrote such a one.
pub(crate) fn val(text: &str) -> Option<Val> {
    let (number, more) = text.split_once('.').unwrap_or((text, ""));
    let sound = more.bytes().all(|byte| byte == b'x');
    if text.is_empty() { Some(0) } else { number.parse().ok().filter(|val| *val > 0 && sound) }
}

pub(crate) fn entry(body: &Value) -> Option<Entry> {
    Some(Entry { val: val(body["val"].as_str()?)?, ver: body["ver"].as_u64()? })
}

/// Everything at one slot, as `node` streams it; none if it does not.
pub(crate) fn backup(load: &Load, sender: &Sender, node: usize, ms: u64) -> Option<Cut> {
    let (begin, mut head, mut end, mut entries) = (load.now(), None, None, BTreeMap::new());
    let whole = sender.lines(load.stores[node], "/backup", ms, |line| {
        let Ok(line) = serde_json::from_str::<Value>(line) else { return };
        if let Some(checksum) = line["checksum"].as_str() {
            end = Some(checksum.to_owned());
        } else if line["slot"].is_u64() {
            head = Some((line["slot"].as_u64(), line["floor"].as_u64()));
        } else if let Some(key) = line["key"].as_str().filter(|key| !key.starts_with(FILLING)) {
            match entry(&line) {
                Some(entry) => drop(entries.insert(key.to_owned(), entry)),
                None => load.fault(format!("a backup of node {node} has what nobody wrote: {:.200}", line.to_string())),
            }
        }
    });
    let (slot, floor) = head?;
    whole.then_some(Cut { node, begin, end: load.now(), slot: slot?, floor: floor?, entries, checksum: end? })
}

struct Client<'a> {
    load: &'a Load,
    number: u64,
    sender: Sender,
    random: Random,
    history: History,
    written: u64,
    /// The latest version that this client knows of each key.
    versions: BTreeMap<String, u64>,
    /// Its session, and the last number used in it.
    session: Option<(String, u64)>,
    /// A node that was found away, and how often it is still asked.
    eager: Option<(usize, u32)>,
}

impl Client<'_> {
    fn run(mut self) -> History {
        while !self.load.stop.load(Ordering::Relaxed) {
            let (counted, versioned) = (self.random.below(COUNTED), self.random.below(VERSIONED));
            let asks = if self.eager.is_some() && self.random.percent(80) { 750 } else { self.random.below(1000) };
            match asks {
                0..250 => self.write(format!("counted-{counted}"), false),
                250..450 => self.write(format!("versioned-{versioned}"), true),
                450..500 => self.write_pair(),
                500..750 => self.read(false),
                750..950 => self.read(true),
                950..996 => self.list(),
                _ => self.backup(),
            }
            std::thread::park_timeout(Duration::from_micros(self.random.below(PAUSE_US)));
        }
        self.history
    }

    fn node(&mut self) -> usize {
        self.random.below(self.load.stores.len() as u64) as usize
    }

    fn ms(&mut self) -> u64 {
        self.random.within(200..1500)
    }

    fn key(&mut self) -> String {
        match self.random.below(3) {
            0 => format!("counted-{}", self.random.below(COUNTED)),
            1 => format!("versioned-{}", self.random.below(VERSIONED)),
            _ => format!("pair-{}-{}", self.random.below(PAIRS), if self.random.percent(50) { "a" } else { "b" }),
        }
    }

    fn next_val(&mut self) -> Val {
        self.written += 1;
        (self.number + 1) << 32 | self.written
    }

    fn write(&mut self, key: String, versioned: bool) {
        let val = if versioned && self.random.percent(30) { 0 } else { self.next_val() };
        let known = self.versions.get(&key).copied().unwrap_or(0);
        // Mostly the next one, and sometimes one that leaves some out, or that is there already.
        let ver = versioned.then(|| (known + *self.random.pick(&[1, 1, 1, 1, 2, 3, 0])).max(1));
        let text = text(val, &mut self.random);
        let (path, body) = (
            format!("/kvstore/{key}"),
            match ver {
                Some(ver) => json!({"val": text, "ver": ver}),
                None => json!({"val": text}),
            },
        );
        let begin = self.load.now();
        let (node, outcome) = self.send_write("PUT", &path, &body.to_string());
        let outcome = match outcome {
            Ok(Some((200, body))) => match entry(&body) {
                Some(done) if done.val == val && body["key"] == *key => Outcome::Applied(done.ver),
                _ => return self.load.fault(format!("{val} was written to {key} and answered with {body}")),
            },
            Ok(Some((_, body))) => match entry(&body) {
                Some(there) if body["key"] == *key => Outcome::Seen(there),
                _ => return self.load.fault(format!("a conflict at {key} shows what nobody wrote: {body}")),
            },
            Ok(None) => Outcome::Unknown,
            Err(()) => Outcome::Refused,
        };
        if let Outcome::Applied(ver) | Outcome::Seen(Entry { ver, .. }) = outcome {
            self.versions.insert(key.clone(), ver);
        }
        self.record(&key, node, begin, Act::Write { val, ver }, outcome);
    }

    /// Both keys of a pair by one command. They are never deleted: of two deleted keys one may be forgotten before the other, and then show a
    /// higher version.
    fn write_pair(&mut self) {
        let pair = self.random.below(PAIRS);
        let keys = ["a", "b"].map(|side| format!("pair-{pair}-{side}"));
        let ver = self.versions.get(&keys[0]).copied().unwrap_or(0) + 1;
        let val = self.next_val();
        let text = text(val, &mut self.random);
        let entries: Vec<Value> = keys.iter().map(|key| json!({"key": key, "val": text, "ver": ver})).collect();
        let begin = self.load.now();
        let (node, outcome) = self.send_write("POST", "/restore", &json!({ "entries": entries }).to_string());
        let outcome = match outcome {
            Ok(Some((200, body))) if body["restored"] == 2 => Outcome::Applied(ver),
            Ok(Some((200, body))) => {
                return self.load.fault(format!("a pair was written at {ver}, and answered with {body}"));
            }
            Ok(Some((_, body))) => match entry(&body) {
                Some(there) => Outcome::Seen(there),
                None => return self.load.fault(format!("a conflict at a pair shows what nobody wrote: {body}")),
            },
            Ok(None) => Outcome::Unknown,
            Err(()) => Outcome::Refused,
        };
        if let Outcome::Applied(ver) | Outcome::Seen(Entry { ver, .. }) = outcome {
            self.versions.insert(keys[0].clone(), ver);
        }
        for key in &keys {
            self.record(key, node, begin, Act::Write { val, ver: Some(ver) }, outcome);
        }
    }

    fn record(&mut self, key: &str, node: usize, begin: Time, act: Act, outcome: Outcome) {
        let end = if outcome == Outcome::Unknown { NEVER } else { self.load.now() };
        if act != Act::Local && matches!(outcome, Outcome::Applied(_) | Outcome::Seen(_)) {
            self.load.gaps.done(end);
        }
        self.history.push(key, Operation { node, begin, end, act, outcome });
    }

    /// Sends a write, in a session in half of all cases: then again and again, to any node, until there is an answer. Returns who answered
    /// and how; nothing if the outcome is unknown, and an error if it was refused.
    fn send_write(&mut self, method: &str, path: &str, body: &str) -> (usize, Result<Option<(u16, Value)>, ()>) {
        let mut headers = Vec::new();
        if self.random.percent(50)
            && let Some((session, sequence)) = self.in_session()
        {
            headers = vec![("paxos-session", session), ("paxos-sequence", sequence.to_string())];
        }
        let until = Instant::now() + AGAIN;
        let mut refused = Err(());
        let mut hasty = !headers.is_empty() && self.random.percent(15);
        loop {
            let (node, ms) = (self.node(), self.ms());
            let to = self.load.stores[node];
            // Some in sessions are gone before they are answered, and come back at once, mostly elsewhere.
            let wait = match hasty {
                true => Duration::from_micros(self.random.within(500..8000)),
                false => longer(ms),
            };
            hasty = false;
            match self.sender.send_and_wait(to, (method, path, body), &headers, (ms, wait)) {
                Attempt::Answer(status @ (200 | 409), body) => return (node, Ok(Some((status, body)))),
                // 408: a node that hung between a request's head and its body takes the body for late; it has done nothing.
                Attempt::Answer(503 | 408, _) | Attempt::NotSent => {}
                Attempt::Answer(504, body) => {
                    refused = Ok(None);
                    if body["error"].as_str().is_some_and(|why| why.contains("session is not open")) {
                        self.session = None;
                        return (node, refused);
                    }
                }
                Attempt::Lost => refused = Ok(None),
                Attempt::Answer(status, body) => {
                    self.load.fault(format!("{method} {path} at node {node}: {status} {body}"));
                    return (node, Ok(None));
                }
            }
            if headers.is_empty() || Instant::now() > until || self.load.stop.load(Ordering::Relaxed) {
                return (node, refused);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// The next number in this client's session, which is opened if there is none.
    fn in_session(&mut self) -> Option<(String, u64)> {
        if self.session.is_none() || self.random.percent(2) {
            let (node, ms) = (self.node(), self.ms());
            let Attempt::Answer(200, body) =
                self.sender.send(self.load.stores[node], ("POST", "/session", ""), &[], ms)
            else {
                return None;
            };
            self.session = Some((body["session"].as_str()?.to_owned(), 0));
        }
        let (session, sequence) = self.session.as_mut()?;
        *sequence += 1;
        Some((session.clone(), *sequence))
    }

    fn read(&mut self, local: bool) {
        let (mut node, ms, key) = (self.node(), self.ms(), self.key());
        if local && let Some((away, left)) = self.eager {
            node = away;
            self.eager = (left > 1).then_some((away, left - 1));
        }
        let path = format!("/kvstore/{key}{}", if local { "?consistency=local" } else { "" });
        let begin = self.load.now();
        match self.sender.send(self.load.stores[node], ("GET", &path, ""), &[], ms) {
            Attempt::Answer(200, body) => match entry(&body).filter(|_| body["key"] == *key) {
                Some(there) => {
                    self.versions.insert(key.clone(), there.ver);
                    self.record(&key, node, begin, if local { Act::Local } else { Act::Read }, Outcome::Seen(there));
                }
                None => {
                    self.load.fault(format!("{path} at node {node} shows what nobody wrote: {:.200}", body.to_string()))
                }
            },
            Attempt::NotSent if local && self.eager.is_none() => self.eager = Some((node, EAGER)),
            Attempt::Answer(503, _) | Attempt::NotSent | Attempt::Lost => {}
            Attempt::Answer(status, body) => self.load.fault(format!("{path} at node {node}: {status} {body}")),
        }
    }

    fn list(&mut self) {
        let (node, ms, prefix) = (self.node(), self.ms(), *self.random.pick(&LISTED));
        let begin = self.load.now();
        if let Some(body) = self.sender.get(self.load.stores[node], &format!("/kvstore/?prefix={prefix}"), ms) {
            let keys: Option<Vec<String>> = serde_json::from_value(body).ok();
            match keys {
                Some(keys) => self.history.listings.push(Listing { node, begin, end: self.load.now(), prefix, keys }),
                None => self.load.fault(format!("a listing of {prefix} that is none")),
            }
        }
    }

    fn backup(&mut self) {
        let (node, ms) = (self.node(), self.ms());
        let cut = backup(self.load, &self.sender, node, ms);
        self.history.cuts.extend(cut);
    }
}

/// Keys of some size, so that a snapshot takes more than one message to send.
pub(crate) fn fill(sender: &Sender, to: SocketAddr, count: u64) -> bool {
    (0..count).all(|number| {
        let body = json!({"val": "f".repeat(30_000), "ver": 1}).to_string();
        let answer = sender.send(to, ("PUT", &format!("/kvstore/{FILLING}{number:03}"), &body), &[], 5000);
        matches!(answer, Attempt::Answer(200 | 409, _))
    })
}
