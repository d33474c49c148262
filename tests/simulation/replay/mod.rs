//! A counterexample of the check, repeated by the real loops of nodes over a network in memory: each step's input goes to the node that takes
//! it, and what comes of it is compared with what the check's replica did: which messages it sends and answers it gives (not in which order or
//! how often), what it saves (but for what a snapshot holds), what it says of itself and its store afterwards, and which timers are set then
//! (not for how long). If that is the same, what a property says of these things is true of the nodes too. A property that speaks of anything
//! else is not shown to be broken so.

pub(crate) mod file;
pub(crate) mod nodes;

use file::{Counterexample, Input, Replay, Seen, Step};
use nodes::{Nodes, Out};
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The property that no handler panics.
const NO_PANIC: &str = "no-panic";
/// The property that what a replica waits for has a timer.
const TIMERS_SET: &str = "timers-set";
/// The properties that speak of nothing but what is compared. Others speak of what may follow (`progress`, `dead-stays-dead`), of how long a
/// timer lasts (`timers-as-long`), of what a snapshot, a session or a queue holds (`snapshots`, `sessions`, `bounded`), or of no path of
/// replicas at all.
const OF_THE_STEPS: [&str; 17] = [
    "agreement",
    "decided-is-chosen",
    "validity",
    "promises-kept",
    "one-value-a-ballot",
    "prefix",
    "linearizable",
    "exactly-once",
    "refused-is-never-applied",
    "local-reads-never-go-back",
    "one-answer",
    "answers-fit",
    "same-answer-again",
    "refines-spec",
    "inductive-invariant",
    NO_PANIC,
    TIMERS_SET,
];

/// How a counterexample went with the nodes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// Steps of nodes that were taken.
    pub(crate) taken: usize,
    /// Steps of clients, which have no part in it.
    pub(crate) passed_over: usize,
    /// Messages of nodes to themselves that were delivered otherwise than a loop does.
    pub(crate) out_of_turn: usize,
    /// Where it first went another way: the step's number, from 1, or 0 for the first start; and how.
    pub(crate) differs: Option<(usize, String)>,
    /// Why the same steps show nothing, if they do not.
    pub(crate) shows_nothing: Option<String>,
}

/// What that says of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They break the property too.
    Broken,
    /// They do otherwise.
    Differs,
    /// They do the same, and it is not known whether they break it.
    NotShown,
}

impl Repeated {
    pub(crate) fn verdict(&self) -> Verdict {
        match (&self.differs, &self.shows_nothing) {
            (Some(_), _) => Verdict::Differs,
            (None, Some(_)) => Verdict::NotShown,
            (None, None) => Verdict::Broken,
        }
    }
}

/// Repeats it, as far as the nodes go along. The error says why it cannot be repeated.
pub(crate) fn repeat(example: &Counterexample) -> Result<Repeated, String> {
    repeat_from(example, Nodes::new)
}

