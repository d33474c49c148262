//! Scopes: bounded systems that are small enough to visit every state, chosen so that together they show every rule at work.

pub mod alone;
pub mod anywhere;
pub mod catalogue;
#[cfg(test)]
mod history;
pub mod machine;
pub mod prefix;
pub mod referee;
pub mod run;
pub mod story;
pub mod witness;
pub mod words;

use crate::engine::{Settings, System};
use crate::properties::audit::{Audit, Tagged};
use crate::properties::judge::Judge;
use crate::properties::party::{Client, Item, Msg, Party, Want};
use crate::properties::progress::Links;
use paxos_model::replica::configuration::{Configuration, Role};
use paxos_model::replica::message::{Message, Operation};
use paxos_model::replica::{Options, Replica, Timer};
use prefix::{Beginning, Broken, Play};
use referee::Referee;
use stateright::actor::Id;
use witness::Witness;

/// Which timers run out in a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Election timeouts of those who do not lead.
    pub election: bool,
    /// Election timeouts of leaders: they count whom they heard, and may step down.
    pub step_down: bool,
    /// Retransmission.
    pub resend: bool,
    /// Deadlines of requests.
    pub deadline: bool,
}

/// A scope.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub description: &'static str,
    /// Whether the default run visits it.
    pub default: bool,
    /// Whether it can also be exhausted without reductions in reasonable time.
    pub small: bool,
    /// How many replicas.
    pub replicas: usize,
    /// Which of them are learners; the others are voters.
    pub learners: Vec<usize>,
    /// Their options.
    pub options: Options,
    /// How many sessions may be open, and how many replies each keeps.
    pub sessions: (usize, u64),
    /// How many ballots each node may begin.
    pub elections: Vec<u8>,
    /// How many restarts there may be in all; none for any number, at any point.
    pub restarts: Option<u8>,
    /// Which nodes may restart.
    pub restarting: Vec<usize>,
    /// No slot from here on is proposed in.
    pub slots: u64,
    /// Whether a leader queues operations that no slot is left for; else they are lost.
    pub overfull: bool,
    /// How many read rounds a leader begins: a repeated `ReadIndex` would lead to ever more.
    pub rounds: u64,
    /// What is always lost.
    pub losses: Losses,
    /// Which timers run out.
    pub timers: Timers,
    /// The clients.
    pub clients: Vec<Client>,
    /// How it begins.
    pub prefix: Vec<Play>,
    /// From each state, over each of these sets of links, a leader must emerge and every request be answered.
    pub progress: Vec<Links>,
    /// What must be seen to happen.
    pub witnesses: Vec<Witness>,
    /// Whether votes for chosen values, and proposals of them, are forgotten.
    pub collapse: bool,
}

/// How a scope is run.
#[derive(Clone, Copy, Debug)]
pub struct Variation<'a> {
    /// Goes into every fingerprint.
    pub salt: u64,
    /// Whether the reductions are used.
    pub reduce: bool,
    /// The one property that is asked about, if it is one: what breaks others in the scripted beginning is passed over.
    pub sought: Option<&'a str>,
}

impl Default for Variation<'_> {
    fn default() -> Self {
        Variation { salt: 0, reduce: true, sought: None }
    }
}

/// Whether a message arrives once or not at all: a request, which comes over a connection. So does a reply; that it is let arrive
/// more than once here is more than can happen.
pub fn arrives_once(message: &Msg) -> bool {
    matches!(message, Message::Request { .. })
}

/// The kinds of messages whose death is final, so that the reduction may ask whether they are dead. Of the others the same
/// message may do nothing now and something later (a forward reaches a node that leads later), so they stay in flight.
/// That these die for good is itself checked: `dead-stays-dead`.
fn dies_for_good(message: &Msg) -> bool {
    match message {
        Message::Prepare { .. }
        | Message::Promise { .. }
        | Message::Accept { .. }
        | Message::Accepted { .. }
        | Message::HeartbeatAck { .. }
        | Message::ReadSlot { .. }
        | Message::Reply { .. } => true,
        Message::Request { .. }
        | Message::Forward { .. }
        | Message::ReadIndex { .. }
        | Message::PreVote { .. }
        | Message::PreVoted { .. }
        | Message::Heartbeat { .. }
        | Message::Decided { .. }
        | Message::Part { .. }
        | Message::Fetch { .. } => false,
    }
}

