//! The configuration file: who the nodes are, and their limits.
//!
//! Either the array of the Go original, `[{"badger", "rpc", "store"}, …]`, or an object with the same array under `nodes`
//! and further fields. Every error names the field.

use crate::TIMEOUT_MS_MAX;
use crate::object::Object;
use crate::storage::STORE_MIB_MAX;
use crate::transport::Kind;
use crate::upkeep::Limits;
use paxos_model::replica::Options;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How many slots there may be from one snapshot to the next for each MiB of the store.
const SLOTS_A_MIB: u64 = 1024;
/// How long a snapshot is kept for a receiver that makes no progress.
const TRANSFER_PATIENCE_MS: u64 = 20_000;
/// How long who receives a snapshot waits for its next part before it begins another one, if there is one to be had: it votes in no
/// slot meanwhile. A sender may be at a large commit.
const SOURCE_PATIENCE_MS: u64 = 1500;

/// One node, as the file tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its data directory. The Go original calls it `badger`.
    #[serde(alias = "badger")]
    pub data: PathBuf,
    /// Where its peers reach it: `host:port`.
    pub rpc: String,
    /// Where its clients reach it: `host:port`.
    pub store: String,
    /// How it sends to its peers, if not as all do.
    #[serde(default)]
    pub transport: Option<Kind>,
}

/// Everything that is the same at every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The cluster's name. Nodes of different clusters do not talk to each other.
    pub cluster: String,
    /// The nodes; each one's number is its place.
    #[serde(deserialize_with = "objects")]
    pub nodes: Vec<NodeConfig>,
    /// How nodes send to each other.
    pub transport: Kind,
    /// The range of the election timeout.
    pub election_timeout_ms: [u64; 2],
    /// How often leaders are heard, and what is unanswered is sent again.
    pub resend_ms: u64,
    /// Slots that may be proposed and undecided at a time.
    pub window: u64,
    /// The same for one that is not full, which else waits.
    pub pipeline: u64,
    /// Operations in one slot.
    pub batch_max: usize,
    /// Slots from one snapshot to the next; the same at every node.
    pub snapshot_every: u64,
    /// Slots before the snapshot whose entries are kept for nodes that are a little behind.
    pub tail: u64,
    /// Requests that wait at one node.
    pub requests_max: usize,
    /// How long a request may take if it does not say so itself.
    pub request_timeout_ms: u32,
    /// Connections of clients at a time.
    pub connections_max: usize,
    /// How long a client's session may be unused before it is ended; 0 for ever.
    pub session_timeout_ms: u64,
    /// How many deleted keys are remembered with their versions. Of more the lowest versions are forgotten, and absent keys show the
    /// highest of those.
    pub tombstones_max: usize,
    /// How much a node's store may hold, in MiB. From nine tenths on clients' values are refused, and deletes still taken.
    pub store_max_mib: usize,
}

/// The largest window: with it the promise that reports most still fits into one message between nodes.
pub const WINDOW_MAX: u64 = 32;

impl Default for Config {
    /// No nodes, and what the array form leaves unsaid.
    fn default() -> Self {
        let options = Options::default();
        let ms = |time: Duration| time.as_millis() as u64;
        Config {
            cluster: "paxos".into(),
            nodes: Vec::new(),
            transport: Kind::default(),
            election_timeout_ms: [ms(options.election.start), ms(options.election.end)],
            resend_ms: ms(options.resend),
            window: options.window,
            pipeline: options.pipeline,
            batch_max: options.batch_max,
            snapshot_every: options.snapshot_every,
            tail: options.tail,
            requests_max: options.requests_max,
            request_timeout_ms: 5000,
            connections_max: 1024,
            session_timeout_ms: 3_600_000,
            tombstones_max: 100_000,
            store_max_mib: 64 << 10,
        }
    }
}

