//! The Multi-Paxos replica, as it is checked and as it ships.
//!
//! A replica is one [`stateright::actor::Actor`] value, [`replica::Replica`]. The checker in `spec/` visits every reachable
//! state of bounded systems of it; the node in `src/` calls the same three functions (`on_start`, `on_msg`, `on_timeout`)
//! and carries out the outputs. There is no second implementation of the protocol.
//!
//! The protocol is that of L. Lamport, *Paxos Made Simple* (2001), section 3, with the log, the stable leader and the filled
//! holes as in R. van Renesse and D. Altinbuken, *Paxos Made Moderately Complex* (2015), sessions as in D. Ongaro's thesis
//! (2014, section 6.3), and reads confirmed by a quorum as in the same thesis (section 6.4).
//!
//! Where to look:
//!
//! | question | file |
//! |---|---|
//! | what survives a crash | [`replica::durable`] |
//! | how an acceptor answers a `Prepare` or an `Accept` | [`replica::acceptor`] |
//! | when a replica wants to lead | [`replica::election`] |
//! | phase 1, and which values a new leader must take | [`replica::proposer`] |
//! | phase 2, batches, the window, read rounds | [`replica::leader`] |
//! | how a decision spreads, and catching up | [`replica::learner`] |
//! | how the log is truncated, and who is further behind is helped | [`replica::snapshot`] |
//! | what a snapshot is made of | [`replica::pieces`] |
//! | applying, sessions, no request twice | [`replica::executor`] |
//! | a client's request from arrival to answer | [`replica::gateway`] |
//! | how a request reaches the leader | [`replica::handing`] |
//! | every message and what it carries | [`replica::message`] |
//!
//! The table of messages and the glossary are in `spec/README.md`, with every guarantee and how far it is checked.
//!
//! Purity: a handler is a function of the state and the input. No clock, randomness, file, socket or hash map is used here,
//! and the lints of the workspace refuse them.

#![forbid(unsafe_code)]

pub mod kv;
pub mod machine;
pub mod mark;
pub mod replica;
pub mod trace;