/// What is always lost in a scope: it is there to show something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Losses {
    /// Nothing is lost for certain.
    None,
    /// Every heartbeat: only ballots and votes are left.
    Heartbeats,
    /// Every heartbeat, and every `Accepted`: votes are cast, and nobody but the record counts them.
    Counting,
    /// Heartbeats to node 2, which promises and votes and learns nothing.
    HeartbeatsToThird,
    /// Everything from and to node 2: the other two go on without it.
    Third,
    /// Everything between nodes 0 and 1 and the others, but for what is fetched.
    Sides,
    /// Everything between nodes 0 and 2, which hear each other through node 1 only.
    Chain,
}

impl Losses {
    /// What is lost, if anything.
    fn words(self) -> Option<&'static str> {
        match self {
            Losses::None => None,
            Losses::Heartbeats => Some("heartbeats"),
            Losses::Counting => Some("heartbeats and votes' answers"),
            Losses::HeartbeatsToThird => Some("heartbeats to node 2"),
            Losses::Third => Some("all from and to node 2"),
            Losses::Sides => Some("all between nodes 0 and 1 and the others but what is fetched"),
            Losses::Chain => Some("all between nodes 0 and 2"),
        }
    }

    fn lost(self) -> fn(Id, Id, &Msg) -> bool {
        match self {
            Losses::None => |_, _, _| false,
            Losses::Heartbeats => |_, _, message| matches!(message, Message::Heartbeat { .. }),
            Losses::Counting => |_, _, message| matches!(message, Message::Heartbeat { .. } | Message::Accepted { .. }),
            Losses::HeartbeatsToThird => {
                |_, dst, message| usize::from(dst) == 2 && matches!(message, Message::Heartbeat { .. })
            }
            Losses::Third => |src, dst, _| usize::from(src) == 2 || usize::from(dst) == 2,
            Losses::Sides => |src, dst, message| {
                let fetched = matches!(message, Message::Fetch { .. } | Message::Decided { .. } | Message::Part { .. });
                (usize::from(src) < 2) != (usize::from(dst) < 2) && !fetched
            },
            Losses::Chain => {
                |src, dst, _| usize::from(src).min(usize::from(dst)) == 0 && usize::from(src).max(usize::from(dst)) == 2
            }
        }
    }
}

/// The same where leaders count whom they heard, and forget it: then the same answer does nothing now and something later.
fn dies_without_contact(message: &Msg) -> bool {
    !matches!(message, Message::HeartbeatAck { .. } | Message::Accepted { .. }) && dies_for_good(message)
}

/// The same where a replica may be so far behind that it heeds no accept and no promise until it has caught up.
fn dies_beyond_horizon(message: &Msg) -> bool {
    !matches!(message, Message::Accept { .. } | Message::Promise { .. }) && dies_for_good(message)
}

impl Scope {
    /// The replicas, as they ship.
    pub fn nodes(&self) -> Vec<Replica<Audit>> {
        vec![Replica::new(self.configuration(), self.options.clone()); self.replicas]
    }

    fn configuration(&self) -> Configuration {
        let (sessions_max, replies_max) = self.sessions;
        let mut configuration = Configuration { sessions_max, replies_max, ..Configuration::of_voters(self.replicas) };
        configuration.members.extend(self.learners.iter().map(|node| (Id::from(*node), Role::Learner)));
        configuration
    }

    /// Everybody who takes part: replicas first, then clients.
    pub fn parties(&self) -> Vec<Party> {
        let replicas = self.nodes().into_iter().map(Party::Replica);
        replicas.chain(self.clients.iter().cloned().map(Party::Client)).collect()
    }

    /// What the scripted clients want.
    fn items(&self) -> impl Iterator<Item = &Item> {
        self.clients.iter().flat_map(|client| match client {
            Client::Script(items) => items.as_slice(),
            Client::Source(_) => &[],
        })
    }

