//! Messages, timers and states in few words, as stories and the Explorer show them.
//!
//! A state is told as named fields, each small, so that a step is told by those that changed.

use crate::engine::changes;
use crate::properties::audit::{self, Audit, Tagged};
use crate::properties::party::{ClientState, PartyState, Stored};
use crate::properties::record::Record;
use crate::properties::sequential::Ret;
use paxos_model::kv::{self, Answer, Command, Entry as KvEntry, Kv, Put, Query, Reply, Written};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::Ballot;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::gateway::{Gateway, NodeSession, PendingWrite, ReadStage};
use paxos_model::replica::message::{
    Act, Arrived, Done, Entry, Message, MessageOf, Operation, Outcome, ReadId, Request,
};
use paxos_model::replica::pieces::Place;
use paxos_model::replica::snapshot::Sent;
use paxos_model::replica::{Role, State, Timer};
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

/// Named parts of a state.
pub type Fields = Vec<(String, String)>;

/// A machine that can be told.
pub trait Words: StateMachine<Query = Query, Reply = Reply, Answer = Answer> {
    /// A command.
    fn command(command: &Self::Command) -> String;

    /// Where an item is.
    fn place(place: &Self::Place) -> String;

    /// Its state.
    fn fields(&self) -> Fields;
}

impl Words for Kv {
    fn command(told: &Command) -> String {
        command(told)
    }

    fn place(place: &kv::Place) -> String {
        match place {
            kv::Place::Floor => "the floor".into(),
            kv::Place::Key(key) => format!("key {key}"),
        }
    }

    fn fields(&self) -> Fields {
        vec![("store".into(), store(self))]
    }
}

impl Words for Audit {
    fn command(told: &Tagged) -> String {
        command(&told.command)
    }

    fn place(place: &audit::Place) -> String {
        match place {
            audit::Place::Kv(place) => Kv::place(place),
            audit::Place::Count(tag) => format!("the count of {tag}"),
        }
    }

    fn fields(&self) -> Fields {
        if self.counts.is_empty() {
            return Fields::new();
        }
        let counts = listed(&self.counts, |(tag, count)| format!("{tag} ({count})"));
        vec![("store".into(), store(&self.kv)), ("commands applied (how often)".into(), counts)]
    }
}

/// What a field that isn't there is told as.
const NOTHING: &str = "nothing";

fn listed<T>(items: impl IntoIterator<Item = T>, tell: impl Fn(T) -> String) -> String {
    let all: Vec<String> = items.into_iter().map(tell).collect();
    if all.is_empty() { NOTHING.into() } else { all.join(", ") }
}

fn nodes<'a>(ids: impl IntoIterator<Item = &'a Id>) -> String {
    let all: Vec<String> = ids.into_iter().map(|id| usize::from(*id).to_string()).collect();
    match all.len() {
        0 => "nobody".into(),
        1 => format!("node {}", all[0]),
        _ => format!("nodes {}", all.join(", ")),
    }
}

fn lower(value: &impl Debug) -> String {
    let mut text = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.extend(c.to_lowercase());
    }
    text
}

