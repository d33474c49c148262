//! The nodes of a counterexample: real loops on stores in memory, which take one input at a time and whose commits are done at once.

use super::file::{Input, Replay, Saved, Seen, Step};
use crate::peers::Gathered;
use paxos::Msg;
use paxos::node::{Answered, Core, Outlet, Settings};
use paxos::storage::Store;
use paxos::storage::memory::MemoryStore;
use paxos::transport::codec;
use paxos_model::replica::message::Message;
use stateright::actor::Id;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// What came out of a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) sends: BTreeSet<(Id, Msg)>,
    pub(crate) saves: Option<Saved>,
    /// What the node says of itself afterwards.
    pub(crate) after: Option<Seen>,
}

/// A request under way: whose, under which number, and where the answer comes.
struct Asked {
    client: Id,
    number: u64,
    answer: oneshot::Receiver<Answered>,
}

struct Node {
    core: Core,
    outlet: Arc<Outlet>,
    gathered: Arc<Gathered>,
    store: MemoryStore,
    asked: Vec<Asked>,
}

/// All of them, and what is in flight.
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    settings: Settings,
    began: Instant,
    in_flight: BTreeSet<(Id, Id, Msg)>,
    /// Messages of nodes to themselves that were delivered in another way than a loop does: in order, once, and in the same life.
    pub(crate) out_of_turn: usize,
}

impl Node {
    fn start(settings: &Settings, id: usize, mut store: MemoryStore, now: Instant) -> Result<Node, String> {
        let stored = store.load().map_err(|error| error.to_string())?;
        let gathered = Arc::new(Gathered::default());
        let outlet = Arc::new(Outlet::new(Id::from(id), gathered.clone(), None));
        let settings = Settings { id: Id::from(id), ..settings.clone() };
        let core = Core::new(&settings, stored, store.usage(), outlet.clone(), 0, now);
        Ok(Node { core, outlet, gathered, store, asked: Vec::new() })
    }

    /// Commits and releases until nothing is left to commit.
    fn settle(&mut self, now: Instant) -> Result<Option<Saved>, String> {
        let mut saves = None;
        while let Some(order) = self.core.next_order(now) {
            saves = order.saves().map(|value| Saved::of(value)).or(saves);
            let report = order.carry_out(&mut self.store, &self.outlet);
            self.core.take_report(report, now)?;
        }
        Ok(saves)
    }

    /// What was answered, as the replica says it.
    fn answers(&mut self) -> Vec<(Id, Msg)> {
        let mut answers = Vec::new();
        self.asked.retain_mut(|asked| match asked.answer.try_recv() {
            Ok(Answered::Outcome(outcome)) => {
                answers.push((asked.client, Message::Reply { number: asked.number, outcome }));
                false
            }
            Ok(_) | Err(oneshot::error::TryRecvError::Closed) => false,
            Err(oneshot::error::TryRecvError::Empty) => true,
        });
        answers
    }
}

fn never_sent(src: Id, dst: Id, msg: &Msg) -> String {
    format!("node {} never sent {msg:?} to node {}", usize::from(src), usize::from(dst))
}

impl Nodes {
    /// Everybody starts for the first time.
    #[allow(clippy::disallowed_methods, reason = "any moment will do, and there is no other way to have one")]
    pub(crate) fn new(replay: &Replay) -> Result<Nodes, String> {
        let settings = Settings {
            id: Id::from(0),
            configuration: replay.configuration.clone(),
            options: replay.options.clone(),
            inputs_max: 0,
        };
        let began = Instant::now();
        let start = |id| {
            let mut node = Node::start(&settings, id, MemoryStore::new("replay", id as u64), began)?;
            node.settle(began)?;
            Ok(node)
        };
        let nodes = (0..replay.replicas).map(start).collect::<Result<_, String>>()?;
        Ok(Nodes { nodes, settings, began, in_flight: BTreeSet::new(), out_of_turn: 0 })
    }

    /// Takes a step. What comes out is as if each commit were done at once; the error says why it cannot be taken.
    pub(crate) fn take(&mut self, step: &Step) -> Result<Out, String> {
        let (now, id) = (self.began, Id::from(step.node));
        let node = &mut self.nodes[step.node];
        let mut own: Vec<Msg> = node.core.own().cloned().collect();
        match &step.input {
            Input::Start => {
                *node = Node::start(&self.settings, step.node, node.store.clone(), now)?;
                own.clear();
            }
            Input::Timeout(timer) => {
                if !node.core.run_out(timer, now) {
                    return Err(format!("node {} has not set its timer {timer:?}", step.node));
                }
            }
            Input::Deliver { src, msg: Message::Request { number, timeout_ms, request } } => {
                let begun = node.outlet.clients().begin(request, *timeout_ms, now);
                let (own_number, answer) = begun.map_err(|_| format!("node {} takes no more requests", step.node))?;
                node.asked.push(Asked { client: *src, number: *number, answer });
                node.core.take_ask((own_number, request.clone()), now);
            }
            Input::Deliver { src, msg } if *src == id => {
                if own.first() == Some(msg) {
                    own.remove(0);
                    node.core.take_own(now);
                } else {
                    self.in_flight.get(&(id, id, msg.clone())).ok_or_else(|| never_sent(id, id, msg))?;
                    self.out_of_turn += 1;
                    node.core.take_message(id, msg.clone(), now);
                }
            }
            Input::Deliver { src, msg } => {
                if usize::from(*src) < self.settings.configuration.members.len() {
                    self.in_flight.get(&(*src, id, msg.clone())).ok_or_else(|| never_sent(*src, id, msg))?;
                }
                let bytes = codec::encode(msg).ok_or("a message is too large to be sent")?;
                let msg = codec::decode(&bytes).ok_or_else(|| format!("the codec lets no {msg:?} in"))?;
                node.core.take_message(*src, msg, now);
            }
        }
        let saves = node.settle(now)?;
        let mut sends: BTreeSet<(Id, Msg)> = node.gathered.take().into_iter().collect();
        sends.extend(node.core.own().skip(own.len()).map(|message| (id, message.clone())));
        sends.extend(node.answers());
        self.in_flight.extend(sends.iter().map(|(dst, message)| (id, *dst, message.clone())));
        Ok(Out { sends, saves, after: Some(Seen::of(&node.core)) })
    }
}
