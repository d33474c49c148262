//! A run of the original as a story: who sends what to whom, what an acceptor held before and what it stores, and where
//! the rule was broken.

use std::collections::BTreeMap;

use stateright::actor::ActorModelAction;

use super::{Action, COMMITTED, Calls, INITIAL, Msg, NODES, NodeState, Promise, Scope, State, Value, Write};
use super::{chosen, committed, decompose, one_value, quorum};

/// The steps of a path, numbered from 1.
pub(super) fn story(path: &[(State, Option<Action>)], scope: Scope) -> Vec<String> {
    let mut teller = Teller { scope, votes: BTreeMap::new(), promised: BTreeMap::new() };
    let steps = path.windows(2).filter_map(|pair| Some((&pair[0].0, pair[0].1.as_ref()?, &pair[1].0)));
    steps
        .enumerate()
        .map(|(i, (before, action, after))| format!("{}. {}", i + 1, teller.tell(before, action, after)))
        .collect()
}

/// What is wrong with the last state of a path.
pub(super) fn verdict(path: &[(State, Option<Action>)]) -> String {
    let Some((state, _)) = path.last() else {
        return String::new();
    };
    let (chosen, committed) = (chosen(state), committed(state));
    let mut broken = Vec::new();
    if !one_value(&chosen) {
        broken.extend(chosen.iter().map(|vote| format!("{} was chosen at ballot {}", vote.1, ballot(vote.0))));
    }
    if committed.len() > 1 {
        for (number, node) in state.actor_states.iter().enumerate() {
            broken.extend(node.ghost.commits.iter().map(|value| format!("node {number} committed {value}")));
        }
    }
    format!("Two values for one slot: {}.", broken.join(", "))
}

/// A ballot as round.node.
fn ballot(proposal: u64) -> String {
    match proposal {
        COMMITTED => "COMMITTED".to_owned(),
        _ => {
            let (round, node) = decompose(proposal);
            format!("{round}.{node}")
        }
    }
}

/// A slot's record.
fn record(promise: Promise) -> String {
    match (promise.proposal, promise.value) {
        (INITIAL, None) => "nothing".to_owned(),
        (proposal, None) => format!("({}, no value)", ballot(proposal)),
        (proposal, Some(value)) => format!("({}, {value})", ballot(proposal)),
    }
}

/// "it held this and now holds that".
fn stored(before: &NodeState, after: &NodeState) -> String {
    if before.log == after.log {
        format!("holds {}", record(before.log))
    } else {
        format!("held {} and now holds {}", record(before.log), record(after.log))
    }
}

fn list(nodes: impl Iterator<Item = usize>) -> String {
    nodes.map(|node| node.to_string()).collect::<Vec<_>>().join(" and ")
}

/// An answer to `prepare` as its proposer counted it.
#[derive(Clone, Copy)]
struct Answer {
    acceptor: usize,
    promise: Promise,
    ok: bool,
    /// The acceptor's last vote when it answered, which the answer does not tell.
    vote: Option<(u64, Value)>,
}

struct Teller {
    scope: Scope,
    /// By proposer, attempt and acceptor: the acceptor's last vote when it handled the `prepare`.
    votes: BTreeMap<(usize, u8, usize), Option<(u64, Value)>>,
    /// By proposer and attempt: the answers that it counted, in order.
    promised: BTreeMap<(usize, u8), Vec<Answer>>,
}

impl Teller {
    fn tell(&mut self, before: &State, action: &Action, after: &State) -> String {
        let mut text = match action {
            ActorModelAction::Timeout(id, _) => self.tell_timeout(usize::from(*id), before, after),
            ActorModelAction::Deliver { src, dst, msg } => {
                self.tell_message(usize::from(*src), usize::from(*dst), *msg, before, after)
            }
            other => format!("{other:?}."),
        };
        let had = chosen(before);
        for (proposal, value) in chosen(after).into_iter().filter(|vote| !had.contains(vote)) {
            let voters = after.actor_states.iter().enumerate();
            let voters =
                voters.filter(|(_, node)| node.ghost.votes.contains(&(proposal, value))).map(|(number, _)| number);
            let voters = list(voters);
            text += &format!(" {value} IS CHOSEN: nodes {voters} have accepted it at ballot {}.", ballot(proposal));
        }
        text
    }

