//! One request, and what is known of it afterwards.

use serde_json::Value;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;
use ureq::Agent;
use warp::http::Request;

/// How much longer than its time a request is waited for: then the node is taken to be away.
const LONGER: Duration = Duration::from_millis(700);
/// The longest answer.
const ANSWER_MAX: u64 = 64 << 20;

/// What came of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    Answer(u16, Value),
    /// Nobody took it.
    NotSent,
    /// It may have arrived, and there is no answer.
    Lost,
}

/// How long a request that may take `ms` is waited for.
pub(crate) fn longer(ms: u64) -> Duration {
    Duration::from_millis(ms) + LONGER
}

/// Sends to nodes, each request on a connection of its own: so none is sent twice behind the caller's back.
pub(crate) struct Sender(Agent);

impl Sender {
    pub(crate) fn new() -> Sender {
        Sender(Agent::config_builder().http_status_as_error(false).proxy(None).max_idle_connections(0).build().into())
    }

    /// Sends a request that may take `ms`, waits for so long, and reads its answer's lines as `take` says.
    fn run<T>(
        &self,
        to: SocketAddr,
        (method, path, body): (&str, &str, &str),
        headers: &[(&str, String)],
        (ms, wait): (u64, Duration),
        take: impl FnOnce(u16, &mut dyn BufRead) -> io::Result<T>,
    ) -> Result<T, Attempt> {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut request = Request::builder().method(method).uri(format!("http://{to}{path}{join}timeout_ms={ms}"));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body.to_owned()).map_err(|_| Attempt::NotSent)?;
        let request = self.0.configure_request(request).timeout_global(Some(wait)).build();
        let response = self.0.run(request).map_err(|error| match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => Attempt::NotSent,
            ureq::Error::ConnectionFailed => Attempt::NotSent,
            _ => Attempt::Lost,
        })?;
        let status = response.status().as_u16();
        let reader = response.into_body().into_with_config().limit(ANSWER_MAX).reader();
        take(status, &mut BufReader::new(reader)).map_err(|_| Attempt::Lost)
    }

    pub(crate) fn send(
        &self,
        to: SocketAddr,
        what: (&str, &str, &str),
        headers: &[(&str, String)],
        ms: u64,
    ) -> Attempt {
        self.send_and_wait(to, what, headers, (ms, longer(ms)))
    }

    /// The same for who does not wait as long as the node does.
    pub(crate) fn send_and_wait(
        &self,
        to: SocketAddr,
        what: (&str, &str, &str),
        headers: &[(&str, String)],
        times: (u64, Duration),
    ) -> Attempt {
        let taken = self.run(to, what, headers, times, |status, from| {
            let mut text = String::new();
            from.read_to_string(&mut text)?;
            Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
        });
        taken.map_or_else(|attempt| attempt, |(status, body)| Attempt::Answer(status, body))
    }

    pub(crate) fn get(&self, to: SocketAddr, path: &str, ms: u64) -> Option<Value> {
        match self.send(to, ("GET", path, ""), &[], ms) {
            Attempt::Answer(200, body) => Some(body),
            _ => None,
        }
    }

    /// Gives each line of an answer that comes whole to `line`.
    pub(crate) fn lines(&self, to: SocketAddr, path: &str, ms: u64, mut line: impl FnMut(&str)) -> bool {
        let taken = self.run(to, ("GET", path, ""), &[], (ms, longer(ms)), |status, from| {
            let mut text = String::new();
            while status == 200 && from.read_line(&mut text)? > 0 {
                line(&text);
                text.clear();
            }
            Ok(status)
        });
        matches!(taken, Ok(200))
    }
}
