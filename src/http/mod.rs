//! What clients see: the HTTP interface of the Go original, finished, and what operators ask for beside it.

mod answer;
mod backup;
mod connections;
mod keys;
mod operator;
mod request;
mod sessions;
mod unparsed;

use crate::model::kv::{Command, Query};
use crate::node::{Answered, NodeHandle};
use crate::{Machine, Outcome, Request};
use answer::{Fail, Reply};
use hyper::body::Body;
use metrics_exporter_prometheus::PrometheusHandle;
use paxos_model::machine::StateMachine;
use paxos_model::replica::message::{Act, Done};
use request::Ask;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::timeout_at;
use warp::http::Method;
use warp::{Filter, Rejection};

/// Everything that a handler needs.
#[derive(Clone)]
pub struct Service {
    /// The node.
    node: NodeHandle,
    /// Told of every request that the node is asked.
    asked: Arc<Notify>,
    /// What is the same for as long as the node runs.
    about: Arc<About>,
    /// The metrics.
    metrics: PrometheusHandle,
    /// How long a request may take if it does not say so.
    timeout_ms: u32,
    /// Backups that may still begin.
    backups: Arc<Semaphore>,
    /// True once the node is to stop.
    stop: watch::Receiver<bool>,
}

/// What a node is, for `/status`.
#[derive(Clone, Debug)]
pub struct About {
    /// Its number.
    pub node: u64,
    /// Its cluster.
    pub cluster: String,
    /// Its store.
    pub store: String,
    /// All members, itself included, each one's number being its place.
    pub members: Vec<Member>,
    /// Its data directory.
    pub data: PathBuf,
    /// When it started.
    pub started: Instant,
}

/// Where a member is reached.
#[derive(Clone, Debug)]
pub struct Member {
    /// By its peers.
    pub rpc: String,
    /// By its clients.
    pub store: String,
}

/// The replica itself answers when the time is up; if it does not for so long, it waits for its disk or for its turn, and the request is given up.
const GRACE: Duration = Duration::from_millis(250);

/// What a request is about, which is how it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place<'a> {
    Keys,
    Key(&'a str),
    Sessions,
    Session(&'a str),
    Healthz,
    Readyz,
    Metrics,
    Status,
    Backup,
    Restore,
    Nothing,
}

impl Place<'_> {
    fn of(path: &str) -> Place<'_> {
        match path {
            "/kvstore" | "/kvstore/" => Place::Keys,
            "/session" => Place::Sessions,
            "/healthz" => Place::Healthz,
            "/readyz" => Place::Readyz,
            "/metrics" => Place::Metrics,
            "/status" => Place::Status,
            "/backup" => Place::Backup,
            "/restore" => Place::Restore,
            path => {
                let key = path.strip_prefix("/kvstore/").map(Place::Key);
                let session = || path.strip_prefix("/session/").map(Place::Session);
                key.or_else(session).unwrap_or(Place::Nothing)
            }
        }
    }

    /// The methods that there are here.
    fn methods(self) -> &'static str {
        match self {
            Place::Key(_) => "GET, PUT, POST, DELETE",
            Place::Sessions | Place::Restore => "POST",
            Place::Session(_) => "DELETE",
            _ => "GET",
        }
    }

    /// A name for counters.
    fn kind(self, method: &Method) -> &'static str {
        match (self, method) {
            (Place::Keys, &Method::GET) => "keys",
            (Place::Key(_), &Method::GET) => "get",
            (Place::Key(_), &Method::PUT | &Method::POST) => "put",
            (Place::Key(_), &Method::DELETE) => "delete",
            (Place::Sessions | Place::Session(_), _) => "session",
            (Place::Healthz | Place::Readyz | Place::Metrics | Place::Status, _) => "operator",
            (Place::Backup, _) => "backup",
            (Place::Restore, _) => "restore",
            _ => "other",
        }
    }
}

/// How a request ended, by the status of its answer, for counters.
fn outcome(status: u16) -> &'static str {
    match status {
        200 => "done",
        409 => "conflict",
        503 => "refused",
        504 => "unknown",
        500 => "error",
        _ => "malformed",
    }
}

/// All routes.
fn routes(service: Service) -> impl Filter<Extract = (Reply,), Error = Rejection> + Clone {
    let room = Arc::new(Semaphore::new(request::BODIES_BYTES));
    warp::any().and(request::ask(service.timeout_ms, room)).then(move |ask: Ask| {
        let service = service.clone();
        async move {
            let place = Place::of(&ask.path);
            let reply = service.serve(&ask, place).await.unwrap_or_else(Fail::into_reply);
            let reply = answer::with_room(reply, ask.method == Method::GET);
            let kind = place.kind(&ask.method);
            metrics::counter!("paxos_http_requests_total", "kind" => kind, "outcome" => outcome(reply.status().as_u16()))
                .increment(1);
            metrics::histogram!("paxos_http_request_seconds", "kind" => kind).record(ask.begin.elapsed());
            // A stream counts what it sends.
            metrics::counter!("paxos_http_sent_bytes_total").increment(reply.body().size_hint().exact().unwrap_or(0));
            reply
        }
    })
}

