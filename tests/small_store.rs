//! Stores that are small for what is written, though little of it lives: they go on for as long as the clients do.

mod support;

use serde_json::{Value, json};
use support::{Cluster, until};

fn is_full(cluster: &Cluster, node: usize) -> bool {
    until("a status", || cluster.status(node)?["full"].as_bool())
}

/// Clients that write large values to a few keys over and over. Returns how many writes were refused on the way, and sent again.
fn rewritten(cluster: &Cluster, clients: usize, writes: usize) -> usize {
    let value = "v".repeat(1 << 20);
    let client = |client: usize| {
        let mut refused = 0;
        let (key, mut node) = (format!("{client}"), client);
        for _ in 0..writes / clients {
            until("a write", || {
                let told = cluster.put(node % cluster.stores.len(), &key, &value, None)?;
                node += 1;
                refused += usize::from(told.status == 503);
                (told.status == 200).then_some(())
            });
        }
        refused
    };
    let refused: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(number))).collect();
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    });
    for client in 0..clients {
        let read = until("a read", || cluster.get(0, &format!("{client}")).filter(|told| told.status == 200));
        assert!(read.body["ver"].as_u64() >= Some((writes / clients) as u64), "{}", read.body["ver"]);
    }
    refused
}

fn goes_on(nodes: usize, clients: usize, writes: usize, store_max_mib: u64) {
    let cluster = Cluster::started(nodes, &[("store_max_mib", json!(store_max_mib))]);
    until("a leader", || cluster.ask(0, "GET", "/readyz", None).filter(|answer| answer.status == 200));
    let refused = rewritten(&cluster, clients, writes);
    let status: Vec<Value> = (0..nodes).map(|node| until("a status", || cluster.status(node))).collect();
    assert!(refused > 0 && status.iter().all(|status| status["snapshot"].as_u64() > Some(0)), "{refused} {status:?}");
    for status in &status {
        let bytes = status["sizes"]["store_bytes"].as_u64();
        assert!(bytes < Some(3 * (store_max_mib << 20)), "{bytes:?} on the disk");
    }
    until("room at every node", || (0..nodes).all(|node| !is_full(&cluster, node)).then_some(()));
}

#[test]
fn a_node_alone_writes_on_with_its_store_filled_many_times_over() {
    goes_on(1, 1, 200, 32);
}

#[test]
fn a_cluster_writes_on_with_its_stores_filled_many_times_over() {
    goes_on(3, 4, 240, 48);
}

/// What lives is the keys, as many answers that the nodes' sessions keep, and the tail: some 30 MiB.
#[test]
fn more_under_way_than_fits_is_refused_and_done_later() {
    goes_on(3, 12, 72, 48);
}
