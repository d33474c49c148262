//! Backup and restore with the built programs: what a backup shows of a moment, what a restore brings back, and what either refuses.

#![allow(clippy::disallowed_types, reason = "some who read a backup only begin to")]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Cluster, kv, until};

const MANY: u64 = 3000;

/// Sends entries as a restore does.
fn write_entries(cluster: &Cluster, entries: &[Value]) {
    for part in entries.chunks(32) {
        let body = json!({"entries": part});
        let told = until("a write", || {
            cluster.ask(0, "POST", "/restore", Some(body.clone())).filter(|told| told.status == 200)
        });
        assert_eq!(told.body["restored"], part.len(), "{told:?}");
    }
}

/// The lines of a backup.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("a backup");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Its entries, without the first line and the last.
fn entries(file: &Path) -> Vec<Value> {
    let lines = lines(file);
    lines[1..lines.len() - 1].to_vec()
}

fn path(file: &Path) -> &str {
    file.to_str().expect("it is text")
}

/// Makes a backup, and returns its entries.
fn backup(cluster: &Cluster, file: &Path) -> Vec<Value> {
    let (status, _, err) = kv(&cluster.stores, &["backup", "--force", path(file)]);
    assert_eq!((status, err.as_str()), (0, ""));
    entries(file)
}

/// Does `restore`, which must fail with `status` and say `why`.
fn refused(cluster: &Cluster, arguments: &[&str], status: i32, why: &str) {
    let (found, out, err) = kv(&cluster.stores, &[&["restore"], arguments].concat());
    assert!(found == status && out.is_empty() && err.contains(why), "{found} {out} {err}: not {why:?}");
}

/// Many keys, deleted ones among them, and a floor.
fn fill(cluster: &Cluster) {
    let entry =
        |number: u64, val: String, ver: u64| json!({"key": format!("key \"{number}\""), "val": val, "ver": ver});
    let written: Vec<Value> = (0..MANY).map(|number| entry(number, format!("val {number}"), number + 1)).collect();
    write_entries(cluster, &written);
    let deleted: Vec<Value> = (0..MANY).step_by(10).map(|number| entry(number, String::new(), 5000 + number)).collect();
    write_entries(cluster, &deleted);
    until("the lowest deleted keys to be forgotten", || {
        (cluster.status(0)?["sizes"]["tombstones"].as_u64()? == 100).then_some(())
    });
}

#[test]
fn a_restored_backup_answers_as_the_original_does() {
    let from = Cluster::started(3, &[("tombstones_max", json!(100)), ("cluster", json!("from"))]);
    fill(&from);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let (status, out, err) = kv(&["127.0.0.1:1".into(), from.stores[2].clone()], &["backup", path(&file)]);
    assert_eq!((status, err.as_str()), (0, ""), "the second endpoint is asked");
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let there = lines(&file);
    let (head, end) = (&there[0], &there[there.len() - 1]);
    assert_eq!((&head["format"], &head["cluster"]), (&json!(1), &json!("from")));
    assert_eq!(told, json!({"cluster": "from", "slot": head["slot"], "entries": end["entries"]}));
    assert_eq!(entries(&file).len() as u64, MANY - 200);
    assert_eq!(head["floor"], 5000 + 1990);

    let before = fs::read(&file).expect("a backup");
    let (status, _, err) = kv(&from.stores, &["backup", path(&file)]);
    assert!(status == 1 && err.contains("--force"), "{status} {err}");
    assert_eq!(fs::read(&file).expect("a backup"), before);
    let (status, _, err) = kv(&["127.0.0.1:1".into()], &["backup", "--force", path(&file)]);
    assert!(status == 1 && !err.is_empty(), "{status} {err}");
    assert_eq!(fs::read(&file).expect("a backup"), before, "what is there stays if there is nothing to take its place");
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1, "nothing is left beside it");

    let to = Cluster::started(3, &[("cluster", json!("to"))]);
    let bad = directory.path().join("bad");
    for (what, bytes) in [
        ("no first line", Vec::new()),
        ("truncated", before[..before.len() - 1].to_vec()),
        ("truncated", before[..before.len() / 2].to_vec()),
        ("damaged", String::from_utf8(before.clone()).expect("text").replacen("val 77", "val 78", 1).into_bytes()),
        ("damaged", [&before[..], b"{}\n"].concat()),
    ] {
        fs::write(&bad, bytes).expect("it can be written");
        refused(&to, &[path(&bad)], 1, what);
        refused(&to, &["--resume", path(&bad)], 1, what);
    }
    refused(&to, &[path(&directory.path().join("none"))], 1, "cannot be read");
    refused(&from, &[path(&file)], 1, "not empty");
    assert!(backup(&to, &bad).is_empty(), "nothing was written");

    // A restore that was interrupted.
    write_entries(
        &to,
        &entries(&file).iter().filter(|entry| entry["val"] != "").take(700).cloned().collect::<Vec<_>>(),
    );
    refused(&to, &[path(&file)], 1, "not empty");
    let (status, out, err) = kv(&to.stores, &["restore", "--resume", path(&file)]);
    assert_eq!((status, err.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&out).expect("JSON");
    let floor = &head["floor"];
    assert_eq!(told, json!({"cluster": "from", "restored": MANY - 900, "present": 700, "floor": floor}));

    assert_eq!(backup(&to, &bad), entries(&file));
    for key in ["absent", "key%20%220%22", "key%20%2217%22", "key%20%222990%22"] {
        let answers = [&from, &to].map(|cluster| until("an entry", || cluster.get(1, key)));
        assert_eq!(answers[0], answers[1]);
        assert_eq!(answers[0].status, 200);
    }
    assert_eq!(to.get(0, "absent").expect("an answer").body["ver"], *floor);

    // A key that is not as it was cannot be passed over.
    assert_eq!(to.put(0, "key%20%2217%22", "other", None).expect("an answer").status, 200);
    let (status, out, _) = kv(&to.stores, &["restore", "--resume", path(&file)]);
    assert!(status == 3 && out.contains("other"), "{status} {out}");
}