/// A message: `accept(2.1, slot 0, put k=v)`.
pub fn message<S: Words>(message: &MessageOf<S>) -> String {
    let relayed = |relayed: &bool| if *relayed { ", relayed" } else { "" };
    let round = |round: &u64| if *round == 0 { String::new() } else { format!(", round {round}") };
    match message {
        Message::Request { number, request: wanted, .. } => format!("request(#{number}, {})", request::<S>(wanted)),
        Message::Reply { number, outcome: told } => format!("reply(#{number}, {})", outcome(told)),
        Message::Forward { operations, relayed: r } => {
            format!("forward({}{})", listed(&**operations, operation::<S>), relayed(r))
        }
        Message::ReadIndex { read, relayed: r } => format!("read-index({}{})", read_id(read), relayed(r)),
        Message::ReadSlot { read, slot } => format!("read-slot({}, from slot {slot})", read_id(read)),
        Message::PreVote { ballot, promised } => format!("pre-vote({ballot}, promised {promised})"),
        Message::PreVoted { ballot } => format!("pre-voted({ballot})"),
        Message::Prepare { ballot } => format!("prepare({ballot})"),
        Message::Promise { ballot, first, votes } => {
            let from = if *first == 0 { String::new() } else { format!(", from slot {first}") };
            let votes =
                listed(votes, |vote| format!("slot {} in {}: {}", vote.slot, vote.ballot, entry::<S>(&vote.entry)));
            format!("promise({ballot}{from}, votes: {votes})")
        }
        Message::Accept { ballot, slot, entry: e } => format!("accept({ballot}, slot {slot}, {})", entry::<S>(e)),
        Message::Accepted { ballot, slot } => format!("accepted({ballot}, slot {slot})"),
        Message::Heartbeat { ballot, decided, round: r } => {
            format!("heartbeat({ballot}, decided below {decided}{})", round(r))
        }
        Message::HeartbeatAck { ballot, round: r } => format!("heartbeat-ack({ballot}{})", round(r)),
        Message::Fetch { from, arriving: None } => format!("fetch(from slot {from})"),
        Message::Fetch { from, arriving: Some(Arrived { slot, after }) } => {
            format!("fetch(from slot {from}, or the snapshot of slot {slot} after {})", place::<S>(after.as_ref()))
        }
        Message::Part { slot, after, pieces, last } => {
            let pieces = listed(pieces, |(at, _)| place::<S>(Some(at)));
            let end = if *last { ", the last" } else { "" };
            format!("part(of the snapshot of slot {slot} after {}: {pieces}{end})", place::<S>(after.as_ref()))
        }
        Message::Decided { from, entries } => format!("decided(from slot {from}: {})", listed(entries, entry::<S>)),
    }
}

/// A timer.
pub fn timer(timer: &Timer) -> String {
    match timer {
        Timer::Election => "election".into(),
        Timer::Resend => "resend".into(),
        Timer::Flush => "flush".into(),
        Timer::Deadline(number) => format!("deadline of request {number}"),
    }
}

fn read_id(read: &ReadId) -> String {
    format!("read {} of node {} in life {}", read.number, usize::from(read.origin), read.incarnation)
}

/// What a slot of the log holds.
pub fn entry<S: Words>(entry: &Entry<S::Command>) -> String {
    match entry {
        Entry::Noop => "no-op".into(),
        Entry::Batch(operations) => listed(&**operations, operation::<S>),
    }
}

fn operation<S: Words>(operation: &Operation<S::Command>) -> String {
    match operation {
        Operation::Open { node, incarnation } => {
            format!("session of node {} in life {incarnation}", usize::from(*node))
        }
        Operation::InSession { id, act: what, .. } => format!("{} as {id:?}", act::<S>(what)),
    }
}

fn act<S: Words>(act: &Act<S::Command>) -> String {
    match act {
        Act::OpenSession => "open a session".into(),
        Act::ExpireUnused(slot) => format!("end the sessions not used since slot {slot}"),
        Act::ExpireSession(session) => format!("end session {session:?}"),
        Act::Apply(what) => S::command(what),
    }
}

fn command(command: &Command) -> String {
    match command {
        Command::Write { puts, atomic } => format!("{}{}", if *atomic { "all of " } else { "" }, listed(puts, put)),
        Command::RaiseFloor { to } => format!("raise the floor to {to}"),
        Command::Collect { keep } => format!("collect all but {keep} tombstones"),
    }
}

fn put(put: &Put) -> String {
    let ver = put.ver.map(|ver| format!(" v{ver}")).unwrap_or_default();
    if put.val.is_empty() { format!("delete {}{ver}", put.key) } else { format!("put {}={}{ver}", put.key, put.val) }
}

fn query(query: &Query) -> String {
    match query {
        Query::Get(key) => key.to_string(),
        Query::Keys { prefix, start, limit } => format!("keys {prefix}* from `{start}`, at most {limit}"),
    }
}

fn request<S: Words>(request: &Request<S::Command, Query>) -> String {
    match request {
        Request::Write { session, act: what } => {
            let name = session.map(|(id, _)| format!(" as {id:?}")).unwrap_or_default();
            format!("{}{name}", act::<S>(what))
        }
        Request::Read(what) => format!("read {}", query(what)),
        Request::LocalRead(what) => format!("local read {}", query(what)),
    }
}

fn stored_entry(entry: &KvEntry) -> String {
    let val = if entry.val.is_empty() { NOTHING } else { &entry.val };
    format!("{}={val} v{}", entry.key, entry.ver)
}

fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Written(all) => listed(all, |written| match written {
            Written::Applied(entry) => format!("applied {}", stored_entry(entry)),
            Written::Conflict(entry) => format!("conflict with {}", stored_entry(entry)),
        }),
        Reply::Collected(floor) => format!("collected, floor {floor}"),
    }
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Entry(entry) => stored_entry(entry),
        Answer::Keys(keys) => listed(keys, |key| key.to_string()),
    }
}

fn done(done: &Done<Reply>) -> String {
    match done {
        Done::Opened(session) => format!("opened {session:?}"),
        Done::Expired => "ended".into(),
        Done::Applied(what) => reply(what),
    }
}

fn outcome(outcome: &Outcome<Reply, Answer>) -> String {
    match outcome {
        Outcome::Done(what) => done(what),
        Outcome::Answer { applied, answer: told } => format!("{}, applied below {applied}", answer(told)),
        Outcome::Refused(why) => format!("refused: {}", lower(why)),
        Outcome::Unknown(why) => format!("unknown: {}", lower(why)),
    }
}

/// What one party has: its state, what of it isn't on its disk, its timers.
pub fn local<'a>(state: &PartyState, stored: &Option<Stored>, timers: impl IntoIterator<Item = &'a Timer>) -> Fields {
    match state {
        PartyState::Client(state) => {
            let mut fields = client(state);
            fields.push(("timers".into(), listed(timers, timer)));
            fields
        }
        PartyState::Replica(state) => replica(state, stored, timers),
    }
}

/// What a replica has.
pub fn replica<'a, S: Words>(
    state: &State<S>,
    stored: &Option<Stored<S>>,
    timers: impl IntoIterator<Item = &'a Timer>,
) -> Fields {
    let mut fields = durable(&state.durable);
    let unsaved = match stored {
        Some(stored) => different(&durable(stored), &fields),
        None => different(&durable(&Durable::<S>::default()), &fields),
    };
    fields.push(("not on its disk".into(), listed(unsaved, |name| name)));
    fields.extend(volatile(state));
    fields.push(("timers".into(), listed(timers, timer)));
    fields
}

/// The names of fields that are not the same in both.
fn different(before: &[(String, String)], after: &[(String, String)]) -> Vec<String> {
    changes(before, after).into_iter().map(|(name, _, _)| name).collect()
}

fn client(state: &ClientState) -> Fields {
    let mut fields = vec![("asks for".into(), format!("item {}, attempt {}", state.item, state.attempt))];
    if let Some((session, sequence)) = state.session {
        fields.push(("session".into(), format!("{session:?}, done {sequence}")));
    }
    if state.stopped {
        fields.push(("stopped".into(), "since it does not know an outcome".into()));
    }
    fields
}

fn durable<S: Words>(durable: &Durable<S>) -> Fields {
    let mut fields = vec![("promised".into(), ballot(durable.promised))];
    if durable.promised_at > 0 {
        fields.push(("promised with decided below".into(), durable.promised_at.to_string()));
    }
    fields.push(("decided below".into(), durable.decided.to_string()));
    for (slot, logged) in &durable.log {
        let text = match durable.accepted.get(slot) {
            Some(ballot) => format!("{} voted in {ballot}", entry::<S>(logged)),
            None => entry::<S>(logged),
        };
        fields.push((format!("slot {slot}"), text));
    }
    for (slot, ballot) in durable.accepted.iter().filter(|(slot, _)| !durable.log.contains_key(*slot)) {
        fields.push((format!("slot {slot}"), format!("voted in {ballot}, for an entry that is not there")));
    }
    if durable.snapshot.applied > 0 {
        fields.push(("snapshot".into(), format!("of slot {}", durable.snapshot.applied)));
    }
    if let Some(arriving) = &durable.arriving {
        let text = format!("of slot {}, up to {}", arriving.executor.applied, place::<S>(arriving.after.as_ref()));
        fields.push(("arriving".into(), text));
    }
    if durable.incarnation > 0 {
        fields.push(("lives with requests".into(), durable.incarnation.to_string()));
    }
    fields
}

