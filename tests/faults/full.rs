//! A store without room: its node goes on reading, its cluster goes on, values are refused before it comes to that, and nothing that
//! was acknowledged is lost.

use crate::network::{Network, Node, answered, get, put, quick, until, version};
use crate::store::{Control, Full, GateStore};
use paxos::node::Answered;
use paxos::storage::Usage;
use paxos::storage::disk::DiskStore;
use paxos::{Outcome, Request};
use paxos_model::replica::Options;
use paxos_model::replica::message::Refusal;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// Deletes `key` until that is done; returns the version.
fn delete(node: &Node, key: &str) -> u64 {
    until("a delete", || version(&node.answer(put(key, ""), 1000)))
}

fn is_full(node: &Node) -> bool {
    node.handle.status().borrow().full
}

/// One of three has no room, whether it leads or not.
fn one_of_three_is_full(leader: bool) {
    let nodes = Network::default().cluster(3);
    assert_eq!(nodes[0].put("k", "1"), 1);
    let led: usize = until("a leader", || nodes[0].handle.status().borrow().leader).into();
    let full = if leader { led } else { (led + 1) % 3 };
    let (full, other) = (&nodes[full], &nodes[(full + 1) % 3]);
    full.control.set_full(Some(Full::Log));
    for ver in 2..=5 {
        assert_eq!(other.put("k", &ver.to_string()), ver, "the cluster goes on");
    }
    until("it to be full", || is_full(full).then_some(()));
    assert_eq!(full.read("k"), ("5".into(), 5), "it reads what it cannot store");
    assert_eq!(full.answer(put("k", "6"), 1000), Answered::Full);
    assert_eq!(delete(full, "k"), 6, "the others store it");
    full.control.set_full(None);
    assert_eq!(until("room", || version(&full.answer(put("k", "7"), 1000))), 7);
    until("its store to have it all", || {
        // What it learned without storing it is stored with its next vote.
        other.put("beside", "x");
        full.control.committed().filter(|value| value.decided > 6 && value.snapshot.applied >= 4)
    });
    for node in nodes {
        node.stop().expect("it ends well");
    }
}

#[test]
fn a_full_follower_reads_on_and_the_cluster_goes_on() {
    one_of_three_is_full(false);
}

#[test]
fn a_full_leader_reads_on_and_the_cluster_goes_on() {
    one_of_three_is_full(true);
}

#[test]
fn a_node_alone_loses_nothing_when_it_is_full_and_writes_again_when_it_is_not() {
    let store = GateStore::new(0);
    let node = Network::default().start(0, 1, quick(), store);
    assert_eq!(node.put("k", "a"), 1);
    node.control.set_full(Some(Full::Log));
    // Taken in before the store was found full: it is not known that it is not done, but it is not.
    assert_eq!(version(&node.answer(put("k", "b"), 1000)), None);
    until("it to be full", || is_full(&node).then_some(()));
    assert_eq!(node.answer(put("k", "c"), 1000), Answered::Full);
    node.control.set_full(None);
    assert_eq!(until("room", || version(&node.answer(put("k", "d"), 1000))), 2, "what was dropped was not done");
    assert_eq!(node.read("k"), ("d".into(), 2));
    until("it to say so", || (!is_full(&node)).then_some(()));
    node.stop().expect("it ends well");
}

#[test]
fn a_disk_without_any_room_is_left_alone_until_there_is_some() {
    let nodes = Network::default().cluster(3);
    assert_eq!(nodes[0].put("k", "a"), 1);
    nodes[2].control.set_full(Some(Full::All));
    for ver in 2..=20 {
        assert_eq!(nodes[0].put("k", "b"), ver);
    }
    until("it to be full", || is_full(&nodes[2]).then_some(()));
    let tried = nodes[2].control.begun_now();
    for ver in 21..=40 {
        assert_eq!(nodes[0].put("k", "b"), ver, "the cluster goes on");
    }
    assert!(nodes[2].control.begun_now() <= tried + 2, "it is not tried again and again");
    nodes[2].control.set_full(None);
    assert_eq!(until("room", || version(&nodes[2].answer(put("k", "c"), 1000))), 41);
    for node in nodes {
        node.stop().expect("it ends well");
    }
}

