//! What judges must fail: histories that are wrong are refuted, and the judge agrees with its naive twin on random ones.

use super::harness::judge;
use super::harness::judge::history::{Act, Cut, Entry, History, Listing, NEVER, Operation, Outcome, Time};
use super::harness::judge::linearizable::judge as judge_key;
use super::harness::random::Random;
use super::naive::is_linearizable;
use Outcome::{Applied, Refused, Seen, Unknown};

fn of(times: (Time, Time), act: Act, outcome: Outcome) -> Operation {
    Operation { node: 0, begin: times.0, end: times.1, act, outcome }
}

fn put(times: (Time, Time), val: u64, outcome: Outcome) -> Operation {
    of(times, Act::Write { val, ver: None }, outcome)
}

fn put_at(times: (Time, Time), val: u64, ver: u64, outcome: Outcome) -> Operation {
    of(times, Act::Write { val, ver: Some(ver) }, outcome)
}

fn read(times: (Time, Time), val: u64, ver: u64) -> Operation {
    of(times, Act::Read, Seen(Entry { val, ver }))
}

fn local(times: (Time, Time), val: u64, ver: u64) -> Operation {
    of(times, Act::Local, Seen(Entry { val, ver }))
}

fn holds(operations: &[Operation]) {
    assert_eq!(judge_key(operations, false), Ok(()), "{operations:?}");
    assert!(is_linearizable(operations, false), "{operations:?}");
}

fn fails(operations: &[Operation], word: &str) {
    let why = judge_key(operations, false).expect_err("it must fail");
    assert!(why.contains(word), "{why}");
    assert!(!is_linearizable(operations, false), "{operations:?}");
}

#[test]
fn stale_reads_are_refuted() {
    let first = put((0, 1), 1, Applied(1));
    holds(&[first, put((2, 5), 2, Applied(2)), read((3, 4), 1, 1), read((4, 6), 2, 2)]);
    fails(&[first, put((2, 3), 2, Applied(2)), read((4, 5), 1, 1)], "old state");
    fails(&[first, put((2, 9), 2, Applied(2)), read((3, 4), 2, 2), read((5, 6), 1, 1)], "old state");
    fails(&[first, put((2, 9), 2, Unknown), read((3, 4), 2, 2), read((5, 6), 1, 1)], "old state");
    fails(&[first, put((2, 3), 2, Applied(2)), put_at((4, 5), 3, 1, Seen(Entry { val: 1, ver: 1 }))], "old state");
    fails(&[read((0, 1), 2, 1), put((2, 3), 2, Applied(1))], "before its write began");
}

#[test]
fn lost_writes_are_refuted() {
    fails(&[put((0, 1), 1, Applied(1)), read((2, 3), 0, 0)], "old state");
    fails(&[put((0, 1), 1, Applied(1)), put((2, 3), 2, Applied(1))], "has the values");
    fails(&[put((0, 1), 1, Applied(1)), read((2, 3), 0, 2)], "nobody deleted it");
}

#[test]
fn what_is_applied_twice_is_refuted() {
    fails(&[put((0, 1), 1, Applied(1)), put((2, 3), 2, Applied(3))], "applied twice");
    fails(&[put((0, 1), 1, Unknown), put((2, 3), 2, Applied(3))], "applied twice");
    holds(&[put((0, 1), 1, Unknown), put((0, 1), 3, Unknown), put((2, 3), 2, Applied(3))]);
    fails(&[put((0, 1), 1, Unknown), put((5, 6), 3, Unknown), put((2, 3), 2, Applied(3))], "applied twice");
    fails(&[put((0, 9), 1, Unknown), read((2, 3), 1, 1), read((4, 5), 1, 2)], "applied at version 1 and again");
}

#[test]
fn what_is_refused_is_not_done() {
    fails(&[put((0, 1), 1, Refused), read((2, 3), 1, 1)], "nobody wrote");
    fails(&[put((0, 1), 1, Refused), put((2, 3), 2, Applied(2))], "what was refused");
    holds(&[put((0, 1), 1, Refused), put((2, 3), 2, Applied(1))]);
}

#[test]
fn unknown_outcomes_may_come_at_any_time() {
    let late = put((0, NEVER), 1, Unknown);
    holds(&[late, put((1, 2), 2, Applied(1)), read((3, 4), 2, 1)]);
    holds(&[late, put((1, 2), 2, Applied(1)), put((5, 6), 3, Applied(3))]);
    holds(&[late, put((1, 2), 2, Applied(1)), read((3, 4), 1, 2)]);
    fails(&[put_at((0, NEVER), 1, 1, Unknown), put((1, 2), 2, Applied(1)), read((3, 4), 1, 2)], "not written there");
}

