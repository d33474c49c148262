//! Follows the nodes side by side.

use super::files::{self, Lines, Part, Traces};
use super::history::History;
use super::life::{Life, Stored};
use super::shown::{Moment, Shown};
use crate::engine::{NO_PANIC, panic_text};
use crate::properties::judge::Rule;
use crate::properties::step::{Looks, Seen, broken_anyway};
use crate::report::{Counterexample, StoryStep};
use paxos_model::kv::Kv;
use paxos_model::replica::message::MessageOf;
use paxos_model::replica::{Replica, State, Timer};
use paxos_model::trace::line::{At, Begin, Digest, Line, Outputs, Taken};
use paxos_model::trace::{self, Input, OutputOf};
use stateright::actor::{Actor, Command as Output, Id, Out};
use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// What is judged at the border between the actor, the disk and the network.
pub(super) const AT_BORDER: [&str; 4] =
    ["released-after-commit", "starts-from-what-it-saved", "sent-before-received", "same-outputs"];
/// The rules of a scope's steps that are judged.
const OF_STEPS: [Rule; 9] = [
    Rule::PromisesKept,
    Rule::OneAnswer,
    Rule::AnswersFit,
    Rule::ExactlyOnce,
    Rule::TimersAsLong,
    Rule::Bounded,
    Rule::Snapshots,
    Rule::RefinesSpec,
    Rule::SameAnswerAgain,
];
/// Those of its history.
const OF_HISTORY: [Rule; 5] =
    [Rule::Agreement, Rule::OneValueABallot, Rule::DecidedIsChosen, Rule::Validity, Rule::Prefix];
/// Steps that are kept to be told.
const SHOWN: usize = 128;
/// Steps that are told of a counterexample.
const TOLD: usize = 40;
/// Lines of one node that are followed before the next node's.
const TURN: usize = 256;

