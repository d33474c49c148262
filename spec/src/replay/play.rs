//! Follows the nodes side by side.

use super::files::{self, Lines, Part, Traces};
use super::history::History;
use super::life::{Life, Stored};
use super::shown::{Moment, Shown};
use super::verdicts::{self, AT_BORDER, Broken, Replayed};
use crate::engine::{NO_PANIC, panic_text};
use crate::properties::step::{Looks, Seen, broken_anyway};
use paxos_model::kv::Kv;
use paxos_model::replica::durable::Durable;
use paxos_model::replica::message::MessageOf;
use paxos_model::replica::{Replica, State, Timer};
use paxos_model::trace::line::{At, Begin, Digest, Line, Outputs, Taken};
use paxos_model::trace::{self, Input, OutputOf};
use rustc_hash::FxHashSet;
use stateright::actor::{Command as Output, Id};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Steps that are kept to be told.
const SHOWN: usize = 128;
/// Lines of one node that are followed before the next node's.
const TURN: usize = 256;

/// A node's trace, as far as it was followed.
struct Player {
    node: Id,
    parts: VecDeque<Part>,
    lines: Option<Lines>,
    /// The next line.
    next: Option<Line<Kv>>,
    life: Option<Life>,
    /// Whether the present file goes on where the one before it ends.
    follows: bool,
    place: String,
}

/// Whether a line was followed.
enum Followed {
    Yes,
    /// It takes in what has not left its sender, who is named.
    Waits(Id),
    /// There are no more.
    Ended,
}

/// Takes the steps in the files and directories `paths` again, and judges them. The error says which file cannot be read, or is no trace.
pub fn replay(paths: &[PathBuf], progress: &mut dyn FnMut(u64)) -> Result<Replayed, String> {
    let Traces { parts, begin, whole, unseen_below } = files::find(paths)?;
    let paths = |parts: &Vec<Part>| parts.iter().map(|part| part.path.clone()).collect();
    let paths: BTreeMap<Id, Vec<PathBuf>> = parts.iter().map(|(node, parts)| (*node, paths(parts))).collect();
    let mut history = History::new(begin.configuration.clone());
    (history.whole, history.unseen_below) = (whole, unseen_below);
    // What is put out nowhere is not waited for.
    let known = if history.is_complete() { None } else { Some(files::all_sends(&paths)?) };
    let mut play = Play::of(history, known, paths);
    let mut players: Vec<Player> = parts.into_iter().map(|(node, parts)| Player::new(node, parts)).collect();
    let members: Vec<Id> = begin.configuration.members.keys().copied().collect();
    for player in &mut players {
        player.look()?;
    }
    while play.broken.0.is_empty() && play.turn(&mut players)? {
        progress(play.steps);
    }
    if let Some(last) = play.shown.back_mut() {
        last.broke = play.broken.0.iter().map(|(rule, why)| format!("{rule}: {why}")).collect();
    }
    let rules = verdicts::rules(play.history.is_complete(), play.history.unseen_below > 0);
    Ok(Replayed {
        protocol: begin.protocol,
        cluster: begin.cluster,
        nodes: players.len(),
        lives: play.lives,
        steps: play.steps,
        nowhere: play.nowhere,
        commits: play.commits,
        chosen: play.history.chosen(),
        rules,
        broken: play.broken.0.into_iter().map(|(rule, why)| (rule.to_owned(), why)).collect(),
        shown: play.shown,
        members,
    })
}

struct Play {
    history: History,
    /// Every message that is put out in the traces, where not all are in them.
    known: Option<FxHashSet<(Id, Id, Digest)>>,
    paths: BTreeMap<Id, Vec<PathBuf>>,
    shown: VecDeque<Shown>,
    broken: Broken,
    lives: u64,
    steps: u64,
    commits: u64,
    /// Messages that were let come from nowhere, since something is missing.
    nowhere: u64,
}

impl Play {
    fn of(history: History, known: Option<FxHashSet<(Id, Id, Digest)>>, paths: BTreeMap<Id, Vec<PathBuf>>) -> Self {
        let (shown, broken) = (VecDeque::new(), Broken::default());
        Play { history, known, paths, shown, broken, lives: 0, steps: 0, commits: 0, nowhere: 0 }
    }