impl Service {
    /// Of a node of which requests take `timeout_ms` if they do not say so, until `stop` is true.
    pub fn new(
        node: NodeHandle,
        about: About,
        metrics: PrometheusHandle,
        timeout_ms: u32,
        stop: watch::Receiver<bool>,
    ) -> Service {
        let backups = Arc::new(Semaphore::new(backup::BACKUPS_MAX));
        Service { node, asked: Arc::default(), about: Arc::new(about), metrics, timeout_ms, backups, stop }
    }

    async fn serve(&self, ask: &Ask, place: Place<'_>) -> Result<Reply, Fail> {
        match (place, &ask.method) {
            (Place::Nothing, _) => Err(Fail::new(404, format!("there is nothing at {}", ask.path))),
            (Place::Keys, &Method::GET) => self.keys(ask).await,
            (Place::Key(key), &Method::GET) => self.get(ask, request::key(key)?).await,
            (Place::Key(key), &Method::PUT | &Method::POST) => self.put(ask, request::key(key)?).await,
            (Place::Key(key), &Method::DELETE) => self.delete(ask, request::key(key)?).await,
            (Place::Sessions, &Method::POST) => self.open_session(ask).await,
            (Place::Session(id), &Method::DELETE) => self.end_session(ask, id).await,
            (Place::Healthz, &Method::GET) => self.alive(ask),
            (Place::Readyz, &Method::GET) => self.ready(ask).await,
            (Place::Metrics, &Method::GET) => self.metrics(ask),
            (Place::Status, &Method::GET) => self.status(ask),
            (Place::Backup, &Method::GET) => self.backup(ask).await,
            (Place::Restore, &Method::POST) => self.restore(ask).await,
            (place, _) => Err(Fail::method(place.methods())),
        }
    }

    /// Asks the node, and waits for its one answer.
    async fn ask(&self, ask: &Ask, request: Request) -> Result<Outcome, Fail> {
        let unknown = match &request {
            Request::Write { .. } => Fail::outcome_unknown,
            // It changes nothing, whatever came of it.
            Request::Read(_) | Request::LocalRead(_) => Fail::not_answered,
        };
        let answer = self.node.queue(request, ask.left_ms()).map_err(|_| Fail::overloaded())?;
        self.asked.notify_one();
        match timeout_at(ask.until + GRACE, answer).await {
            Ok(Ok(Answered::Outcome(Outcome::Refused(why)))) => Err(Fail::refused(why)),
            Ok(Ok(Answered::Outcome(Outcome::Unknown(why)))) => Err(Fail::unknown(why)),
            Ok(Ok(Answered::Outcome(outcome))) => Ok(outcome),
            Ok(Ok(Answered::Full)) => Err(Fail::new(
                503,
                "the store of this node has no room for values, only for deletes; the request was not carried out",
            )),
            Ok(Ok(Answered::Interrupted) | Err(_)) => Err(unknown("the node was interrupted")),
            Err(_) => Err(unknown("the node does not answer in time")),
        }
    }

    async fn read(&self, ask: &Ask, query: Query, local: bool) -> Result<<Machine as StateMachine>::Answer, Fail> {
        let request = if local { Request::LocalRead(query) } else { Request::Read(query) };
        match self.ask(ask, request).await? {
            Outcome::Answer { answer, .. } => Ok(answer),
            other => Err(Fail::new(500, format!("a read was answered with {other:?}"))),
        }
    }

    async fn command(&self, ask: &Ask, command: Command) -> Result<<Machine as StateMachine>::Reply, Fail> {
        match self.ask(ask, Request::Write { session: ask.session()?, act: Act::Apply(command) }).await? {
            Outcome::Done(Done::Applied(reply)) => Ok(reply),
            other => Err(Fail::new(500, format!("a command was answered with {other:?}"))),
        }
    }
}

/// Serves until `service.stop` is true; then takes no more, and ends when what is open is finished.
pub async fn serve(service: Service, listener: TcpListener, connections_max: usize) {
    let (node, asked, stop) = (service.node.clone(), service.asked.clone(), service.stop.clone());
    tokio::select! {
        () = connections::serve(routes(service), listener, connections_max, stop) => {}
        () = wake(node, &asked) => {}
    }
}

/// Wakes the node for its requests: once for all that have arrived together, since to wake it costs more than a request does.
async fn wake(node: NodeHandle, asked: &Notify) {
    loop {
        asked.notified().await;
        // After the tasks whose requests are at hand.
        yield_now().await;
        node.ring();
    }
}
