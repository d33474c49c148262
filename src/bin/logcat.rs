//! `logcat`: the log of a node, from its data directory, one line a slot, with what it follows on. The node may be running.

use clap::Parser;
use paxos::storage::disk;
use paxos_model::kv::Place;
use paxos_model::machine::StateMachine;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::message::{Entry, Operation};
use paxos_model::replica::snapshot::Arriving;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints the log of nodes, one line a slot.
///
/// Exit status: 0 printed; 1 could not be read; 2 wrong usage.
#[derive(Parser)]
#[command(version = paxos::protocol::VERSION)]
struct Cli {
    /// Data directories.
    #[arg(required = true)]
    directories: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = BufWriter::new(io::stdout().lock());
    for directory in &cli.directories {
        match disk::peek(directory) {
            Ok((identity, stored)) => {
                let printed = print(&mut out, &identity, stored.as_deref());
                match printed.and_then(|()| out.flush()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
                    Err(error) => {
                        eprintln!("logcat: {error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
            Err(error) => {
                eprintln!("logcat: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn print(
    out: &mut impl Write,
    identity: &paxos::storage::identity::Identity,
    stored: Option<&paxos_model::replica::durable::Durable<paxos::Machine>>,
) -> io::Result<()> {
    writeln!(out, "# node {} of cluster {:?}, store {}", identity.node, identity.cluster, identity.store)?;
    let Some(durable) = stored else { return writeln!(out, "# nothing was saved yet") };
    writeln!(out, "# promised {}, decided below {}, life {}", durable.promised, durable.decided, durable.incarnation)?;
    let snapshot = &durable.snapshot;
    writeln!(out, "# snapshot of slot {}: {}; entries from {} on", snapshot.applied, held(snapshot), durable.first())?;
    if let Some(Arriving { executor, after }) = &durable.arriving {
        let after = after.as_ref().map_or("nothing".into(), |place| format!("everything up to {place:?}"));
        writeln!(out, "# arriving of slot {}: {}; {after}", executor.applied, held(executor))?;
    }
    for (slot, entry) in &durable.log {
        let state = match durable.accepted.get(slot) {
            Some(ballot) => format!("voted in {ballot}"),
            None => "decided".to_owned(),
        };
        match entry {
            Entry::Noop => writeln!(out, "{slot}: {state}: no-op")?,
            Entry::Batch(operations) => {
                let operations: Vec<String> = operations.iter().map(told).collect();
                writeln!(out, "{slot}: {state}: {}", operations.join("; "))?;
            }
        }
    }
    Ok(())
}

/// How much an applied state holds.
fn held(state: &Executor<paxos::Machine>) -> String {
    let (mut keys, mut deleted) = (0, 0);
    for (place, item) in state.machine.items(None) {
        if let Place::Key(_) = place {
            if item.val.is_empty() { deleted += 1 } else { keys += 1 }
        }
    }
    format!("{keys} keys, {deleted} deleted, {} sessions", state.sessions.len())
}

fn told(operation: &Operation<paxos::Command>) -> String {
    match operation {
        Operation::Open { node, incarnation } => {
            format!("open the session of node {}, life {incarnation}", usize::from(*node))
        }
        Operation::InSession { id, act, .. } => format!("{id:?} {act:?}"),
    }
}