#[test]
fn conflicts_show_what_is_there() {
    let first = put_at((0, 1), 1, 5, Applied(5));
    holds(&[first, put_at((2, 3), 2, 5, Seen(Entry { val: 1, ver: 5 }))]);
    fails(&[first, put_at((2, 3), 2, 6, Seen(Entry { val: 1, ver: 5 }))], "no greater");
    fails(&[first, put_at((2, 3), 2, 4, Applied(4))], "old state");
    fails(&[first, put_at((2, 3), 2, 6, Applied(7))], "another version");
}

#[test]
fn the_floor_rises_where_a_key_is_absent_only() {
    let deleted = [put_at((0, 1), 1, 1, Applied(1)), put_at((2, 3), 0, 2, Applied(2))];
    let risen = [deleted[0], deleted[1], read((4, 5), 0, 7), put((6, 7), 2, Applied(8))];
    assert_eq!(judge_key(&risen, true), Ok(()));
    fails(&risen, "nobody deleted it");
    let present = [deleted[0], put((2, 3), 2, Applied(9))];
    assert!(judge_key(&present, true).is_err());
}

#[test]
fn local_reads_may_be_old_but_nothing_else() {
    let writes = [put((0, 1), 1, Applied(1)), put((2, 3), 2, Applied(2))];
    holds(&[writes[0], writes[1], local((4, 5), 1, 1)]);
    fails(&[writes[0], writes[1], local((4, 5), 3, 1)], "has the values");
    fails(&[writes[0], put((4, 5), 2, Applied(2)), local((2, 3), 2, 2)], "before its write began");
    let back = [writes[0], writes[1], local((4, 5), 2, 2), local((6, 7), 1, 1)];
    refuted(&history(&[("k", &back)]), "went back");
    let behind = [writes[0], writes[1], read((4, 5), 2, 2), local((6, 7), 1, 1)];
    refuted(&history(&[("k", &behind)]), "went back");
    // What was answered before a write began is there where that write is.
    let (first, second) = ([writes[0], local((6, 7), 0, 0)], [put((2, 3), 2, Applied(1)), local((4, 5), 2, 1)]);
    refuted(&history(&[("k", &first), ("l", &second)]), "went back");
}

fn history(keys: &[(&str, &[Operation])]) -> History {
    let mut history = History::default();
    for (key, operations) in keys {
        operations.iter().for_each(|operation| history.push(key, *operation));
    }
    history
}

/// Exactly one verdict refutes it.
fn refuted(history: &History, word: &str) {
    let verdicts = judge::judge(history, true);
    let why: Vec<String> = verdicts.into_iter().filter_map(|(_, verdict)| verdict.err()).collect();
    assert!(matches!(why.as_slice(), [why] if why.contains(word)), "{why:?}");
}

