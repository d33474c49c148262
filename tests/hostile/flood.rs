//! Many at once.

use crate::attacked::{Attacked, datagram, framed, introduce, socket};
use crate::support::until;
use paxos::model::replica::ballot::Ballot;
use paxos::model::replica::message::Message;
use paxos::transport::{codec, tcp};
use std::collections::VecDeque;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MIB_MAX: u64 = 64;

/// The flood ends with what is asked of the node, whether or not it holds: the scope waits for its threads.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn connections_of_one_who_does_not_stop() {
    let (mut attacked, leader) = Attacked::served(&[]);
    let peer = (leader + 1) % 3;
    let at = attacked.rpc[leader];
    let before = attacked.files(leader);
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut held = VecDeque::new();
            while !stop.load(Ordering::Relaxed) {
                // What the node has not taken yet may be more than it can.
                held.extend(TcpStream::connect(at));
                count.fetch_add(1, Ordering::Relaxed);
                if held.len() > 200 {
                    held.pop_front();
                }
            }
        });
        let _end = Ends(&stop);
        let flooded = |more: u64| {
            let to = count.load(Ordering::Relaxed) + more;
            until("the flood", || (count.load(Ordering::Relaxed) > to).then_some(()));
        };
        flooded(250);
        attacked.serves("beside the flood");
        let files = attacked.files(leader);
        assert!(files < before + tcp::STRANGERS_MAX + 40, "they are bounded: {files} after {before}");
        // A peer that starts anew gets in.
        attacked.cluster.kill(peer);
        attacked.cluster.start(peer);
        attacked.serves("after the peer's restart");
        flooded(250);
    });
    let taken = count.into_inner();
    attacked.drops(leader, "strangers", taken / 2);
    attacked.said_once(leader, "strangers");
    attacked.ends_well(MIB_MAX);
}

#[test]
fn messages_of_one_who_does_not_stop() {
    let (attacked, leader) = Attacked::served(&[]);
    let peer = (leader + 1) % 3;
    let hello = attacked.hello(peer, leader);
    let stale = Message::Heartbeat { ballot: Ballot { round: 0, node: peer.into() }, decided: 0, round: 0 };
    let stale = codec::encode(&stale).expect("it is small");
    let seal = codec::Seal::of(&hello);
    let frames = framed(seal, &stale).repeat(10_000);
    let socket = socket();
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            for _ in 0..20 {
                // The peer's own connection takes its place, now and then.
                if let (mut stream, Ok(_)) = introduce(attacked.rpc[leader], &hello) {
                    let _ = stream.write_all(&frames);
                }
                for _ in 0..500 {
                    let _ = socket.send_to(&datagram(&hello, &stale), attacked.rpc[leader]);
                }
            }
        });
        while !flood.is_finished() {
            attacked.serves("beside the flood");
        }
    });
    attacked.ends_well(MIB_MAX);
}