fn place<S: Words>(place: Option<&Place<S::Place>>) -> String {
    match place {
        None => NOTHING.into(),
        Some(Place::Item(place)) => S::place(place),
        Some(Place::Session(id)) => format!("session {id:?}"),
        Some(Place::Done(id)) => format!("the reply to {id:?}"),
    }
}

fn ballot(ballot: Ballot) -> String {
    if ballot.round == 0 { NOTHING.into() } else { ballot.to_string() }
}

/// What is lost in a crash.
fn volatile<S: Words>(state: &State<S>) -> Fields {
    let mut fields = role::<S>(&state.role);
    fields.push(("follows".into(), state.following.map_or_else(|| "nobody".into(), ballot)));
    if state.outbid.round > 0 {
        fields.push(("outbid by".into(), state.outbid.to_string()));
    }
    if state.fetching {
        fields.push(("has asked".into(), "for what it lacks".into()));
    }
    if state.stalled > 0 {
        fields.push(("snapshot stalled".into(), state.stalled.to_string()));
    }
    if let Some(source) = state.source {
        fields.push(("snapshot comes from".into(), format!("node {}", usize::from(source))));
    }
    for (node, served) in &state.serving {
        let what = match &served.sent {
            Sent::Parts(snapshot, after) => {
                format!("the snapshot of slot {} after {}", snapshot.applied, place::<S>(after.as_ref()))
            }
            Sent::Entries(from) => format!("the log from slot {from}"),
        };
        fields.push((
            format!("serves node {}", usize::from(*node)),
            format!("{what}, silent {}, again at {}", served.silent, served.again),
        ));
    }
    let executor = &state.executor;
    fields.push(("applied below".into(), executor.applied.to_string()));
    fields.extend(executor.machine.fields());
    for (id, session) in &executor.sessions {
        let of = session
            .owner
            .map_or_else(|| "a client's".into(), |(node, life)| format!("node {}'s in life {life}", usize::from(node)));
        let below = session.acknowledged_below;
        let below = if below > 1 { format!(", acknowledged below {below}") } else { String::new() };
        fields.push((format!("session {id:?}"), format!("{of}, used in slot {}{below}", session.used)));
        for (sequence, what) in &session.done {
            fields.push((format!("reply to {id:?}#{sequence}"), done(what)));
        }
    }
    fields.extend(gateway(&state.gateway));
    fields
}

/// The keys that have a value, and the floor once there is one.
fn store(machine: &Kv) -> String {
    let every = Query::Keys { prefix: "".into(), start: "".into(), limit: u64::MAX };
    let keys = match machine.query(&every) {
        Answer::Keys(keys) => keys,
        Answer::Entry(_) => Vec::new(),
    };
    let floor = if machine.floor() > 0 { format!(", floor {}", machine.floor()) } else { String::new() };
    format!("{}{floor}", listed(&keys, |key| stored_entry(&machine.get(key))))
}

fn role<S: Words>(role: &Role<S::Command>) -> Fields {
    let field = |name: &str, text: &dyn Display| (name.to_string(), text.to_string());
    match role {
        Role::Following => vec![field("role", &"follower")],
        Role::Polling { ballot, granted } => {
            vec![field("role", &format!("would begin {ballot}")), field("granted by", &nodes(granted))]
        }
        Role::Preparing(proposer) => {
            let votes =
                listed(&proposer.votes, |(slot, (ballot, e))| format!("slot {slot} in {ballot}: {}", entry::<S>(e)));
            let mut fields = vec![
                field("role", &format!("candidate in {}", proposer.ballot)),
                field("promised by", &nodes(&proposer.promised)),
                field("reported votes", &votes),
            ];
            if proposer.first > 0 {
                fields.push(field(
                    "reports begin",
                    &format!("at slot {} by node {}", proposer.first, usize::from(proposer.source)),
                ));
            }
            fields
        }
        Role::Leading(leader) => {
            let mut fields = vec![
                field("role", &format!("leader in {}", leader.ballot)),
                field("next slot", &leader.next),
                field("heard from", &nodes(&leader.contacts)),
            ];
            for (slot, proposal) in &leader.proposals {
                let text = format!("{}, votes of {}", entry::<S>(&proposal.entry), nodes(&proposal.votes));
                fields.push((format!("proposal for slot {slot}"), text));
            }
            if !leader.queue.is_empty() {
                fields.push(field("queue", &listed(&leader.queue, operation::<S>)));
            }
            if !leader.known.is_empty() {
                fields.push(field("queued or proposed", &leader.known.len()));
            }
            if leader.round > 0 {
                let acknowledged =
                    listed(&leader.acknowledged, |(node, round)| format!("{round} by node {}", usize::from(*node)));
                fields.push(field("read round", &format!("{}, acknowledged: {acknowledged}", leader.round)));
            }
            let reader = |(node, read): &(Id, ReadId)| format!("{} through node {}", read_id(read), usize::from(*node));
            if !leader.reads.is_empty() {
                fields.push(field("reads for the next round", &listed(&leader.reads, reader)));
            }
            for (round, (slot, reads)) in &leader.rounds {
                fields.push((format!("round {round}"), format!("from slot {slot}: {}", listed(reads, reader))));
            }
            fields
        }
    }
}