    fn tell_timeout(&mut self, node: usize, before: &State, after: &State) -> String {
        let (was, is) = (&before.actor_states[node], &after.actor_states[node]);
        let cause = match (was.write, self.scope.calls) {
            (Write::Expected, _) => format!("A client writes {} at node {node}.", Value(node as u8)),
            (Write::BackingOff { .. }, _) => format!("Node {node} has slept and tries again."),
            (Write::Preparing { tally, .. } | Write::Accepting { tally, .. }, Calls::InTurn) => {
                format!("Node {node}'s call to node {} fails or times out.", tally.returned)
            }
            (_, Calls::InTurn) => String::new(),
            (_, Calls::Together) => format!("Node {node}'s calls that haven't returned fail or time out."),
        };
        cause + &self.progress(node, was, is)
    }

    fn tell_message(&mut self, src: usize, dst: usize, msg: Msg, before: &State, after: &State) -> String {
        let (was, is) = (&before.actor_states[dst], &after.actor_states[dst]);
        let verdict = |ok: bool| if ok { "Ok" } else { "a refusal" };
        match msg {
            Msg::Prepare { attempt, proposal } => {
                self.votes.insert((src, attempt, dst), was.ghost.votes.last().copied());
                format!(
                    "Node {src}'s prepare({}) reaches node {dst}, which {} and answers {} with what it held.",
                    ballot(proposal),
                    stored(was, is),
                    verdict(was.log.prepare(proposal).1)
                )
            }
            Msg::Accept { proposal, value, .. } => format!(
                "Node {src}'s accept({}, {value}) reaches node {dst}, which {} and answers {}.",
                ballot(proposal),
                stored(was, is),
                verdict(was.log.proposal <= proposal)
            ),
            Msg::Commit { value } => {
                format!("Node {src}'s commit({value}) reaches node {dst}, which {}.", stored(was, is))
            }
            Msg::Prepared { attempt, promise, ok } => {
                let vote = self.votes.get(&(dst, attempt, src)).copied().flatten();
                self.counted(dst, attempt, Answer { acceptor: src, promise, ok, vote });
                format!("Node {src}'s answer, {} with {}, reaches node {dst}.", verdict(ok), record(promise))
                    + &self.progress(dst, was, is)
            }
            Msg::Accepted { ok, .. } => {
                format!("Node {src}'s answer, {}, reaches node {dst}.", verdict(ok)) + &self.progress(dst, was, is)
            }
        }
    }

    fn counted(&mut self, proposer: usize, attempt: u8, answer: Answer) {
        self.promised.entry((proposer, attempt)).or_default().push(answer);
    }

    /// What a proposer does once an event has moved it on, its calls to its own acceptor included.
    fn progress(&mut self, node: usize, was: &NodeState, is: &NodeState) -> String {
        let mut text = String::new();
        if self.scope.calls == Calls::InTurn {
            self.own_calls(node, was, is, &mut text);
        }
        match (was.write, is.write) {
            (Write::Preparing { .. }, Write::Accepting { attempt, proposal, value, .. }) => {
                text += &self.choice(node, attempt, proposal, value);
            }
            (_, Write::BackingOff { proposal, .. }) => {
                text += &format!(" That is no quorum: it backs off, to try ballot {} next.", ballot(proposal));
            }
            (_, Write::Returned(Some(value))) => {
                text += &format!(" A quorum accepted: it commits {value}, answers its client, and tells its peers.");
            }
            (_, Write::Returned(None)) => text += " The slot is committed here: its write returns with nothing.",
            _ => {}
        }
        let (request, returned, started) = match is.write {
            Write::Preparing { proposal, tally, .. } => (
                format!("prepare({})", ballot(proposal)),
                tally.returned,
                !matches!(was.write, Write::Preparing { .. }),
            ),
            Write::Accepting { proposal, value, tally, .. } => {
                let request = format!("accept({}, {value})", ballot(proposal));
                (request, tally.returned, !matches!(was.write, Write::Accepting { .. }))
            }
            _ => return text,
        };
        match self.scope.calls {
            Calls::InTurn => text += &format!(" It calls {request} at node {returned}."),
            Calls::Together if started => text += &format!(" It calls {request} at all nodes."),
            Calls::Together => {}
        }
        text
    }

