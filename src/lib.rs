//! The node: what runs the checked replica of `paxos-model`. It holds no rule of the protocol.

pub use paxos_model as model;
