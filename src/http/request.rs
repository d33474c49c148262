//! What clients send, taken apart: nothing is believed, everything is bounded.

use super::answer::Fail;
use crate::object::{Object, present};
use crate::{KEY_MAX, TIMEOUT_MS_MAX, VALUE_MAX};
use bytes::Buf;
use futures_util::{Stream, StreamExt};
use paxos_model::kv::VERSION_MAX;
use paxos_model::replica::message::{OperationId, SessionId};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use warp::http::{HeaderMap, Method};
use warp::path::FullPath;
use warp::{Filter, Rejection};

/// The longest body: a value of which every byte is escaped, and the rest.
const BODY_MAX: usize = 6 * VALUE_MAX + 4096;
/// As much of a body is read at most, to say that it is too long.
const BODY_READ_MAX: usize = 4 * BODY_MAX;
/// Bytes of bodies that are kept at a time, of those that still arrive too: a body is kept until its request is answered.
pub(super) const BODIES_BYTES: usize = 256 << 20;

/// The header that names a client's session, as `slot.position`.
pub(super) const SESSION: &str = "paxos-session";
/// The header with the number of the operation in its session, from 1. All below it are acknowledged.
pub(super) const SEQUENCE: &str = "paxos-sequence";

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// As it was sent: percent-encoded.
    pub(super) path: String,
    /// When its headers had arrived.
    pub(super) begin: Instant,
    /// When it is to be answered at the latest.
    pub(super) until: Instant,
    query: Result<BTreeMap<String, String>, Fail>,
    headers: HeaderMap,
    body: Result<Body, Fail>,
}

/// A body, and its share of what is kept of bodies.
#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    share: Option<OwnedSemaphorePermit>,
}

/// The body of a `PUT`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBody {
    pub(super) val: Arc<str>,
    /// None is an unconditional write.
    #[serde(default, deserialize_with = "present")]
    pub(super) ver: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    key: Option<String>,
}

/// Takes any request; `default_ms` is how long one may take that does not say so, and `room` is for bytes of bodies.
pub(super) fn ask(default_ms: u32, room: Arc<Semaphore>) -> impl Filter<Extract = (Ask,), Error = Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .and(warp::any().map(move || room.clone()))
        .then(move |method, path: FullPath, query: String, headers, body, room: Arc<Semaphore>| async move {
            let begin = Instant::now();
            let query = parameters(&query);
            let time = query.as_ref().map_err(Clone::clone).and_then(|query| timeout_ms(query, default_ms));
            let until = begin + Duration::from_millis(time.as_ref().map_or(default_ms, |time| *time).into());
            let late = || Fail::new(408, "the body did not arrive in time; the request was not carried out");
            let body = timeout_at(until, read(body, &room)).await.unwrap_or_else(|_| Err(late()));
            let query = time.and(query);
            metrics::counter!("paxos_http_received_bytes_total")
                .increment(body.as_ref().map_or(0, |body| body.bytes.len() as u64));
            Ask { method, path: path.as_str().to_owned(), begin, until, query, headers, body }
        })
}

/// How long a request may take.
fn timeout_ms(query: &BTreeMap<String, String>, default: u32) -> Result<u32, Fail> {
    let Some(text) = query.get("timeout_ms") else { return Ok(default) };
    let bounded = text.parse().ok().filter(|time| (1..=TIMEOUT_MS_MAX).contains(time));
    bounded.ok_or_else(|| {
        Fail::new(400, format!("timeout_ms is {text:?}, and must be a whole number between 1 and {TIMEOUT_MS_MAX}"))
    })
}

