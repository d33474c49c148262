//! Random bytes, and what is nearly right, into every port.

use crate::attacked::{Attacked, connect, datagram, framed, introduce, introduction, offer, socket};
use crate::mutation::{altered, noise};
use crate::seed;
use crate::support::random::Random;
use paxos::model::replica::ballot::Ballot;
use paxos::model::replica::message::Message;
use paxos::transport::codec::{self, Seal};
use serde_json::json;
use std::time::Duration;

/// The most memory that a node may ever have had, in MiB: about what one has that is left alone, and what waits in its queues.
const MIB_MAX: u64 = 64;

/// A message that changes nothing.
fn stale() -> Vec<u8> {
    let heartbeat = Message::Heartbeat { ballot: Ballot { round: 0, node: 1.into() }, decided: 0, round: 0 };
    codec::encode(&heartbeat).expect("it is small")
}

#[test]
fn introductions_and_frames_that_are_none_or_nearly_right() {
    let (attacked, leader) = Attacked::served(&[]);
    let peer = (leader + 1) % 3;
    let (at, hello) = (attacked.rpc[leader], attacked.hello(peer, leader));
    let bytes = postcard::to_stdvec(&hello).expect("it has a form in bytes");
    let mut random = Random::new(seed(), 1);
    for case in 0..1500 {
        let rubbish = match case % 3 {
            0 => noise(&mut random, 6000),
            1 => framed(Seal::NONE, &altered(&mut random, &bytes)),
            _ => altered(&mut random, &introduction(&hello)),
        };
        offer(connect(at), &rubbish);
    }
    let seal = Seal::of(&hello);
    let frames = framed(seal, &stale()).repeat(3);
    for case in 0..500 {
        let (stream, _) = introduce(at, &hello);
        let rubbish = if case % 5 == 0 { noise(&mut random, 3000) } else { altered(&mut random, &frames) };
        offer(stream, &rubbish);
    }
    attacked.drops(leader, "introduction", 800);
    attacked.drops(leader, "frame", 200);
    attacked.said_once(leader, "introduction");
    attacked.said_once(leader, "frame");
    attacked.ends_well(MIB_MAX);
}

#[test]
fn datagrams_that_are_none_or_nearly_right() {
    let (attacked, leader) = Attacked::served(&[("transport", json!("udp"))]);
    let peer = (leader + 1) % 3;
    let hello = attacked.hello(peer, leader);
    let whole = datagram(&hello, &stale());
    let introduction = postcard::to_stdvec(&hello).expect("it has a form in bytes");
    let socket = socket();
    let mut random = Random::new(seed(), 2);
    for case in 0..6000 {
        let rubbish = match case % 4 {
            0 => noise(&mut random, if case % 400 == 0 { 65_507 } else { 600 }),
            1 => framed(Seal::NONE, &altered(&mut random, &introduction)),
            // It is let in and is no message.
            2 => datagram(&hello, &[&[0xff], &noise(&mut random, 300)[..]].concat()),
            _ => altered(&mut random, &whole),
        };
        socket.send_to(&rubbish, attacked.rpc[leader]).expect("it is sent");
        if case % 50 == 0 {
            // What comes faster than it is taken is lost before the node sees it.
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
    for (reason, count) in [("frame", 1500), ("introduction", 100), ("undecodable", 800)] {
        attacked.drops(leader, reason, count);
        attacked.said_once(leader, reason);
    }
    attacked.ends_well(MIB_MAX);
}

#[test]
fn requests_that_are_none_or_nearly_right() {
    let (attacked, leader) = Attacked::served(&[("request_timeout_ms", json!(1000))]);
    let at = attacked.cluster.stores[leader].parse().expect("an address");
    let close = "host: x\r\nconnection: close\r\n";
    let body = r#"{"key": "k", "val": "é\u0041\n", "ver": 7}"#;
    let length = body.len();
    let seeds = [
        format!("PUT /kvstore/k HTTP/1.1\r\n{close}content-length: {length}\r\n\r\n{body}"),
        format!(
            "PUT /kvstore/a%20b?timeout_ms=500 HTTP/1.1\r\n{close}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        ),
        format!("GET /kvstore/k?consistency=local&timeout_ms=300&wait_ver_gt=3 HTTP/1.1\r\n{close}\r\n"),
        format!("GET /kvstore/?prefix=a&start=%C3%A9&limit=3 HTTP/1.1\r\n{close}\r\n"),
        format!(
            "DELETE /kvstore/k?ver=9007199254740991 HTTP/1.1\r\n{close}paxos-session: 3.0\r\npaxos-sequence: 1\r\n\r\n"
        ),
        format!("POST /restore HTTP/1.1\r\n{close}content-length: 20\r\n\r\n{{\"slot\": 1, \"keys\":1}}"),
        format!("GET /status HTTP/1.1\r\n{close}expect: 100-continue\r\n\r\nGET /healthz HTTP/1.1\r\n{close}\r\n"),
    ];
    std::thread::scope(|scope| {
        for stream in 0..4 {
            let seeds = &seeds;
            scope.spawn(move || {
                let mut random = Random::new(seed(), 10 + stream);
                for case in 0..400 {
                    let rubbish = match case % 8 {
                        0 => noise(&mut random, 3000),
                        _ => {
                            let whole = random.pick(seeds);
                            altered(&mut random, whole.as_bytes())
                        }
                    };
                    offer(connect(at), &rubbish);
                }
            });
        }
    });
    let malformed = attacked.received(leader, "paxos_http_requests_total{kind=\"other\",outcome=\"malformed\"}");
    assert!(malformed > 300, "{malformed} were malformed");
    attacked.ends_well(MIB_MAX);
}
