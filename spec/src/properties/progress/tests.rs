//! The schedule itself: it is fair, it passes where it must, and it fails where nothing could be served.

use super::*;
use paxos_model::replica::Options;
use paxos_model::replica::configuration::Configuration;
use paxos_model::trace::{Step, step};

fn start(count: usize) -> (Vec<Replica<Audit>>, BTreeMap<Id, Frozen>) {
    let replica = Replica::new(Configuration::of_voters(count), Options::default());
    let frozen = (0..count).map(|node| {
        let Step { state, outputs } = step(&replica, node.into(), None, &None, &Input::Start);
        let timers = outputs.iter().filter_map(|output| match output {
            Output::SetTimer(timer, _) => Some(timer.clone()),
            _ => None,
        });
        let timers = timers.collect();
        (Id::from(node), Frozen { state: state.expect("started"), timers })
    });
    let frozen = frozen.collect();
    (vec![replica; count], frozen)
}

fn every_first(count: usize, links: &Links) {
    let (replicas, frozen) = start(count);
    for first in 0..count {
        if let Some(why) = tell(&replicas, &frozen, links, first) {
            panic!("{why}");
        }
        assert_eq!(check(&replicas, &frozen, links, first), Ok(()));
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
    let (replicas, frozen) = start(3);
    let links = Links::directed([(0.into(), 1.into()), (1.into(), 0.into()), (2.into(), 1.into())]);
    for first in 0..3 {
        let mut run = Running::new(&replicas, &frozen, &links, first);
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
        let heard: BTreeSet<(Id, Id)> = taken
            .iter()
            .filter_map(|(_, dst, input)| match input {
                Input::Deliver { src, .. } if usize::from(*src) < 3 && src != dst => Some((*src, *dst)),
                _ => None,
            })
            .collect();
        assert_eq!(Links::directed(heard), links, "what is up is used, and nothing else");
    }
}

#[test]
fn without_a_quorum_the_schedule_says_so() {
    let (replicas, frozen) = start(3);
    let alone: BTreeMap<Id, Frozen> = frozen.clone().into_iter().take(1).collect();
    for (frozen, links) in [
        (&frozen, Links::among(&[])),
        (&alone, Links::among(&[0])),
        (&frozen, Links::directed([(0.into(), 1.into()), (1.into(), 2.into()), (2.into(), 0.into())])),
    ] {
        let why = check(&replicas, frozen, &links, 0).expect_err("there is no quorum");
        assert!(why.starts_with("there is no leader"), "{why}");
    }
}

#[test]
fn a_failure_is_told_with_what_the_nodes_were_doing() {
    let (replicas, frozen) = start(3);
    let links = Links::directed([(0.into(), 1.into()), (1.into(), 2.into())]);
    let told = tell(&replicas, &frozen, &links, 1).expect("there is no quorum both ways");
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
    let (replicas, mut frozen) = start(3);
    let broken = frozen.get_mut(&Id::from(1)).expect("it started");
    // A slot that is decided and not applied: the next one can't be applied in order.
    let durable = std::sync::Arc::make_mut(&mut broken.state.durable);
    durable.decided = 1;
    durable.log.insert(0, paxos_model::replica::message::Entry::Noop);
    let why = check(&replicas, &frozen, &Links::among(&[0, 1, 2]), 0).expect_err("a handler panics");
    assert!(why.starts_with("a handler panicked: "), "{why}");
}
