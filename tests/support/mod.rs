//! A cluster of real nodes: the built binary, one child process a node, on ports that the system gives out.

#![allow(dead_code, reason = "each test uses its part of this")]
#![allow(clippy::disallowed_types, reason = "what runs for real has sockets")]
#![allow(clippy::disallowed_methods, reason = "what runs for real has a clock")]

pub(crate) mod check;
pub(crate) mod load;
pub(crate) mod random;

use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer: status and body.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// Nodes that are told in one configuration file.
pub(crate) struct Cluster {
    pub(crate) directory: TempDir,
    pub(crate) config: PathBuf,
    pub(crate) stores: Vec<String>,
    nodes: Vec<Option<Child>>,
}

/// A free port of the loopback interface, below those that the system gives to outgoing connections: a node that was killed finds it
/// free again.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 1000 * 16;
    let ports = (0..16_000).map(|_| 15_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000);
    let mut ports = ports.filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

impl Cluster {
    /// `count` nodes, none of them started; `fields` go into the configuration beside them.
    pub(crate) fn new(count: usize, fields: &[(&str, Value)]) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = || format!("127.0.0.1:{}", free_port());
        let stores: Vec<String> = (0..count).map(|_| address()).collect();
        let nodes: Vec<Value> = stores
            .iter()
            .enumerate()
            .map(|(index, store)| {
                let data = directory.path().join(format!("data{index}"));
                serde_json::json!({"data": data, "rpc": address(), "store": store})
            })
            .collect();
        let mut object = serde_json::json!({"nodes": nodes});
        for (name, value) in fields {
            object[*name] = value.clone();
        }
        let config = directory.path().join("config.json");
        std::fs::write(&config, object.to_string()).expect("a configuration file");
        Cluster { directory, config, stores, nodes: (0..count).map(|_| None).collect() }
    }

    /// Three nodes by the configuration file of the Go original, `text`, of which only the ports are changed to free ones.
    pub(crate) fn of_original(text: &str) -> Cluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut text = text.to_owned();
        let mut stores = Vec::new();
        for node in 0..3 {
            for port in [3000 + node, 4000 + node] {
                let (from, to) = (format!("localhost:{port}"), format!("localhost:{}", free_port()));
                assert!(text.contains(&from), "the file has no {from}");
                text = text.replace(&from, &to);
                if port >= 4000 {
                    stores.push(to);
                }
            }
        }
        let config = directory.path().join("kvstore.json");
        std::fs::write(&config, text).expect("a configuration file");
        let mut cluster = Cluster { directory, config, stores, nodes: (0..3).map(|_| None).collect() };
        (0..3).for_each(|node| cluster.start(node));
        cluster
    }

    /// All of them started.
    pub(crate) fn started(count: usize, fields: &[(&str, Value)]) -> Cluster {
        let mut cluster = Cluster::new(count, fields);
        (0..count).for_each(|node| cluster.start(node));
        cluster
    }

    /// Starts a node, and waits until it says that it serves.
    pub(crate) fn start(&mut self, node: usize) {
        self.start_with(node, &[]);
    }

    /// Starts a node with further arguments.
    pub(crate) fn start_with(&mut self, node: usize, arguments: &[&str]) {
        let log = OpenOptions::new().create(true).append(true).open(self.log(node)).expect("a log file");
        let mut child =
            self.command(node).args(arguments).stdout(Stdio::piped()).stderr(log).spawn().expect("the node is built");
        let line = first_line(&mut child);
        assert!(line.contains("serves"), "node {node} says {line:?}");
        self.nodes[node] = Some(child);
    }

    /// How a node is run.
    pub(crate) fn command(&self, node: usize) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command
            .arg(&self.config)
            .arg(node.to_string())
            .arg("--log-level=warn")
            .stdin(Stdio::null())
            .current_dir(self.directory.path());
        command
    }

    /// Where a node's log goes; a test that fails shows it.
    pub(crate) fn log(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("log{node}"))
    }

    /// Runs the node's program with `arguments` to its end.
    pub(crate) fn node(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
        command.args(arguments).current_dir(self.directory.path()).output().expect("it runs")
    }

    /// The data directory of a node.
    pub(crate) fn data(&self, node: usize) -> PathBuf {
        self.directory.path().join(format!("data{node}"))
    }

    /// Ends a node's process at once.
    pub(crate) fn kill(&mut self, node: usize) {
        let mut child = self.nodes[node].take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it can be awaited");
    }

    /// Ends a node's process at once, while others use the cluster; [`Cluster::reap`] it afterwards.
    pub(crate) fn kill_by_signal(&self, node: usize) {
        self.signal(node, "KILL");
    }

    /// Whether a node was started, and neither killed nor asked to stop since.
    pub(crate) fn runs(&self, node: usize) -> bool {
        self.nodes[node].is_some()
    }

    /// The number of a node's process.
    pub(crate) fn pid(&self, node: usize) -> u32 {
        self.nodes[node].as_ref().expect("it runs").id()
    }

    /// A line of what the system says of a node's process, in KiB: `VmRSS` is the memory that it has, `VmHWM` the most that it had.
    pub(crate) fn memory_kib(&self, node: usize, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid(node))).expect("it runs");
        let value =
            status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')?.split_whitespace().next());
        value.and_then(|kib| kib.parse().ok()).expect("a size")
    }

    /// Sends a node's process a signal.
    pub(crate) fn signal(&self, node: usize, signal: &str) {
        send_signal(self.nodes[node].as_ref().expect("it runs"), signal);
    }

    /// Makes a node's process hang, and waits until it does: a signal returns before the threads of the process have stopped.
    pub(crate) fn hang(&self, node: usize) {
        self.signal(node, "STOP");
        let threads = format!("/proc/{}/task", self.pid(node));
        let stopped = |thread: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
            stat.rsplit_once(')')?.1.trim_start().starts_with('T').then_some(())
        };
        until("all threads to stop", || {
            std::fs::read_dir(&threads).ok()?.all(|thread| stopped(thread).is_some()).then_some(())
        });
    }

    /// Waits for the end of a node that was killed.
    pub(crate) fn reap(&mut self, node: usize) {
        let child = self.nodes[node].take().expect("it was started");
        wait(child);
    }

    /// Asks a node to stop, as an operator does.
    pub(crate) fn terminate(&mut self, node: usize) -> ExitStatus {
        self.end(node, "TERM")
    }

    /// Sends a node's process a signal that ends it, and waits for its end.
    pub(crate) fn end(&mut self, node: usize, signal: &str) -> ExitStatus {
        let child = self.nodes[node].take().expect("it runs");
        send_signal(&child, signal);
        wait(child)
    }

    /// Sends a request to a node; none if it gives no answer.
    pub(crate) fn ask(&self, node: usize, method: &str, path: &str, body: Option<Value>) -> Option<Answer> {
        request(&format!("http://{}{path}", self.stores[node]), method, body)
    }

    /// `GET` of a key, as an entry.
    pub(crate) fn get(&self, node: usize, key: &str) -> Option<Answer> {
        self.ask(node, "GET", &format!("/kvstore/{key}"), None)
    }

    /// `PUT` of a key.
    pub(crate) fn put(&self, node: usize, key: &str, val: &str, ver: Option<u64>) -> Option<Answer> {
        let mut body = serde_json::json!({"val": val});
        if let Some(ver) = ver {
            body["ver"] = ver.into();
        }
        self.ask(node, "PUT", &format!("/kvstore/{key}"), Some(body))
    }

    /// The node's own account.
    pub(crate) fn status(&self, node: usize) -> Option<Value> {
        self.ask(node, "GET", "/status", None).map(|answer| answer.body)
    }

    /// Waits for `node` to know a leader that runs, and returns it.
    pub(crate) fn leader(&self, node: usize) -> usize {
        until("a leader", || {
            let leader = self.status(node)?["leader"].as_u64()? as usize;
            self.nodes[leader].is_some().then_some(leader)
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for node in 0..self.nodes.len() {
                eprintln!("log of node {node}:\n{}", std::fs::read_to_string(self.log(node)).unwrap_or_default());
            }
        }
    }
}

