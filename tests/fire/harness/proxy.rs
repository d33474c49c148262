//! The links between nodes: each node believes that every peer is at an address of this proxy, one for each pair and direction.
//!
//! A link carries datagrams and connections alike. On a connection that a node made to its peer what it sends goes by the link to the peer, and
//! what comes back, as an introduction's answer, by the peer's link to it; so a link that is down in one direction is deaf there also to
//! connections that the other side made. A link that is *stalled* keeps what it has for later, as a network does that comes back before
//! connections are given up; one that is *cut* breaks connections and loses datagrams.

use super::random::Random;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Datagrams that are delayed at a time on a link; those over are lost.
const DELAYED_MAX: usize = 4096;
/// Connections on a link at a time.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a connection that are carried at a time.
const CHUNK: usize = 64 << 10;
/// How long a connection to a node may take to be made.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long a lost piece of a connection takes to be sent again.
const RESENT: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Up,
    Stalled,
    Cut,
}

/// What becomes of what a link carries. Chances are in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    pub(crate) state: State,
    /// Up to so long, each by itself: so datagrams overtake each other.
    pub(crate) delay_ms: u64,
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) corruption: u64,
}

/// What happened to what was carried, for the report.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) carried: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) delayed: AtomicU64,
    pub(crate) duplicated: AtomicU64,
    pub(crate) corrupted: AtomicU64,
    pub(crate) broken: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One direction between two nodes.
struct Link {
    weather: watch::Receiver<Weather>,
    random: Mutex<Random>,
    delayed: AtomicUsize,
    connections: AtomicUsize,
    tally: Arc<Tally>,
}

impl Link {
    fn random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn now(&self) -> Weather {
        *self.weather.borrow()
    }

    fn happens(&self, chance: u64) -> bool {
        chance > 0 && self.random(|random| random.percent(chance))
    }

    fn delay(&self, weather: Weather) -> Option<Duration> {
        let ms = (weather.delay_ms > 0).then(|| self.random(|random| random.below(weather.delay_ms + 1)))?;
        count(&self.tally.delayed);
        Some(Duration::from_millis(ms))
    }

    /// Flips a bit, as often as not where a frame's length and checksum stand, or puts a piece twice, or leaves one out.
    fn corrupt(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        count(&self.tally.corrupted);
        let length = bytes.len() as u64;
        let (how, at, bit) = self.random(|random| {
            let bound = if random.percent(50) { length.min(8) } else { length };
            (random.below(4), random.below(bound) as usize, random.below(8))
        });
        match how {
            0 => bytes.truncate(at),
            1 => bytes.extend_from_within(at..),
            _ => bytes[at] ^= 1 << bit,
        }
    }
}

/// All links. It ends with this.
pub(crate) struct Proxy {
    /// None once it is dropped.
    runtime: Option<Runtime>,
    weather: Vec<Vec<watch::Sender<Weather>>>,
    /// Where a node finds another.
    addresses: Vec<Vec<SocketAddr>>,
    pub(crate) tally: Arc<Tally>,
}

