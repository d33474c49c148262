//! TCP: one connection to each peer, on which this node sends; the peer's own connection brings its messages.
//!
//! A connection begins with a [`Hello`], which is answered by the other's, or by why it was rejected. Then frames follow.

use super::codec::{self, HEADER, Hello, MESSAGE_MAX, Seal};
use super::pins::Pins;
use super::{Book, LaneEnd, Lanes, Rejection};
use crate::node::NodeHandle;
use crate::notices::dropped;
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// For how long a connection may take to be made and introduced.
const HELLO_TIME: Duration = Duration::from_secs(5);
/// For how long the answer to an introduction is awaited at first; it may have been lost on the way. Each time that it does not come it is
/// awaited twice as long, up to [`HELLO_TIME`], since the peer may be slow.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// The largest introduction, in bytes.
const HELLO_MAX: usize = 4096;
/// The first and the longest pause before a connection is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// After so long without a message an empty frame says that the connection is alive.
const IDLE: Duration = Duration::from_secs(10);
/// A connection that brings nothing for so long is given up.
const SILENT: Duration = Duration::from_secs(60);
/// For how long a peer may take nothing of what is written.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Connections that have not introduced themselves, at a time; then the oldest is given up for a new one.
pub const STRANGERS_MAX: usize = 32;
/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 256 << 10;

type Answer = Result<Hello, Rejection>;

/// Starts a task for each peer that connects and sends.
pub fn connect(book: &Arc<Book>, pins: &Arc<Pins>) -> Lanes {
    Lanes::new(book, |node, address, end| {
        tokio::spawn(send_to(node, address, end, book.clone(), pins.clone()));
    })
}

/// Sends to one peer for as long as the queue lives.
async fn send_to(node: u64, address: String, mut lane: LaneEnd, book: Arc<Book>, pins: Arc<Pins>) {
    let mut pause = BACK_OFF.0;
    let mut patience = ANSWER_TIME;
    let mut last = String::new();
    loop {
        let why = match timeout(patience, introduce(node, &address, &book, &pins)).await {
            Ok(Ok(stream)) => {
                patience = ANSWER_TIME;
                tracing::info!(node, %address, "connected");
                let begun = Instant::now();
                let seal = Seal::of(&Hello { to: node, ..book.me.clone() });
                let ended = pump(stream, seal, &mut lane).await;
                drop(lane.take_back());
                match ended {
                    Ok(()) => return,
                    Err(error) => {
                        // One that lets in and hangs up at once is tried less and less often, too.
                        if begun.elapsed() > BACK_OFF.1 {
                            last.clear();
                            pause = BACK_OFF.0;
                        }
                        error.to_string()
                    }
                }
            }
            Ok(Err(why)) => {
                patience = ANSWER_TIME;
                why
            }
            Err(_) => {
                patience = (patience * 2).min(HELLO_TIME);
                "no answer in time".into()
            }
        };
        if why != last {
            tracing::warn!(node, %address, %why, "not connected");
            last = why;
        }
        if lane.receiver.is_closed() {
            return;
        }
        sleep(pause).await;
        lane.discard();
        pause = (pause * 2).min(BACK_OFF.1);
    }
}

async fn introduce(node: u64, address: &str, book: &Book, pins: &Pins) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let hello = Hello { to: node, ..book.me.clone() };
    write(&mut stream, &postcard::to_stdvec(&hello).expect("a hello has a form in bytes"))
        .await
        .map_err(|error| error.to_string())?;
    let answer = read(&mut stream, Seal::NONE, HELLO_MAX).await.map_err(|error| error.to_string())?;
    let answer: Answer = postcard::from_bytes(&answer).map_err(|_| "it answers in another protocol".to_owned())?;
    let answer = answer.map_err(|rejection| format!("this node was rejected: {rejection}"))?;
    let from = answer.from;
    book.check(&answer, pins).map_err(|rejection| rejection.to_string())?;
    if from == node { Ok(stream) } else { Err(format!("it is node {from}")) }
}