/// Reads a body into what is left of `room`. Of one that is too long, or for which there is no room, more is read and thrown away, so
/// that the client is there to hear the answer.
async fn read<B: Buf, E: Display>(
    arriving: impl Stream<Item = Result<B, E>>,
    room: &Arc<Semaphore>,
) -> Result<Body, Fail> {
    let mut arriving = std::pin::pin!(arriving);
    let mut kept = Some(Body::default());
    let mut length = 0;
    while let Some(chunk) = arriving.next().await {
        let mut chunk = chunk.map_err(|error| Fail::new(400, format!("the body broke off: {error}")))?;
        length += chunk.remaining();
        if length > BODY_READ_MAX {
            break;
        }
        kept = kept.filter(|_| length <= BODY_MAX).and_then(|mut body| {
            let count = u32::try_from(chunk.remaining()).ok()?;
            let share = room.clone().try_acquire_many_owned(count).ok()?;
            match &mut body.share {
                Some(earlier) => earlier.merge(share),
                none => *none = Some(share),
            }
            while chunk.has_remaining() {
                let part = chunk.chunk();
                body.bytes.extend_from_slice(part);
                let taken = part.len();
                chunk.advance(taken);
            }
            Some(body)
        });
    }
    if length > BODY_MAX {
        return Err(Fail::new(413, format!("the body is longer than {BODY_MAX} bytes")));
    }
    let why = || {
        format!("the node keeps {BODIES_BYTES} bytes of bodies, as many as it takes; the request was not carried out")
    };
    kept.ok_or_else(|| Fail::new(503, why()))
}

/// Every `%` must begin an escape, and what comes out must be UTF-8.
fn decode(encoded: &str, what: &str) -> Result<String, Fail> {
    let bytes = encoded.as_bytes();
    let escape = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if (0..bytes.len()).any(|at| bytes[at] == b'%' && !escape(at)) {
        return Err(Fail::new(400, format!("{what} has a % that is not followed by two hexadecimal digits")));
    }
    let decoded = percent_decode_str(encoded).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Fail::new(400, format!("{what} is not UTF-8")))
}

fn parameters(query: &str) -> Result<BTreeMap<String, String>, Fail> {
    let mut found = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name, "a parameter's name")?;
        let value = decode(&value.replace('+', " "), "a parameter")?;
        if found.insert(name.clone(), value).is_some() {
            return Err(Fail::new(400, format!("the parameter {name} is given twice")));
        }
    }
    Ok(found)
}

/// The key that a path names.
pub(super) fn key(encoded: &str) -> Result<Arc<str>, Fail> {
    let key = decode(encoded, "the key")?;
    if key.len() > KEY_MAX {
        return Err(Fail::new(400, format!("the key is {} bytes long, and may have {KEY_MAX}", key.len())));
    }
    Ok(key.into())
}

/// A session's name, as `slot.position`.
pub(super) fn session(text: &str) -> Result<SessionId, Fail> {
    let parsed = text
        .split_once('.')
        .and_then(|(slot, position)| Some(SessionId { slot: slot.parse().ok()?, position: position.parse().ok()? }));
    parsed.ok_or_else(|| Fail::new(400, format!("{text:?} is not a session: slot.position")))
}

impl Ask {
    /// Refuses parameters that the request has no use for: a mistyped one must not be passed over.
    pub(super) fn only(&self, names: &[&str]) -> Result<(), Fail> {
        let query = self.query.as_ref().map_err(Clone::clone)?;
        match query.keys().find(|name| *name != "timeout_ms" && !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(other) => {
                let known = [names, &["timeout_ms"]].concat().join(", ");
                Err(Fail::new(400, format!("there is no parameter {other:?} here; there are: {known}")))
            }
        }
    }