/// Sends a signal to one process.
pub(crate) fn send_signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(sent.expect("there is a kill command").success());
}

/// Sends a request; none if there is no answer.
pub(crate) fn request(url: &str, method: &str, body: Option<Value>) -> Option<Answer> {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
    let request = warp::http::Request::builder().method(method).uri(url);
    let mut response = match body {
        Some(body) => agent.run(request.body(body.to_string()).ok()?),
        None => agent.run(request.body(()).ok()?),
    }
    .ok()?;
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().ok()?;
    Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}

/// Sends bytes to `address` as they are, and takes apart what comes back until the other side closes. None if that is no answer.
pub(crate) fn raw(address: &str, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    answer(stream)
}

/// Reads one answer, to the end of the connection.
pub(crate) fn answer(mut stream: impl Read) -> Option<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())) })
}

/// The first line that a child prints.
pub(crate) fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("its output is taken");
    BufReader::new(stdout).read_line(&mut line).expect("its output can be read");
    line
}

/// Waits for a process to end.
pub(crate) fn wait(mut child: Child) -> ExitStatus {
    until("the process to end", || child.try_wait().expect("it can be awaited"))
}

/// Tries again until there is something, for [`PATIENCE`] at most.
pub(crate) fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What a program printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `kv` against `endpoints`; returns its exit status and what it prints.
pub(crate) fn kv(endpoints: &[String], arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kv"));
    for endpoint in endpoints {
        command.arg(format!("--endpoint=http://{endpoint}"));
    }
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("it runs");
    (status.code().expect("a status"), text(&stdout), text(&stderr))
}
