//! TCP: one connection to each peer, on which this node sends; the peer's own connection brings its messages.
//!
//! A connection begins with a [`Hello`], which is answered by the other's, or by why it was rejected. Then frames follow.

use super::codec::{self, HEADER, Hello, MESSAGE_MAX};
use super::pins::Pins;
use super::{Book, LaneEnd, Lanes, Rejection, dropped};
use crate::node::NodeHandle;
use stateright::actor::Id;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// For how long a connection may take to be made and introduced.
const HELLO_TIME: Duration = Duration::from_secs(5);
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
/// Connections from peers at a time, for each member.
const CONNECTIONS_PER_PEER: usize = 4;
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
    let mut last = String::new();
    loop {
        let why = match timeout(HELLO_TIME, introduce(node, &address, &book, &pins)).await {
            Ok(Ok(stream)) => {
                tracing::info!(node, %address, "connected");
                last.clear();
                pause = BACK_OFF.0;
                match pump(stream, &mut lane).await {
                    Ok(()) => return,
                    Err(error) => error.to_string(),
                }
            }
            Ok(Err(why)) => why,
            Err(_) => "no answer in time".into(),
        };
        if why != last {
            tracing::warn!(node, %address, %why, "not connected");
            last = why;
        }
        if lane.receiver.is_closed() && lane.receiver.is_empty() {
            return;
        }
        sleep(pause).await;
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
    let answer = read(&mut stream, HELLO_MAX).await.map_err(|error| error.to_string())?;
    let answer: Answer = postcard::from_bytes(&answer).map_err(|_| "it answers in another protocol".to_owned())?;
    let answer = answer.map_err(|rejection| format!("this node was rejected: {rejection}"))?;
    let from = answer.from;
    book.check(&answer, pins).map_err(|rejection| rejection.to_string())?;
    if from == node { Ok(stream) } else { Err(format!("it is node {from}")) }
}

/// Writes what is queued, as much as there is at a time. Ends well only when the queue is closed.
async fn pump(mut stream: TcpStream, lane: &mut LaneEnd) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match timeout(IDLE, lane.receiver.recv()).await {
            Ok(None) => return Ok(()),
            Ok(Some(message)) => {
                let mut next = Some(message);
                while let Some(message) = next {
                    lane.taken(message.len());
                    codec::frame(&mut buffer, &message);
                    next = if buffer.len() < WRITE_BYTES { lane.receiver.try_recv().ok() } else { None };
                }
            }
            Err(_) => codec::frame(&mut buffer, &[]),
        }
        metrics::counter!("paxos_peer_sent_bytes_total").increment(buffer.len() as u64);
        timeout(WRITE_TIME, stream.write_all(&buffer))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    }
}

/// Takes connections from peers for as long as the node takes messages.
pub async fn listen(listener: TcpListener, book: Arc<Book>, pins: Arc<Pins>, node: NodeHandle) {
    let places = Arc::new(Semaphore::new((book.addresses.len() + 1) * CONNECTIONS_PER_PEER));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                sleep(BACK_OFF.0).await;
                continue;
            }
        };
        let (book, pins, node) = (book.clone(), pins.clone(), node.clone());
        tokio::spawn(async move {
            let _place = place;
            receive(stream, &book, &pins, &node).await;
        });
    }
}

async fn receive(mut stream: TcpStream, book: &Book, pins: &Pins, node: &NodeHandle) {
    let src = match timeout(HELLO_TIME, welcome(&mut stream, book, pins)).await {
        Ok(Ok(src)) => src,
        Ok(Err(_)) | Err(_) => {
            dropped("introduction");
            return;
        }
    };
    let mut stream = BufReader::with_capacity(WRITE_BYTES, stream);
    loop {
        let body = match timeout(SILENT, read(&mut stream, MESSAGE_MAX)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => {
                if error.kind() == io::ErrorKind::InvalidData {
                    dropped("frame");
                }
                return;
            }
            Err(_) => return,
        };
        if body.is_empty() {
            continue;
        }
        metrics::counter!("paxos_peer_received_bytes_total").increment(body.len() as u64);
        match codec::decode(&body) {
            Some(message) => {
                if !node.deliver(src, message) {
                    dropped("inputs_full");
                }
            }
            None => {
                dropped("undecodable");
                return;
            }
        }
    }
}

/// Reads and answers a peer's introduction.
async fn welcome(stream: &mut TcpStream, book: &Book, pins: &Pins) -> io::Result<Id> {
    stream.set_nodelay(true)?;
    let hello = read(stream, HELLO_MAX).await?;
    let hello: Hello = postcard::from_bytes(&hello).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    let checked = book.check(&hello, pins);
    let answer: Answer = match &checked {
        Ok(_) => Ok(Hello { to: hello.from, ..book.me.clone() }),
        Err(rejection) => Err(rejection.clone()),
    };
    write(stream, &postcard::to_stdvec(&answer).expect("an answer has a form in bytes")).await?;
    checked.map_err(|rejection| {
        dropped(rejection.name());
        tracing::warn!(from = hello.from, %rejection, "a connection was rejected");
        io::Error::from(io::ErrorKind::PermissionDenied)
    })
}

async fn write(stream: &mut TcpStream, body: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    codec::frame(&mut bytes, body);
    stream.write_all(&bytes).await
}

/// Reads one frame of at most `length_max` bytes.
async fn read<R: AsyncReadExt + Unpin>(stream: &mut R, length_max: usize) -> io::Result<Vec<u8>> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let (length, checksum) = codec::header(header);
    if length > length_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is too large"));
    }
    let mut body = Vec::new();
    stream.take(length as u64).read_to_end(&mut body).await?;
    if body.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if crc32fast::hash(&body) != checksum {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame with a wrong checksum"));
    }
    Ok(body)
}