    /// The judge.
    pub fn judge(&self) -> Judge {
        let reads_locally = |item: &Item| matches!(item.want, Want::LocalRead(_));
        let mut judge = Judge {
            replica: Replica::new(self.configuration(), self.options.clone()),
            configuration: self.configuration(),
            options: self.options.clone(),
            reads_locally: self.items().any(reads_locally),
            scripts: Default::default(),
            operations: Vec::new(),
            collapse: self.collapse,
        };
        for (client, index) in self.clients.iter().zip(self.replicas..) {
            match client {
                Client::Script(items) => {
                    judge.scripts.insert(Id::from(index), items.clone());
                }
                Client::Source(messages) => {
                    judge.operations.extend(messages.iter().flat_map(|(_, message)| operations(message)).cloned())
                }
            }
        }
        judge
    }

    /// Plays the scripted beginning, as far as no property is broken, or not the one that is `sought`; the error is the violation that it ends in.
    pub fn begin(&self, sought: Option<&str>) -> Result<Beginning, Box<Broken>> {
        prefix::play(&self.parties(), &self.judge(), sought, &self.prefix)
    }

    /// The model to be checked.
    ///
    /// # Errors
    ///
    /// If the scripted beginning breaks a rule: see [`Scope::begin`].
    pub fn system(&self, variation: Variation<'_>) -> Result<System<Party, Referee>, Box<Broken>> {
        let beginning = self.begin(variation.sought)?;
        let (parties, judge) = (self.parties(), self.judge());
        let mut restarts = vec![false; parties.len()];
        for node in &self.restarting {
            restarts[*node] = true;
        }
        let settings = Settings {
            salt: variation.salt,
            reduce: variation.reduce,
            restarts,
            restarts_max: self.restarts,
            caps: self.elections.clone(),
            reducible: match (self.timers.step_down, self.options.horizon < self.slots) {
                (true, true) => |message| dies_without_contact(message) && dies_beyond_horizon(message),
                (true, false) => dies_without_contact,
                (false, true) => dies_beyond_horizon,
                (false, false) => dies_for_good,
            },
            once: |_, message| arrives_once(message),
            lost: self.losses.lost(),
            timers: |_, _| true,
        };
        Ok(System::new(parties, Referee::new(self.clone(), judge), settings).beginning(beginning.into_engine()))
    }

    /// Its bounds, in words: what the ledger and the reports say of it. The catalogue has the rest.
    pub fn bounds(&self) -> String {
        let list =
            |numbers: &mut dyn Iterator<Item = usize>| numbers.map(|n| n.to_string()).collect::<Vec<_>>().join("+");
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let elections = list(&mut self.elections.iter().map(|count| usize::from(*count)));
        let whose = match self.restarting.len() {
            all if all == self.replicas => String::new(),
            _ => format!(" of node {}", list(&mut self.restarting.iter().copied())),
        };
        let restarts = match self.restarts {
            _ if self.restarting.is_empty() || self.restarts == Some(0) => "no restarts".into(),
            Some(count) => format!("{}{whose}", plural(count.into(), "restart")),
            None => format!("restarts{whose} at every point"),
        };
        let scripts = self.clients.iter().filter(|client| matches!(client, Client::Script(_))).count();
        let mut bounds = vec![
            plural(self.replicas, "replica"),
            plural(self.slots as usize, "slot"),
            format!("{elections} ballots"),
            restarts,
        ];
        if !self.learners.is_empty() {
            bounds.push(plural(self.learners.len(), "learner"));
        }
        if scripts > 0 {
            bounds.push(plural(scripts, "client"));
        }
        if !self.prefix.is_empty() {
            bounds.push("a scripted beginning".into());
        }
        bounds.extend(self.losses.words().map(|lost| format!("{lost} lost")));
        if !self.progress.is_empty() {
            bounds.push(format!("progress judged over {} of links", plural(self.progress.len(), "set")));
        }
        bounds.join(", ")
    }
}

fn operations(message: &Msg) -> &[Operation<Tagged>] {
    match message {
        Message::Forward { operations, .. } => operations,
        _ => &[],
    }
}

impl Timers {
    /// Whether `timer` runs out at a node that leads or does not.
    pub fn allow(self, timer: &Timer, leads: bool) -> bool {
        match timer {
            Timer::Election if leads => self.step_down,
            Timer::Election => self.election,
            Timer::Resend => self.resend,
            Timer::Flush => true,
            Timer::Deadline(_) => self.deadline,
        }
    }
}
