//! What a request costs beside its slot: local reads of a lone node with its store in memory, which are queued, stepped for and answered as all requests
//! are.

use crate::{Failure, load};
use paxos::model::kv::Query;
use paxos::model::replica::Options;
use paxos::model::replica::configuration::Configuration;
use paxos::node::{self, Peers, Settings};
use paxos::storage::memory::MemoryStore;
use paxos::{Msg, Request};
use stateright::actor::Id;
use std::sync::Arc;
use std::time::Duration;

/// Requests under way.
const ASKS: usize = 64;

struct Nobody;

impl Peers for Nobody {
    fn send(&self, _: Id, _: Msg) {}
}

/// The processor time of a request, of who asks and of the node together, in seconds.
pub(crate) fn measure(time: Duration) -> Result<f64, Failure> {
    let settings = Settings {
        id: Id::from(0),
        configuration: Configuration::of_voters(1),
        options: Options::default(),
        inputs_max: 2 * ASKS,
    };
    let (node, thread) = node::start(settings, MemoryStore::new("scaling", 0), Arc::new(Nobody), None)?;
    let read = || Request::LocalRead(Query::Get("k".into()));
    // A node answers local reads once it has heard a leader, itself here.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(node.status().wait_for(|status| status.role == "leader"))?;
    let load = load::run(&node, ASKS, read, time / 10, time);
    node.stop();
    thread.join().map_err(|_| "the node panicked")??;
    let load = load?;
    Ok(load.processors / load.rate)
}
