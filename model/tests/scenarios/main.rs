//! Scripted stories of a few replicas: one behaviour each, named by what it shows.
//!
//! The network is a pool of messages that the script delivers, duplicates or loses; time is what the script says it is.

mod cluster;
mod leading;
mod network;
mod phrases;
mod reads;
mod requests;
mod sessions;
mod snapshots;
mod votes;
