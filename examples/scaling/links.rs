//! The network between the nodes of this process: real messages in their real form, each half a round trip on its way.
//!
//! As all links are equally long, what is sent first to a node arrives first, so that one queue a node is enough, and order is kept.

use crate::Failure;
use crossbeam_channel::{Receiver, Sender, TrySendError, at, bounded};
use paxos::Msg;
use paxos::node::{NodeHandle, Peers};
use paxos::transport::codec;
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Messages that are on their way to one node. More are dropped, which the protocol stands and the measurement tells.
const UNDER_WAY_MAX: usize = 16 * 1024;

/// An encoded message on its way.
pub(crate) struct Parcel {
    src: Id,
    arrives: Instant,
    encoded: Arc<[u8]>,
}

/// Both ends of the way to a node.
pub(crate) fn way() -> (Sender<Parcel>, Receiver<Parcel>) {
    bounded(UNDER_WAY_MAX)
}

/// What one node sends by.
pub(crate) struct Links {
    pub(crate) src: Id,
    pub(crate) half: Duration,
    pub(crate) ways: BTreeMap<Id, Sender<Parcel>>,
    pub(crate) dropped: Arc<AtomicU64>,
}

impl Peers for Links {
    fn send(&self, dst: Id, message: Msg) {
        self.send_all(vec![(vec![dst], message)]);
    }

    fn send_all(&self, messages: Vec<(Vec<Id>, Msg)>) {
        let arrives = Instant::now() + self.half;
        for (to, message) in messages {
            let encoded: Arc<[u8]> = codec::encode(&message).expect("a message fits").into();
            for dst in to {
                let parcel = Parcel { src: self.src, arrives, encoded: encoded.clone() };
                if let Err(TrySendError::Full(_)) = self.ways[&dst].try_send(parcel) {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Delivers to `node` what is on its way there, until nobody can send any more.
pub(crate) fn deliver(
    node: NodeHandle,
    way: Receiver<Parcel>,
    dropped: Arc<AtomicU64>,
) -> Result<JoinHandle<()>, Failure> {
    let work = move || {
        for Parcel { src, arrives, encoded } in way {
            if arrives > Instant::now() {
                let _ = at(arrives).recv();
            }
            let message = codec::decode(&encoded).expect("what was encoded can be decoded");
            if !node.deliver(src, message) {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    Ok(thread::Builder::new().name("link".into()).spawn(work)?)
}