impl Proxy {
    /// Links between nodes that listen at `nodes`; `at` is the address that the proxy takes.
    pub(crate) fn start(nodes: &[SocketAddr], at: SocketAddrV4, seed: u64) -> io::Result<Proxy> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("proxy").enable_all().build()?;
        let count = nodes.len();
        let tally = Arc::<Tally>::default();
        let mut weather = Vec::new();
        let mut links = Vec::new();
        for from in 0..count {
            let (senders, row): (Vec<_>, Vec<_>) = (0..count)
                .map(|to| {
                    let (sender, weather) = watch::channel(Weather::default());
                    let random = Mutex::new(Random::new(seed, (from * count + to) as u64 + 1000));
                    let tally = tally.clone();
                    let (delayed, connections) = Default::default();
                    (sender, Arc::new(Link { weather, random, delayed, connections, tally }))
                })
                .unzip();
            weather.push(senders);
            links.push(row);
        }
        let mut addresses = vec![nodes.to_vec(); count];
        for (from, row) in addresses.iter_mut().enumerate() {
            for (to, address) in row.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                let (link, back) = (links[from][to].clone(), links[to][from].clone());
                *address = runtime.block_on(open(at, nodes[to], link, back))?;
            }
        }
        Ok(Proxy { runtime: Some(runtime), weather, addresses, tally })
    }

    pub(crate) fn address(&self, from: usize, to: usize) -> SocketAddr {
        self.addresses[from][to]
    }

    pub(crate) fn set(&self, from: usize, to: usize, weather: Weather) {
        self.weather[from][to].send_replace(weather);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

/// Binds a port for both sorts, and carries from there to `to`.
async fn open(at: SocketAddrV4, to: SocketAddr, link: Arc<Link>, back: Arc<Link>) -> io::Result<SocketAddr> {
    loop {
        let listener = TcpListener::bind(at).await?;
        let address = listener.local_addr()?;
        // The port may be taken for datagrams: then another one is tried.
        match UdpSocket::bind(address).await {
            Ok(socket) => {
                tokio::spawn(datagrams(socket, to, link.clone()));
                tokio::spawn(connections(listener, to, link, back));
                return Ok(address);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && at.port() == 0 => {}
            Err(error) => return Err(error),
        }
    }
}

async fn datagrams(socket: UdpSocket, to: SocketAddr, link: Arc<Link>) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut buffer).await else {
            // A node that is away says so to the next one who asks.
            continue;
        };
        let weather = link.now();
        if weather.state != State::Up || link.happens(weather.loss) {
            count(&link.tally.lost);
            continue;
        }
        let times = if link.happens(weather.duplication) { 2 } else { 1 };
        if times > 1 {
            count(&link.tally.duplicated);
        }
        for _ in 0..times {
            let mut bytes = buffer[..length].to_vec();
            if link.happens(weather.corruption) {
                link.corrupt(&mut bytes);
            }
            count(&link.tally.carried);
            match link.delay(weather) {
                None => drop(socket.send_to(&bytes, to).await),
                Some(_) if link.delayed.load(Ordering::Relaxed) >= DELAYED_MAX => count(&link.tally.lost),
                Some(delay) => {
                    link.delayed.fetch_add(1, Ordering::Relaxed);
                    let (socket, link) = (socket.clone(), link.clone());
                    tokio::spawn(async move {
                        sleep(delay).await;
                        link.delayed.fetch_sub(1, Ordering::Relaxed);
                        if link.now().state == State::Up {
                            drop(socket.send_to(&bytes, to).await);
                        }
                    });
                }
            }
        }
    }
}

async fn connections(listener: TcpListener, to: SocketAddr, link: Arc<Link>, back: Arc<Link>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        if link.connections.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
            continue;
        }
        link.connections.fetch_add(1, Ordering::Relaxed);
        let (link, back) = (link.clone(), back.clone());
        tokio::spawn(async move {
            if let Some(other) = reach(to, &link).await {
                let _ = stream.set_nodelay(true);
                let (from_node, to_node) = stream.into_split();
                let (from_peer, to_peer) = other.into_split();
                // Where one direction ends the connection does.
                tokio::select! {
                    () = carry(from_node, to_peer, &link) => {}
                    () = carry(from_peer, to_node, &back) => {}
                }
                count(&link.tally.broken);
            }
            link.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// A connection to the node itself, once the link is not stalled.
async fn reach(to: SocketAddr, link: &Link) -> Option<TcpStream> {
    let mut weather = link.weather.clone();
    let state = weather.wait_for(|weather| weather.state != State::Stalled).await.ok()?.state;
    if state == State::Cut {
        return None;
    }
    let stream = timeout(CONNECT_TIME, TcpStream::connect(to)).await.ok()?.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// Carries one direction of a connection until it ends or the link is cut.
async fn carry(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, link: &Link) {
    let mut changes = link.weather.clone();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            cut = changes.wait_for(|weather| weather.state == State::Cut) => { drop(cut); return },
        };
        let length = match read {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        if link.now().state == State::Stalled
            && changes.wait_for(|weather| weather.state != State::Stalled).await.is_err()
        {
            return;
        }
        let weather = link.now();
        if weather.state == State::Cut {
            return;
        }
        if let Some(delay) = link.delay(weather) {
            sleep(delay).await;
        }
        if link.happens(weather.loss) {
            count(&link.tally.lost);
            sleep(RESENT).await;
        }
        let mut bytes = buffer[..length].to_vec();
        if link.happens(weather.corruption) {
            link.corrupt(&mut bytes);
        }
        count(&link.tally.carried);
        let written = tokio::select! {
            written = to.write_all(&bytes) => written,
            cut = changes.wait_for(|weather| weather.state == State::Cut) => { drop(cut); return },
        };
        if written.is_err() {
            return;
        }
    }
}
