//! What must hold of the replica, and the check that it does.

pub mod original;
pub mod properties;
