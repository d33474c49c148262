//! What messages look like as bytes. Decoding is total: any bytes are a message or an error.

use crate::Msg;
use crate::storage::identity::StoreId;
use paxos_model::replica::message::Message;
use serde::{Deserialize, Serialize};

/// The version of the protocol between nodes. It changes with any message's form.
pub const PROTOCOL: u16 = 1;
/// The largest message, in bytes.
pub const MESSAGE_MAX: usize = 64 << 20;
/// What stands before every frame: its length without this, and a checksum of it.
pub const HEADER: usize = 8;

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol that it speaks.
    pub protocol: u16,
    /// Its cluster.
    pub cluster: String,
    /// Its number.
    pub from: u64,
    /// Whom it means to talk to.
    pub to: u64,
    /// Its store.
    pub store: StoreId,
}

/// A message as bytes; none if it is larger than any may be.
pub fn encode(message: &Msg) -> Option<Vec<u8>> {
    let bytes = postcard::to_stdvec(message).expect("every message has a form in bytes");
    (bytes.len() <= MESSAGE_MAX).then_some(bytes)
}

/// The message that `bytes` are, whole. Requests and replies are not exchanged between nodes, so they are none.
pub fn decode(bytes: &[u8]) -> Option<Msg> {
    match postcard::take_from_bytes(bytes) {
        Ok((Message::Request { .. } | Message::Reply { .. }, _)) | Err(_) => None,
        Ok((message, rest)) => rest.is_empty().then_some(message),
    }
}

/// Appends the frame of `body` to `to`.
pub fn frame(to: &mut Vec<u8>, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("a message is shorter than 4 GiB");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    to.extend_from_slice(body);
}

/// The length and checksum in a frame's header.
pub fn header(bytes: [u8; HEADER]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_model::replica::ballot::Ballot;
    use paxos_model::replica::message::{Entry, Request, Vote};
    use proptest::prelude::*;

    fn messages() -> Vec<Msg> {
        let ballot = Ballot { round: 300, node: 2.into() };
        let vote = Vote { slot: 7, ballot, entry: Entry::Noop };
        vec![
            Message::Prepare { ballot },
            Message::Promise { ballot, first: 5, votes: vec![vote] },
            Message::Accept { ballot, slot: u64::MAX, entry: Entry::Noop },
            Message::Heartbeat { ballot, decided: 5, round: 1 },
            Message::Decided { from: 3, entries: vec![Entry::Noop, Entry::Noop] },
            Message::Forward { operations: Vec::new().into(), relayed: true },
        ]
    }

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_longer_or_shorter() {
        for message in messages() {
            let bytes = encode(&message).expect("it is small");
            assert_eq!(decode(&bytes).as_ref(), Some(&message));
            assert_eq!(decode(&[bytes.as_slice(), &[0]].concat()), None, "{message:?} and a byte");
            assert!((0..bytes.len()).all(|length| decode(&bytes[..length]) != Some(message.clone())));
        }
    }

    #[test]
    fn requests_and_replies_are_not_let_in() {
        let request = Message::Request {
            number: 1,
            timeout_ms: 1,
            request: Request::Read(paxos_model::kv::Query::Get("k".into())),
        };
        assert_eq!(decode(&encode(&request).expect("it is small")), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(message) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&message).expect("it is small")), Some(message));
            }
        }

        #[test]
        fn altered_messages_do_no_harm(which in 0..6usize, at in 0..64usize, with in any::<u8>()) {
            let mut bytes = encode(&messages()[which]).expect("it is small");
            let at = at % bytes.len();
            bytes[at] ^= with;
            let _ = decode(&bytes);
        }
    }
}