/// Nodes whose fields are named.
fn objects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NodeConfig>, D::Error> {
    Vec::deserialize(deserializer).map(|nodes| nodes.into_iter().map(|Object(node)| node).collect())
}

/// What is wrong with a configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

fn error<T>(why: impl Into<String>) -> Result<T, ConfigError> {
    Err(ConfigError(why.into()))
}

/// Reads JSON; an error begins with the field that is wrong.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|why| {
        let (path, why) = (why.path().to_string(), why.into_inner());
        ConfigError(if matches!(path.as_str(), "." | "?") { why.to_string() } else { format!("{path}: {why}") })
    })?;
    json.end().map_err(|why| ConfigError(why.to_string()))?;
    Ok(parsed)
}

impl Config {
    /// The configuration in `file`.
    pub fn read(file: &Path) -> Result<Config, ConfigError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(why) => return error(format!("cannot read {}: {why}", file.display())),
        };
        Config::parse(&text).map_err(|ConfigError(why)| ConfigError(format!("{}: {why}", file.display())))
    }

    /// The configuration that `text` is.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let config = if text.trim_start().starts_with('[') {
            let nodes: Vec<Object<NodeConfig>> = parse(text).map_err(|ConfigError(why)| {
                // A place in the array follows its name; what is wrong with the array as a whole does not.
                let join = if why.starts_with('[') { "" } else { ": " };
                ConfigError(format!("nodes{join}{why}"))
            })?;
            Config::of_nodes(nodes.into_iter().map(|Object(node)| node).collect())
        } else {
            parse(text)?
        };
        config.validate()?;
        Ok(config)
    }

    /// That of `nodes`, with everything else as it is by default.
    pub fn of_nodes(nodes: Vec<NodeConfig>) -> Config {
        Config { nodes, ..Config::default() }
    }

    /// Node `index`.
    pub fn node(&self, index: usize) -> Result<&NodeConfig, ConfigError> {
        let count = self.nodes.len();
        self.nodes.get(index).map_or_else(
            || error(format!("there is no node {index}: the configuration has {count}, counted from 0")),
            Ok,
        )
    }

    /// The replica's options.
    pub fn options(&self) -> Options {
        let [start, end] = self.election_timeout_ms.map(Duration::from_millis);
        let defaults = Options::default();
        let times = |ms| u32::try_from(ms / self.resend_ms.max(1)).unwrap_or(u32::MAX).max(1);
        Options {
            election: start..end,
            resend: Duration::from_millis(self.resend_ms),
            window: self.window,
            pipeline: self.pipeline,
            horizon: 2 * self.window,
            batch_max: self.batch_max,
            snapshot_every: self.snapshot_every,
            tail: self.tail,
            // So that a small store has room for what the log is about.
            tail_bytes: defaults.tail_bytes.min(self.store_max_mib << 20 >> 3),
            kept_bytes: defaults.kept_bytes.min(self.store_max_mib << 20 >> 2),
            requests_max: self.requests_max,
            // A receiver may be silent for as long as a large commit, or a start, takes.
            patience: times(TRANSFER_PATIENCE_MS),
            source_patience: times(SOURCE_PATIENCE_MS),
            ..defaults
        }
    }

    /// What the node that leads sees to.
    pub fn limits(&self) -> Limits {
        let time = (self.session_timeout_ms > 0).then(|| Duration::from_millis(self.session_timeout_ms));
        Limits { session_timeout: time, tombstones_max: self.tombstones_max, snapshot_every: self.snapshot_every }
    }

    /// Whether a cluster can run with it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !matches!(self.nodes.len(), 1 | 2 | 3 | 5 | 7) {
            return error(format!("nodes: there are {}; a cluster has 1, 2, 3, 5 or 7", self.nodes.len()));
        }
        if self.cluster.is_empty() || self.cluster.len() > 64 {
            return error("cluster: must be 1 to 64 bytes long");
        }
        if self.election_timeout_ms[0] >= self.election_timeout_ms[1] {
            return error("election_timeout_ms: the first number must be less than the second");
        }
        if self.resend_ms == 0 {
            return error("resend_ms: must be at least 1");
        }
        if self.election_timeout_ms[0] / 2 < self.resend_ms {
            return error("election_timeout_ms: must begin at twice resend_ms or later");
        }
        if !(1..=TIMEOUT_MS_MAX).contains(&self.request_timeout_ms) {
            return error(format!("request_timeout_ms: must be between 1 and {TIMEOUT_MS_MAX}"));
        }
        if !(1..=1 << 16).contains(&self.connections_max) {
            return error("connections_max: must be between 1 and 65536");
        }
        if !(1..=STORE_MIB_MAX).contains(&self.store_max_mib) {
            return error(format!("store_max_mib: must be between 1 and {STORE_MIB_MAX}"));
        }
        if !(1..=WINDOW_MAX).contains(&self.window) {
            return error(format!("window: must be between 1 and {WINDOW_MAX}"));
        }
        if !(1..=1 << 20).contains(&self.snapshot_every) {
            return error("snapshot_every: must be between 1 and 1048576");
        }
        // What is let go of with a snapshot must not fill the store before it is taken, if no slot had a value.
        if self.snapshot_every > self.store_max_mib as u64 * SLOTS_A_MIB {
            let most = self.store_max_mib as u64 * SLOTS_A_MIB;
            return error(format!(
                "snapshot_every: must be at most {most} with a store_max_mib of {}",
                self.store_max_mib
            ));
        }
        if self.tail > 1 << 20 {
            return error("tail: must be at most 1048576");
        }
        self.options().validate().or_else(error)?;
        let mut seen: BTreeMap<&str, String> = BTreeMap::new();
        let mut directories: BTreeMap<&Path, usize> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            for (field, address) in [("rpc", &node.rpc), ("store", &node.store)] {
                let here = format!("nodes[{index}].{field}");
                let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
                if port.and_then(|port| port.parse::<u16>().ok()).is_none() {
                    return error(format!("{here}: {address:?} is not host:port"));
                }
                if let Some(other) = seen.insert(address, here.clone()) {
                    return error(format!("{here}: {address:?} is also {other}"));
                }
            }
            if node.data.as_os_str().is_empty() {
                return error(format!("nodes[{index}].data: is empty"));
            }
            if let Some(other) = directories.insert(&node.data, index) {
                let data = node.data.display();
                return error(format!("nodes[{index}].data: {data} is also that of nodes[{other}]"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGINAL: &str = r#"[
      {"badger": "data/acceptor0", "rpc": "localhost:3000", "store": "localhost:4000"},
      {"badger": "data/acceptor1", "rpc": "localhost:3001", "store": "localhost:4001"},
      {"badger": "data/acceptor2", "rpc": "localhost:3002", "store": "localhost:4002"}
    ]"#;

    fn object(nodes: &str, fields: &str) -> String {
        format!(r#"{{"nodes": {nodes} {fields}}}"#)
    }

    fn refused(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn the_original_is_accepted_as_it_is() {
        let config = Config::parse(ORIGINAL).unwrap();
        assert_eq!(config.nodes[2].data, Path::new("data/acceptor2"));
        assert_eq!(config.options().election, Options::default().election);
        assert_eq!(Config::parse(&object(ORIGINAL, "")).unwrap(), config);
    }

    #[test]
    fn an_object_says_more() {
        let fields =
            r#", "cluster": "c", "transport": "udp", "window": 3, "pipeline": 2, "snapshot_every": 5, "tail": 0"#;
        let config = Config::parse(&object(ORIGINAL, fields)).unwrap();
        assert_eq!((config.cluster.as_str(), config.transport, config.options().window), ("c", Kind::Udp, 3));
        assert_eq!((config.options().pipeline, config.options().snapshot_every, config.options().tail), (2, 5, 0));
        assert_eq!(config.options().tail_bytes, Options::default().tail_bytes);
        let config = Config::parse(&object(ORIGINAL, r#", "store_max_mib": 8"#)).unwrap();
        assert_eq!(config.options().tail_bytes, 1 << 20);
    }

    #[test]
    fn every_error_names_its_field() {
        for (fields, name) in [
            (r#", "windows": 1"#, "windows"),
            (r#", "window": 0"#, "window"),
            (r#", "window": 33"#, "window"),
            (r#", "pipeline": 0"#, "pipeline"),
            (r#", "window": "many""#, "window"),
            (r#", "batch_max": -1"#, "batch_max"),
            (r#", "request_timeout_ms": 1.5"#, "request_timeout_ms"),
            (r#", "election_timeout_ms": [5]"#, "election_timeout_ms"),
            (r#", "batch_max": 0"#, "batch_max"),
            (r#", "snapshot_every": 0"#, "snapshot_every"),
            (r#", "snapshot_every": 1048577"#, "snapshot_every"),
            (r#", "snapshot_every": 65537, "store_max_mib": 64"#, "snapshot_every: must be at most 65536"),
            (r#", "tail": -1"#, "tail"),
            (r#", "tail": 1048577"#, "tail"),
            (r#", "cluster": """#, "cluster"),
            (r#", "election_timeout_ms": [5, 5]"#, "election_timeout_ms"),
            (r#", "election_timeout_ms": [50, 90]"#, "election"),
            (r#", "resend_ms": 0"#, "resend_ms"),
            (r#", "request_timeout_ms": 0"#, "request_timeout_ms"),
            (r#", "request_timeout_ms": 600001"#, "between 1 and 600000"),
            (r#", "connections_max": 0"#, "connections_max"),
            (r#", "session_timeout_ms": -1"#, "session_timeout_ms"),
            (r#", "tombstones_max": null"#, "tombstones_max"),
            (r#", "store_max_mib": 0"#, "store_max_mib"),
            (r#", "store_max_mib": 4194305"#, "between 1 and 4194304"),
            (r#", "transport": "ip""#, "transport"),
        ] {
            let why = refused(&object(ORIGINAL, fields));
            assert!(why.contains(name), "{fields}: {why}");
        }
        let changed = |from: &str, to: &str| refused(&ORIGINAL.replace(from, to));
        assert!(changed("localhost:4001", "localhost:3000").contains("nodes[1].store"));
        assert!(changed("data/acceptor1", "data/acceptor0").contains("nodes[1].data"));
        assert!(changed("localhost:3001", "localhost").contains("nodes[1].rpc"));
        assert!(changed("localhost:3001", ":3001").contains("nodes[1].rpc"));
        let missing = changed("\"rpc\": \"localhost:3001\",", "");
        assert!(missing.contains("nodes[1]") && missing.contains("`rpc`"), "{missing}");
        let unknown = changed("\"rpc\": \"localhost:3001\"", "\"rcp\": \"localhost:3001\"");
        assert!(unknown.contains("nodes[1]") && unknown.contains("`rcp`"), "{unknown}");
        assert!(changed("\"localhost:3001\"", "3001").contains("nodes[1].rpc"));
        let array = r#"[{"data": "a", "rpc": "b:1", "store": "b:2"}, ["d", "b:3", "b:4"]]"#;
        for text in [array.to_owned(), object(array, "")] {
            let why = refused(&text);
            assert!(why.contains("nodes[1]") && why.contains("expected an object"), "{why}");
        }
        assert!(refused(&format!("{ORIGINAL} x")).contains("trailing"));
        assert!(refused("[]").contains("nodes"));
        assert!(Config::parse(ORIGINAL).unwrap().node(3).unwrap_err().to_string().contains("no node 3"));
        assert!(Config::read(Path::new("does/not/exist")).unwrap_err().to_string().contains("does/not/exist"));
    }
}
