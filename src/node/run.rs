//! The actor thread: what drives the loop on channels, a clock and a disk of its own.

use super::Peers;
use super::clients::Clients;
use super::core::{Core, Settings};
use super::disk::{self, Order, Report};
use super::handle::{Ask, Copy, Delivered, NodeHandle, Status};
use super::outlet::Outlet;
use super::timers::now;
use crate::storage::Store;
use crate::trace::Trace;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, never, select};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::watch;

/// Inputs that are taken between two looks at the timers.
const DRAIN_MAX: usize = 1024;
/// Copies of what is applied that are asked for at a time.
const COPIES_MAX: usize = 64;
/// How often the loop looks at deadlines at least: those of requests that it cannot take in yet do not wake it.
const LOOK: Duration = Duration::from_millis(50);
/// How long the disk may take for what is left when the node stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// How a node ended.
pub type Ended = Result<(), String>;

/// Starts a node on `store`. It runs on two threads until it is stopped or fails; the handle to join tells how it ended.
pub fn start<S: Store>(
    settings: Settings,
    mut store: S,
    peers: Arc<dyn Peers>,
    trace: Option<Trace>,
) -> Result<(NodeHandle, JoinHandle<Ended>), String> {
    settings.options.validate()?;
    let stored = store.load().map_err(|error| error.to_string())?;
    let usage = store.usage();
    let outlet = Arc::new(Outlet::new(settings.id, peers, trace));
    let clients = outlet.clients().clone();
    let (orders, for_disk) = bounded(1);
    let (done, reports) = bounded(1);
    let disk_outlet = outlet.clone();
    let disk = thread::Builder::new().name("disk".into());
    let disk = disk.spawn(move || disk::work(store, &disk_outlet, &for_disk, &done));
    let disk = disk.map_err(|error| format!("cannot start the disk thread: {error}"))?;
    let (peer_sender, peers) = bounded(settings.inputs_max);
    let (ask_sender, asks) = bounded(settings.inputs_max);
    let (bell, rung) = bounded(1);
    let (copy_sender, copies) = bounded(COPIES_MAX);
    let (stop, stopping) = bounded(1);
    let (publish, status) = watch::channel(Status::default());
    let inbox_bytes = Arc::new(AtomicUsize::new(0));
    let handle = NodeHandle {
        peers: peer_sender,
        inbox_bytes: inbox_bytes.clone(),
        asks: ask_sender,
        bell,
        copies: copy_sender,
        stop,
        clients: clients.clone(),
        status,
    };
    let actor = thread::Builder::new().name("actor".into());
    let actor = actor.spawn(move || {
        let _closing = Closing(clients.clone());
        let core = Core::new(&settings, stored, usage, outlet, rand::random(), now());
        let mut running =
            Running { core, clients, orders, reports, peers, inbox_bytes, asks, rung, copies, stopping, publish };
        let ended = running.run();
        let hangs = running.core.awaits_disk() && ended.is_err();
        drop(running);
        if !hangs {
            let _ = disk.join();
        }
        ended
    });
    let actor = actor.map_err(|error| format!("cannot start the actor thread: {error}"))?;
    Ok((handle, actor))
}

