//! The abstract protocol of `spec/tla/MultiPaxos.tla`, in Rust: what the steps of the replica are held against.
//!
//! [`protocol`] is the state and the seven actions, [`invariant`] the clauses that are proved in `spec/proof/`, and [`explore`]
//! visits every state within bounds: a test compares their number with TLC's, so the two texts say the same. The property
//! `refines-spec` ([`crate::properties::refines`]) finds for each step of a replica the actions that it is.

pub mod explore;
pub mod invariant;
pub mod protocol;
#[cfg(test)]
mod tests;
