//! What the disk is asked and answers: it commits one batch at a time, and then releases what waited for it.

use super::batch::Batch;
use super::outlet::Outlet;
use super::timers::now;
use crate::storage::{CommitError, Store, Usage};
use crate::{Msg, Stored};
use crossbeam_channel::{Receiver, Sender};

/// What the disk is asked.
#[derive(Debug)]
pub enum Order {
    /// Make the batch durable and release it.
    Commit(Batch),
    /// Tell whether there is room again.
    Probe,
}

/// What it answers, one for each order, in order.
#[derive(Debug)]
pub enum Report {
    /// The batch is durable and released; here is what it says to its own node, what is stored, and how full the store is.
    Committed(Vec<Msg>, Stored, Usage),
    /// There is no room: nothing of the batch was written or released.
    Full {
        /// Why.
        why: String,
        /// What was to be saved.
        failed: Stored,
        /// What is on the disk.
        stored: Option<Stored>,
    },
    /// The node must stop: it is not known what is on the disk, or it cannot be read.
    Failed(String),
    /// Whether there is room, and how full the store is.
    Room(bool, Usage),
}

impl Order {
    /// What it makes durable, if anything.
    pub fn saves(&self) -> Option<&Stored> {
        match self {
            Order::Commit(batch) => batch.save.as_ref(),
            Order::Probe => None,
        }
    }

    /// Carries it out on `store`: what a batch sends leaves through `outlet` once what it saves is durable.
    pub fn carry_out<S: Store>(self, store: &mut S, outlet: &Outlet) -> Report {
        let batch = match self {
            Order::Commit(batch) => batch,
            Order::Probe => return Report::Room(store.has_room(), store.usage()),
        };
        let value = batch.save.expect("a batch that saves nothing does not go to the disk");
        let begin = now();
        let committed = store.commit(&value);
        metrics::histogram!("paxos_commit_seconds").record(begin.elapsed());
        match committed {
            Ok(()) => {
                if let Some(trace) = outlet.trace() {
                    trace.committed();
                }
                Report::Committed(outlet.release(batch.after), value, store.usage())
            }
            Err(CommitError::Full(why)) => match store.load() {
                Ok(stored) => Report::Full { why, failed: value, stored },
                Err(error) => Report::Failed(error.to_string()),
            },
            Err(error @ CommitError::Failed(_)) => Report::Failed(error.to_string()),
        }
    }
}

/// The disk thread: works until nobody can ask any more.
pub(super) fn work<S: Store>(mut store: S, outlet: &Outlet, orders: &Receiver<Order>, reports: &Sender<Report>) {
    for order in orders {
        if reports.send(order.carry_out(&mut store, outlet)).is_err() {
            return;
        }
    }
}