#[test]
fn a_node_that_is_stopped_when_its_full_store_is_due_for_a_look_ends() {
    let node = Network::default().start(0, 1, quick(), GateStore::new(0));
    assert_eq!(node.put("k", "a"), 1);
    node.control.set_full(Some(Full::Log));
    node.control.allow(node.control.begun_now());
    let lost = node.ask(put("k", "b"), 60_000);
    // That there is no room is found by the first commit with the entry; the next, of marks alone, is held for longer than the first pause.
    until("no room", || {
        node.control.allow_one();
        is_full(&node).then_some(())
    });
    assert_eq!(answered(lost), Answered::Interrupted);
    node.control.allow(node.control.done_now());
    until("a commit that is held", || (node.control.begun_now() > node.control.done_now() + 1).then_some(()));
    assert_eq!(node.answer(get("k"), 300), Answered::Interrupted);
    node.handle.stop();
    let refused = Answered::Outcome(Outcome::Refused(Refusal::Deadline));
    until("it to take nothing more in", || (node.answer(get("k"), 20) == refused).then_some(()));
    node.control.allow_all();
    node.stop().expect("it ends well");
}

#[test]
fn values_are_refused_while_there_is_still_room_for_deletes() {
    let store = GateStore::new(0);
    let node = Network::default().start(0, 1, quick(), store);
    assert_eq!(node.put("k", "a"), 1);
    node.control.set_usage(Usage { used: 90, limit: 100 });
    assert_eq!(node.put("k", "b"), 2, "the loop learns it with its next commit");
    assert_eq!(node.answer(put("k", "c"), 1000), Answered::Full);
    assert_eq!(node.read("k"), ("b".into(), 2));
    node.control.set_usage(Usage { used: 89, limit: 100 });
    assert_eq!(delete(&node, "k"), 3);
    assert_eq!(node.put("k", "d"), 4);
    node.stop().expect("it ends well");
}

#[test]
fn a_commit_that_fails_for_another_reason_is_not_tried_again() {
    let store = GateStore::new(0);
    store.control.die_at(2, crate::store::Death::Before);
    let node = Network::default().start(0, 1, quick(), store);
    let answer = node.ask(put("k", "a"), 60_000);
    assert_eq!(answered(answer), Answered::Interrupted);
    let control = node.control.clone();
    let why = node.stop().expect_err("it ends");
    assert!(why.contains("commit failed"), "{why}");
    assert_eq!(control.begun_now(), 2);
}

const MIB: usize = 1 << 20;

fn on_disk(network: &Network, id: usize, count: usize, path: &Path, bytes_max: usize) -> Node {
    with_options(quick(), network, id, count, path, bytes_max)
}

fn with_options(options: Options, network: &Network, id: usize, count: usize, path: &Path, bytes_max: usize) -> Node {
    let store = DiskStore::open(path, "faults", id as u64, bytes_max).expect("the store opens");
    network.start_on(id, count, options, store, Control::default())
}

#[test]
fn a_small_store_on_disk_refuses_values_takes_deletes_and_goes_on_with_more_room() {
    let directory = tempfile::tempdir().unwrap();
    let node = on_disk(&Network::default(), 0, 1, directory.path(), MIB);
    let value = "v".repeat(20_000);
    let mut keys = Vec::new();
    until("it to be nearly full", || {
        let key = format!("k{}", keys.len());
        match node.answer(put(&key, &value), 5000) {
            Answered::Full => Some(()),
            answer => {
                assert_eq!(version(&answer), Some(1), "{answer:?}");
                keys.push(key);
                None
            }
        }
    });
    assert!((30..50).contains(&keys.len()), "{} values of 20,000 bytes", keys.len());
    // Those under way at the limit come on top, and may meet the end of the room.
    for key in &keys[..10] {
        assert_eq!(delete(&node, key), 2);
    }
    assert_eq!(node.read(&keys[10]), (value.clone(), 1));
    node.stop().expect("it ends well");
    let node = on_disk(&Network::default(), 0, 1, directory.path(), 4 * MIB);
    assert_eq!(node.put("more", &value), 1);
    for (place, key) in keys.iter().enumerate() {
        let (val, ver) = node.read(key);
        assert_eq!((val.len(), ver), if place < 10 { (0, 2) } else { (20_000, 1) }, "{key}");
    }
    node.stop().expect("it ends well");
}

