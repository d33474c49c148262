//! What messages look like as bytes. Decoding is total: any bytes are a message or an error.

use super::{bounds, counted};
use crate::Msg;
use crate::storage::identity::StoreId;
use paxos_model::replica::message::Message;
use serde::{Deserialize, Serialize};

/// The version of the protocol between nodes. It changes with any message's form.
pub const PROTOCOL: u16 = 3;
/// The largest message, in bytes: a promise with a vote for the largest entry in each slot up to the horizon fits.
pub const MESSAGE_MAX: usize = 72 << 20;
/// The most elements that the sequences of a message have together. The smallest write takes more than so many bytes of what an entry may hold,
/// so a promise that fits has fewer.
pub const ELEMENTS_MAX: usize = MESSAGE_MAX / 16;
/// What stands before every frame: its length without this, a checksum of that, and one of the rest. An altered length is known before anything
/// is awaited that is not to come.
pub const HEADER: usize = 12;

/// How a node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol that it speaks.
    pub protocol: u16,
    /// Its cluster.
    pub cluster: String,
    /// How many nodes that has.
    pub nodes: u64,
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

/// The message that `bytes` are, whole. Requests and replies are not exchanged between nodes, so they are none; nor is what holds a key or a
/// value that no client may write.
pub fn decode(bytes: &[u8]) -> Option<Msg> {
    let mut bytes = postcard::Deserializer::from_bytes(bytes);
    match counted::deserialize(&mut bytes, ELEMENTS_MAX).ok()? {
        Message::Request { .. } | Message::Reply { .. } => None,
        message => (bytes.finalize().ok()?.is_empty() && bounds::keeps(&message)).then_some(message),
    }
}

/// What is mixed into the checksums of a connection's frames, so that each frame is known to be of the node, store, cluster and
/// version that the connection was introduced with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal(u32);

impl Seal {
    /// Of introductions themselves, and of datagrams, which carry theirs.
    pub const NONE: Seal = Seal(0);

    /// Of the frames that follow `hello`.
    pub fn of(hello: &Hello) -> Seal {
        Seal(crc32fast::hash(&postcard::to_stdvec(hello).expect("a hello has a form in bytes")))
    }

    /// The checksum of a frame's body.
    pub fn checksum(self, body: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.0.to_le_bytes());
        hasher.update(body);
        hasher.finalize()
    }
}

/// Appends the frame of `body` to `to`.
pub fn frame(to: &mut Vec<u8>, seal: Seal, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("a message is shorter than 4 GiB");
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&seal.checksum(&length.to_le_bytes()).to_le_bytes());
    to.extend_from_slice(&seal.checksum(body).to_le_bytes());
    to.extend_from_slice(body);
}

/// The length and the checksum of a frame's body, from its header; none if the length was altered.
pub fn header(seal: Seal, bytes: [u8; HEADER]) -> Option<(usize, u32)> {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    let length = [a, b, c, d];
    let sound = seal.checksum(&length) == u32::from_le_bytes([e, f, g, h]);
    sound.then(|| (u32::from_le_bytes(length) as usize, u32::from_le_bytes([i, j, k, l])))
}
