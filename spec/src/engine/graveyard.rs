//! The property `dead-stays-dead`, which the reduction leans on: a message that was removed as dead never comes back to
//! life.
//!
//! For each local state the graveyard keeps the messages that were dead there, each with the outputs that are known to be
//! in flight or dead themselves: those that its delivery had when it was buried, and whatever the node has sent since.
//! Along each local step that the node takes anywhere in the check, the message must stay quiet, and its delivery must
//! send nothing but what is known. Where several ways lead to a local state, only what is known on all of them counts.
//!
//! This looks at each node by itself, at every pair of (burial, later local steps) that the scope has, also where no
//! single run combines them: it may reject a reduction that is harmless, and never accepts one that isn't.

use super::reduction::Verdict;
use super::universe::{Numbers, Universe};
use super::{Ghost, Subject};
use rustc_hash::FxHashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

/// The step has been taken, as a step from one local state to another, and is known here.
const TAKEN: u8 = 1;
/// A message came back to life as the step became known.
const TAKEN_WRONGLY: u8 = 2;
/// The step's message has been judged dead in the step's local state.
const BURIED: u8 = 4;
/// The message came back to life in a local state that was known to follow.
const BURIED_WRONGLY: u8 = 8;

/// How many violations are described.
const DESCRIBED_MAX: usize = 16;

/// The burials and the local steps of a check.
#[derive(Default)]
pub(super) struct Graveyard {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// For each local state the dead messages, each with its known outputs, sorted.
    graves: FxHashMap<u32, FxHashMap<u32, Numbers>>,
    /// For each local state the steps that lead to another.
    edges: FxHashMap<u32, Vec<u32>>,
    violations: Vec<String>,
}

impl<A: Subject, G: Ghost<A>> Universe<A, G> {
    /// Notes that `message` is dead in `local`. Whether it comes back to life in a local state known to follow.
    ///
    /// What is found is found when a burial becomes known and holds from then on, so that a path that is walked again
    /// ends where it ended.
    #[inline]
    pub(super) fn bury(&self, local: u32, message: u32) -> bool {
        let marks = &self.step(self.step_of(local, message)).marks;
        let seen = marks.load(Ordering::Acquire);
        if seen & BURIED != 0 { seen & BURIED_WRONGLY != 0 } else { self.bury_new(local, message, marks) }
    }

    #[cold]
    fn bury_new(&self, local: u32, message: u32, marks: &AtomicU8) -> bool {
        let Verdict::Quiet(outputs) = self.verdict(local, message) else {
            return false;
        };
        let known = &mut *self.graveyard.known.lock().unwrap_or_else(|e| e.into_inner());
        let seen = marks.load(Ordering::Acquire);
        if seen & BURIED != 0 {
            return seen & BURIED_WRONGLY != 0;
        }
        let mut work = Vec::new();
        if lay(known, local, message, outputs) {
            work.push((local, message));
        }
        let wrong = self.follow(known, work);
        marks.fetch_or(BURIED | if wrong { BURIED_WRONGLY } else { 0 }, Ordering::AcqRel);
        wrong
    }

    /// Notes that a node has taken a step. Whether a message that was dead before comes back to life.
    #[inline]
    pub(super) fn note_step(&self, step: u32) -> bool {
        let marks = &self.step(step).marks;
        let seen = marks.load(Ordering::Acquire);
        if seen & TAKEN != 0 { seen & TAKEN_WRONGLY != 0 } else { self.note_new_step(step, marks) }
    }

    #[cold]
    fn note_new_step(&self, step: u32, marks: &AtomicU8) -> bool {
        let known = &mut *self.graveyard.known.lock().unwrap_or_else(|e| e.into_inner());
        let seen = marks.load(Ordering::Acquire);
        if seen & TAKEN != 0 {
            return seen & TAKEN_WRONGLY != 0;
        }
        let local = self.step(step).local;
        known.edges.entry(local).or_default().push(step);
        let dead: Vec<u32> =
            known.graves.get(&local).map(|graves| graves.keys().copied().collect()).unwrap_or_default();
        let mut wrong = false;
        let mut work = Vec::new();
        for message in dead {
            match self.carry(known, step, message) {
                Some(true) => work.push((self.step(step).next, message)),
                Some(false) => {}
                None => wrong = true,
            }
        }
        wrong |= self.follow(known, work);
        marks.fetch_or(TAKEN | if wrong { TAKEN_WRONGLY } else { 0 }, Ordering::AcqRel);
        wrong
    }

    /// Carries burials along all known steps; whether a message comes back to life.
    fn follow(&self, known: &mut Known, mut work: Vec<(u32, u32)>) -> bool {
        let mut wrong = false;
        while let Some((local, message)) = work.pop() {
            let count = known.edges.get(&local).map_or(0, Vec::len);
            for place in 0..count {
                let step = known.edges[&local][place];
                match self.carry(known, step, message) {
                    Some(true) => work.push((self.step(step).next, message)),
                    Some(false) => {}
                    None => wrong = true,
                }
            }
        }
        wrong
    }

    /// Carries one burial along one step: whether anything new is known in the local state after it, and `None` if the
    /// message comes back to life there.
    fn carry(&self, known: &mut Known, step: u32, message: u32) -> Option<bool> {
        let taken = self.step(step);
        let verdict = self.verdict(taken.next, message);
        let mut outputs = known.graves[&taken.local][&message].clone();
        outputs.extend(taken.sends.iter().copied().filter(|send| !self.envelope(*send).once));
        outputs.sort_unstable();
        outputs.dedup();
        let fault = match verdict {
            Verdict::Live => "is not ignored".to_string(),
            Verdict::Quiet(now) => match now.iter().find(|output| outputs.binary_search(output).is_err()) {
                None => return Some(lay(known, taken.next, message, &outputs)),
                Some(new) => format!("is answered with {:?}, which is new", self.envelope(*new).msg),
            },
        };
        if known.violations.len() < DESCRIBED_MAX {
            let envelope = self.envelope(message);
            known.violations.push(format!(
                "{:?} from {} to {} was dead, and {fault} once node {} has taken {:?}\nbefore: {:?}\nafter: {:?}",
                envelope.msg,
                usize::from(envelope.src),
                usize::from(envelope.dst),
                taken.node,
                self.input(taken.input),
                self.local(taken.local),
                self.local(taken.next),
            ));
        }
        None
    }

    /// The violations of `dead-stays-dead` found so far, in words.
    pub fn revived(&self) -> Vec<String> {
        self.graveyard.known.lock().unwrap_or_else(|e| e.into_inner()).violations.clone()
    }
}

/// Lays a message into the grave of a local state; whether less is known of its outputs than before, or it is new there.
fn lay(known: &mut Known, local: u32, message: u32, outputs: &Numbers) -> bool {
    let graves = known.graves.entry(local).or_default();
    match graves.get_mut(&message) {
        None => {
            graves.insert(message, outputs.clone());
            true
        }
        Some(present) => {
            let before = present.len();
            present.retain(|output| outputs.binary_search(output).is_ok());
            present.len() < before
        }
    }
}