/// The rules that were broken, with the reasons.
#[derive(Debug, Default)]
pub(super) struct Broken(pub(super) Vec<(&'static str, String)>);

impl Broken {
    pub(super) fn add(&mut self, rule: impl Into<RuleName>, why: String) {
        self.0.push((rule.into().0, why));
    }
}

/// The name of a rule.
pub(super) struct RuleName(&'static str);

impl From<Rule> for RuleName {
    fn from(rule: Rule) -> Self {
        RuleName(rule.name())
    }
}

impl From<&'static str> for RuleName {
    fn from(name: &'static str) -> Self {
        RuleName(name)
    }
}

/// What came of a replay.
pub struct Replayed {
    /// The digest of the protocol that the nodes were built from.
    pub protocol: String,
    /// The name of their cluster.
    pub cluster: String,
    /// How many nodes were followed.
    pub nodes: usize,
    /// Their lives.
    pub lives: u64,
    /// The steps that were taken again.
    pub steps: u64,
    /// Messages whose sending is not in the traces.
    pub nowhere: u64,
    /// The commits.
    pub commits: u64,
    /// The slots in which something was chosen by votes in the traces.
    pub chosen: usize,
    /// The rules, in order: whether each was judged (else why not), and broken.
    pub rules: Vec<Judged>,
    /// What was broken, with the reason: all of one step.
    pub broken: Vec<(String, String)>,
    /// The latest steps, the last of which broke it if anything did.
    pub(super) shown: VecDeque<Shown>,
    pub(super) members: Vec<Id>,
}

impl Replayed {
    /// The latest steps, told.
    pub(super) fn story(&self) -> Vec<StoryStep> {
        let is_member = |node| self.members.contains(&node);
        (1..).zip(&self.shown).map(|(number, shown)| shown.told(number, is_member)).collect()
    }

    /// What was broken, told like that of a scope; the last steps before it only.
    pub fn counterexample(&self) -> Option<Counterexample> {
        let (property, _) = self.broken.first()?;
        let reasons: Vec<String> = self.broken.iter().map(|(rule, why)| format!("{rule}: {why}")).collect();
        let mut steps = self.story();
        let left_out = steps.len().saturating_sub(TOLD);
        steps.drain(..left_out);
        for (number, step) in (1..).zip(&mut steps) {
            step.number = number;
        }
        let before = self.steps - steps.len() as u64;
        Some(Counterexample {
            scope: super::NAME.into(),
            property: property.clone(),
            explanation: reasons.join("\n"),
            beginning: vec![format!("{before} steps of {} nodes, in the traces", self.nodes)],
            steps,
            explore: String::new(),
        })
    }
}

/// What came of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Its name.
    pub name: &'static str,
    /// Why it was not judged, or not everywhere.
    pub limited: Option<&'static str>,
}

/// A node's trace, as far as it was followed.
struct Player {
    node: Id,
    parts: VecDeque<Part>,
    lines: Option<Lines>,
    /// The next line.
    next: Option<Line<Kv>>,
    life: Option<Life>,
    /// Whether something is missing before what follows.
    cut: bool,
    /// Whether the present file could not be written to its end.
    ends_cut: bool,
    place: String,
}

/// Whether a line was followed.
enum Followed {
    Yes,
    /// It takes in what has not left its sender.
    Waits,
    /// There are no more.
    Ended,
}

/// Takes the steps in the files and directories `paths` again, and judges them. The error says which file cannot be read, or is no trace.
pub fn replay(paths: &[PathBuf], progress: &mut dyn FnMut(u64)) -> Result<Replayed, String> {
    let Traces { parts, begin } = files::find(paths)?;
    let mut play = Play {
        history: History::new(begin.configuration.clone()),
        shown: VecDeque::new(),
        broken: Broken::default(),
        lives: 0,
        steps: 0,
        commits: 0,
        nowhere: 0,
    };
    let mut players: Vec<Player> = parts.into_iter().map(|(node, parts)| Player::new(node, parts)).collect();
    let members: Vec<Id> = begin.configuration.members.keys().copied().collect();
    if members.iter().any(|node| !players.iter().any(|player| player.node == *node)) {
        play.history.complete = false;
        play.history.unseen_below = u64::MAX;
    }
    for player in &mut players {
        player.look()?;
        if !player.is_from_the_beginning() {
            play.history.complete = false;
        }
    }
    while play.broken.0.is_empty() && play.turn(&mut players)? {
        progress(play.steps);
    }
    if let Some(last) = play.shown.back_mut() {
        last.broke = play.broken.0.iter().map(|(rule, why)| format!("{rule}: {why}")).collect();
    }
    let complete = play.history.complete;
    let limited = |rule: Rule| match rule {
        Rule::Validity if !complete => Some("not judged: what clients asked is not all in the traces"),
        Rule::DecidedIsChosen if play.history.unseen_below > 0 => {
            Some("judged in slots in which all votes are in the traces")
        }
        Rule::Agreement | Rule::OneValueABallot if !complete => Some("judged of the votes in the traces"),
        _ => None,
    };
    let border = |name: &'static str| Judged {
        name,
        limited: (name == AT_BORDER[2] && !complete).then_some("judged of senders whose traces are whole"),
    };
    let of = |rule: &Rule| Judged { name: rule.name(), limited: limited(*rule) };
    let rules = AT_BORDER.into_iter().map(border).chain([Judged { name: NO_PANIC, limited: None }]);
    let rules = rules.chain(OF_STEPS.iter().chain(&OF_HISTORY).map(of)).collect();
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
    shown: VecDeque<Shown>,
    broken: Broken,
    lives: u64,
    steps: u64,
    commits: u64,
    /// Messages that were let come from nowhere, since something is missing.
    nowhere: u64,
}

impl Play {
    /// Follows each node for a while. False once all have ended.
    fn turn(&mut self, players: &mut [Player]) -> Result<bool, String> {
        let (mut moved, mut waits) = (false, None);
        for (index, player) in players.iter_mut().enumerate() {
            for _ in 0..TURN {
                match self.follow(player, false)? {
                    Followed::Yes => moved = true,
                    Followed::Waits => {
                        waits = Some(index);
                        break;
                    }
                    Followed::Ended => break,
                }
                if !self.broken.0.is_empty() {
                    return Ok(false);
                }
            }
        }
        let Some(first) = waits.filter(|_| !moved) else { return Ok(moved) };
        if self.history.complete {
            for player in players {
                self.comes_from_nowhere(player);
            }
            return Ok(false);
        }
        self.nowhere += 1;
        self.follow(&mut players[first], true)?;
        Ok(true)
    }

