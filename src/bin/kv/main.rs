//! `kv`: the operator's client.
//!
//! A write is sent in a session of its own, so that it can be sent again to another node and is still done once.

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use serde_json::{Value, json};
use std::cell::Cell;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Reads and writes keys of a replicated store.
///
/// Exit status: 0 done; 1 refused, certainly not done (for a read: no answer); 2 wrong usage; 3 a version conflict; 4 the outcome is unknown.
#[derive(Parser)]
#[command(version = paxos::protocol::VERSION)]
struct Cli {
    /// A node's address; several are tried in turn.
    #[arg(long = "endpoint", global = true, default_value = "http://localhost:4000", value_parser = endpoint)]
    endpoints: Vec<String>,
    /// How long a request may take at one node, in milliseconds.
    #[arg(long, global = true, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=600_000))]
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
}

/// An address that requests can be sent to.
fn endpoint(text: &str) -> Result<String, String> {
    let uri: warp::http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(host)) if !host.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("it must be http://HOST:PORT".into()),
    }
}

/// Why there is no answer of the wanted sort.
enum Fail {
    Refused(String),
    Usage(String),
    Conflict(Value),
    Unknown(String),
}

impl Fail {
    /// Of a request that changes no key: whatever came of it, nothing was done.
    fn without_effect(self) -> Fail {
        match self {
            Fail::Unknown(why) => Fail::Refused(why),
            other => other,
        }
    }

    fn exit(self) -> ExitCode {
        match self {
            Fail::Refused(why) => told(1, &why),
            Fail::Usage(why) => told(2, &why),
            Fail::Conflict(entry) => {
                let _ = writeln!(io::stdout(), "{entry}");
                told(3, "the version is not greater than the present one")
            }
            Fail::Unknown(why) => told(4, &why),
        }
    }
}

fn told(status: u8, why: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "kv: {why}");
    ExitCode::from(status)
}

/// The longest answer that is read: the keys of a large store.
const ANSWER_MAX: u64 = 1 << 30;

struct Client {
    agent: ureq::Agent,
    endpoints: Vec<String>,
    /// The endpoint that answered last: the next request goes there first.
    answered: Cell<usize>,
    timeout_ms: u32,
}

/// One answer.
struct Answer {
    status: u16,
    body: Value,
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Client {
    fn send(
        &self,
        endpoint: &str,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Result<Answer, String> {
        let join = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{endpoint}{path}{join}timeout_ms={}", self.timeout_ms);
        let mut request = warp::http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body.to_owned()).map_err(|error| error.to_string())?;
        let mut response = self.agent.run(request).map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let text =
            response.body_mut().with_config().limit(ANSWER_MAX).read_to_string().map_err(|error| error.to_string())?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// Sends a request to one node after the other until one does it. `again` says whether it may be sent again although its
    /// outcome is not known.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
        again: bool,
    ) -> Result<Value, Fail> {
        let mut unknown = None;
        let mut refused = String::new();
        let first = self.answered.get();
        for index in (first..self.endpoints.len()).chain(0..first) {
            let endpoint = &self.endpoints[index];
            let answer = self.send(endpoint, method, path, headers, body);
            if matches!(answer, Ok(Answer { status: 200 | 409, .. })) {
                self.answered.set(index);
            }
            match answer {
                Ok(Answer { status: 200, body }) => return Ok(body),
                Ok(Answer { status: 409, body }) => return Err(Fail::Conflict(body)),
                Ok(Answer { status: 503, body }) => refused = format!("{endpoint}: {}", reason(&body)),
                Ok(Answer { status: 504, body }) => unknown = Some(format!("{endpoint}: {}", reason(&body))),
                Ok(Answer { status: 400..=499, body, .. }) => return Err(Fail::Usage(reason(&body))),
                Ok(Answer { status, body }) => {
                    unknown = Some(format!("{endpoint}: status {status}: {}", reason(&body)))
                }
                Err(why) => unknown = Some(format!("{endpoint}: {why}")),
            }
            if unknown.is_some() && !again {
                break;
            }
        }
        Err(unknown.map_or(Fail::Refused(refused), Fail::Unknown))
    }

    fn read(&self, path: &str) -> Result<Value, Fail> {
        self.ask("GET", path, &[], "", true).map_err(Fail::without_effect)
    }

    /// Does one write, in a session that is opened for it and ended after it.
    fn write(&self, method: &str, path: &str, body: &str) -> Result<Value, Fail> {
        let opened = self.ask("POST", "/session", &[], "", true).map_err(|fail| match fail.without_effect() {
            Fail::Refused(why) => {
                Fail::Refused(format!("nothing was written, since no session could be opened: {why}"))
            }
            other => other,
        })?;
        let Some(session) = opened["session"].as_str().map(str::to_owned) else {
            return Err(Fail::Refused(format!("a session was opened, and answered with {opened}")));
        };
        let headers = [("paxos-session", session.clone()), ("paxos-sequence", "1".to_owned())];
        let done = self.ask(method, path, &headers, body, true);
        // If this is lost the session goes when others need its place.
        let _ = self.ask("DELETE", &format!("/session/{session}"), &[], "", false);
        done
    }
}

fn reason(body: &Value) -> String {
    body["error"].as_str().map_or_else(|| body.to_string(), str::to_owned)
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A node answers by the time that a request may take.
    let time = Duration::from_millis(u64::from(cli.timeout_ms) + 500);
    let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(time)).build();
    let client =
        Client { agent: agent.into(), endpoints: cli.endpoints, answered: Cell::new(0), timeout_ms: cli.timeout_ms };
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