    /// Follows each node for a while. False once all have ended.
    fn turn(&mut self, players: &mut [Player]) -> Result<bool, String> {
        let (mut moved, mut waits) = (false, Vec::new());
        for (index, player) in players.iter_mut().enumerate() {
            for _ in 0..TURN {
                match self.follow(player, false)? {
                    Followed::Yes => moved = true,
                    Followed::Waits(src) => {
                        waits.push((index, src));
                        break;
                    }
                    Followed::Ended => break,
                }
                if !self.broken.0.is_empty() {
                    return Ok(false);
                }
            }
        }
        if moved || waits.is_empty() {
            return Ok(moved);
        }
        // Each waits for what another puts out after what it waits for itself: so it was put out before, too, where something is missing.
        let Some((waiting, _)) = waits.into_iter().find(|(_, src)| !self.history.whole.contains(src)) else {
            self.come_from_nowhere(players)?;
            return Ok(false);
        };
        self.history.unseen_below = u64::MAX;
        self.nowhere += 1;
        self.follow(&mut players[waiting], true)?;
        Ok(true)
    }

    /// Follows one line; with `anyhow` also what takes in a message whose sending is not in the traces.
    fn follow(&mut self, player: &mut Player, anyhow: bool) -> Result<Followed, String> {
        let Some(line) = &player.next else { return Ok(Followed::Ended) };
        if let Line::Step(Taken { input: Input::Deliver { src, msg }, .. }) = line
            && !anyhow
            && self.history.is_member(*src)
        {
            let message = (*src, player.node, Digest::of(msg));
            if !self.history.was_sent(message) {
                // All that a member put out is in its traces, or something is missing there.
                let known = self.known.as_ref().filter(|_| !self.history.whole.contains(src));
                if known.is_none_or(|known| known.contains(&message)) {
                    return Ok(Followed::Waits(*src));
                }
                self.nowhere += 1;
            }
        }
        let Some(line) = player.next.take() else { return Ok(Followed::Ended) };
        let (place, before) = (player.place.clone(), self.broken.0.len());
        match line {
            Line::Begin(begin) => self.begin(player, *begin),
            Line::Step(taken) => self.step(player, taken)?,
            Line::Committed { step, .. } => {
                self.commits += 1;
                player.life()?.commit(step, &mut self.history, &mut self.broken);
            }
            Line::Released { messages, .. } => {
                player.life()?.release(messages, &mut self.history, &mut self.broken);
            }
        }
        // The step that is shown last may be another node's: a commit, or what leaves, is none.
        for (_, why) in self.broken.0[before..].iter_mut().filter(|(_, why)| !why.starts_with(&place)) {
            *why = format!("{place}: {why}");
        }
        player.look()?;
        Ok(Followed::Yes)
    }

    /// A further file: it goes on where the one before ended, or a new life begins.
    fn begin(&mut self, player: &mut Player, begin: Begin<Kv>) {
        match (&mut player.life, &begin.at) {
            (Some(life), At::Middle { .. }) if player.follows => {
                if let Err(why) = life.goes_on(&begin) {
                    let why = format!("{}: it does not follow on the file before: {why}", player.place);
                    self.broken.add(AT_BORDER[3], why);
                }
                return;
            }
            (Some(life), At::Start(stored)) if player.follows => {
                life.ends_with(stored, &mut self.history, &mut self.broken);
                let mut next = Life::begin(&begin);
                next.state = life.state.take();
                player.life = Some(next);
            }
            (before, at) => {
                if let Some(before) = before {
                    let (At::Start(stored) | At::Middle { saved: stored, .. }) = at;
                    before.leads_to(stored, &mut self.broken);
                }
                match at {
                    At::Start(None) => {}
                    At::Start(Some(stored)) => {
                        // What it starts from is durable, whoever saw it become so.
                        self.history.stored(player.node, &Durable::default(), stored, &mut self.broken);
                        self.history.decided_before(stored, &mut self.broken);
                    }
                    At::Middle { state, .. } => self.history.decided_before(&state.durable, &mut self.broken),
                }
                player.life = Some(Life::begin(&begin));
            }
        }
        self.lives += 1;
    }

