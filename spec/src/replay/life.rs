//! One life of one node, from its start to its end: the border between the actor, the disk and the network.

use super::history::History;
use super::verdicts::{AT_BORDER, Broken};
use crate::properties::transition::{storage_goes_back, stored_or_empty};
use paxos_model::kv::Kv;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::{Replica, State, Timer};
use paxos_model::trace::line::{At, Begin, Digest};
use stateright::actor::Id;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What a node saves.
pub(super) type Stored = Arc<Durable<Kv>>;

/// A message that was put out and has not left.
struct Waiting {
    dst: Id,
    digest: Digest,
    /// It rests on what was saved up to and with this step.
    saved_by: Option<u64>,
}

/// A life, as far as it was followed.
pub(super) struct Life {
    pub(super) node: Id,
    pub(super) number: u64,
    pub(super) replica: Replica<Kv>,
    /// None before its first step.
    pub(super) state: Option<State<Kv>>,
    /// What was saved last.
    pub(super) saved: Option<Stored>,
    /// The number of the next step.
    pub(super) step: u64,
    /// The timers that are set; not known where the traces begin in the middle of a life.
    pub(super) timers: Option<BTreeSet<Timer>>,
    /// How many messages were put out, and how many of them left.
    sent: u64,
    released: u64,
    waiting: VecDeque<Waiting>,
    /// The last step that saved, and the last that is known to be durable.
    saved_by: Option<u64>,
    committed: Option<u64>,
    /// What is known to be durable, if anything is known of that: a file in the middle of a life does not tell.
    durable: Option<Option<Stored>>,
    /// What was saved last before a file that begins in the middle.
    before: Option<Stored>,
    /// What may be: the step that saved it, and the value.
    saves: VecDeque<(u64, Stored)>,
}

impl Life {
    /// A life as its file begins.
    pub(super) fn begin(begin: &Begin<Kv>) -> Life {
        let replica = Replica::new(begin.configuration.clone(), begin.options.clone());
        let mut life = Life {
            node: begin.node,
            number: begin.life,
            replica,
            state: None,
            saved: None,
            step: 0,
            timers: Some(BTreeSet::new()),
            sent: 0,
            released: 0,
            waiting: VecDeque::new(),
            saved_by: None,
            committed: None,
            durable: None,
            before: None,
            saves: VecDeque::new(),
        };
        match &begin.at {
            At::Start(stored) => {
                life.saved.clone_from(stored);
                life.durable = Some(stored.clone());
            }
            At::Middle { step, sent, saved, state } => {
                life.state = Some((**state).clone());
                life.saved.clone_from(saved);
                life.before.clone_from(saved);
                (life.step, life.sent, life.timers) = (*step, *sent, None);
            }
        }
        life
    }

    /// Whether a further file goes on where this life is.
    pub(super) fn goes_on(&self, begin: &Begin<Kv>) -> Result<(), String> {
        let At::Middle { step, sent, saved, state } = &begin.at else { return Err("it is said to start".into()) };
        if (*step, *sent) != (self.step, self.sent) {
            let here = (self.step, self.sent);
            return Err(format!("it has taken {step} steps and sent {sent} messages, and by its trace {here:?}"));
        }
        if self.state.as_ref() != Some(&**state) {
            return Err("its state is not the one that its steps lead to".into());
        }
        if self.saved != *saved {
            return Err("what it has saved is not what its steps saved".into());
        }
        Ok(())
    }

    /// The next life starts from `stored`: that is what this one made durable, or what its disk was about to. Its votes count.
    pub(super) fn ends_with(&mut self, stored: &Option<Stored>, history: &mut History, broken: &mut Broken) {
        if self.durable.as_ref() == Some(stored) {
            return;
        }
        match (self.saves.iter().position(|(_, value)| Some(value) == stored.as_ref()), &self.durable) {
            (Some(place), _) => {
                let (step, _) = self.saves[place];
                self.commit(step, history, broken);
            }
            (None, None) => {
                // Nobody saw it become durable, and it is.
                if let Some(stored) = stored {
                    history.stored(self.node, &Durable::default(), stored, broken);
                }
            }
            (None, Some(durable)) => {
                let (is, was) = (told(stored), told(durable));
                let later = self.saves.len();
                broken.add(
                    AT_BORDER[1],
                    format!("it starts with {is}; durable was {was}, and none of {later} later saves is that"),
                );
            }
        }
    }

    /// What came between this life and a later one is not in the traces: what was known to be durable is what `stored` goes back to, at least.
    pub(super) fn leads_to(&self, stored: &Option<Stored>, broken: &mut Broken) {
        let Some(durable) = &self.durable else { return };
        if let Some(why) = storage_goes_back(&stored_or_empty(durable), &stored_or_empty(stored)) {
            broken.add(AT_BORDER[1], format!("after what is missing in the traces {why}"));
        }
    }

    /// A step put these out.
    pub(super) fn put_out(&mut self, saved: Option<Stored>, sends: impl Iterator<Item = (Id, Digest)>) {
        if let Some(value) = saved {
            self.saves.push_back((self.step, value.clone()));
            self.saved = Some(value);
            self.saved_by = Some(self.step);
        }
        for (dst, digest) in sends {
            self.waiting.push_back(Waiting { dst, digest, saved_by: self.saved_by });
            self.sent += 1;
        }
        self.step += 1;
    }

    /// What was saved up to and with `step` became durable.
    pub(super) fn commit(&mut self, step: u64, history: &mut History, broken: &mut Broken) {
        if step >= self.step {
            broken.add(AT_BORDER[0], format!("step {step} is said to be durable, and was not taken"));
        }
        while let Some((_, value)) = self.saves.pop_front_if(|(by, _)| *by <= step) {
            let before = self.durable.take().flatten().unwrap_or_default();
            history.stored(self.node, &before, &value, broken);
            self.durable = Some(Some(value));
        }
        self.committed = Some(step);
    }

    /// So many messages have left, of all that this life put out.
    pub(super) fn release(&mut self, messages: u64, history: &mut History, broken: &mut Broken) {
        if messages > self.sent || messages < self.released {
            let (sent, before) = (self.sent, self.released);
            broken.add(AT_BORDER[0], format!("{messages} messages left, {before} before, and {sent} were put out"));
        }
        self.released = messages;
        let stay = usize::try_from(self.sent.saturating_sub(messages)).unwrap_or(usize::MAX);
        while self.waiting.len() > stay
            && let Some(Waiting { dst, digest, saved_by }) = self.waiting.pop_front()
        {
            if saved_by > self.committed {
                let step = saved_by.unwrap_or_default();
                broken.add(
                    AT_BORDER[0],
                    format!(
                        "a message for node {} left before what was saved in step {step} was durable",
                        usize::from(dst)
                    ),
                );
            }
            if self.durable.is_none() {
                // Nothing was saved in between: it rests on what was saved before the file.
                if let Some(stored) = &self.before {
                    history.stored(self.node, &Durable::default(), stored, broken);
                }
                self.durable = Some(self.before.take());
            }
            history.send(self.node, dst, digest);
        }
    }
}

/// A stored value, in short.
fn told(stored: &Option<Stored>) -> String {
    stored.as_ref().map_or_else(
        || "nothing".into(),
        |stored| {
            let votes = stored.accepted.len();
            format!("promised {}, decided below {}, {votes} votes", stored.promised, stored.decided)
        },
    )
}
