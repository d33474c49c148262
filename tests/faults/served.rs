//! The same through HTTP: what clients see of a whole node whose disk hangs, and that it can be stopped.

use crate::store::GateStore;
use paxos::config::{Config, NodeConfig};
use paxos::server::{Server, Sockets};
use paxos::transport::pins::Pins;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A node alone on a store that the test holds, with what stops it.
struct Served {
    runtime: Runtime,
    server: Server,
    store: GateStore,
}

impl Served {
    fn start() -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = GateStore::new(0);
        let nodes = vec![NodeConfig {
            data: "in memory".into(),
            rpc: "127.0.0.1:1".into(),
            store: "127.0.0.1:2".into(),
            transport: None,
        }];
        let config = Config { cluster: "faults".into(), ..Config::of_nodes(nodes) };
        let server = runtime.block_on(async {
            let sockets = Sockets::bind("127.0.0.1:0", "127.0.0.1:0").await.unwrap();
            let metrics = paxos::metrics::install().unwrap();
            Server::start(&config, 0, store.clone(), Pins::open(None, 1, false).unwrap(), sockets, metrics, None)
                .unwrap()
        });
        Served { runtime, server, store }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .into();
        let url = format!("http://{}{path}", self.server.address);
        let request = warp::http::Request::builder().method(method).uri(url);
        let mut response = agent.run(request.body(body.to_owned()).unwrap()).expect("every request is answered");
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

#[test]
fn clients_hear_in_time_what_a_hung_disk_means_and_the_node_stops() {
    let served = Served::start();
    let put = |timeout: u32| served.ask("PUT", &format!("/kvstore/k?timeout_ms={timeout}"), r#"{"val": "a"}"#);
    assert_eq!(put(10_000).0, 200);
    assert_eq!(served.ask("GET", "/kvstore/k", "").1["val"], "a");

    served.store.control.allow(0);
    let begin = Instant::now();
    let (status, body) = put(400);
    assert_eq!(status, 504, "it may be done: {body}");
    assert!((400..3000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    // The loop waits for the disk with all that comes after, also with a read that saves nothing.
    let (status, body) = served.ask("GET", "/kvstore/k?timeout_ms=200", "");
    assert!(status == 503 || status == 504, "{status}: {body}");
    assert_eq!(served.ask("GET", "/healthz", "").0, 200, "the process lives");

    served.store.control.allow_all();
    assert_eq!(put(10_000).0, 200, "it goes on as the disk does");

    served.store.control.allow(0);
    assert_eq!(put(100).0, 504);
    let begin = Instant::now();
    let ended = served.runtime.block_on(served.server.stop());
    assert!(ended.is_err(), "what was not answered may not be on the disk");
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
    served.store.control.allow_all();
}
