//! `kv`: the operator's client.
//!
//! A write is sent in a session of its own, so that it can be sent again to another node and is still done once.

#[path = "kv/backup.rs"]
mod backup;
#[path = "kv/client.rs"]
mod client;
#[path = "kv/restore.rs"]
mod restore;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use client::{Client, Fail, encoded};
use paxos::TIMEOUT_MS_MAX;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Reads and writes keys of a replicated store.
///
/// Exit status: 0 done; 1 refused, certainly not done (a read: no answer); 2 wrong usage or a malformed request; 3 a version conflict; 4 the outcome is unknown.
#[derive(Parser)]
#[command(version = paxos::protocol::VERSION)]
struct Cli {
    /// A node's address; several are tried in turn.
    #[arg(long = "endpoint", global = true, default_value = "http://localhost:4000", value_parser = endpoint)]
    endpoints: Vec<String>,
    /// How long a request may take at one node, in milliseconds; a backup, until it begins.
    #[arg(long, global = true, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=i64::from(TIMEOUT_MS_MAX)))]
    timeout_ms: u32,
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Prints the entry of a key.
    Get {
        /// The key.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// Asks the node for what it has, which may be old.
        #[arg(long)]
        local: bool,
    },
    /// Sets a key.
    Put {
        /// The key.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// The value; the empty one deletes.
        val: String,
        /// Only if this is greater than the present version; without it, whatever that is.
        #[arg(long)]
        ver: Option<u64>,
    },
    /// Deletes a key.
    Delete {
        /// The key.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
        /// Only if this is greater than the present version.
        #[arg(long)]
        ver: Option<u64>,
    },
    /// Prints the keys, one a line.
    Keys {
        /// Only those that begin with this.
        #[arg(long, default_value = "")]
        prefix: String,
        /// From this key on.
        #[arg(long, default_value = "")]
        start: String,
        /// At most so many.
        #[arg(long)]
        limit: Option<u64>,
    },
    /// Prints what each node says of itself.
    Status,
    /// Prints the entry of a key whenever its version rises.
    Watch {
        /// The key.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        key: String,
    },
    /// Writes everything that is in the store at one moment to a file, deleted keys with their versions too.
    Backup {
        /// The file; it is whole, or not there.
        file: PathBuf,
        /// Overwrites it if it is there.
        #[arg(long)]
        force: bool,
    },
    /// Writes everything that is in the file of a backup to a cluster that is empty.
    Restore {
        /// The file. Nothing is written unless it is whole and unaltered.
        file: PathBuf,
        /// Goes on with a restore of the same file that was interrupted: the cluster need not be empty.
        #[arg(long)]
        resume: bool,
    },
}

/// An address that requests can be sent to: as it is, or as a node prints it, with the path of its keys. Any other path would lead to
/// other keys.
fn endpoint(text: &str) -> Result<String, String> {
    let uri: warp::http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    // A fragment is not a part of what is parsed.
    let is_whole = matches!(target, "/" | "/kvstore/") && !text.contains('#');
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if !authority.host().is_empty() && is_whole => {
            Ok(format!("http://{authority}"))
        }
        _ => Err("it must be http://HOST:PORT, or that with /kvstore/ after it, and nothing else".into()),
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let client = Client::new(cli.endpoints, cli.timeout_ms);
    match run(&client, cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fail) => fail.exit(),
    }
}

/// Prints a line of what was read. Whoever reads it may have had enough.
macro_rules! say {
    ($($line:tt)*) => {
        match writeln!(io::stdout(), $($line)*) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(Fail::Refused(format!("cannot print: {error}"))),
        }
    };
}

/// Prints what came of a write. That it was done does not depend on whether that can be printed.
fn tell_written(entry: &Value) {
    if let Err(error) = writeln!(io::stdout(), "{entry}") {
        let _ = writeln!(io::stderr(), "kv: it was done, and cannot be printed: {error}");
    }
}

fn run(client: &Client, command: Task) -> Result<(), Fail> {
    match command {
        Task::Get { key, local } => {
            let consistency = if local { "?consistency=local" } else { "" };
            say!("{}", client.read(&format!("/kvstore/{}{consistency}", encoded(&key)))?);
        }
        Task::Put { key, val, ver } => {
            let body = match ver {
                Some(ver) => json!({"val": val, "ver": ver}),
                None => json!({"val": val}),
            };
            tell_written(&client.write("PUT", &format!("/kvstore/{}", encoded(&key)), &body.to_string())?);
        }
        Task::Delete { key, ver } => {
            let ver = ver.map(|ver| format!("?ver={ver}")).unwrap_or_default();
            tell_written(&client.write("DELETE", &format!("/kvstore/{}{ver}", encoded(&key)), "")?);
        }
        Task::Keys { prefix, start, limit } => {
            let limit = limit.map(|limit| format!("&limit={limit}")).unwrap_or_default();
            let keys =
                client.read(&format!("/kvstore/?prefix={}&start={}{limit}", encoded(&prefix), encoded(&start)))?;
            for key in keys.as_array().into_iter().flatten() {
                say!("{}", key.as_str().unwrap_or_default());
            }
        }
        Task::Status => {
            let mut silent = 0;
            for endpoint in &client.endpoints {
                match client.send(endpoint, "GET", "/status", &[], "") {
                    Ok(answer) => say!("{endpoint} {}", answer.body),
                    Err(why) => {
                        silent += 1;
                        say!("{endpoint} {why}");
                    }
                }
            }
            if silent > 0 {
                return Err(Fail::Refused(format!("{silent} of {} nodes do not answer", client.endpoints.len())));
            }
        }
        Task::Backup { file, force } => say!("{}", backup::backup(client, &file, force)?),
        Task::Restore { file, resume } => tell_written(&restore::restore(client, &file, resume)?),
        Task::Watch { key } => {
            let path = format!("/kvstore/{}", encoded(&key));
            let mut entry = client.read(&path)?;
            say!("{entry}");
            loop {
                let ver = entry["ver"].as_u64().unwrap_or_default();
                let next = client.read(&format!("{path}?wait_ver_gt={ver}"))?;
                if next["ver"].as_u64().is_some_and(|later| later > ver) {
                    say!("{next}");
                    entry = next;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_also_as_a_node_prints_it() {
        for text in ["http://a:1", "http://a:1/", "http://a:1/kvstore/"] {
            assert_eq!(endpoint(text).as_deref(), Ok("http://a:1"), "{text}");
        }
        assert_eq!(endpoint("http://[::1]:4000/kvstore/").as_deref(), Ok("http://[::1]:4000"));
        for text in [
            "a:1",
            "/",
            "",
            "https://a:1",
            "http://",
            "http://:1",
            "http://a b:1",
            "http://a:1/kvstore",
            "http://a:1/kvstore/k",
            "http://a:1/kvstore/kvstore/",
            "http://a:1//",
            "http://a:1/status",
            "http://a:1?x=1",
            "http://a:1/?",
            "http://a:1/kvstore/?limit=1",
            "http://a:1/#k",
            "http://a:1#k",
        ] {
            assert!(endpoint(text).is_err(), "{text:?}: {:?}", endpoint(text));
        }
    }
}
