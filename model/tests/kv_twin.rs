//! The key-value store against a twin that keeps everything in plain maps and looks at all of it every time.

use paxos_model::kv::{Answer, Command, Entry, FLOOR_MAX, Kv, Put, Query, Reply, VERSION_MAX, Written};
use paxos_model::machine::StateMachine;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Every key ever written and not collected, with its value and version.
#[derive(Clone, Default)]
struct Twin {
    entries: BTreeMap<String, (String, u64)>,
    floor: u64,
}

impl Twin {
    fn get(&self, key: &str) -> Entry {
        let (val, ver) = self.entries.get(key).cloned().unwrap_or((String::new(), self.floor));
        Entry { key: key.into(), val: val.into(), ver }
    }

    fn write(&mut self, put: &Put) -> Written {
        let present = self.get(&put.key);
        let deletes = put.val.is_empty() && put.ver.is_none();
        let ver = match put.ver {
            Some(ver) => ver,
            None => present.ver + 1,
        };
        if (ver > VERSION_MAX || ver <= present.ver) && !deletes {
            return Written::Conflict(present);
        }
        let ver = ver.min(VERSION_MAX);
        self.entries.insert(put.key.to_string(), (put.val.to_string(), ver));
        Written::Applied(self.get(&put.key))
    }

    fn apply(&mut self, command: &Command) -> Reply {
        match command {
            Command::Write { puts, atomic: false } => Reply::Written(puts.iter().map(|put| self.write(put)).collect()),
            Command::Write { puts, atomic: true } => {
                let mut trial = self.clone();
                let written: Vec<Written> = puts.iter().map(|put| trial.write(put)).collect();
                if written.iter().all(|written| matches!(written, Written::Applied(_))) {
                    *self = trial;
                    return Reply::Written(written);
                }
                Reply::Written(puts.iter().map(|put| Written::Conflict(self.get(&put.key))).collect())
            }
            Command::Collect { keep } => {
                let deleted = self.entries.iter().filter(|(_, (val, _))| val.is_empty());
                let mut deleted: Vec<(u64, String)> = deleted.map(|(key, (_, ver))| (*ver, key.clone())).collect();
                deleted.sort();
                let surplus = (deleted.len() as u64).saturating_sub(*keep);
                for (ver, key) in deleted.into_iter().take(surplus as usize).filter(|(ver, _)| *ver <= FLOOR_MAX) {
                    self.entries.remove(&key);
                    self.floor = self.floor.max(ver);
                }
                Reply::Collected(self.floor)
            }
            Command::RaiseFloor { to } => {
                self.floor = self.floor.max(*to.min(&FLOOR_MAX));
                Reply::Collected(self.floor)
            }
        }
    }

    fn keys(&self, prefix: &str, start: &str, limit: u64) -> Vec<String> {
        let present = self.entries.iter().filter(|(_, (val, _))| !val.is_empty()).map(|(key, _)| key);
        present.filter(|key| key.starts_with(prefix) && key.as_str() >= start).take(limit as usize).cloned().collect()
    }
}

/// Few keys, some of them prefixes of others, so that they meet.
fn key() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["", "a", "aa", "ab", "b", "ba", "é", "\u{10ffff}"]).prop_map(String::from)
}

fn version() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        6 => Just(None),
        6 => (0..12u64).prop_map(Some),
        1 => (VERSION_MAX - 2..=VERSION_MAX + 1).prop_map(Some),
        1 => (FLOOR_MAX - 1..=FLOOR_MAX + 1).prop_map(Some),
        1 => Just(Some(u64::MAX)),
    ]
}

fn put() -> impl Strategy<Value = Put> {
    let val = proptest::sample::select(vec!["", "x", "y"]);
    (key(), val, version()).prop_map(|(key, val, ver)| Put { key: key.into(), val: val.into(), ver })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        5 => (proptest::collection::vec(put(), 0..4), any::<bool>()).prop_map(|(puts, atomic)| Command::Write { puts, atomic }),
        1 => (0..4u64).prop_map(|keep| Command::Collect { keep }),
        1 => prop_oneof![0..4u64, FLOOR_MAX - 1..=VERSION_MAX].prop_map(|to| Command::RaiseFloor { to }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_its_twin_does(
        commands in proptest::collection::vec(command(), 0..40),
        queries in proptest::collection::vec((key(), key(), 0..10u64), 1..6),
    ) {
        let (mut kv, mut twin) = (Kv::default(), Twin::default());
        for command in &commands {
            let floor = kv.floor();
            prop_assert_eq!(kv.apply(command), twin.apply(command), "{:?}", command);
            prop_assert_eq!(kv.floor(), twin.floor);
            prop_assert!(kv.floor() >= floor && kv.floor() <= FLOOR_MAX);
            for (key, start, limit) in &queries {
                prop_assert_eq!(kv.query(&Query::Get(key.as_str().into())), Answer::Entry(twin.get(key)));
                let query = Query::Keys { prefix: key.as_str().into(), start: start.as_str().into(), limit: *limit };
                let keys = twin.keys(key, start, *limit).into_iter().map(Into::into).collect();
                prop_assert_eq!(kv.query(&query), Answer::Keys(keys), "{:?}", query);
            }
        }
    }

    #[test]
    fn equal_commands_give_equal_stores(commands in proptest::collection::vec(command(), 0..40)) {
        let (mut one, mut other) = (Kv::default(), Kv::default());
        for command in &commands {
            prop_assert_eq!(one.apply(command), other.apply(command));
        }
        prop_assert_eq!(one, other);
    }
}

#[test]
fn no_version_is_above_the_highest() {
    let mut kv = Kv::default();
    let mut write = |val: &str, ver| {
        let puts = vec![Put { key: "k".into(), val: val.into(), ver }];
        kv.apply(&Command::Write { puts, atomic: false })
    };
    let highest = |val: &str| Entry { key: "k".into(), val: val.into(), ver: VERSION_MAX };
    let applied = |val| Reply::Written(vec![Written::Applied(highest(val))]);
    let conflict = |val| Reply::Written(vec![Written::Conflict(highest(val))]);
    assert!(matches!(write("v", Some(VERSION_MAX + 1)), Reply::Written(w) if matches!(w[..], [Written::Conflict(_)])));
    assert_eq!(write("v", Some(VERSION_MAX)), applied("v"));
    assert_eq!(write("w", None), conflict("v"));
    assert_eq!(write("", Some(VERSION_MAX)), conflict("v"));
    assert_eq!(write("", None), applied(""), "but it can be deleted");
    assert_eq!(write("w", None), conflict(""));
    assert_eq!(kv.apply(&Command::Collect { keep: 0 }), Reply::Collected(0), "a floor there would let nobody write");
}