    /// Follows one line; with `anyhow` also what takes in a message whose sending is not in the traces.
    fn follow(&mut self, player: &mut Player, anyhow: bool) -> Result<Followed, String> {
        let Some(line) = &player.next else { return Ok(Followed::Ended) };
        if let Line::Step(Taken { input: Input::Deliver { src, msg }, .. }) = line
            && !anyhow
            && self.history.is_member(*src)
            && !self.history.was_sent(*src, player.node, Digest::of(msg))
        {
            return Ok(Followed::Waits);
        }
        let Some(line) = player.next.take() else { return Ok(Followed::Ended) };
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
        player.look()?;
        Ok(Followed::Yes)
    }

    /// A further file: it goes on where the one before ended, or a new life begins.
    fn begin(&mut self, player: &mut Player, begin: Begin<Kv>) {
        let cut = std::mem::take(&mut player.cut);
        match (&mut player.life, &begin.at) {
            (Some(life), At::Middle { .. }) if life.number == begin.life && !cut => {
                if let Err(why) = life.goes_on(&begin) {
                    self.broken
                        .add(AT_BORDER[3], format!("{}: it does not follow on the file before: {why}", player.place));
                }
                return;
            }
            (Some(life), At::Start(stored)) if life.number + 1 == begin.life && !cut => {
                life.ends_with(stored, &mut self.history, &mut self.broken);
                let mut next = Life::begin(&begin);
                next.state = life.state.take();
                player.life = Some(next);
            }
            (_, at) => {
                let from_nothing = matches!(at, At::Start(None)) && begin.life == 0;
                if !from_nothing {
                    self.is_missing(&begin);
                }
                player.life = Some(Life::begin(&begin));
            }
        }
        self.lives += 1;
    }

    /// Something is missing before a file that begins so.
    fn is_missing(&mut self, begin: &Begin<Kv>) {
        self.history.complete = false;
        let stored = match &begin.at {
            At::Start(stored) => stored,
            At::Middle { saved, .. } => saved,
        };
        // No vote is cast further ahead than the horizon.
        let end = stored.as_ref().map_or(0, |stored| stored.decided) + 2 * begin.options.horizon;
        self.history.unseen_below = self.history.unseen_below.max(end);
    }

    fn step(&mut self, player: &mut Player, taken: Taken<Kv>) -> Result<(), String> {
        let place = player.place.clone();
        let life = player.life()?;
        self.steps += 1;
        let stored = life.saved.clone();
        let restarts = taken.input == Input::Start;
        let before = life.state.take();
        if before.is_none() && !restarts {
            return Err(format!("{place}: a life begins with its start"));
        }
        if taken.n != life.step {
            self.broken.add(AT_BORDER[3], format!("{place}: step {} follows on {} steps", taken.n, life.step));
        }
        let run = || trace::step(&life.replica, life.node, before.as_ref(), &stored, &taken.input);
        let step = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(step) => step,
            Err(said) => {
                self.broken.add(NO_PANIC, panic_text(&*said));
                trace::Step { state: None, outputs: Vec::new() }
            }
        };
        let after = step.state.or_else(|| before.clone()).unwrap_or_else(|| started(&life.replica, life.node, &stored));
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

    /// What a node waits for, if it waits for what nobody sent.
    fn comes_from_nowhere(&mut self, player: &Player) {
        if let Some(Line::Step(Taken { n, input: Input::Deliver { src, msg }, .. })) = &player.next {
            let why = format!(
                "{}: node {} takes in from node {} in step {n} what that did not send: {msg:?}",
                player.place,
                usize::from(player.node),
                usize::from(*src)
            );
            self.broken.add(AT_BORDER[2], why);
        }
    }
}

/// What a replica is once it has started.
fn started(replica: &Replica<Kv>, node: Id, stored: &Option<Stored>) -> State<Kv> {
    replica.on_start(node, stored, &mut Out::new())
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
        Player {
            node,
            parts: parts.into(),
            lines: None,
            next: None,
            life: None,
            cut: false,
            ends_cut: false,
            place: String::new(),
        }
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
            self.cut |= std::mem::replace(&mut self.ends_cut, part.cut);
            self.lines = Some(Lines::open(&part.path)?);
        }
    }

    /// Whether its trace is from its very first start on.
    fn is_from_the_beginning(&self) -> bool {
        matches!(&self.next, Some(Line::Begin(begin)) if begin.life == 0 && begin.at == At::Start(None))
    }

    fn life(&mut self) -> Result<&mut Life, String> {
        let place = &self.place;
        self.life.as_mut().ok_or_else(|| format!("{place}: it does not begin as a trace does"))
    }
}