    pub(super) fn parameter(&self, name: &str) -> Result<Option<&str>, Fail> {
        let query = self.query.as_ref().map_err(Clone::clone)?;
        Ok(query.get(name).map(String::as_str))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Fail> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Fail::new(400, format!("{name} is {text:?}, and must be a whole number of at most {}", u64::MAX))
            })
        };
        self.parameter(name)?.map(parse).transpose()
    }

    /// The version that a request without a body brings.
    pub(super) fn version(&self) -> Result<Option<u64>, Fail> {
        let ver = self.number("ver")?;
        if ver.is_some_and(|ver| ver > VERSION_MAX) { Err(version_too_high()) } else { Ok(ver) }
    }

    /// The time that is left, in milliseconds.
    pub(super) fn left_ms(&self) -> u32 {
        let left = self.until.saturating_duration_since(Instant::now()).as_millis();
        u32::try_from(left).unwrap_or(u32::MAX).max(1)
    }

    /// Whether any prefix of the log will do.
    pub(super) fn is_local(&self) -> Result<bool, Fail> {
        match self.parameter("consistency")? {
            None | Some("linearizable") => Ok(false),
            Some("local") => Ok(true),
            Some(other) => Err(Fail::new(400, format!("consistency is {other:?}, and must be linearizable or local"))),
        }
    }

    fn header(&self, name: &str) -> Result<Option<&str>, Fail> {
        let mut all = self.headers.get_all(name).iter();
        let text = all.next().map(warp::http::HeaderValue::to_str).transpose();
        if all.next().is_some() {
            return Err(Fail::new(400, format!("the header {name} is given twice")));
        }
        text.map_err(|_| Fail::new(400, format!("the header {name} is not text")))
    }

    /// The client's own name for the operation, if it brings one.
    pub(super) fn session(&self) -> Result<Option<(OperationId, u64)>, Fail> {
        match (self.header(SESSION)?, self.header(SEQUENCE)?) {
            (None, None) => Ok(None),
            (Some(id), Some(number)) => {
                let sequence = number.parse().ok().filter(|number| *number > 0);
                let why = || Fail::new(400, format!("{SEQUENCE} is {number:?}, and must be a whole number from 1 on"));
                let sequence = sequence.ok_or_else(why)?;
                Ok(Some((OperationId { session: session(id)?, sequence }, sequence)))
            }
            _ => Err(Fail::new(400, format!("the headers {SESSION} and {SEQUENCE} go together"))),
        }
    }

    pub(super) fn body(&self) -> Result<&[u8], Fail> {
        self.body.as_ref().map(|body| &*body.bytes).map_err(Clone::clone)
    }

    /// The body of a `PUT` to `key`.
    pub(super) fn put(&self, key: &str) -> Result<PutBody, Fail> {
        let Object::<PutBody>(body) = serde_json::from_slice(self.body()?).map_err(|error| {
            let form = format!("{{\"val\": text, \"ver\": whole number of at most {VERSION_MAX}, or none}}");
            Fail::new(400, format!("the body must be {form}: {error}"))
        })?;
        if body.key.as_ref().is_some_and(|other| other != key) {
            return Err(Fail::new(400, "the key in the body is not that of the path"));
        }
        if body.val.len() > VALUE_MAX {
            let length = body.val.len();
            return Err(Fail::new(413, format!("the value is {length} bytes long, and may have {VALUE_MAX}")));
        }
        if body.ver.is_some_and(|ver| ver > VERSION_MAX) {
            return Err(version_too_high());
        }
        Ok(body)
    }
}

fn version_too_high() -> Fail {
    Fail::new(400, format!("ver may be at most {VERSION_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn chunks(sizes: &[usize]) -> impl Stream<Item = Result<&'static [u8], &'static str>> {
        stream::iter(sizes.iter().map(|size| Ok(&[7; 1000][..*size])).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn bodies_are_bounded_together_and_give_their_room_back() {
        let room = Arc::new(Semaphore::new(1000));
        let first = read(chunks(&[300, 300]), &room).await.expect("there is room");
        assert_eq!((first.bytes.len(), room.available_permits()), (600, 400));
        assert_eq!(read(chunks(&[300, 300]), &room).await.expect_err("there is none").status, 503);
        assert_eq!(room.available_permits(), 400, "what it had taken is given back");
        let second = read(chunks(&[400]), &room).await.expect("there is room");
        assert_eq!(read(chunks(&[]), &room).await.expect("it takes none").bytes.len(), 0);
        drop((first, second));
        assert_eq!(room.available_permits(), 1000);
        let broken = stream::iter([Ok(&[7; 10][..]), Err("gone")]);
        assert_eq!(read(broken, &room).await.expect_err("it broke off").status, 400);
        assert_eq!(room.available_permits(), 1000);
    }
}