#[test]
fn a_backup_shows_one_moment_while_others_write() {
    let mut cluster = Cluster::started(3, &[]);
    write_entries(
        &cluster,
        &(0..MANY).map(|number| json!({"key": format!("m{number}"), "val": "v", "ver": 1})).collect::<Vec<_>>(),
    );
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let directory = tempfile::tempdir().expect("a directory");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1u64.. {
                // One after the other, and far from each other in the order of keys.
                for key in ["z", "a"] {
                    let node = number as usize % 3;
                    until("a write", || {
                        let told = cluster.put(node, key, &number.to_string(), Some(number))?;
                        matches!(told.status, 200 | 409).then_some(())
                    });
                }
                done.store(number, Ordering::Relaxed);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        for round in 0..12 {
            let before = done.load(Ordering::Relaxed);
            let file = directory.path().join(format!("{round}"));
            let (status, _, err) = kv(&cluster.stores[round % 3..=round % 3], &["backup", path(&file)]);
            assert_eq!((status, err.as_str()), (0, ""));
            let entries = entries(&file);
            let ver = |key| entries.iter().find(|entry| entry["key"] == key).and_then(|entry| entry["ver"].as_u64());
            let (first, second) = (ver("z").unwrap_or(0), ver("a").unwrap_or(0));
            assert!(first == second || first == second + 1, "{first} was written before {second}");
            assert!(second >= before, "{before} was acknowledged before the backup, which has {second}");
        }
        assert!(done.load(Ordering::Relaxed) > 0);
        stop.store(true, Ordering::Relaxed);
    });
    // A node that hears no quorum cannot tell whether what it has is current.
    cluster.kill(1);
    cluster.kill(2);
    let (status, _, err) =
        kv(&cluster.stores[..1], &["--timeout-ms=500", "backup", "--force", path(&directory.path().join("0"))]);
    assert!(status == 1 && err.contains("no leader"), "{status} {err}");
}

/// A node that answers with these bytes, of more, and breaks off.
fn breaks_off(bytes: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answer = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7fffffff\r\n", bytes].concat();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a connection");
        assert!(client.read(&mut [0; 1024]).expect("a request") > 0);
        let _ = client.write_all(&answer);
    });
    address
}

