//! The schedule itself: it is fair, it passes where it must, and it fails where nothing could be served.

use super::*;
use paxos_model::replica::Options;
use paxos_model::replica::configuration::Configuration;
use paxos_model::trace::{Step, step};

fn start(count: usize) -> (Memo, BTreeMap<Id, Frozen>) {
    let replica = Replica::new(Configuration::of_voters(count), Options::default());
    let memo = Memo::of(vec![replica.clone(); count]);
    let frozen = (0..count).map(|node| {
        let Step { state, outputs } = step(&replica, node.into(), None, &None, &Input::Start);
        let timers = outputs.iter().filter_map(|output| match output {
            Command::SetTimer(timer, _) => Some(timer.clone()),
            _ => None,
        });
        (Id::from(node), Frozen::new(&memo, state.expect("started"), timers.collect()))
    });
    let frozen = frozen.collect();
    (memo, frozen)
}

fn every_first(count: usize, links: &Links) {
    let (memo, frozen) = start(count);
    for first in 0..count {
        if let Some(why) = tell(&memo, &frozen, links, first) {
            panic!("{why}");
        }
        assert_eq!(check(&memo, &frozen, links, first), Ok(()));
    }
}

#[test]
fn a_leader_emerges_under_every_partial_partition_of_three() {
    for links in Links::every(3) {
        every_first(3, &links);
    }
}

#[test]
fn a_leader_emerges_in_star_and_chain_of_five() {
    every_first(5, &Links::among(&[0, 1, 2, 3, 4]));
    for center in 0..5 {
        every_first(5, &Links::star(center, 5));
    }
    every_first(5, &Links::chain(&[0, 1, 2, 3, 4]));
}

#[test]
fn one_replica_serves_itself() {
    every_first(1, &Links::among(&[0]));
}

#[test]
fn every_timer_fires_when_it_is_due_and_every_message_over_a_link_that_is_up_arrives_in_its_round() {
    let (memo, frozen) = start(3);
    let links = Links::directed([(0, 1), (1, 0), (2, 1)]);
    for first in 0..3 {
        let mut run = Running::new(&memo, &frozen, &links, first);
        run.taken = Some(Vec::new());
        let mut rounds = 0;
        let watch = |run: &Running<'_>| {
            assert!(run.network.is_empty(), "no message is left at the end of a round");
            assert!(run.due.values().all(|at| *at >= run.round), "no timer that was due is left");
            for id in run.nodes.keys() {
                assert!(run.due.contains_key(&(*id, Timer::Election)) && run.due.contains_key(&(*id, Timer::Resend)));
            }
            rounds += 1;
        };
        assert_eq!(run.guarded(watch), Ok(()));
        assert!(rounds > ELECTION_ROUNDS);
        let taken = run.taken.expect("set above");
        for (round, id) in (1..run.round).flat_map(|round| [0, 1, 2].map(|id| (round, Id::from(id)))) {
            let resends = taken.iter().filter(|step| **step == (round, id, Input::Timeout(Timer::Resend)));
            assert_eq!(resends.count(), 1, "{id:?} in round {round}");
        }
        let elections = taken.iter().filter(|(_, _, input)| *input == Input::Timeout(Timer::Election));
        let (_, earliest, _) = elections.min_by_key(|(round, ..)| *round).expect("somebody wants to lead");
        assert_eq!(usize::from(*earliest), first);
        let heard: BTreeSet<(usize, usize)> = taken
            .iter()
            .filter_map(|(_, dst, input)| match input {
                Input::Deliver { src, .. } if usize::from(*src) < 3 && src != dst => {
                    Some((usize::from(*src), usize::from(*dst)))
                }
                _ => None,
            })
            .collect();
        assert_eq!(Links::directed(heard), links, "what is up is used, and nothing else");
    }
}