#[test]
fn listings_and_backups_that_show_no_one_moment_are_refuted() {
    let written = [put_at((0, 1), 1, 1, Applied(1))];
    let absent = [read((0, 1), 0, 0)];
    let listing = |keys: &[&str]| Listing {
        node: 0,
        begin: 2,
        end: 3,
        prefix: "",
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    let with = |listings: &[Listing], cuts: &[Cut]| {
        let mut history = history(&[("a", &written), ("b", &absent), ("pair-0-a", &written), ("pair-0-b", &written)]);
        history.listings.extend_from_slice(listings);
        history.cuts.extend_from_slice(cuts);
        history
    };
    let good = listing(&["a", "pair-0-a", "pair-0-b"]);
    assert!(judge::judge(&with(&[good], &[]), true).iter().all(|(_, verdict)| verdict.is_ok()));
    refuted(&with(&[listing(&["pair-0-a", "pair-0-b"])], &[]), "a cannot have been absent");
    refuted(&with(&[listing(&["a", "b", "pair-0-a", "pair-0-b"])], &[]), "b cannot have been there");
    refuted(&with(&[listing(&["a", "c", "pair-0-a", "pair-0-b"])], &[]), "nobody wrote it");

    let entry = |val| Entry { val, ver: 1 };
    let cut = |slot, times: (Time, Time), checksum: &str| Cut {
        node: 0,
        begin: times.0,
        end: times.1,
        slot,
        floor: 0,
        entries: ["a", "pair-0-a", "pair-0-b"].map(|key| (key.to_owned(), entry(1))).into(),
        checksum: checksum.into(),
    };
    let cuts = [cut(5, (4, 5), "x"), cut(6, (6, 7), "y")];
    assert!(judge::judge(&with(&[], &cuts), true).iter().all(|(_, verdict)| verdict.is_ok()));
    refuted(&with(&[], &[cut(5, (4, 5), "x"), cut(5, (4, 5), "y")]), "different states");
    refuted(&with(&[], &[cut(6, (4, 5), "x"), cut(5, (6, 7), "y")]), "went back");
    let mut torn = history(&[("pair-0-a", &[put_at((0, 9), 1, 1, Applied(1))]), ("pair-0-b", &[])]);
    torn.cuts.push(Cut { entries: [("pair-0-a".to_owned(), entry(1))].into(), ..cut(5, (4, 5), "x") });
    refuted(&torn, "differ");
}

/// A history that was there, of a few operations, or one that is a little off.
fn random_history(random: &mut Random, floor: bool) -> Vec<Operation> {
    let mut state = Entry { val: 0, ver: 0 };
    let mut operations = Vec::new();
    let count = random.within(2..8);
    for number in 1..=count {
        if floor && state.val == 0 && random.percent(30) {
            state.ver += random.below(3);
        }
        let time = 20 + number * 10;
        let (begin, end) = (time - random.below(25), time + random.below(25));
        let ver = random.percent(50).then(|| (state.ver + random.below(4)).saturating_sub(1));
        let act = match random.below(10) {
            0..3 => Act::Read,
            3 => Act::Local,
            4..6 if ver.is_some() => Act::Write { val: 0, ver },
            _ => Act::Write { val: number, ver },
        };
        let mut outcome = Seen(state);
        if let Act::Write { val, ver } = act {
            if random.percent(15) {
                operations.push(of((begin, end), act, if random.percent(50) { Unknown } else { Refused }));
                continue;
            }
            let made = ver.unwrap_or(state.ver + 1);
            if made > state.ver {
                state = Entry { val, ver: made };
                outcome = Applied(made);
            }
            if random.percent(25) {
                outcome = Unknown;
            }
        }
        operations.push(of((begin, end), act, outcome));
    }
    if random.percent(85) {
        let index = random.below(operations.len() as u64) as usize;
        let other = operations[random.below(operations.len() as u64) as usize];
        let operation = &mut operations[index];
        match (random.below(4), &mut operation.outcome) {
            (0, outcome @ Unknown) => *outcome = Refused,
            (0 | 1, Seen(entry)) => match other.outcome {
                Seen(entry_of_other) => *entry = entry_of_other,
                Applied(ver) => entry.ver = ver,
                _ => entry.ver += 1,
            },
            (1, Applied(ver)) => *ver += 1,
            (2, _) => (operation.begin, operation.end) = (other.begin, other.end),
            _ => (operation.begin, operation.end) = (operation.begin / 2, operation.begin / 2 + random.below(20)),
        }
    }
    operations
}

#[test]
fn the_judge_agrees_with_every_order_tried() {
    let (mut holding, mut failing) = (0, 0);
    for seed in 0..60_000 {
        let mut random = Random::new(seed, 7);
        let floor = random.percent(40);
        let operations = random_history(&mut random, floor);
        let judged = judge_key(&operations, floor);
        let searched = is_linearizable(&operations, floor);
        assert_eq!(judged.is_ok(), searched, "seed {seed}, floor {floor}: {judged:?}\n{operations:#?}");
        *(if searched { &mut holding } else { &mut failing }) += 1;
    }
    assert!(holding > 10_000 && failing > 8_000, "{holding} hold and {failing} fail");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn a_hundred_thousand_operations_are_judged_within_seconds() {
    let mut operations = Vec::new();
    for number in 1..=100_000u64 {
        let times = (number * 10, number * 10 + 35);
        let act =
            if number % 3 == 0 { read(times, number - 1, number - 1) } else { put(times, number, Applied(number)) };
        operations.push(act);
        if number % 3 == 0 {
            operations.push(put((number * 10, NEVER), number, Unknown));
        }
    }
    let begin = std::time::Instant::now();
    let verdicts = judge::judge(&history(&[("k", &operations)]), true);
    assert!(verdicts.iter().all(|(_, verdict)| verdict.is_ok()), "{verdicts:?}");
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
}
