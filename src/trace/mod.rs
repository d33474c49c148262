//! What a node writes down of itself (`--trace`), for `check replay`: every step of its replica, what was committed, and what was
//! released. What the lines mean is told in [`paxos_model::trace::line`].
//!
//! A line is with the operating system before what it tells can be seen: steps before their save goes to the disk, commits and releases
//! before anything is released. So the trace of a node that is killed lacks nothing that anybody saw. It is not synced: a machine that
//! loses its power may lose more. A node waits for its trace; if that cannot be written, it goes on without.

mod files;

use crate::protocol;
use crate::{Machine, Msg, Stored};
use files::Files;
use paxos_model::replica::configuration::Configuration;
use paxos_model::replica::{Replica, State, Timer};
use paxos_model::trace::line::{At, Begin, FORMAT, Line, Outputs, Taken};
use paxos_model::trace::{Input, OutputOf};
use stateright::actor::{Command as Output, Id};
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// As much waits in memory before it is written, beside the state at the head of a file.
const BUFFER: usize = 256 << 10;

/// The trace of one node. Its threads share it.
#[derive(Debug)]
pub struct Trace(Mutex<Writing>);

#[derive(Debug)]
struct Writing {
    files: Files,
    cluster: String,
    /// What the first line of the present life says; none before the first, and after the trace could not be written.
    begin: Option<Begin<Machine>>,
    since: Instant,
    buffer: Vec<u8>,
    /// The number of the next step.
    step: u64,
    /// How many messages were put out.
    sent: u64,
    /// How many of them were released.
    released: u64,
    /// What was saved last.
    saved: Option<Stored>,
    /// The last step whose save is with the disk.
    with_disk: u64,
}

impl Trace {
    /// In `directory`, which is made if it is not there; at most about `mib` MiB of it are kept, the latest.
    pub fn create(directory: &Path, cluster: &str, node: u64, mib: u64) -> Result<Trace, String> {
        let files = Files::open(directory, node, mib << 20)
            .map_err(|error| format!("--trace: cannot use {}: {error}", directory.display()))?;
        Ok(Trace(Mutex::new(Writing {
            files,
            cluster: cluster.into(),
            begin: None,
            since: now(),
            buffer: Vec::new(),
            step: 0,
            sent: 0,
            released: 0,
            saved: None,
            with_disk: 0,
        })))
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A life begins from what is stored; [`Trace::step`] tells what came of it.
    pub(crate) fn begin(&self, id: Id, replica: &Replica<Machine>, stored: &Option<Stored>) {
        let mut writing = self.writing();
        writing.flush();
        let life = writing.files.next_life();
        let begin = Begin {
            format: FORMAT,
            protocol: protocol::DIGEST.into(),
            cluster: writing.cluster.clone(),
            node: id,
            life,
            file: 0,
            after: writing.files.latest(),
            configuration: first_of(replica),
            options: replica.options.clone(),
            at: At::Start(stored.clone()),
        };
        (writing.step, writing.sent, writing.released, writing.with_disk) = (0, 0, 0, 0);
        writing.saved = stored.clone();
        writing.open(begin);
    }

    /// The replica took a step, and is in `state` since.
    pub(crate) fn step(
        &self,
        input: Input<Msg, Timer>,
        outputs: &[OutputOf<Replica<Machine>>],
        state: &State<Machine>,
    ) {
        self.writing().step(input, outputs, state);
    }

    /// Everything that was saved so far goes to the disk.
    pub(crate) fn hands_over(&self) {
        let mut writing = self.writing();
        writing.with_disk = writing.step.saturating_sub(1);
        writing.flush();
    }

    /// What went to the disk is durable.
    pub(crate) fn committed(&self) {
        let mut writing = self.writing();
        let line = Line::Committed { step: writing.with_disk, us: writing.us() };
        writing.line(&line);
    }

    /// So many messages more are about to leave.
    pub(crate) fn releases(&self, count: usize) {
        let mut writing = self.writing();
        writing.released += count as u64;
        let line = Line::Released { messages: writing.released, us: writing.us() };
        writing.line(&line);
        writing.flush();
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.writing().flush();
    }
}

/// The members that rule the first slot.
fn first_of(replica: &Replica<Machine>) -> Configuration {
    replica.configurations.at(0).clone()
}

#[allow(clippy::disallowed_methods, reason = "the time is shown; nothing depends on it")]
fn now() -> Instant {
    Instant::now()
}

impl Writing {
    /// Since the trace was begun, in microseconds.
    fn us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Goes on in a new file that begins so.
    fn open(&mut self, begin: Begin<Machine>) {
        let opened = self.files.next(begin.life, begin.file);
        let line = Line::Begin(Box::new(begin));
        self.write(&line);
        if let Line::Begin(begin) = line {
            // The state is with the line; what is kept is for the next file.
            self.begin = Some(Begin { at: At::Start(None), ..*begin });
        }
        self.note(opened);
        let length = self.buffer.len() as u64;
        self.flush();
        self.buffer.shrink_to(BUFFER);
        self.files.began(length);
    }

    fn step(&mut self, input: Input<Msg, Timer>, outputs: &[OutputOf<Replica<Machine>>], state: &State<Machine>) {
        if self.begin.is_none() {
            return;
        }
        let out = Outputs::of(outputs, self.saved.as_deref());
        self.sent += out.sends.len() as u64;
        if let Some(value) = outputs.iter().rev().find_map(saved) {
            self.saved = Some(value.clone());
        }
        let taken = Taken { n: self.step, us: self.us(), input, out };
        self.step += 1;
        self.line(&Line::Step(taken));
        if self.buffer.len() >= BUFFER || self.files.is_full() {
            self.flush();
        }
        if self.files.is_full()
            && let Some(begin) = &self.begin
        {
            let after = self.files.latest();
            let at = At::Middle {
                step: self.step,
                sent: self.sent,
                saved: self.saved.clone(),
                state: Box::new(state.clone()),
            };
            self.open(Begin { file: begin.file + 1, after, at, ..begin.clone() });
        }
    }

    fn line(&mut self, line: &Line<Machine>) {
        if self.begin.is_some() {
            self.write(line);
        }
    }

    fn write(&mut self, line: &Line<Machine>) {
        serde_json::to_writer(&mut self.buffer, line).expect("every line has a form in JSON");
        self.buffer.push(b'\n');
    }

    fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        let written = self.files.append(&self.buffer);
        self.buffer.clear();
        self.note(written);
    }

    /// After an error nothing more is written of this life, and the file is marked: what follows on it is not known.
    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.begin.take().is_some()
        {
            self.buffer.clear();
            self.files.cut_off();
            let directory = self.files.directory().display();
            tracing::error!(%directory, %error, "the trace cannot be written: the node goes on without, until it starts again from its store");
        }
    }
}

fn saved(output: &OutputOf<Replica<Machine>>) -> Option<&Stored> {
    match output {
        Output::Save(value) => Some(value),
        _ => None,
    }
}