fn gateway<S: Words>(gateway: &Gateway<S>) -> Fields {
    let mut fields = Fields::new();
    let mut field = |name: String, text: String| fields.push((name, text));
    if let Some(life) = gateway.incarnation {
        field("life".into(), life.to_string());
    }
    match gateway.session {
        NodeSession::None => {}
        NodeSession::Opening => field("own session".into(), "being opened".into()),
        NodeSession::Open(id, next) => field("own session".into(), format!("{id:?}, next {next}")),
    }
    let whom = |client: &paxos_model::replica::gateway::Client| {
        format!("#{} of client {}", client.number, usize::from(client.id))
    };
    for (number, PendingWrite { client, act: what, id, handed_on, .. }) in &gateway.writes {
        let name = id.map(|(id, _)| format!(" as {id:?}")).unwrap_or_default();
        let stage = if *handed_on { "handed on" } else { "waits" };
        field(format!("request {number}"), format!("{}, {}{name}, {stage}", whom(client), act::<S>(what)));
    }
    for (number, read) in &gateway.reads {
        let stage = match read.stage {
            ReadStage::Waiting => "waits".into(),
            ReadStage::Asked(read) => format!("asked as read {read}"),
            ReadStage::From(read, slot) => format!("read {read}, to be served from slot {slot}"),
        };
        field(format!("request {number}"), format!("{}, read {}, {stage}", whom(&read.client), query(&read.query)));
    }
    if gateway.requests > 0 {
        field("requests so far".into(), gateway.requests.to_string());
    }
    if gateway.read_rounds > 0 {
        field("reads asked for".into(), gateway.read_rounds.to_string());
    }
    if gateway.current {
        field("serves local reads".into(), "yes".into());
    }
    fields
}

/// What the omniscient observer has written down.
pub fn record(record: &Record) -> Fields {
    let mut fields = Fields::new();
    for (slot, values) in &record.chosen {
        fields.push((format!("chosen in slot {slot}"), listed(values, entry::<Audit>)));
    }
    for ((slot, ballot), values) in &record.votes {
        let text = listed(values, |(e, voters)| format!("{} by {}", entry::<Audit>(e), nodes(voters)));
        fields.push((format!("votes in slot {slot}, ballot {ballot}"), text));
    }
    for (slot, ballot, proposed) in &record.proposals {
        fields.push((format!("proposed in slot {slot}, ballot {ballot}"), entry::<Audit>(proposed)));
    }
    for ((client, item), progress) in &record.operations {
        let told = match &progress.done {
            Some(Ret::Reply(what)) => reply(what),
            Some(Ret::Answer(what)) => answer(what),
            Some(Ret::Session(session)) => format!("session {session:?}"),
            Some(Ret::Refused) => "refused".into(),
            None if progress.invoked => "open".into(),
            None => "not begun".into(),
        };
        fields.push((format!("item {item} of client {}", usize::from(*client)), told));
    }
    let numbers = |tags: &std::collections::BTreeSet<u8>| listed(tags, |tag| tag.to_string());
    if !record.performed.is_empty() {
        fields.push(("commands applied anywhere".into(), numbers(&record.performed)));
    }
    if !record.refused.is_empty() {
        fields.push(("commands refused".into(), numbers(&record.refused)));
    }
    let shown: &BTreeMap<Id, u64> = &record.shown;
    for (node, slot) in shown {
        fields.push((format!("shown by node {}", usize::from(*node)), format!("below slot {slot}")));
    }
    fields
}
