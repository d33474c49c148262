//! The loop that runs a replica: inputs in, steps, saves committed, outputs released.
//!
//! Two threads. The *actor* thread takes inputs in batches and steps the replica for each. The *disk* thread commits what a
//! batch saved. The rule that both keep (no message of a step is seen before every save of that step or an earlier one is
//! synced): outputs are released in the order of the steps; what precedes the first save of a batch leaves when the batch
//! before it is durable, the rest when its own save is. While the disk works on one batch the actor steps the next, which is
//! how commits come to be shared.
//!
//! What both threads do is in [`Core`] and [`Order::carry_out`], which know neither thread nor clock: tests drive the same loop with a
//! time, a network and a disk of their own.

mod batch;
mod clients;
mod core;
mod disk;
mod handle;
mod outlet;
mod room;
mod run;
mod sizes;
mod timers;

pub use self::core::{Core, Settings};
pub use clients::{Answered, Clients, Overloaded};
pub use disk::{Order, Report};
pub use handle::{Ask, NodeHandle, Status};
pub use outlet::Outlet;
pub use run::{Ended, start};

use crate::Msg;
use stateright::actor::Id;

/// Where messages to other nodes go. Never blocks: what cannot be taken is dropped and counted.
pub trait Peers: Send + Sync + 'static {
    /// Sends `message` to node `dst`, sooner or later, or not at all.
    fn send(&self, dst: Id, message: Msg);

    /// Sends each message to all of its nodes, in this order.
    fn send_all(&self, messages: Vec<(Vec<Id>, Msg)>) {
        for (to, message) in messages {
            to.iter().for_each(|dst| self.send(*dst, message.clone()));
        }
    }
}
