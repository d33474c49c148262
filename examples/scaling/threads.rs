//! What it costs to wake another thread, to send it over a socket, and how late a thread wakes that waits for a moment.

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

/// Does `there_and_back` over and over for `time`.
fn measure(time: Duration, mut there_and_back: impl FnMut() -> Result<(), Failure>) -> Result<Hop, Failure> {
    let (begin, before) = (Instant::now(), cpu::of_process()?);
    let mut hops = 0.0;
    while begin.elapsed() < time {
        there_and_back()?;
        hops += 2.0;
    }
    Ok(Hop { time: begin.elapsed().as_secs_f64() / hops, cpu: (cpu::of_process()? - before) / hops })
}

/// To a thread that sleeps until it is woken.
pub(crate) fn wake(time: Duration) -> Result<Hop, Failure> {
    let (turn, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let main = thread::current();
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
                main.unpark();
            }
        });
        let hop = measure(time, || {
            turn.store(true, Ordering::Release);
            other.thread().unpark();
            wait(false);
            Ok(())
        });
        done.store(true, Ordering::Release);
        other.thread().unpark();
        hop
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
    let hop = measure(time, || {
        there.write_all(&message)?;
        Ok(there.read_exact(&mut message)?)
    });
    drop(there);
    other.join().map_err(|_| "the other thread panicked")?;
    hop
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