    fn step(&mut self, player: &mut Player, taken: Taken<Kv>) -> Result<(), String> {
        let place = player.place.clone();
        let life = player.life()?;
        self.steps += 1;
        let stored = life.saved.clone();
        let restarts = taken.input == Input::Start;
        let before = life.state.take();
        if restarts != (life.step == 0) || taken.n != life.step {
            let (number, steps) = (taken.n, life.step);
            return Err(format!("{place}: step {number} follows on {steps} steps; the first of a life is its start"));
        }
        let run = || trace::step(&life.replica, life.node, before.as_ref(), &stored, &taken.input);
        let step = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(step) => step,
            Err(said) => {
                self.broken.add(NO_PANIC, format!("{place}: {}", panic_text(&*said)));
                return Ok(());
            }
        };
        let Some(after) = step.state.or_else(|| before.clone()) else {
            return Err(format!("{place}: it has no state"));
        };
        self.compare(&place, &taken, &Outputs::of(&step.outputs, stored.as_deref()));
        let timers_before = life.timers.clone();
        self.run_timers(&mut life.timers, &taken.input, &step.outputs);
        let (sends, saved) = sorted(step.outputs);
        let saves = saved.is_some();
        let stored_after = saved.clone().or_else(|| stored.clone());
        self.judge(life, &taken.input, (before.as_ref().unwrap_or(&after), &stored), (&after, &stored_after), &sends);
        if let Input::Deliver { msg, .. } = &taken.input {
            self.history.ask(msg);
        }
        let decided = match (&before, restarts) {
            (Some(before), false) => before.durable.decided,
            _ => stored.as_ref().map_or(0, |stored| stored.decided),
        };
        for slot in decided..after.durable.decided {
            self.history.decide(slot, after.durable.log.get(&slot), &mut self.broken);
        }
        life.put_out(saved, sends.iter().map(|(dst, message)| (*dst, Digest::of(message))));
        let moment = |state: &State<Kv>, saved: &Option<Stored>, timers: &Option<BTreeSet<Timer>>| Moment {
            state: state.clone(),
            saved: saved.clone(),
            timers: timers.iter().flatten().cloned().collect(),
        };
        let shown = Shown {
            node: life.node,
            place: (life.number, taken.n),
            us: taken.us,
            input: taken.input,
            before: before.as_ref().map(|state| moment(state, &stored, &timers_before)),
            after: moment(&after, &stored_after, &life.timers),
            sends,
            saves,
            broke: Vec::new(),
        };
        life.state = Some(after);
        self.show(shown);
        Ok(())
    }
}

impl Play {
    /// What was put out is what the node wrote down.
    fn compare(&mut self, place: &str, taken: &Taken<Kv>, again: &Outputs) {
        let was = &taken.out;
        if was == again {
            return;
        }
        let differs = [
            ("sends", format!("{:?}", was.sends), format!("{:?}", again.sends)),
            ("sets timers", format!("{:?}", was.timers), format!("{:?}", again.timers)),
            ("saves", format!("{:?}", was.saved), format!("{:?}", again.saved)),
        ];
        for (what, was, is) in differs.into_iter().filter(|(_, was, is)| was != is) {
            let why = format!("{place}: the node {what} {was}, and the same actor with the same input {is}");
            self.broken.add(AT_BORDER[3], why);
        }
    }

    /// A timer that runs out was set.
    fn run_timers(
        &mut self,
        timers: &mut Option<BTreeSet<Timer>>,
        input: &Input<MessageOf<Kv>, Timer>,
        outputs: &[OutputOf<Replica<Kv>>],
    ) {
        let Some(set) = timers else { return };
        if let Input::Timeout(timer) = input
            && !set.remove(timer)
        {
            self.broken.add(AT_BORDER[3], format!("the {timer:?} timer runs out, which is not set"));
        }
        if *input == Input::Start {
            set.clear();
        }
        for output in outputs {
            match output {
                Output::SetTimer(timer, _) => {
                    set.insert(timer.clone());
                }
                Output::CancelTimer(timer) => {
                    set.remove(timer);
                }
                _ => {}
            }
        }
    }

    /// The rules of every step.
    fn judge(
        &mut self,
        life: &Life,
        input: &Input<MessageOf<Kv>, Timer>,
        (before, stored_before): (&State<Kv>, &Option<Stored>),
        (after, stored_after): (&State<Kv>, &Option<Stored>),
        sends: &[(Id, MessageOf<Kv>)],
    ) {
        let seen = Seen { node: life.node, input, before, stored_before, after, stored_after, sends };
        let configuration = life.replica.configurations.at(0);
        for (rule, why) in broken_anyway(&life.replica, configuration, &seen, Looks::AtWhatChanges) {
            self.broken.add(rule, why);
        }
    }

    fn show(&mut self, shown: Shown) {
        if self.shown.len() == SHOWN {
            self.shown.pop_front();
        }
        self.shown.push_back(shown);
    }

