//! What must hold of the replica, and the check that it does.

pub mod cli;
pub mod engine;
pub mod mutants;
pub mod original;
pub mod properties;
pub mod record;
pub mod report;
pub mod scopes;
