//! Clients that write without a pause and remember what was acknowledged, and the judgement of what is left of it.

use super::{Cluster, until};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Scope;

/// What clients of one name wrote, and what came of it.
///
/// Each client has keys of its own, which it writes without a version, one write at a time: so each write that is applied raises
/// its key's version by one, and the version tells how many were applied.
pub(crate) struct Load {
    name: String,
    stop: AtomicBool,
    clients: AtomicUsize,
    done: AtomicUsize,
    keys: Mutex<BTreeMap<String, Written>>,
}

/// The writes to one key.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    /// Acknowledged.
    done: u64,
    /// Neither acknowledged nor refused: applied once or not at all.
    unknown: u64,
    /// The version that was acknowledged last.
    ver: u64,
    /// The number that was acknowledged last, which is what was written.
    number: u64,
}

impl Load {
    pub(crate) fn new(name: &str) -> Load {
        Load {
            name: name.into(),
            stop: AtomicBool::new(false),
            clients: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            keys: Mutex::default(),
        }
    }

    /// Starts `count` clients, each of which goes from node to node when one does not serve it.
    pub(crate) fn begin<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        cluster: &'scope Cluster,
        count: usize,
    ) {
        self.stop.store(false, Ordering::Relaxed);
        for _ in 0..count {
            let client = self.clients.fetch_add(1, Ordering::Relaxed);
            scope.spawn(move || self.write(cluster, client));
        }
    }

    fn write(&self, cluster: &Cluster, client: usize) {
        let key = format!("{}-{client}", self.name);
        let path = format!("/kvstore/{key}?timeout_ms=1000");
        let mut written = Written::default();
        let mut node = client;
        let mut number = 0;
        while !self.stop.load(Ordering::Relaxed) {
            number += 1;
            let body = json!({"val": number.to_string()});
            match cluster.ask(node % cluster.stores.len(), "PUT", &path, Some(body)) {
                Some(answer) if answer.status == 200 => {
                    let ver = answer.body["ver"].as_u64().expect("a version");
                    let (least, most) = (written.done + 1, written.done + written.unknown + 1);
                    assert!(
                        (least..=most).contains(&ver) && ver > written.ver,
                        "{key}: version {ver} after {written:?}"
                    );
                    written.done += 1;
                    written.ver = ver;
                    written.number = number;
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                Some(answer) => {
                    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
                    written.unknown += u64::from(answer.status == 504);
                    node += 1;
                }
                None => {
                    written.unknown += 1;
                    node += 1;
                }
            }
        }
        self.keys.lock().expect("no client failed").insert(key, written);
    }

    /// Tells the clients to end after their present write.
    pub(crate) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// How many writes were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Asserts that, as `node` has it, everything acknowledged is there, and nothing was applied twice.
    pub(crate) fn judge(&self, cluster: &Cluster, node: usize) {
        for (key, written) in self.keys.lock().expect("no client failed").iter() {
            let read = until("a read", || cluster.get(node, key).filter(|answer| answer.status == 200));
            let ver = read.body["ver"].as_u64().expect("a version");
            let most = written.done + written.unknown;
            assert!(ver >= written.ver, "{key}: an acknowledged write is lost: version {ver}, {written:?}");
            assert!((written.done..=most).contains(&ver), "{key}: applied {ver} times, {written:?}");
            // A write whose outcome is unknown may be applied after a later one.
            let val = read.body["val"].as_str().expect("a value");
            let last = if written.done == 0 { String::new() } else { written.number.to_string() };
            assert!(ver > written.ver || val == last, "{key}: another value: {val}, {written:?}");
        }
    }
}
