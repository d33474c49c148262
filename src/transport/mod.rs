//! Messages between nodes, over TCP or UDP. Whatever cannot be sent or understood is dropped and counted: the protocol sends
//! again what matters.

mod bounds;
pub mod codec;
#[cfg(test)]
mod codec_tests;
mod counted;
mod line;
pub mod pins;
pub mod tcp;
pub mod udp;
mod waiting;

use crate::Msg;
use crate::node::Peers;
use crate::notices::{count_dropped, dropped};
use codec::{Hello, MESSAGE_MAX, PROTOCOL, Seal};
use line::{Line, Turn, Written};
use pins::Pins;
use serde::{Deserialize, Serialize};
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::{self, error::TrySendError};
use waiting::{Added, WAITING_BYTES, Waiting};

/// How a node sends to its peers. Every node listens on both, so the two may be mixed in one cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// One connection to each peer.
    #[default]
    Tcp,
    /// A datagram for each message; those that are too large go over TCP.
    Udp,
}

/// Who this node is to its peers, and who they are.
#[derive(Clone, Debug)]
pub struct Book {
    /// This node as it introduces itself; `to` is filled in for each peer.
    pub me: Hello,
    /// Where every other member listens, as `host:port`.
    pub addresses: BTreeMap<u64, String>,
}

/// Why a message or a connection was not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// It speaks another version of the protocol.
    Protocol(u16),
    /// It belongs to another cluster.
    Cluster(String),
    /// Its configuration has so many nodes, and this node's so many.
    Members(u64, u64),
    /// It means another node.
    Recipient(u64),
    /// It claims to be a node that is no member, or this one.
    Sender(u64),
    /// The node's store is not the one that it had before.
    Store(u64),
}

impl Rejection {
    /// A name for counters.
    pub fn name(&self) -> &'static str {
        match self {
            Rejection::Protocol(_) => "protocol",
            Rejection::Cluster(_) => "cluster",
            Rejection::Members(..) => "members",
            Rejection::Recipient(_) => "recipient",
            Rejection::Sender(_) => "sender",
            Rejection::Store(_) => "store",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejection::Protocol(version) => {
                write!(f, "it speaks version {version} of the protocol, and this node version {PROTOCOL}")
            }
            Rejection::Cluster(name) => write!(f, "it belongs to cluster {name:?}"),
            Rejection::Members(theirs, ours) => {
                write!(f, "its configuration has {theirs} nodes, and this node's has {ours}")
            }
            Rejection::Recipient(node) => write!(f, "it takes this node for node {node}"),
            Rejection::Sender(node) => write!(f, "it says that it is node {node}, which is no peer"),
            Rejection::Store(node) => write!(
                f,
                "node {node} has another store than before: its disk was wiped or swapped. If that is meant, tell every node with \
                 `node replace`"
            ),
        }
    }
}

impl Book {
    /// Whether `hello` comes from a peer and is meant for this node. Pins the peer's store at first contact.
    pub fn check(&self, hello: &Hello, pins: &Pins) -> Result<Id, Rejection> {
        if hello.protocol != PROTOCOL {
            return Err(Rejection::Protocol(hello.protocol));
        }
        if hello.cluster != self.me.cluster {
            return Err(Rejection::Cluster(hello.cluster.clone()));
        }
        if hello.nodes != self.me.nodes {
            return Err(Rejection::Members(hello.nodes, self.me.nodes));
        }
        if hello.to != self.me.from {
            return Err(Rejection::Recipient(hello.to));
        }
        if !self.addresses.contains_key(&hello.from) {
            return Err(Rejection::Sender(hello.from));
        }
        if !pins.admit(hello.from, hello.store) {
            return Err(Rejection::Store(hello.from));
        }
        Ok(Id::from(hello.from as usize))
    }
}

/// A bounded queue to one peer.
struct Lane {
    sender: mpsc::Sender<Arc<[u8]>>,
    waiting: Waiting,
    line: Arc<Line>,
}

/// The queues to every peer, by one transport.
pub struct Lanes(BTreeMap<Id, Lane>);

impl Lanes {
    /// A queue to each peer in `book`; `begin` takes its other end, with the peer's number and address.
    pub(crate) fn new(book: &Book, mut begin: impl FnMut(u64, String, LaneEnd)) -> Lanes {
        let lanes = book.addresses.iter().map(|(node, address)| {
            let (lane, end) = Lane::new(book.me.from, *node);
            begin(*node, address.clone(), end);
            (Id::from(*node as usize), lane)
        });
        Lanes(lanes.collect())
    }

