//! Nodes in one process. What they send is written down as it leaves, and delivered if both ends are up; it passes through its form
//! in bytes, as on a wire.

use crate::store::{Control, GateStore, PATIENCE};
use paxos::node::{self, Answered, Ended, NodeHandle, Peers, Settings};
use paxos::storage::Store;
use paxos::transport::codec;
use paxos::{Command, Msg, Outcome, Request, Stored};
use paxos_model::kv::{Answer, Put, Query, Reply, Written};
use paxos_model::replica::Options;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::message::{Act, Done, Refusal};
use stateright::actor::Id;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A message as it left a node, and what was on the node's disk at that moment.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) dst: Id,
    pub(crate) message: Msg,
    pub(crate) committed: Option<Stored>,
}

/// The ends of the network.
#[derive(Clone, Default)]
pub(crate) struct Network(Arc<Mutex<Ends>>);

#[derive(Default)]
struct Ends {
    nodes: Vec<Option<(u64, NodeHandle)>>,
    lives: u64,
}

/// One life of a node.
struct Line {
    id: usize,
    life: u64,
    network: Network,
    control: Control,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Peers for Line {
    fn send(&self, dst: Id, message: Msg) {
        let committed = self.control.committed();
        self.sent.lock().unwrap().push(Sent { dst, message: message.clone(), committed });
        let bytes = codec::encode(&message).expect("it is small");
        let to = {
            let ends = self.network.0.lock().unwrap();
            let up = |id: usize| ends.nodes.get(id).and_then(Option::as_ref);
            // A dead process sends nothing.
            if self.control.is_dead() || up(self.id).is_none_or(|(life, _)| *life != self.life) {
                return;
            }
            up(dst.into()).map(|(_, handle)| handle.clone())
        };
        if let Some(to) = to {
            to.deliver(Id::from(self.id), codec::decode(&bytes).expect("it was encoded"));
        }
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) id: usize,
    pub(crate) handle: NodeHandle,
    pub(crate) thread: JoinHandle<Ended>,
    pub(crate) control: Control,
    pub(crate) sent: Arc<Mutex<Vec<Sent>>>,
    network: Network,
}

/// Timers that run out soon, and snapshots that are taken often.
pub(crate) fn quick() -> Options {
    let ms = Duration::from_millis;
    Options { election: ms(60)..ms(120), resend: ms(10), snapshot_every: 4, tail: 2, ..Options::default() }
}

/// Timers that do not run out during a test.
pub(crate) fn still() -> Options {
    let hour = Duration::from_secs(3600);
    Options { election: 2 * hour..3 * hour, resend: hour, ..Options::default() }
}

impl Network {
    /// Starts node `id` of `count` on `store`.
    pub(crate) fn start(&self, id: usize, count: usize, options: Options, store: GateStore) -> Node {
        let control = store.control.clone();
        self.start_on(id, count, options, store, control)
    }

    /// The same on any store.
    pub(crate) fn start_on<S: Store>(
        &self,
        id: usize,
        count: usize,
        options: Options,
        store: S,
        control: Control,
    ) -> Node {
        let life = {
            let mut ends = self.0.lock().unwrap();
            ends.lives += 1;
            let count = count.max(ends.nodes.len());
            ends.nodes.resize_with(count, || None);
            ends.lives
        };
        let sent = Arc::<Mutex<Vec<Sent>>>::default();
        let line = Line { id, life, network: self.clone(), control: control.clone(), sent: sent.clone() };
        let configuration = Configuration::of_voters(count);
        let settings = Settings { id: Id::from(id), configuration, options, inputs_max: 10_000 };
        let (handle, thread) = node::start(settings, store, Arc::new(line), None).expect("it starts");
        self.0.lock().unwrap().nodes[id] = Some((life, handle.clone()));
        Node { id, handle, thread, control, sent, network: self.clone() }
    }

    /// `count` nodes on fresh stores.
    pub(crate) fn cluster(&self, count: usize) -> Vec<Node> {
        (0..count).map(|id| self.start(id, count, quick(), GateStore::new(id as u64))).collect()
    }
}

impl Node {
    /// Takes the node off the network at once, as if its process were gone.
    pub(crate) fn unplug(&self) {
        self.network.0.lock().unwrap().nodes[self.id] = None;
    }

    /// Stops it, and tells how it ended.
    pub(crate) fn stop(self) -> Ended {
        self.unplug();
        self.handle.stop();
        self.thread.join().expect("it does not panic")
    }

    /// A message from node `src`.
    pub(crate) fn take(&self, src: usize, message: Msg) {
        assert!(self.handle.deliver(Id::from(src), message));
    }

    /// What left it so far.
    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// Waits until `which` left it, and returns everything that did.
    pub(crate) fn sends(&self, what: &str, which: impl Fn(&Sent) -> bool) -> Vec<Sent> {
        until(what, || {
            let sent = self.sent();
            sent.iter().any(&which).then_some(sent)
        })
    }

    /// Begins a request.
    pub(crate) fn ask(&self, request: Request, timeout_ms: u32) -> oneshot::Receiver<Answered> {
        self.handle.request(request, timeout_ms).expect("the queue has room")
    }

    /// A request and its answer.
    pub(crate) fn answer(&self, request: Request, timeout_ms: u32) -> Answered {
        answered(self.ask(request, timeout_ms))
    }

    /// Reads a key until it gets an answer.
    pub(crate) fn read(&self, key: &str) -> (String, u64) {
        until("a read", || match self.answer(get(key), 1000) {
            Answered::Outcome(Outcome::Answer { answer: Answer::Entry(entry), .. }) => {
                Some((entry.val.to_string(), entry.ver))
            }
            other => {
                assert!(is_unanswered(&other), "{other:?}");
                None
            }
        })
    }

    /// Puts until it gets an answer; returns the version.
    pub(crate) fn put(&self, key: &str, val: &str) -> u64 {
        until("a write", || version(&self.answer(put(key, val), 1000)))
    }
}

fn is_unanswered(answered: &Answered) -> bool {
    matches!(
        answered,
        Answered::Interrupted | Answered::Outcome(Outcome::Refused(Refusal::Deadline | Refusal::SessionExpired))
    )
}

/// The version that a write came to; none if it did not, or it is not known.
pub(crate) fn version(answered: &Answered) -> Option<u64> {
    match answered {
        Answered::Outcome(Outcome::Done(Done::Applied(Reply::Written(written)))) => match &written[..] {
            [Written::Applied(entry)] => Some(entry.ver),
            other => panic!("{other:?}"),
        },
        _ => None,
    }
}

/// The one answer of a request.
pub(crate) fn answered(mut answer: oneshot::Receiver<Answered>) -> Answered {
    until("an answer", || match answer.try_recv() {
        Ok(answer) => Some(answer),
        Err(oneshot::error::TryRecvError::Empty) => None,
        Err(closed) => panic!("a request was not answered: {closed}"),
    })
}

/// Writes a key unconditionally, in the node's session.
pub(crate) fn put(key: &str, val: &str) -> Request {
    Request::Write { session: None, act: write(key, val) }
}

/// The act of writing a key unconditionally.
pub(crate) fn write(key: &str, val: &str) -> Act<Command> {
    let put = Put { key: key.into(), val: val.into(), ver: None };
    Act::Apply(Command::Write { puts: vec![put], atomic: false })
}

/// Reads a key, linearizably.
pub(crate) fn get(key: &str) -> Request {
    Request::Read(Query::Get(key.into()))
}

/// Tries until there is something.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
