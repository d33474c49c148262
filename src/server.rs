//! One whole node: its store, its loop, its transports and its HTTP interface, put together and taken down in order.

use crate::config::Config;
use crate::http::{self, About, Member, Service};
use crate::node::{self, Ended, NodeHandle, Peers, Settings};
use crate::storage::Store;
use crate::trace::Trace;
use crate::transport::codec::{Hello, PROTOCOL};
use crate::transport::pins::Pins;
use crate::transport::{Book, Network, tcp, udp};
use crate::upkeep;
use metrics_exporter_prometheus::PrometheusHandle;
use paxos_model::replica::configuration::Configuration;
use stateright::actor::Id;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle as Task;
use tokio::time::timeout;

/// How long open requests may go on after the node was asked to stop.
const SHUTDOWN: Duration = Duration::from_secs(5);
/// How long the loop may take to commit what it has begun, and to close the store.
const CLOSE: Duration = Duration::from_secs(5);
/// How long those who are given up may take to hear so.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What waits for the loop at most, of each sort.
const INPUTS_MAX: usize = 16 * 1024;

/// The sockets of a node.
#[derive(Debug)]
pub struct Sockets {
    /// For messages of peers.
    pub tcp: TcpListener,
    /// For datagrams of peers; the same port.
    pub udp: UdpSocket,
    /// For clients.
    pub http: TcpListener,
}

impl Sockets {
    /// Binds `rpc` and `store`. An error says which cannot be bound.
    pub async fn bind(rpc: &str, store: &str) -> Result<Sockets, String> {
        let tcp =
            TcpListener::bind(rpc).await.map_err(|error| format!("rpc: cannot listen for peers on {rpc}: {error}"))?;
        let local = tcp.local_addr().map_err(|error| error.to_string())?;
        let udp = UdpSocket::bind(local)
            .await
            .map_err(|error| format!("rpc: cannot listen for peers on {local}/udp: {error}"))?;
        let http = TcpListener::bind(store)
            .await
            .map_err(|error| format!("store: cannot listen for clients on {store}: {error}"))?;
        Ok(Sockets { tcp, udp, http })
    }
}

/// A running node.
pub struct Server {
    /// Where it takes clients.
    pub address: SocketAddr,
    node: NodeHandle,
    actor: oneshot::Receiver<Ended>,
    stop: watch::Sender<bool>,
    http: Task<()>,
    /// What is done for as long as the node takes requests.
    beside: Vec<Task<()>>,
}

impl Server {
    /// Starts node `index` of `config` on `store`; it writes down what it does to `trace`.
    pub fn start<S: Store>(
        config: &Config,
        index: usize,
        store: S,
        pins: Pins,
        sockets: Sockets,
        metrics: PrometheusHandle,
        trace: Option<Trace>,
    ) -> Result<Server, String> {
        let identity = store.identity();
        let hello = Hello {
            protocol: PROTOCOL,
            cluster: config.cluster.clone(),
            nodes: config.nodes.len() as u64,
            from: index as u64,
            to: index as u64,
            store: identity.store,
        };
        let others = config.nodes.iter().zip(0..).filter(|(_, node)| *node != index as u64);
        let addresses = others.map(|(node, number)| (number, node.rpc.clone())).collect();
        let (book, pins) = (Arc::new(Book { me: hello, addresses }), Arc::new(pins));
        let datagrams = Arc::new(sockets.udp);
        let kind = config.nodes[index].transport.unwrap_or(config.transport);
        let peers: Arc<dyn Peers> =
            Arc::new(Network::new(kind, tcp::connect(&book, &pins), udp::connect(&book, &datagrams)));
        let settings = Settings {
            id: Id::from(index),
            configuration: Configuration::of_voters(config.nodes.len()),
            options: config.options(),
            inputs_max: INPUTS_MAX,
        };
        let (node, thread) = node::start(settings, store, peers, trace)?;
        let beside = vec![
            tokio::spawn(tcp::listen(sockets.tcp, book.clone(), pins.clone(), node.clone())),
            tokio::spawn(udp::listen(datagrams, book, pins, node.clone())),
            tokio::spawn(upkeep::run(node.clone(), config.limits())),
        ];
        let about = About {
            node: index as u64,
            cluster: config.cluster.clone(),
            store: identity.store.to_string(),
            members: config
                .nodes
                .iter()
                .map(|node| Member { rpc: node.rpc.clone(), store: node.store.clone() })
                .collect(),
            data: config.nodes[index].data.clone(),
            started: started(),
        };
        let (stop, stopped) = watch::channel(false);
        let service = Service::new(node.clone(), about, metrics, config.request_timeout_ms, stopped);
        let address = sockets.http.local_addr().map_err(|error| error.to_string())?;
        let http = tokio::spawn(http::serve(service, sockets.http, config.connections_max));
        Ok(Server { address, node, actor: end_of(thread), stop, http, beside })
    }

    /// Resolves when the node has ended by itself, which it does only when it can't go on.
    pub async fn failed(&mut self) -> String {
        match (&mut self.actor).await {
            Ok(Ok(())) => "the node ended".into(),
            Ok(Err(why)) => why,
            Err(_) => "the node's thread was lost".into(),
        }
    }

    /// Takes no more requests, finishes those that are open or gives them up after a while, and closes the store.
    pub async fn stop(mut self) -> Ended {
        let _ = self.stop.send(true);
        let finished = timeout(SHUTDOWN, &mut self.http).await.is_ok();
        for task in self.beside {
            task.abort();
        }
        self.node.stop();
        let ended = match timeout(CLOSE, self.actor).await {
            Ok(ended) => ended.unwrap_or_else(|_| Err("the node's thread was lost".into())),
            Err(_) => Err(format!("the store was not closed within {CLOSE:?}; what was answered is in it")),
        };
        if !finished {
            tracing::warn!("some requests were still open, and are given up");
            let _ = timeout(LAST_WORDS, self.http).await;
        }
        ended
    }
}

#[allow(clippy::disallowed_methods, reason = "the uptime is shown; nothing depends on it")]
fn started() -> Instant {
    Instant::now()
}

/// Awaits the end of a thread.
fn end_of(thread: JoinHandle<Ended>) -> oneshot::Receiver<Ended> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let ended = thread.join().unwrap_or_else(|_| Err("the node's thread panicked".into()));
        let _ = sender.send(ended);
    });
    receiver
}