#[test]
fn who_reads_a_backup_slowly_holds_up_nobody_but_further_backups() {
    let mut from = Cluster::started(1, &[]);
    let large =
        |number: usize| json!([{"key": format!("{number}"), "val": number.to_string().repeat(1 << 19), "ver": 7}]);
    for number in 10..40 {
        let body = json!({"entries": large(number)});
        until("a write", || from.ask(0, "POST", "/restore", Some(body.clone())).filter(|told| told.status == 200));
    }
    let address = from.stores[0].clone();
    let begin = || {
        let mut stream = TcpStream::connect(&address).expect("it listens");
        stream.write_all(b"GET /backup HTTP/1.1\r\nhost: x\r\n\r\n").expect("it is taken");
        let mut line = String::new();
        let mut reader = BufReader::new(stream);
        reader.read_line(&mut line).expect("an answer");
        (line, reader)
    };
    let slow = [begin(), begin()];
    assert!(slow.iter().all(|(line, _)| line.contains("200")), "{slow:?}");
    assert!(begin().0.contains("503"));
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let (status, _, err) = kv(&from.stores, &["backup", path(&file)]);
    assert!(status == 1 && err.contains("as many as there may be") && !file.exists(), "{status} {err}");
    for number in 8u64..40 {
        assert_eq!(from.put(0, "10", "short", Some(number)).expect("an answer").status, 200);
    }
    drop(slow);
    until("a place", || (kv(&from.stores, &["backup", path(&file)]).0 == 0).then_some(()));

    // What broke off is no backup.
    let part = fs::read(&file).expect("a backup");
    for length in [0, 40, part.len() / 2] {
        let (status, _, err) = kv(&[breaks_off(&part[..length])], &["backup", "--force", path(&file)]);
        assert!(status == 1 && !err.is_empty(), "{status} {err}");
        assert_eq!(fs::read(&file).expect("a backup"), part);
    }

    // Values of the greatest length come back too.
    let to = Cluster::started(1, &[]);
    let (status, _, err) = kv(&to.stores, &["restore", path(&file)]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(backup(&to, &directory.path().join("again")), entries(&file));

    let slow = begin();
    assert!(slow.0.contains("200"), "{slow:?}");
    assert!(from.terminate(0).success(), "a node that is to stop does not wait for a reader");
    drop(slow);
}

#[test]
fn a_restore_takes_only_what_a_store_can_have() {
    let cluster = Cluster::started(1, &[]);
    let restore = |body: Value| until("an answer", || cluster.ask(0, "POST", "/restore", Some(body.clone())));
    let entry = |key: &str, val: &str, ver: u64| json!({"key": key, "val": val, "ver": ver});
    for bad in [
        json!({}),
        json!({"entries": [entry("", "v", 1)]}),
        json!({"entries": [entry(&"k".repeat(512), "v", 1)]}),
        json!({"entries": [entry("k", "v", 0)]}),
        json!({"entries": [entry("k", "v", 1 << 53)]}),
        json!({"entries": [entry("k", &"v".repeat((1 << 20) + 1), 1)]}),
        json!({"floor": -1}),
        json!({"floor": (1u64 << 52)}),
        json!({"floor": u64::MAX}),
        json!([]),
        json!({"entries": [["k", "v", 100]]}),
        json!({"entries": [entry("l", "v", 1), {"key": "k", "val": "v", "ver": 1, "version": 2}]}),
        json!({"entries": [{"key": "k", "val": "v"}]}),
        json!({"entries": [entry("k", "v", 1)], "floor": 1}),
    ] {
        let told = restore(bad.clone());
        assert!(told.status == 400 && told.body["error"].is_string(), "{bad:.80}: {told:?}");
    }
    for key in ["k", "l"] {
        assert_eq!(until("an answer", || cluster.get(0, key)).body["ver"], 0, "nothing of it was done");
    }
    let large = "v".repeat(1 << 19);
    let three: Vec<Value> = ["a", "b", "c"].map(|key| entry(key, &large, 1)).to_vec();
    assert_eq!(restore(json!({"entries": three})).status, 413);
    assert_eq!(restore(json!({"entries": []})).status, 200);
    until("a write", || cluster.put(0, "k", "v", Some(5)).filter(|told| told.status == 200));
    assert_eq!(restore(json!({"entries": [entry("k", "v", 5)]})).body, json!({"restored": 0, "present": 1}));
    assert_eq!(restore(json!({"entries": [entry("k", "w", 5), entry("l", "", 3)]})).status, 409);
    assert_eq!(restore(json!({"entries": [entry("l", "", 2)]})).body["present"], 1, "it is deleted already");
    assert_eq!(restore(json!({"floor": 9})).body, json!({"floor": 9}));
    assert_eq!(restore(json!({"floor": 3})).body, json!({"floor": 9}));
    let highest = (1u64 << 52) - 1;
    assert_eq!(restore(json!({"floor": highest})).body, json!({"floor": highest}));
    let above = restore(json!({"floor": highest + 1}));
    assert!(above.body["error"].as_str().is_some_and(|why| why.contains(&highest.to_string())), "{above:?}");
}