    fn push(&self, dst: Id, encoded: &[Arc<[u8]>]) {
        match self.0.get(&dst) {
            Some(lane) => lane.push(dst, encoded),
            None => dropped("unknown_peer", format_args!("messages for node {dst:?}, which is no peer")),
        }
    }
}

/// The other end of a [`Lane`].
pub(crate) struct LaneEnd {
    pub(crate) receiver: mpsc::Receiver<Arc<[u8]>>,
    line: Arc<Line>,
    waiting: Waiting,
}

/// Messages that wait for one peer.
const LANE_MESSAGES: usize = 16 * 1024;

impl Lane {
    fn new(node: u64, peer: u64) -> (Lane, LaneEnd) {
        let (sender, receiver) = mpsc::channel(LANE_MESSAGES);
        let waiting = Waiting::new(crate::metrics::peer_queue_bytes(node, peer));
        let line = Arc::new(Line::default());
        (Lane { sender, waiting: waiting.clone(), line: line.clone() }, LaneEnd { receiver, line, waiting })
    }

    /// Writes encoded messages, or queues them, or drops them.
    fn push(&self, dst: Id, encoded: &[Arc<[u8]>]) {
        // Held to the end, so that they stay in their order.
        let mut turn = self.line.turn();
        match turn.write(encoded) {
            Written::All => {}
            // An empty one wakes the task.
            Written::Part => self.queue(dst, Arc::default()),
            Written::Nothing => encoded.iter().for_each(|message| self.queue(dst, message.clone())),
        }
    }

    fn queue(&self, dst: Id, encoded: Arc<[u8]>) {
        match self.waiting.add(&encoded) {
            Added::Now => {
                if let Err(refused) = self.sender.try_send(encoded) {
                    let (TrySendError::Full(message) | TrySendError::Closed(message)) = refused;
                    self.waiting.take(&message);
                    queue_full(dst);
                }
            }
            Added::Before => {}
            Added::TooMuch => queue_full(dst),
        }
    }
}

fn queue_full(dst: Id) {
    dropped(
        "queue_full",
        format_args!("more waits for node {dst:?} than {LANE_MESSAGES} messages or {WAITING_BYTES} bytes"),
    );
}

impl LaneEnd {
    /// Lets who sends write to `stream`, if nothing is queued.
    pub(crate) fn lend(&self, stream: &mut Option<OwnedWriteHalf>, seal: Seal) {
        // Nothing can be queued meanwhile.
        let mut turn = self.line.turn();
        if self.receiver.is_empty()
            && let Some(stream) = stream.take()
        {
            *turn = Turn::Sender(stream, seal);
        }
    }

    /// Takes back what was lent, with what is to be written on it first.
    pub(crate) fn take_back(&self) -> Option<(OwnedWriteHalf, Vec<u8>)> {
        self.line.turn().take_back()
    }

    /// Takes `message` off the account of what waits.
    pub(crate) fn taken(&self, message: &[u8]) {
        self.waiting.take(message);
    }

    /// Drops what waits, since there has been no connection for it: it is old, and what still matters is sent again.
    pub(crate) fn discard(&mut self) {
        while let Ok(message) = self.receiver.try_recv() {
            self.taken(&message);
            // An empty one was to wake the task.
            if !message.is_empty() {
                count_dropped("not_connected");
            }
        }
    }
}

/// Both transports, as the node loop sees them.
pub struct Network {
    kind: Kind,
    tcp: Lanes,
    udp: Lanes,
}

impl Network {
    /// Sends by `kind`.
    pub fn new(kind: Kind, tcp: Lanes, udp: Lanes) -> Self {
        Network { kind, tcp, udp }
    }
}

impl Peers for Network {
    fn send(&self, dst: Id, message: Msg) {
        self.send_all(vec![(vec![dst], message)]);
    }

    fn send_all(&self, messages: Vec<(Vec<Id>, Msg)>) {
        let mut by_tcp: BTreeMap<Id, Vec<Arc<[u8]>>> = BTreeMap::new();
        for (to, message) in messages {
            let Some(encoded) = codec::encode(&message) else {
                dropped("too_large", format_args!("a message of more than {MESSAGE_MAX} bytes"));
                continue;
            };
            let by_udp = self.kind == Kind::Udp && encoded.len() <= udp::BODY_MAX;
            let encoded: Arc<[u8]> = encoded.into();
            for dst in to {
                if by_udp {
                    self.udp.push(dst, std::slice::from_ref(&encoded));
                } else {
                    by_tcp.entry(dst).or_default().push(encoded.clone());
                }
            }
        }
        by_tcp.into_iter().for_each(|(dst, encoded)| self.tcp.push(dst, &encoded));
    }
}
