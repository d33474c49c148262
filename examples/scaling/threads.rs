//! What it costs to wake another thread, to send something over a socket, and how late a thread wakes that waits for a moment.

use crate::{Failure, cpu};
use crossbeam_channel::at;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One way, in seconds: time, and processor time of both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hop {
    pub(crate) time: f64,
    pub(crate) cpu: f64,
}

/// To a thread that sleeps until it is woken; by so many pairs of threads at the same time. With more pairs than processors none of these is ever idle,
/// and waking costs less: none has to be woken itself.
pub(crate) fn wake(pairs: usize, time: Duration) -> Result<Hop, Failure> {
    let before = cpu::of_process()?;
    let hops: f64 = thread::scope(|scope| {
        let pairs: Vec<_> = (0..pairs).map(|_| scope.spawn(|| wake_each_other(time))).collect();
        pairs.into_iter().map(|pair| pair.join().map_err(|_| "a thread panicked")).sum::<Result<f64, _>>()
    })?;
    Ok(Hop { time: time.as_secs_f64() * pairs as f64 / hops, cpu: (cpu::of_process()? - before) / hops })
}

/// This thread and another wake each other in turns for `time`. Returns how often.
fn wake_each_other(time: Duration) -> f64 {
    let (turn, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let this = thread::current();
    // Waits until `turn` is as told; a thread may wake without a reason.
    let wait = |told| {
        while turn.load(Ordering::Acquire) != told && !done.load(Ordering::Acquire) {
            thread::park();
        }
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                wait(true);
                turn.store(false, Ordering::Release);
                this.unpark();
            }
        });
        let begin = Instant::now();
        let mut hops = 0.0;
        while begin.elapsed() < time {
            turn.store(true, Ordering::Release);
            other.thread().unpark();
            wait(false);
            hops += 2.0;
        }
        done.store(true, Ordering::Release);
        other.thread().unpark();
        hops
    })
}

/// Over a socket of the loopback interface, for a message of a hundred bytes.
pub(crate) fn socket(time: Duration) -> Result<Hop, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut there = TcpStream::connect(listener.local_addr()?)?;
    let (mut back, _) = listener.accept()?;
    there.set_nodelay(true)?;
    back.set_nodelay(true)?;
    let other = thread::spawn(move || {
        let mut message = [0; 100];
        while back.read_exact(&mut message).is_ok() && back.write_all(&message).is_ok() {}
    });
    let mut message = [0; 100];
    let (begin, before) = (Instant::now(), cpu::of_process()?);
    let mut hops = 0.0;
    while begin.elapsed() < time {
        there.write_all(&message)?;
        there.read_exact(&mut message)?;
        hops += 2.0;
    }
    let hop = Hop { time: begin.elapsed().as_secs_f64() / hops, cpu: (cpu::of_process()? - before) / hops };
    drop(there);
    other.join().map_err(|_| "the other thread panicked")?;
    Ok(hop)
}

/// How much later than asked a thread wakes, in seconds: the mean.
pub(crate) fn lateness(times: u32) -> f64 {
    let late = |_| {
        let moment = Instant::now() + Duration::from_micros(500);
        let _ = at(moment).recv();
        moment.elapsed().as_secs_f64()
    };
    (0..times).map(late).sum::<f64>() / f64::from(times)
}