#[test]
fn a_small_store_on_disk_among_larger_ones_reads_on_at_its_very_end_and_catches_up_with_more_room() {
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let network = Network::default();
    let size = |id: usize| if id == 2 { MIB } else { 64 * MIB };
    // What a snapshot brings must be saved, so it reads on as long as the others have the log from where it stands.
    let options = Options { tail: 1024, ..quick() };
    let start = |id: usize, size| with_options(options.clone(), &network, id, 3, directories[id].path(), size);
    let nodes: Vec<Node> = (0..3).map(|id| start(id, size(id))).collect();
    let value = "v".repeat(50_000);
    for number in 0..40 {
        assert_eq!(nodes[number % 2].put(&format!("k{number}"), &value), 1, "the cluster goes on");
    }
    until("it to be full", || is_full(&nodes[2]).then_some(()));
    for number in [0, 20, 39] {
        assert_eq!(nodes[2].read(&format!("k{number}")), (value.clone(), 1));
    }
    assert_eq!(nodes[2].answer(put("k", "v"), 1000), Answered::Full);
    let mut nodes = nodes;
    nodes.pop().expect("there are three").stop().expect("it ends well");
    let small = start(2, 64 * MIB);
    assert_eq!(small.read("k39"), (value, 1));
    assert_eq!(small.put("k", "v"), 1);
    nodes.push(small);
    for node in nodes {
        node.stop().expect("it ends well");
    }
}

#[test]
fn requests_that_bring_no_values_are_never_refused_for_want_of_room() {
    let store = GateStore::new(0);
    let node = Network::default().start(0, 1, quick(), store);
    node.control.set_usage(Usage { used: 100, limit: 100 });
    node.put("k", "a");
    let act = paxos_model::replica::message::Act::OpenSession;
    let answer = node.answer(Request::Write { session: None, act }, 5000);
    assert!(matches!(answer, Answered::Outcome(Outcome::Done(_))), "{answer:?}");
    node.stop().expect("it ends well");
}

/// A file system in memory of its own, which ends with this.
struct Disk(tempfile::TempDir);

impl Disk {
    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let status = std::process::Command::new(program).args(arguments).arg(self.0.path()).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

#[test]
fn on_a_full_disk_a_node_reads_on_and_writes_again_when_there_is_room() {
    let disk = Disk(tempfile::tempdir().unwrap());
    if !disk.run("mount", &["-t", "tmpfs", "-o", "size=7m", "tmpfs"]) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no file system can be mounted here");
        return;
    }
    let path = disk.0.path().join("node");
    let value = "v".repeat(20_000);
    let reads_all = |node: &Node, keys: Range<u64>| {
        for key in keys {
            assert_eq!(node.read(&format!("k{key}")), (value.clone(), 1));
        }
    };
    let node = on_disk(&Network::default(), 0, 1, &path, 64 * MIB);
    let mut keys = 0;
    until("it to be full", || match node.answer(put(&format!("k{keys}"), &value), 3000) {
        Answered::Full => Some(()),
        answer => {
            keys += version(&answer).unwrap_or_default();
            None
        }
    });
    assert!(keys > 50, "{keys}");
    reads_all(&node, 0..keys);
    // It looks for room all the while, and finds the little that it keeps.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert_eq!(node.answer(put("more", &value), 3000), Answered::Full, "refused, and not tried");
        assert_eq!(node.read("k0"), (value.clone(), 1));
    }
    // One whose outcome is unknown is done again.
    let deleted = delete(&node, "k0");
    assert!(deleted >= 2 && delete(&node, "k0") > deleted, "deletes are taken");
    assert!(disk.run("mount", &["-o", "remount,size=20m"]));
    assert_eq!(until("room", || version(&node.answer(put("more", "v"), 3000))), 1);
    reads_all(&node, 1..keys);
    node.stop().expect("it ends well");
    let node = on_disk(&Network::default(), 0, 1, &path, 64 * MIB);
    reads_all(&node, 1..keys);
    node.stop().expect("it ends well");
}