/// The same with nodes that `start` starts.
pub(crate) fn repeat_from(
    example: &Counterexample,
    start: impl FnOnce(&Replay) -> Result<Nodes, String>,
) -> Result<Repeated, String> {
    let (replay, no_panic) = (&example.replay, example.property == NO_PANIC);
    let mut repeated = Repeated { taken: 0, passed_over: 0, out_of_turn: 0, differs: None, shows_nothing: None };
    let at_once = replay.steps.iter().all(|step| step.node >= replay.replicas);
    if at_once && !no_panic {
        return Err("it has no step of a node".into());
    }
    let started = catch_unwind(AssertUnwindSafe(|| start(replay)));
    let mut nodes = match started {
        // Then there is no step: the check's replica panicked where this one does.
        Err(_) if at_once => return Ok(repeated),
        Err(_) => return Ok(Repeated { differs: Some((0, "a node panics at its first start".into())), ..repeated }),
        Ok(_) if at_once => {
            return Ok(Repeated { differs: Some((0, "no node panics at its first start".into())), ..repeated });
        }
        Ok(nodes) => nodes?,
    };
    for (number, step) in (1..).zip(&replay.steps) {
        if step.node >= replay.replicas {
            repeated.passed_over += 1;
            continue;
        }
        let last = number == replay.steps.len();
        let taken = catch_unwind(AssertUnwindSafe(|| nodes.take(step)));
        let differs = match taken {
            Err(_) if last && no_panic => None,
            Err(_) => Some("the node panics".to_owned()),
            Ok(Err(why)) => Some(why),
            Ok(Ok(_)) if last && no_panic => Some("the node does not panic".to_owned()),
            Ok(Ok(out)) => difference(step, &out),
        };
        if let Some(why) = differs {
            repeated.differs = Some((number, format!("{}: {why}", told(step))));
            break;
        }
        repeated.taken += 1;
    }
    repeated.out_of_turn = nodes.out_of_turn;
    repeated.shows_nothing = shows_nothing(example, nodes.out_of_turn);
    Ok(repeated)
}

/// Why it shows nothing that nodes take these steps, if so.
fn shows_nothing(example: &Counterexample, out_of_turn: usize) -> Option<String> {
    let property = &example.property;
    let without_timers = |step: &Step| step.after.as_ref().is_some_and(|after| after.timers.is_none());
    if out_of_turn > 0 {
        Some(format!(
            "{out_of_turn} messages of nodes to themselves came as no loop delivers them, which is in order, once, and in the same life"
        ))
    } else if !OF_THE_STEPS.contains(&property.as_str()) {
        Some(format!("`{property}` speaks of something else than what is compared in these steps"))
    } else if property == TIMERS_SET && example.replay.steps.iter().any(without_timers) {
        Some("the file, of an earlier version, does not say which timers are set".into())
    } else {
        None
    }
}

/// What a node did that the check's replica did not, or the other way round.
fn difference(step: &Step, out: &Out) -> Option<String> {
    let expected: BTreeSet<_> = step.sends.iter().cloned().collect();
    let missing: Vec<_> = expected.difference(&out.sends).collect();
    let more: Vec<_> = out.sends.difference(&expected).collect();
    let mut told = Vec::new();
    if !missing.is_empty() {
        told.push(format!("it does not send {missing:?}"));
    }
    if !more.is_empty() {
        told.push(format!("it sends {more:?}"));
    }
    if step.saves != out.saves {
        told.push(format!("it saves {:?}, and not {:?}", out.saves, step.saves));
    }
    let mut after = out.after.clone();
    if let (Some(seen), Some(Seen { timers: None, .. })) = (&mut after, &step.after) {
        seen.timers = None;
    }
    if step.after != after {
        told.push(format!("it says {after:?}, and not {:?}", step.after));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// A step in words.
pub(crate) fn told(step: &Step) -> String {
    match &step.input {
        Input::Start => format!("node {} starts again", step.node),
        Input::Timeout(timer) => format!("node {}: its timer {timer:?} runs out", step.node),
        Input::Deliver { src, msg } => format!("node {} receives {msg:?} from {}", step.node, usize::from(*src)),
    }
}

impl fmt::Display for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.differs, &self.shows_nothing) {
            (Some((0, why)), _) => write!(f, "the nodes do otherwise before the first step: {why}"),
            (Some((number, why)), _) => {
                write!(f, "the nodes do the same in {} steps, and otherwise in step {number}: {why}", self.taken)
            }
            (None, Some(why)) => {
                write!(f, "the nodes do the same in each of {} steps, which shows nothing: {why}", self.taken)
            }
            (None, None) if self.taken == 0 => {
                write!(f, "a node panics at its first start: the violation is theirs too")
            }
            (None, None) => {
                write!(f, "the nodes do the same in each of {} steps: the violation is theirs too", self.taken)
            }
        }
    }
}