    /// The calls to its own acceptor that a proposer made within one step: at most one `prepare` and one `accept`.
    fn own_calls(&mut self, node: usize, was: &NodeState, is: &NodeState, text: &mut String) {
        let preparing = |write: Write| match write {
            Write::Preparing { attempt, proposal, tally } => Some((attempt, proposal, tally.returned)),
            _ => None,
        };
        let passed = |before: usize, after: usize| before <= node && node < after;
        let prepare = match (preparing(was.write), preparing(is.write)) {
            (Some((attempt, proposal, from)), Some((_, _, to))) if passed(from, to) => Some((attempt, proposal)),
            // A call of its own that ended the broadcast.
            (Some((attempt, proposal, from)), None) if passed(from, NODES) => Some((attempt, proposal)),
            (None, Some((attempt, proposal, to))) if passed(0, to) => Some((attempt, proposal)),
            _ => None,
        };
        let mut held = was.log;
        if let Some((attempt, proposal)) = prepare.filter(|_| !self.has_counted(node, prepare)) {
            let (log, ok) = held.prepare(proposal);
            let vote = was.ghost.votes.last().copied();
            self.counted(node, attempt, Answer { acceptor: node, promise: held, ok, vote });
            *text += &format!(" Its own acceptor held {}", record(held));
            *text += &if ok { format!(" and now holds {}.", record(log)) } else { " and refuses.".to_owned() };
            held = log;
        }
        if is.log != held {
            *text += &format!(" Its own acceptor held {} and now holds {}.", record(held), record(is.log));
        }
    }

    fn has_counted(&self, node: usize, call: Option<(u8, u64)>) -> bool {
        let answers = call.and_then(|(attempt, _)| self.promised.get(&(node, attempt)));
        answers.is_some_and(|answers| answers.iter().any(|answer| answer.acceptor == node))
    }

    /// The choice of the value in Go `Write`, beside what it had to be.
    fn choice(&self, node: usize, attempt: u8, proposal: u64, value: Value) -> String {
        let answers: &[Answer] = self.promised.get(&(node, attempt)).map_or(&[], Vec::as_slice);
        let highest = answers.iter().map(|answer| answer.promise.proposal).max().unwrap_or(INITIAL);
        let top: Vec<&Answer> = answers.iter().filter(|answer| answer.promise.proposal == highest).collect();
        let order = list(answers.iter().map(|answer| answer.acceptor));
        let promises = answers.iter().filter(|answer| answer.ok).count();
        let mut text = format!(
            " {promises} of {NODES} promised, enough for {}; it counted nodes {order} in this order.",
            quorum(NODES)
        );
        let Some(last) = top.last() else { return text };
        if top.iter().any(|answer| answer.promise.value != last.promise.value) {
            text += &format!(" Ballot {} came {} times, and `<=` lets the last win:", ballot(highest), top.len());
        } else {
            text += &format!(" The highest ballot is {}:", ballot(highest));
        }
        text += &format!(" {}. So it proposes {value} at ballot {}.", record(last.promise), ballot(proposal));
        let promised = answers.iter().filter(|answer| answer.ok);
        if let Some((at, due, acceptor)) =
            promised.filter_map(|answer| answer.vote.map(|(at, value)| (at, value, answer.acceptor))).max()
            && due != value
        {
            text += &format!(
                " RULE BROKEN: of the acceptors that promised, node {acceptor} had accepted {due} at ballot {}, \
                 the highest of any vote among them: no other value may be proposed.",
                ballot(at)
            );
        }
        text
    }
}