#[test]
fn what_other_schedules_came_to_changes_no_verdict() {
    let (memo, frozen) = start(3);
    let everywhere = Links::among(&[0, 1, 2]);
    let mut moments = vec![frozen.clone()];
    let mut run = Running::new(&memo, &frozen, &everywhere, 0);
    let watch = |run: &Running<'_>| {
        let timers = |id: Id| run.due.keys().filter(move |(of, _)| *of == id).map(|(_, timer)| timer.clone());
        let freeze = |(id, state): (Id, &State<Audit>)| (id, Frozen::new(&memo, state.clone(), timers(id).collect()));
        moments.push(run.nodes().map(freeze).collect());
    };
    assert_eq!(run.guarded(watch), Ok(()));
    // With and without a quorum: every way to have up to two links both ways, and one more.
    let pairs = [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1)];
    let links: Vec<_> = (0..1 << pairs.len())
        .map(|bits: usize| Links::directed((0..).zip(pairs).filter(|(i, _)| bits >> i & 1 == 1).map(|(_, pair)| pair)))
        .collect();
    let (mut passed, mut failed) = (0, 0);
    for (moment, links) in moments.iter().flat_map(|moment| links.iter().map(move |links| (moment, links))) {
        for first in 0..3 {
            let fresh = Memo::of(memo.replicas().to_vec());
            let copied = |(id, node): (&Id, &Frozen)| {
                (*id, Frozen::new(&fresh, memo.state(node.state).clone(), node.timers.clone()))
            };
            let alone = check(&fresh, &moment.iter().map(copied).collect(), links, first);
            assert_eq!(check(&memo, moment, links, first), alone, "{links:?}, {first} first");
            if alone.is_ok() { passed += 1 } else { failed += 1 }
        }
    }
    assert!(passed > 100 && failed > 100, "{passed} passed, {failed} failed");
}

#[test]
fn a_situation_passes_with_as_many_rounds_as_were_left_or_more() {
    let (memo, frozen) = start(3);
    let links = Links::among(&[0, 1, 2]);
    let situation = |first: usize| Running::new(&memo, &frozen, &links, first).situation();
    let passes = |first: usize| (0..10).find(|left| memo.passes(&situation(first), *left));
    assert_eq!(passes(0), None);
    memo.pass(vec![(situation(0), 5), (situation(1), 7)]);
    memo.pass(vec![(situation(0), 6), (situation(1), 4)]);
    assert_eq!([0, 1, 2].map(passes), [Some(5), Some(4), None]);
}

#[test]
fn without_a_quorum_the_schedule_says_so() {
    let (memo, frozen) = start(3);
    let alone: BTreeMap<Id, Frozen> = frozen.clone().into_iter().take(1).collect();
    for (frozen, links) in [
        (&frozen, Links::among(&[])),
        (&alone, Links::among(&[0])),
        (&frozen, Links::directed([(0, 1), (1, 2), (2, 0)])),
    ] {
        let why = check(&memo, frozen, &links, 0).expect_err("there is no quorum");
        assert!(why.starts_with("there is no leader"), "{why}");
    }
}

#[test]
fn a_failure_is_told_with_what_the_nodes_were_doing() {
    let (memo, frozen) = start(3);
    let links = Links::directed([(0, 1), (1, 2)]);
    let told = tell(&memo, &frozen, &links, 1).expect("there is no quorum both ways");
    let parts = [
        "Links that are up: 0>1 1>2; node 1 times out first: there is no leader after 50 rounds.",
        "round 4: node 1 asks for 1.1",
        "At the end, after round 50:\n  node 0 ",
        "1 writes and 1 reads wait",
    ];
    for part in parts {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_panic_in_the_schedule_is_a_failure() {
    let (memo, mut frozen) = start(3);
    let node = frozen.get_mut(&Id::from(1)).expect("it started");
    let mut broken = memo.state(node.state).clone();
    // A slot that is decided and not applied: the next one can't be applied in order.
    let durable = std::sync::Arc::make_mut(&mut broken.durable);
    durable.decided = 1;
    durable.log.insert(0, paxos_model::replica::message::Entry::Noop);
    node.state = memo.number_of(broken);
    let why = check(&memo, &frozen, &Links::among(&[0, 1, 2]), 0).expect_err("a handler panics");
    assert!(why.starts_with("a handler panicked: "), "{why}");
}
