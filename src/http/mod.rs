//! What clients see: the HTTP interface of the Go original, finished, and what operators ask for beside it.

mod answer;
mod keys;
mod request;
mod sessions;

use crate::model::kv::{Command, Put, Query};
use crate::node::{Answered, NodeHandle};
use crate::{Machine, Outcome, Request};
use answer::{Fail, Reply, json};
use metrics_exporter_prometheus::PrometheusHandle;
use paxos_model::machine::StateMachine;
use paxos_model::replica::message::{Act, Done};
use request::Ask;
use serde_json::json as value;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};
use warp::http::Method;
use warp::{Filter, Rejection};

/// Everything that a handler needs.
#[derive(Clone)]
pub struct Service {
    /// The node.
    pub node: NodeHandle,
    /// What is the same for as long as the node runs, for `/status`.
    pub about: Arc<About>,
    /// The metrics.
    pub metrics: PrometheusHandle,
    /// How long a request may take if it does not say so.
    pub timeout_ms: u32,
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
    /// Where every member takes clients.
    pub members: Vec<String>,
    /// When it started.
    pub started: Instant,
}

/// How long a node may take to answer on top of a request's own time, before it is given up: its disk hangs.
const GRACE: Duration = Duration::from_secs(2);

/// All routes.
fn routes(service: Service) -> impl Filter<Extract = (Reply,), Error = Rejection> + Clone {
    warp::any().and(request::ask()).then(move |ask: Ask| {
        let service = service.clone();
        async move { service.serve(ask).await.unwrap_or_else(Fail::into_reply) }
    })
}

impl Service {
    async fn serve(&self, ask: Ask) -> Result<Reply, Fail> {
        let path = ask.path.clone();
        match path.as_str() {
            "/kvstore" | "/kvstore/" => match ask.method {
                Method::GET => self.keys(&ask).await,
                _ => Err(Fail::method("GET")),
            },
            "/session" => match ask.method {
                Method::POST => self.open_session(&ask).await,
                _ => Err(Fail::method("POST")),
            },
            "/healthz" | "/readyz" | "/metrics" | "/status" if ask.method != Method::GET => Err(Fail::method("GET")),
            "/healthz" => Ok(json(200, &value!({"alive": true}))),
            "/readyz" => self.ready().await,
            "/metrics" => Ok(answer::text(self.metrics.render())),
            "/status" => Ok(json(200, &self.status())),
            path => {
                if let Some(key) = path.strip_prefix("/kvstore/") {
                    let key = request::key(key)?;
                    match ask.method {
                        Method::GET => self.get(&ask, key).await,
                        Method::PUT | Method::POST => self.put(&ask, key).await,
                        Method::DELETE => self.delete(&ask, key).await,
                        _ => Err(Fail::method("GET, PUT, POST, DELETE")),
                    }
                } else if let Some(session) = path.strip_prefix("/session/") {
                    match ask.method {
                        Method::DELETE => self.end_session(&ask, session).await,
                        _ => Err(Fail::method("DELETE")),
                    }
                } else {
                    Err(Fail::new(404, format!("there is nothing at {path}")))
                }
            }
        }
    }

    /// Asks the node, and waits for its one answer.
    async fn ask(&self, ask: &Ask, request: Request) -> Result<Outcome, Fail> {
        let timeout_ms = ask.timeout_ms(self.timeout_ms)?;
        let answer = self.node.request(request, timeout_ms).map_err(|_| Fail::overloaded())?;
        let time = Duration::from_millis(timeout_ms.into()) + GRACE;
        match tokio::time::timeout(time, answer).await {
            Ok(Ok(Answered::Outcome(Outcome::Refused(why)))) => Err(Fail::refused(why)),
            Ok(Ok(Answered::Outcome(Outcome::Unknown(why)))) => Err(Fail::unknown(why)),
            Ok(Ok(Answered::Outcome(outcome))) => Ok(outcome),
            Ok(Ok(Answered::Full)) => Err(Fail::new(
                503,
                "the store of this node has no room for values, only for deletes; the request was not carried out",
            )),
            Ok(Ok(Answered::Interrupted) | Err(_)) => {
                Err(Fail::new(504, "the node was interrupted; the outcome is unknown"))
            }
            Err(_) => Err(Fail::new(504, "the node does not answer; the outcome is unknown")),
        }
    }

    async fn read(&self, ask: &Ask, query: Query) -> Result<<Machine as StateMachine>::Answer, Fail> {
        let request = if ask.is_local()? { Request::LocalRead(query) } else { Request::Read(query) };
        match self.ask(ask, request).await? {
            Outcome::Answer { answer, .. } => Ok(answer),
            other => Err(Fail::new(500, format!("a read was answered with {other:?}"))),
        }
    }

    async fn write(&self, ask: &Ask, put: Put) -> Result<<Machine as StateMachine>::Reply, Fail> {
        let act = Act::Apply(Command::Write { puts: vec![put], atomic: false });
        match self.ask(ask, Request::Write { session: ask.session()?, act }).await? {
            Outcome::Done(Done::Applied(reply)) => Ok(reply),
            other => Err(Fail::new(500, format!("a write was answered with {other:?}"))),
        }
    }

    /// Whether this node hears a quorum and has caught up: a read through the log's leader, in little time.
    async fn ready(&self) -> Result<Reply, Fail> {
        let ask = Ask::of_node(1000);
        match self.read(&ask, Query::Get("".into())).await {
            Ok(_) => Ok(json(200, &value!({"ready": true}))),
            Err(fail) => Err(Fail::new(503, format!("not ready: {}", fail.why))),
        }
    }

    fn status(&self) -> serde_json::Value {
        let node = self.node.status().borrow().clone();
        let about = &self.about;
        value!({
            "node": about.node,
            "cluster": about.cluster,
            "store": about.store,
            "role": node.role,
            "leader": node.leader.map(usize::from),
            "ballot": node.ballot.to_string(),
            "decided": node.decided,
            "applied": node.applied,
            "requests": node.requests,
            "full": node.full,
            "members": about.members,
            "uptime_seconds": about.started.elapsed().as_secs(),
        })
    }
}

/// Serves until `stop` resolves; then what is open is finished.
pub fn serve(
    service: Service,
    listener: tokio::net::TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> {
    warp::serve(routes(service)).incoming(listener).graceful(stop).run()
}