    /// Nobody goes on: whoever waits for what nobody ever puts out took it in from nowhere.
    fn come_from_nowhere(&mut self, players: &[Player]) -> Result<(), String> {
        let all = files::all_sends(&self.paths)?;
        let waiting = players.iter().filter_map(|player| match &player.next {
            Some(Line::Step(Taken { n, input: Input::Deliver { src, msg }, .. })) => Some((player, *n, *src, msg)),
            _ => None,
        });
        let waiting: Vec<_> = waiting.collect();
        let from_nowhere = |(player, _, src, msg): &&(&Player, _, Id, &MessageOf<Kv>)| {
            !all.contains(&(*src, player.node, Digest::of(*msg)))
        };
        let mut told: Vec<_> = waiting.iter().filter(from_nowhere).collect();
        if told.is_empty() {
            // All of it is put out, but later.
            told = waiting.iter().collect();
        }
        for (player, n, src, msg) in told {
            let (place, node, src) = (&player.place, usize::from(player.node), usize::from(*src));
            let why =
                format!("{place}: node {node} takes in from node {src} in step {n} what has not left it: {msg:?}");
            self.broken.add(AT_BORDER[2], why);
        }
        Ok(())
    }
}

/// The messages and the last save among the outputs of a step.
fn sorted(outputs: Vec<OutputOf<Replica<Kv>>>) -> (Vec<(Id, MessageOf<Kv>)>, Option<Stored>) {
    let (mut sends, mut saved) = (Vec::new(), None);
    for output in outputs {
        match output {
            Output::Send(dst, message) => sends.push((dst, message)),
            Output::Save(value) => saved = Some(value),
            _ => {}
        }
    }
    (sends, saved)
}

impl Player {
    fn new(node: Id, parts: Vec<Part>) -> Player {
        Player { node, parts: parts.into(), lines: None, next: None, life: None, follows: false, place: String::new() }
    }

    /// Reads the next line, in the next file if need be.
    fn look(&mut self) -> Result<(), String> {
        self.next = None;
        loop {
            if let Some(lines) = &mut self.lines {
                if let Some(line) = lines.next()? {
                    self.place = lines.place();
                    self.next = Some(line);
                    return Ok(());
                }
                self.lines = None;
            }
            let Some(part) = self.parts.pop_front() else { return Ok(()) };
            self.follows = part.follows;
            self.lines = Some(Lines::open(&part.path)?);
        }
    }

    fn life(&mut self) -> Result<&mut Life, String> {
        let place = &self.place;
        self.life.as_mut().ok_or_else(|| format!("{place}: it does not begin as a trace does"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::tests::{ballot, begins, entry, history, life};
    use paxos_model::replica::message::Message;
    use std::sync::Arc;

    /// What the first life in the traces starts from is durable, and so are its votes; what a file in the middle has saved may not be.
    #[test]
    fn what_a_life_starts_from_was_voted_for() {
        let voted = |val: &str| {
            let mut stored = Durable::default();
            stored.accepted.insert(0, ballot(1, 0));
            stored.log.insert(0, entry(val));
            stored
        };
        let mut play = Play::of(history(), None, BTreeMap::new());
        let mut player = Player::new(Id::from(0), Vec::new());
        play.begin(&mut player, begins(At::Start(Some(Arc::new(voted("a"))))));
        assert_eq!((&play.broken.0[..], play.lives), (&[][..], 1));
        play.history.stored(1.into(), &Durable::default(), &voted("b"), &mut play.broken);
        assert_eq!(play.broken.0.first().map(|(rule, _)| *rule), Some("one-value-a-ballot"));
    }

    /// Of a deployed node's step the rules of a scope's steps are asked, too.
    #[test]
    fn a_step_that_is_none_of_the_abstract_protocol_is_refuted() {
        let (node, life) = (Id::from(0), life(&[]));
        let accept = |val: &str| {
            let msg = Message::Accept { ballot: ballot(1, 1), slot: 0, entry: entry(val) };
            Input::Deliver { src: 1.into(), msg }
        };
        let started = trace::step(&life.replica, node, None, &None, &Input::Start).state.expect("it has a state");
        let step = trace::step(&life.replica, node, Some(&started), &None, &accept("a"));
        let (after, (sends, saved)) = (step.state.expect("it votes"), sorted(step.outputs));
        let broken = |input| {
            let mut play = Play::of(history(), None, BTreeMap::new());
            play.judge(&life, &input, (&started, &None), (&after, &saved), &sends);
            play.broken.0
        };
        assert_eq!(broken(accept("a")), []);
        // It voted for something else than what came.
        let found = broken(accept("b"));
        let why = found.iter().find(|(rule, _)| *rule == "refines-spec").map(|(_, why)| why.as_str());
        assert!(why.is_some_and(|why| why.contains("lacks its guard: it is proposed")), "{found:?}");
    }
}
