//! How requests are sent to nodes, and what comes of them.

use serde_json::Value;
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;
use ureq::Agent;
use warp::http::{Request, Response};

/// Why there is no answer of the wanted sort.
pub(crate) enum Fail {
    Refused(String),
    Usage(String),
    Conflict(Value),
    Unknown(String),
}

impl Fail {
    /// What an answer says that is not 200.
    fn of(status: u16, body: Value) -> Fail {
        let why = reason(&body);
        match status {
            409 => Fail::Conflict(body),
            // 408: it did not arrive in time, and may the next time.
            503 | 408 => Fail::Refused(why),
            400..=499 => Fail::Usage(why),
            504 => Fail::Unknown(why),
            _ => Fail::Unknown(format!("status {status}: {why}")),
        }
    }

    /// Of a request that changes no key: whatever came of it, nothing was done.
    pub(crate) fn without_effect(self) -> Fail {
        match self {
            Fail::Unknown(why) => Fail::Refused(why),
            other => other,
        }
    }

    pub(crate) fn exit(self) -> ExitCode {
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

/// How long a node may be silent in the middle of a stream.
const SILENT: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    agent: Agent,
    pub(crate) endpoints: Vec<String>,
    /// The endpoint that answered last: the next request goes there first.
    answered: Cell<usize>,
    timeout_ms: u32,
}

/// One answer.
pub(crate) struct Answer {
    status: u16,
    pub(crate) body: Value,
}

pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Client {
    pub(crate) fn new(endpoints: Vec<String>, timeout_ms: u32) -> Client {
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        Client { agent, endpoints, answered: Cell::new(0), timeout_ms }
    }

    /// Begins a request at one node, which answers by the time that it may take.
    fn run(
        &self,
        endpoint: &str,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
        whole: bool,
    ) -> Result<Response<ureq::Body>, ureq::Error> {
        let join = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{endpoint}{path}{join}timeout_ms={}", self.timeout_ms);
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let time = Some(Duration::from_millis(u64::from(self.timeout_ms) + 500));
        let request = self.agent.configure_request(request.body(body.to_owned())?);
        let request = if whole {
            request.timeout_global(time)
        } else {
            request.timeout_connect(time).timeout_recv_response(time).timeout_per_read(Some(SILENT))
        };
        self.agent.run(request.build())
    }

    pub(crate) fn send(
        &self,
        endpoint: &str,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Result<Answer, String> {
        let run = self.run(endpoint, method, path, headers, body, true);
        let mut response = run.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let text =
            response.body_mut().with_config().limit(ANSWER_MAX).read_to_string().map_err(|error| error.to_string())?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
    }

    /// Asks one node after the other, that which answered last first, until one has done it or says that none will. `again` says whether
    /// another one may be asked although the outcome is not known.
    fn try_each<T>(&self, again: bool, attempt: impl Fn(&str) -> Result<T, Fail>) -> Result<T, Fail> {
        let mut unknown = None;
        let mut refused = String::new();
        let first = self.answered.get();
        for index in (first..self.endpoints.len()).chain(0..first) {
            let endpoint = &self.endpoints[index];
            match attempt(endpoint) {
                Err(Fail::Refused(why)) => refused = format!("{endpoint}: {why}"),
                Err(Fail::Unknown(why)) => unknown = Some(format!("{endpoint}: {why}")),
                answered => {
                    self.answered.set(index);
                    return answered;
                }
            }
            if unknown.is_some() && !again {
                break;
            }
        }
        Err(unknown.map_or(Fail::Refused(refused), Fail::Unknown))
    }

    /// Does a request at one of the nodes. `again` says whether it may be sent again although its outcome is not known.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
        again: bool,
    ) -> Result<Value, Fail> {
        self.try_each(again, |endpoint| {
            match self.send(endpoint, method, path, headers, body).map_err(Fail::Unknown)? {
                Answer { status: 200, body } => Ok(body),
                Answer { status, body } => Err(Fail::of(status, body)),
            }
        })
    }

    pub(crate) fn read(&self, path: &str) -> Result<Value, Fail> {
        self.ask("GET", path, &[], "", true).map_err(Fail::without_effect)
    }

    /// The answer of the first node that begins one, to be read as it comes.
    pub(crate) fn stream(&self, path: &str) -> Result<impl Read + use<>, Fail> {
        let begun = self.try_each(true, |endpoint| {
            let run = self.run(endpoint, "GET", path, &[], "", false);
            let mut response = run.map_err(|error| Fail::Unknown(error.to_string()))?;
            if response.status() == 200 {
                return Ok(response.into_body().into_reader());
            }
            let text = response.body_mut().read_to_string().unwrap_or_default();
            Err(Fail::of(response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
        });
        begun.map_err(Fail::without_effect)
    }

    /// Opens a session, in which writes may be sent again.
    pub(crate) fn open_session(&self) -> Result<String, Fail> {
        let opened = self.ask("POST", "/session", &[], "", true).map_err(|fail| match fail.without_effect() {
            Fail::Refused(why) => {
                Fail::Refused(format!("nothing was written, since no session could be opened: {why}"))
            }
            other => other,
        })?;
        let session = opened["session"].as_str().map(str::to_owned);
        session.ok_or_else(|| Fail::Refused(format!("a session was opened, and answered with {opened}")))
    }

    /// Ends a session. If this is lost it goes when it was not used for long.
    pub(crate) fn end_session(&self, session: &str) {
        let _ = self.ask("DELETE", &format!("/session/{session}"), &[], "", false);
    }

    /// Does the operation of this number in a session.
    pub(crate) fn write_in(
        &self,
        session: &str,
        sequence: u64,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<Value, Fail> {
        let headers = [("paxos-session", session.to_owned()), ("paxos-sequence", sequence.to_string())];
        self.ask(method, path, &headers, body, true)
    }

    /// Does one write, in a session that is opened for it and ended after it.
    pub(crate) fn write(&self, method: &str, path: &str, body: &str) -> Result<Value, Fail> {
        let session = self.open_session()?;
        let done = self.write_in(&session, 1, method, path, body);
        self.end_session(&session);
        done
    }
}

fn reason(body: &Value) -> String {
    body["error"].as_str().map_or_else(|| body.to_string(), str::to_owned)
}