/// Writes what is queued, as much as there is at a time, and lets who sends write while there is nothing. Ends well only when the queue is
/// closed.
async fn pump(stream: TcpStream, seal: Seal, lane: &mut LaneEnd) -> io::Result<()> {
    let (mut from_peer, to_peer) = stream.into_split();
    let mut mine = Some(to_peer);
    let mut buffer = Vec::new();
    loop {
        lane.lend(&mut mine, seal);
        let received = tokio::select! {
            received = timeout(IDLE, lane.receiver.recv()) => received,
            // It says nothing here; but its end is known before anything more is written and lost.
            closed = from_peer.read_u8() => return Err(closed.err().unwrap_or(io::ErrorKind::InvalidData.into())),
        };
        buffer.clear();
        if let Some((lent, mut rest)) = lane.take_back() {
            mine = Some(lent);
            buffer.append(&mut rest);
        }
        match received {
            Ok(None) => return Ok(()),
            Ok(Some(message)) => {
                let mut next = Some(message);
                while let Some(message) = next {
                    lane.taken(&message);
                    codec::frame(&mut buffer, seal, &message);
                    next = if buffer.len() < WRITE_BYTES { lane.receiver.try_recv().ok() } else { None };
                }
            }
            Err(_) => codec::frame(&mut buffer, seal, &[]),
        }
        metrics::counter!("paxos_peer_sent_bytes_total").increment(buffer.len() as u64);
        let to_peer = mine.as_mut().expect("it was not lent, or is back");
        timeout(WRITE_TIME, to_peer.write_all(&buffer))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
}

/// The connections that this node was asked for. Both sorts are bounded: strangers by their number, peers by being one each.
#[derive(Default)]
struct Connections {
    next: u64,
    /// In the order in which they came.
    strangers: BTreeMap<u64, JoinHandle<()>>,
    peers: BTreeMap<Id, (u64, JoinHandle<()>)>,
}

impl Connections {
    /// A connection is taken. Returns an older one that was given up for it, and is about to end.
    fn take(&mut self, number: u64, task: JoinHandle<()>) -> Option<JoinHandle<()>> {
        let oldest = if self.strangers.len() >= STRANGERS_MAX { self.strangers.pop_first() } else { None };
        self.strangers.insert(number, task);
        let (_, oldest) = oldest?;
        oldest.abort();
        Some(oldest)
    }

    /// Connection `number` has introduced itself as `peer`: an earlier one of the same is given up, as the peer must have done. So is this
    /// one if a later one was quicker. Returns whether one was given up.
    fn introduced(&mut self, number: u64, peer: Id) -> bool {
        let Some(task) = self.strangers.remove(&number) else { return false };
        let given_up = match self.peers.entry(peer) {
            Entry::Vacant(none) => {
                none.insert((number, task));
                return false;
            }
            Entry::Occupied(later) if later.get().0 > number => task,
            Entry::Occupied(mut earlier) => earlier.insert((number, task)).1,
        };
        given_up.abort();
        true
    }

    fn ended(&mut self, number: u64) {
        self.strangers.remove(&number);
        self.peers.retain(|_, (of, _)| *of != number);
    }
}

/// The connections of a listener that is gone are given up with it.
impl Drop for Connections {
    fn drop(&mut self) {
        let tasks = self.strangers.values().chain(self.peers.values().map(|(_, task)| task));
        tasks.for_each(JoinHandle::abort);
    }
}

/// What every connection that comes in works with.
struct Listening {
    book: Arc<Book>,
    pins: Arc<Pins>,
    node: NodeHandle,
    connections: Mutex<Connections>,
}

impl Listening {
    fn connections<T>(&self, work: impl FnOnce(&mut Connections) -> T) -> T {
        work(&mut self.connections.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes connections from peers for as long as the node takes messages.
pub async fn listen(listener: TcpListener, book: Arc<Book>, pins: Arc<Pins>, node: NodeHandle) {
    let listening = Arc::new(Listening { book, pins, node, connections: Mutex::default() });
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                dropped("receive", format_args!("a connection cannot be taken: {error}"));
                sleep(BACK_OFF.0).await;
                continue;
            }
        };
        // A connection does not keep the others alive: they end when the listener does.
        let weak = Arc::downgrade(&listening);
        let given_up = listening.connections(|connections| {
            connections.next += 1;
            let number = connections.next;
            let task = tokio::spawn(async move {
                if let Some(fault) = receive(stream, from, number, &weak).await {
                    dropped(fault.0, format_args!("a connection from {from}: {}", fault.1));
                }
                if let Some(listening) = weak.upgrade() {
                    listening.connections(|connections| connections.ended(number));
                }
            });
            connections.take(number, task)
        });
        if let Some(given_up) = given_up {
            // It has its socket until its task is run once more: unawaited, as many would be open as are taken at one go.
            let _ = given_up.await;
            dropped(
                "strangers",
                format_args!("{STRANGERS_MAX} connections have not introduced themselves, and another came"),
            );
        }
    }
}

/// What is to be said of a connection that is given up.
type Fault = (&'static str, String);

/// Takes one connection's messages until it ends, which is no fault, or has to be given up.
async fn receive(mut stream: TcpStream, from: SocketAddr, number: u64, to: &Weak<Listening>) -> Option<Fault> {
    let (src, seal) = {
        let listening = to.upgrade()?;
        match timeout(HELLO_TIME, welcome(&mut stream, &listening.book, &listening.pins)).await {
            Ok(Ok(introduced)) => {
                let replaced = listening.connections(|connections| connections.introduced(number, introduced.0));
                if replaced {
                    let peer = introduced.0;
                    dropped(
                        "replaced",
                        format_args!("node {peer:?} connected again, from {from}: it has one connection"),
                    );
                }
                introduced
            }
            Ok(Err(fault)) => return Some(fault),
            Err(_) => return Some(("introduction", format!("it did not introduce itself within {HELLO_TIME:?}"))),
        }
    };
    tracing::debug!(peer = ?src, %from, "a peer connected");
    let mut stream = BufReader::with_capacity(WRITE_BYTES, stream);
    loop {
        let body = match timeout(SILENT, read(&mut stream, seal, MESSAGE_MAX)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => return Some(("frame", error.to_string())),
            Ok(Err(_)) | Err(_) => return None,
        };
        if body.is_empty() {
            continue;
        }
        metrics::counter!("paxos_peer_received_bytes_total").increment(body.len() as u64);
        let Some(message) = codec::decode(&body) else {
            return Some(("undecodable", format!("{} bytes that are no message", body.len())));
        };
        if !to.upgrade()?.node.deliver(src, message) {
            dropped("inputs_full", "the node has more to do than it can");
        }
    }
}

/// Reads and answers a peer's introduction. Returns who it is, and the seal of its frames.
async fn welcome(stream: &mut TcpStream, book: &Book, pins: &Pins) -> Result<(Id, Seal), Fault> {
    let fault = |error: io::Error| ("introduction", error.to_string());
    stream.set_nodelay(true).map_err(fault)?;
    let hello = read(stream, Seal::NONE, HELLO_MAX).await.map_err(fault)?;
    let hello: Hello =
        postcard::from_bytes(&hello).map_err(|_| ("introduction", "it is in another protocol".into()))?;
    let checked = book.check(&hello, pins);
    let answer: Answer = match &checked {
        Ok(_) => Ok(Hello { to: hello.from, ..book.me.clone() }),
        Err(rejection) => Err(rejection.clone()),
    };
    let answered = write(stream, &postcard::to_stdvec(&answer).expect("an answer has a form in bytes")).await;
    let src = checked.map_err(|rejection| (rejection.name(), rejection.to_string()))?;
    answered.map_err(fault)?;
    Ok((src, Seal::of(&hello)))
}

async fn write(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    codec::frame(&mut bytes, Seal::NONE, body);
    stream.write_all(&bytes).await
}

/// Reads one frame of at most `length_max` bytes.
async fn read<R: AsyncRead + Unpin>(stream: &mut R, seal: Seal, length_max: usize) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let altered = || io::Error::new(io::ErrorKind::InvalidData, "a header with a wrong checksum");
    let (length, checksum) = codec::header(seal, header).ok_or_else(altered)?;
    if length > length_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a frame of {length} bytes, and at most {length_max} are taken"),
        ));
    }
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if seal.checksum(&body) != checksum {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame with a wrong checksum"));
    }
    Ok(body)
}
