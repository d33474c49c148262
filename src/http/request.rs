//! What clients send, taken apart: nothing is believed, everything is bounded.

use super::answer::Fail;
use bytes::Buf;
use futures_util::{Stream, StreamExt};
use paxos_model::kv::VERSION_MAX;
use paxos_model::replica::message::{OperationId, SessionId};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use warp::http::{HeaderMap, Method};
use warp::path::FullPath;
use warp::{Filter, Rejection};

/// The longest key, in bytes.
pub(super) const KEY_MAX: usize = 511;
/// The longest value, in bytes.
pub(super) const VALUE_MAX: usize = 1 << 20;
/// The longest body: a value of which every byte is escaped, and the rest.
const BODY_MAX: usize = 6 * VALUE_MAX + 4096;
/// The longest time that a request may ask for.
const TIMEOUT_MS_MAX: u32 = 600_000;

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
    query: Result<BTreeMap<String, String>, Fail>,
    headers: HeaderMap,
    body: Result<Vec<u8>, Fail>,
}

/// The body of a `PUT`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBody {
    pub(super) val: Arc<str>,
    pub(super) ver: Option<u64>,
    #[serde(default)]
    pub(super) key: Option<String>,
}

/// Takes any request.
pub(super) fn ask() -> impl Filter<Extract = (Ask,), Error = Rejection> + Clone {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::method()
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|method, path: FullPath, query: String, headers, body| async move {
            Ask { method, path: path.as_str().to_owned(), query: parameters(&query), headers, body: read(body).await }
        })
}

async fn read<B: Buf>(body: impl Stream<Item = Result<B, warp::Error>>) -> Result<Vec<u8>, Fail> {
    let mut body = std::pin::pin!(body);
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let mut chunk = chunk.map_err(|error| Fail::new(400, format!("the body broke off: {error}")))?;
        if bytes.len() + chunk.remaining() > BODY_MAX {
            return Err(Fail::new(413, format!("the body is longer than {BODY_MAX} bytes")));
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            bytes.extend_from_slice(part);
            let length = part.len();
            chunk.advance(length);
        }
    }
    Ok(bytes)
}

fn decode(encoded: &str, what: &str) -> Result<String, Fail> {
    let decoded = percent_decode_str(encoded).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Fail::new(400, format!("{what} is not UTF-8")))
}

fn parameters(query: &str) -> Result<BTreeMap<String, String>, Fail> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name, "a parameter's name")?, decode(&value.replace('+', " "), "a parameter")?))
    });
    pairs.collect()
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
    /// One that the node asks itself.
    pub(super) fn of_node(timeout_ms: u32) -> Self {
        Ask {
            method: Method::GET,
            path: String::new(),
            query: Ok(BTreeMap::from([("timeout_ms".into(), timeout_ms.to_string())])),
            headers: HeaderMap::new(),
            body: Ok(Vec::new()),
        }
    }

    pub(super) fn parameter(&self, name: &str) -> Result<Option<&str>, Fail> {
        let query = self.query.as_ref().map_err(Clone::clone)?;
        Ok(query.get(name).map(String::as_str))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Fail> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Fail::new(400, format!("{name} is {text:?}, and must be a whole number")))
        };
        self.parameter(name)?.map(parse).transpose()
    }

    /// How long the request may take.
    pub(super) fn timeout_ms(&self, default: u32) -> Result<u32, Fail> {
        let Some(asked) = self.number("timeout_ms")? else { return Ok(default) };
        let bounded = u32::try_from(asked).ok().filter(|time| (1..=TIMEOUT_MS_MAX).contains(time));
        bounded
            .ok_or_else(|| Fail::new(400, format!("timeout_ms is {asked}, and must be between 1 and {TIMEOUT_MS_MAX}")))
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
        let text = self.headers.get(name).map(warp::http::HeaderValue::to_str).transpose();
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

    /// The body of a `PUT` to `key`.
    pub(super) fn put(&self, key: &str) -> Result<PutBody, Fail> {
        let bytes = self.body.as_ref().map_err(Clone::clone)?;
        let body: PutBody = serde_json::from_slice(bytes)
            .map_err(|error| Fail::new(400, format!("the body must be {{\"val\": text, \"ver\": number}}: {error}")))?;
        if body.key.as_ref().is_some_and(|other| other != key) {
            return Err(Fail::new(400, "the key in the body is not that of the path"));
        }
        if body.val.len() > VALUE_MAX {
            return Err(Fail::new(
                413,
                format!("the value is {} bytes long, and may have {VALUE_MAX}", body.val.len()),
            ));
        }
        if body.ver.is_some_and(|ver| ver > VERSION_MAX) {
            return Err(Fail::new(400, format!("ver may be at most {VERSION_MAX}")));
        }
        Ok(body)
    }
}