/// Answers every client when the actor thread ends, however it does.
struct Closing(Arc<Clients>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Running {
    core: Core,
    clients: Arc<Clients>,
    orders: Sender<Order>,
    reports: Receiver<Report>,
    peers: Receiver<Delivered>,
    inbox_bytes: Arc<AtomicUsize>,
    asks: Receiver<Ask>,
    rung: Receiver<()>,
    copies: Receiver<Copy>,
    stopping: Receiver<()>,
    publish: watch::Sender<Status>,
}

impl Running {
    fn run(&mut self) -> Ended {
        loop {
            while let Ok(report) = self.reports.try_recv() {
                self.core.take_report(report, now())?;
            }
            if self.stopping.try_recv().is_ok() {
                return self.finish();
            }
            while let Ok(copy) = self.copies.try_recv() {
                self.hand_out(copy);
            }
            // Before the asks are taken: whoever rings later has asked for more.
            let _ = self.rung.try_recv();
            self.drain();
            self.core.run_timers(now());
            self.hand_over();
            self.tell();
            if !self.has_more() && !self.wait()? {
                return self.finish();
            }
        }
    }

    /// Whether there is something to step for that nobody wakes the loop for again.
    fn has_more(&self) -> bool {
        let asked = || self.core.admits() && !self.asks.is_empty();
        !self.core.is_stalled() && (self.core.has_own() || asked())
    }

    /// Takes in what is at hand.
    fn drain(&mut self) {
        while self.core.take_own(now()) {}
        for _ in 0..DRAIN_MAX {
            if self.core.is_stalled() {
                return;
            }
            let peer = self.peers.try_recv();
            let ask = if self.core.admits() { self.asks.try_recv().ok() } else { None };
            if peer.is_err() && ask.is_none() {
                return;
            }
            if let Ok(delivered) = peer {
                self.take_delivered(delivered);
            }
            if let Some(ask) = ask {
                self.core.take_ask(ask, now());
            }
        }
    }

    fn take_delivered(&mut self, (src, message, bytes): Delivered) {
        self.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.core.take_message(src, message, now());
    }

    fn hand_out(&self, copy: Copy) {
        let _ = copy.send(self.core.applied().clone());
    }

    /// Gives the disk its next order, if it is idle.
    fn hand_over(&mut self) {
        if let Some(order) = self.core.next_order(now()) {
            self.orders.send(order).expect("the disk thread lives as long as this one");
        }
    }

    /// Waits for something to do. False when the node is asked to stop.
    fn wait(&mut self) -> Result<bool, String> {
        let stalled = self.core.is_stalled();
        let pause = self.core.next_wake().map_or(LOOK, |at| at.saturating_duration_since(now()).min(LOOK));
        let (no_peers, no_bell) = (never(), never());
        let peers = if stalled { &no_peers } else { &self.peers };
        let rung = if stalled || !self.core.admits() { &no_bell } else { &self.rung };
        select! {
            recv(self.reports) -> report => match report {
                Ok(report) => self.core.take_report(report, now())?,
                Err(_) => return Err("the disk thread ended".into()),
            },
            recv(peers) -> delivered => if let Ok(delivered) = delivered {
                self.take_delivered(delivered);
            },
            recv(rung) -> _ => {}
            recv(self.copies) -> copy => if let Ok(copy) = copy {
                self.hand_out(copy);
            },
            recv(self.stopping) -> _ => return Ok(false),
            default(pause) => {}
        }
        Ok(true)
    }

    /// Releases and commits what was stepped, and ends.
    fn finish(&mut self) -> Ended {
        let end = now() + STOP_TIME;
        loop {
            self.hand_over();
            self.core.forget_own();
            if !self.core.awaits_disk() {
                return Ok(());
            }
            let next = self.clients.next_due().map_or(end, |at| at.min(end));
            match self.reports.recv_deadline(next) {
                // What could not be stored is as if it were lost, and nothing goes on from what is.
                Ok(Report::Full { .. }) => return Ok(()),
                Ok(report) => self.core.take_report(report, now())?,
                Err(RecvTimeoutError::Disconnected) => return Err("the disk thread ended".into()),
                Err(RecvTimeoutError::Timeout) if now() >= end => {
                    return Err(format!("the disk did not answer for {STOP_TIME:?}"));
                }
                Err(RecvTimeoutError::Timeout) => self.clients.end_overdue(now()),
            }
        }
    }

    /// Publishes what changed.
    fn tell(&self) {
        let node = self.core.status();
        self.publish.send_if_modified(|known| {
            let changed = *known != node;
            if changed {
                *known = node;
            }
            changed
        });
    }
}
