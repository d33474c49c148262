//! A counterexample of the check, repeated by the real loops of nodes over a network in memory: each step's input goes to the node that takes
//! it, and what the node sends, saves and says of itself is compared with what the check's replica did. If all of it is the same, whatever the check says of
//! these steps is true of the nodes too.

pub(crate) mod file;
pub(crate) mod nodes;

use file::{Counterexample, Input, Step};
use nodes::{Nodes, Out};
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The property that no handler panics.
const NO_PANIC: &str = "no-panic";

/// How a counterexample went with the nodes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// Steps of nodes that were taken.
    pub(crate) taken: usize,
    /// Steps of clients, which have no part in it.
    pub(crate) passed_over: usize,
    /// Messages of nodes to themselves that were delivered in another order than a loop does, or again.
    pub(crate) out_of_turn: usize,
    /// Where it first went another way: the step's number, from 1, and how.
    pub(crate) differs: Option<(usize, String)>,
}

/// Repeats it, as far as the nodes go along.
pub(crate) fn repeat(example: &Counterexample) -> Result<Repeated, String> {
    let mut nodes = Nodes::new(&example.replay)?;
    let mut repeated = Repeated { taken: 0, passed_over: 0, out_of_turn: 0, differs: None };
    let steps = &example.replay.steps;
    for (number, step) in (1..).zip(steps) {
        if step.node >= example.replay.replicas {
            repeated.passed_over += 1;
            continue;
        }
        let last = number == steps.len();
        let taken = catch_unwind(AssertUnwindSafe(|| nodes.take(step)));
        let differs = match taken {
            Err(_) if last && example.property == NO_PANIC => None,
            Err(_) => Some("the node panics".to_owned()),
            Ok(Err(why)) => Some(why),
            Ok(Ok(_)) if last && example.property == NO_PANIC => Some("the node does not panic".to_owned()),
            Ok(Ok(out)) => difference(step, &out),
        };
        if let Some(why) = differs {
            repeated.differs = Some((number, format!("{}: {why}", told(step))));
            break;
        }
        repeated.taken += 1;
    }
    repeated.out_of_turn = nodes.out_of_turn;
    Ok(repeated)
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
    if step.after != out.after {
        told.push(format!("it says {:?}, and not {:?}", out.after, step.after));
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
        if self.out_of_turn > 0 {
            writeln!(
                f,
                "{} messages of nodes to themselves came otherwise than a loop delivers them: in order, and once",
                self.out_of_turn
            )?;
        }
        match &self.differs {
            None => write!(f, "the nodes do the same in each of {} steps: the violation is theirs too", self.taken),
            Some((number, why)) => {
                write!(f, "the nodes do the same in {} steps, and otherwise in step {number}: {why}", self.taken)
            }
        }
    }
}
