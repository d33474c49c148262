//! What goes back to clients: JSON with a status, for errors too.

use bytes::Bytes;
use futures_util::Stream;
use paxos_model::kv::Entry;
use paxos_model::replica::message::{Refusal, Uncertainty};
use serde::Serialize;
use serde_json::json as value;
use std::fmt::Debug;
use tokio::sync::{Semaphore, SemaphorePermit};
use warp::http::{HeaderValue, Response};

/// Bytes of answers that are kept at a time: an answer is kept until the client has taken it.
const ANSWERS_BYTES: usize = 256 << 20;
/// Answers of up to so many bytes are not counted: a connection has one at a time, and connections are bounded.
const SMALL: usize = 64 << 10;

/// What is left for answers.
static ROOM: Semaphore = Semaphore::const_new(ANSWERS_BYTES);

pub(super) type Reply = warp::reply::Response;

/// Why a request has no other answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fail {
    pub(super) status: u16,
    pub(super) why: String,
    allow: Option<&'static str>,
}

impl Fail {
    pub(super) fn new(status: u16, why: impl Into<String>) -> Self {
        Fail { status, why: why.into(), allow: None }
    }

    pub(super) fn method(allow: &'static str) -> Self {
        Fail { allow: Some(allow), ..Fail::new(405, format!("the method must be one of: {allow}")) }
    }

    pub(super) fn overloaded() -> Self {
        Fail::new(503, "the node has as many requests as it takes; this one was not carried out")
    }

    /// Certainly not done.
    pub(super) fn refused(why: Refusal) -> Self {
        let why = match why {
            Refusal::Busy => "the node has as many requests as it takes",
            Refusal::Deadline => "no leader was reached in time",
            Refusal::SessionExpired => "the node's session ended before the request was reached",
        };
        Fail::new(503, format!("{why}; the request was not carried out"))
    }

    /// A read to which nobody has the answer.
    pub(super) fn not_answered(why: &str) -> Self {
        Fail::new(503, format!("{why}; nothing was changed"))
    }

    /// A write of which nobody knows what came.
    pub(super) fn outcome_unknown(why: &str) -> Self {
        Fail::new(504, format!("{why}; the outcome is unknown"))
    }

    /// There is an answer and no room for it.
    fn crowded(reads: bool) -> Self {
        let why =
            format!("the node keeps {ANSWERS_BYTES} bytes of answers that clients have not taken, as many as it does");
        if reads { Fail::not_answered(&why) } else { Fail::outcome_unknown(&why) }
    }

    /// Done once, or not at all.
    pub(super) fn unknown(why: Uncertainty) -> Self {
        match why {
            Uncertainty::Deadline => Fail::new(504, "no answer in time; the outcome is unknown"),
            Uncertainty::SessionExpired => {
                Fail::new(504, "the session is not open, or no longer; the outcome is unknown")
            }
            Uncertainty::Acknowledged => Fail::new(
                504,
                "the operation was acknowledged before, so its answer is forgotten; the outcome is unknown",
            ),
            Uncertainty::BeyondWindow => Fail::new(
                504,
                "the sequence number is further ahead of the acknowledged ones than answers are kept; the outcome is unknown",
            ),
            Uncertainty::Superseded => Fail::new(
                504,
                "the operation was sent again, and that attempt is answered; the outcome is unknown here",
            ),
        }
    }

    pub(super) fn body(&self) -> Vec<u8> {
        value!({"error": self.why}).to_string().into_bytes()
    }

    pub(super) fn into_reply(self) -> Reply {
        let mut reply = reply(self.status, "application/json", self.body());
        if let Some(allow) = self.allow {
            reply.headers_mut().insert("allow", HeaderValue::from_static(allow));
        }
        reply
    }
}

/// An entry as clients see it.
pub(super) fn entry(status: u16, entry: &Entry) -> Reply {
    json(status, entry)
}

pub(super) fn json<T: Serialize>(status: u16, body: &T) -> Reply {
    let body = serde_json::to_vec(body).expect("every answer has a form in JSON");
    reply(status, "application/json", body)
}

pub(super) fn text(body: String) -> Reply {
    reply(200, "text/plain; version=0.0.4", body.into_bytes())
}

/// Lines of JSON, part by part. An error breaks the answer off.
pub(super) fn stream(parts: impl Stream<Item = Result<Vec<u8>, &'static str>> + Send + Sync + 'static) -> Reply {
    let mut reply = warp::Reply::into_response(warp::reply::stream(parts));
    reply.headers_mut().insert("content-type", HeaderValue::from_static("application/x-ndjson"));
    reply
}

/// What the state machine does not answer to such a question.
pub(super) fn unexpected(answer: &(impl Debug + ?Sized)) -> Fail {
    Fail::new(500, format!("the state machine answers {answer:?}"))
}

fn reply(status: u16, content: &'static str, body: Vec<u8>) -> Reply {
    let builder = Response::builder().status(status).header("content-type", content);
    let reply = match kept(body) {
        Some(body) => builder.body(body.into()),
        None => builder.extension(Crowded).body(Bytes::new().into()),
    };
    reply.expect("status and headers are valid")
}

/// Marks an answer that is left out for want of room.
#[derive(Clone)]
struct Crowded;

/// The answer to a request that `reads` or writes, or that there is no room for it.
pub(super) fn with_room(reply: Reply, reads: bool) -> Reply {
    if reply.extensions().get::<Crowded>().is_some() { Fail::crowded(reads).into_reply() } else { reply }
}

/// A body, and its share of what is kept of answers.
struct Kept {
    bytes: Vec<u8>,
    _share: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Takes a share for `bytes`; none if there is no room. One alone may be as large as it is.
fn kept(bytes: Vec<u8>) -> Option<Bytes> {
    if bytes.len() <= SMALL {
        return Some(bytes.into());
    }
    let count = u32::try_from(bytes.len().min(ANSWERS_BYTES)).expect("it is less than 4 GiB");
    let share = ROOM.try_acquire_many(count).ok()?;
    Some(Bytes::from_owner(Kept { bytes, _share: share }))
}
