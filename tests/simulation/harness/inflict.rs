//! What is done to nodes and links when a fault begins or ends.

use super::clients::Client;
use super::faults::{Fault, Whom, Written};
use super::life::{DOWN, Event, Life, Node};
use paxos::node::Order;
use paxos::storage::Store;

impl Life {
    fn find(&self, whom: Whom) -> usize {
        let leads = |node: &Node| node.up.as_ref().is_some_and(|up| up.core.status().role == "leader");
        match whom {
            Whom::Node(node) => node,
            Whom::Leader => self.nodes.iter().position(leads).unwrap_or(0),
        }
    }

    pub(super) fn fault(&mut self, fault: &Fault) -> Result<(), String> {
        self.record.event(self.now, fault, || format!("FAULT {fault:?}"));
        let all = 0..self.nodes.len();
        match *fault {
            Fault::Crash(whom, written) => {
                self.record.count("crashes");
                self.crash(self.find(whom), written)?;
            }
            Fault::CrashAll(written) => {
                self.record.count("crashes of all");
                all.into_iter().try_for_each(|node| self.crash(node, written))?;
            }
            Fault::FailCommit(whom, written) => {
                let node = self.find(whom);
                self.nodes[node].disk.fails = Some(written);
            }
            Fault::Pause(whom, time) => {
                let node = self.find(whom);
                // One that pauses already does so for as long as it was to.
                self.nodes[node].paused = self.nodes[node].paused.max(self.now + time);
            }
            Fault::Slow(whom, times) => {
                let node = self.find(whom);
                self.nodes[node].slow = times;
            }
            Fault::Full(whom, full) => {
                let node = self.find(whom);
                self.nodes[node].disk.full = Some(full);
            }
            Fault::NearlyFull(whom) => {
                let node = self.find(whom);
                self.nodes[node].disk.nearly_full = true;
            }
            Fault::Isolate(whom, out, inward) => {
                let node = self.find(whom);
                for other in all {
                    self.network.set_cut(node, other, out);
                    self.network.set_cut(other, node, inward);
                }
            }
            Fault::Rotate => {
                self.network.mend();
                let leader = self.find(Whom::Leader);
                for other in all {
                    self.network.set_cut(leader, other, true);
                    self.network.set_cut(other, leader, true);
                }
            }
            Fault::CutAtRandom(chance) => {
                for (src, dst) in all.clone().flat_map(|src| all.clone().map(move |dst| (src, dst))) {
                    let cut = self.random.percent(chance);
                    self.network.set_cut(src, dst, cut);
                }
            }
            Fault::Split(at) => {
                for (src, dst) in all.clone().flat_map(|src| all.clone().map(move |dst| (src, dst))) {
                    self.network.set_cut(src, dst, (src < at) != (dst < at));
                }
            }
            Fault::Loss(lost) => self.network.weather.lost = lost,
            Fault::Mend => self.mend(),
            Fault::End => self.all_ends(),
        }
        Ok(())
    }

    fn mend(&mut self) {
        self.network.mend();
        self.network.weather = self.plan.weather.clone();
        for node in &mut self.nodes {
            node.disk.mend();
            node.slow = 1;
        }
    }

    /// All faults end for good. A client more writes at every node.
    fn all_ends(&mut self) {
        self.mend();
        self.network.weather = self.plan.weather.fair();
        for node in 0..self.nodes.len() {
            self.nodes[node].paused = self.now;
            self.wake(node);
        }
        self.ended = true;
        let number = self.clients.len();
        let mut probe = Client::new(number as u64, 0);
        probe.probes = Some(0);
        self.clients.push(probe);
        self.call(number, self.now);
    }

    /// A node is no more, until it is started again.
    pub(super) fn go_down(&mut self, id: usize) -> Result<(), String> {
        self.nodes[id].up = None;
        self.watch.ended(id);
        self.record.count("ends of nodes");
        self.record.event(self.now, ("down", id), || format!("node {id} is down"));
        let at = self.now + self.random.below(DOWN);
        self.push(at, Event::Start(id));
        self.hear(id)
    }

    pub(super) fn crash(&mut self, id: usize, written: Written) -> Result<(), String> {
        let node = &mut self.nodes[id];
        let Some(up) = &mut node.up else { return Ok(()) };
        if let Some(value) = up.order.as_ref().and_then(Order::saves) {
            if written == Written::All && node.disk.commit(value).is_ok() {
                let value = value.clone();
                self.record.count("commits written at a crash");
                self.watch.committed(id, &value)?;
            } else {
                self.record.count("commits not written at a crash");
            }
        }
        self.go_down(id)
    }
}
