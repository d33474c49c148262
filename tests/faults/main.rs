//! What must hold when the store fails, hangs or is full, and when a node ends at any moment: real node loops on stores that do what
//! the test says, and a network in memory.

#![allow(clippy::disallowed_methods, reason = "what runs for real has a clock")]

mod full;
mod hanging;
mod kills;
mod network;
mod order;
mod served;
mod store;
