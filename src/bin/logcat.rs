//! `logcat`: the log of a node, from its data directory, one line a slot. The node may be running.

use clap::Parser;
use paxos::storage::lmdb;
use paxos_model::replica::message::{Entry, Operation};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Prints the log of nodes, one line a slot.
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
        match lmdb::peek(directory) {
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
    stored: Option<&paxos_model::replica::durable::Durable<paxos::Command>>,
) -> io::Result<()> {
    writeln!(out, "# node {} of cluster {:?}, store {}", identity.node, identity.cluster, identity.store)?;
    let Some(durable) = stored else { return writeln!(out, "# nothing was saved yet") };
    writeln!(out, "# promised {}, decided below {}, life {}", durable.promised, durable.decided, durable.incarnation)?;
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

fn told(operation: &Operation<paxos::Command>) -> String {
    match operation {
        Operation::Open { node, incarnation } => {
            format!("open the session of node {}, life {incarnation}", usize::from(*node))
        }
        Operation::InSession { id, act, .. } => format!("{id:?} {act:?}"),
    }
}
