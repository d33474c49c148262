//! UDP: a datagram for each message that fits in one.

use super::codec::{self, HEADER, Hello, Seal};
use super::pins::Pins;
use super::{Book, LaneEnd, Lanes};
use crate::node::NodeHandle;
use crate::notices::dropped;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::sleep;

/// The largest datagram.
const DATAGRAM_MAX: usize = 65_507;
/// For how long to wait after the socket failed.
const PAUSE: Duration = Duration::from_millis(20);
/// The largest introduction in a datagram.
const HELLO_MAX: usize = 512;
/// The largest message that is sent in a datagram.
pub(super) const BODY_MAX: usize = DATAGRAM_MAX - HEADER - HELLO_MAX;

/// Starts a task for each peer that sends datagrams from `socket`.
pub fn connect(book: &Arc<Book>, socket: &Arc<UdpSocket>) -> Lanes {
    Lanes::new(book, |node, address, end| {
        let hello = Hello { to: node, ..book.me.clone() };
        tokio::spawn(send_to(address, end, hello, socket.clone()));
    })
}

/// Sends to one peer for as long as the queue lives.
async fn send_to(address: String, mut lane: LaneEnd, hello: Hello, socket: Arc<UdpSocket>) {
    let hello = postcard::to_stdvec(&hello).expect("a hello has a form in bytes");
    let mut to: Option<SocketAddr> = None;
    while let Some(message) = lane.receiver.recv().await {
        lane.taken(&message);
        if to.is_none() {
            to = resolve(&address, &socket).await;
        }
        let mut framed = Vec::with_capacity(HEADER + hello.len() + message.len());
        codec::frame(&mut framed, Seal::NONE, &[hello.as_slice(), &message].concat());
        let sent = match to {
            Some(to) => socket.send_to(&framed, to).await,
            None => Err(io::ErrorKind::NotFound.into()),
        };
        match sent {
            Ok(length) => metrics::counter!("paxos_peer_sent_bytes_total").increment(length as u64),
            Err(error) => {
                dropped("unreachable", format_args!("{address}/udp: {error}"));
                to = None;
            }
        }
    }
}

/// An address of the same family as the socket's.
async fn resolve(address: &str, socket: &UdpSocket) -> Option<SocketAddr> {
    let local = socket.local_addr().ok()?;
    lookup_host(address).await.ok()?.find(|other| other.is_ipv4() == local.is_ipv4())
}

/// Takes datagrams for as long as the node takes messages.
pub async fn listen(socket: Arc<UdpSocket>, book: Arc<Book>, pins: Arc<Pins>, node: NodeHandle) {
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                dropped("receive", format_args!("datagrams cannot be received: {error}"));
                sleep(PAUSE).await;
                continue;
            }
        };
        if let Err((reason, why)) = take(&buffer[..length], &book, &pins, &node) {
            dropped(reason, format_args!("a datagram from {from}: {why}"));
        }
    }
}

/// What is to be said of a datagram that is not let in.
type Fault = (&'static str, String);

fn fault(reason: &'static str, why: &str) -> impl FnOnce() -> Fault {
    move || (reason, why.to_owned())
}

fn take(datagram: &[u8], book: &Book, pins: &Pins, node: &NodeHandle) -> Result<(), Fault> {
    let (header, body) = datagram.split_first_chunk::<HEADER>().ok_or_else(fault("frame", "it is too short"))?;
    let altered = fault("frame", "the checksum of its length does not match");
    let (length, checksum) = codec::header(Seal::NONE, *header).ok_or_else(altered)?;
    if length != body.len() || Seal::NONE.checksum(body) != checksum {
        return Err(fault("frame", "its checksum does not match")());
    }
    let introduction = postcard::take_from_bytes::<Hello>(body);
    let (hello, message) = introduction.map_err(|_| fault("introduction", "it is in another protocol")())?;
    let src = book.check(&hello, pins).map_err(|rejection| (rejection.name(), rejection.to_string()))?;
    metrics::counter!("paxos_peer_received_bytes_total").increment(message.len() as u64);
    let message = codec::decode(message).ok_or_else(fault("undecodable", "it cannot be decoded"))?;
    if node.deliver(src, message) { Ok(()) } else { Err(fault("inputs_full", "the node has more to do than it can")()) }
}
