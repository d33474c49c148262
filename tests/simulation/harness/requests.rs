//! Clients and nodes: requests go in, answers come out.

use super::answers::Attempted;
use super::clients::{Attempt, Doing};
use super::life::Life;
use super::plan::MS;
use tokio::sync::oneshot::error::TryRecvError;

/// How much longer than its time a request may take at a node that does anything.
const GRACE: u64 = 250 * MS;

impl Life {
    /// A client goes on by itself: it begins something, sends it again, or waits no longer.
    pub(super) fn client(&mut self, index: usize) -> Result<(), String> {
        self.clients[index].next = None;
        let Some(task) = &mut self.clients[index].task else { return self.begin(index) };
        let Some(attempt) = task.attempt.take() else { return self.attempt(index) };
        let node = &self.nodes[attempt.node];
        // A node that did nothing meanwhile could not answer.
        let excused = attempt.hasty || node.lives != attempt.life || node.paused + GRACE > self.now;
        if !excused && node.up.is_some() {
            return Err(format!(
                "every request is answered in time: client {index} waits for {:?} at node {} since {} µs",
                task.doing, attempt.node, task.begin
            ));
        }
        self.came(index, Attempted::Maybe)
    }

    fn begin(&mut self, index: usize) -> Result<(), String> {
        let client = &mut self.clients[index];
        let over = match client.probes {
            Some(probed) => probed >= self.nodes.len(),
            None => self.now > self.plan.faults_until && self.is_calm(),
        };
        if over {
            return Ok(());
        }
        let shown: Vec<u64> = self.nodes.iter().map(|node| node.shown).collect();
        let applied = self.nodes.iter().filter_map(|node| Some(node.up.as_ref()?.core.applied().applied)).max();
        self.clients[index].think(self.now, self.nodes.len(), applied.unwrap_or(0), &shown);
        self.attempt(index)
    }

    /// Sends what a client is at, to the node that it has in mind.
    fn attempt(&mut self, index: usize) -> Result<(), String> {
        let (now, instant) = (self.now, self.instant());
        let client = &mut self.clients[index];
        let timeout_ms = client.timeout_ms();
        let hasty = client.may_repeat(now) && client.random.percent(15);
        let task = client.task.as_mut().expect("it is at something");
        let node = &mut self.nodes[task.node];
        let Some(up) = &mut node.up else { return self.came(index, Attempted::Refused) };
        if up.asks.len() >= self.plan.inputs_max {
            self.record.count("requests too many");
            return self.came(index, Attempted::Refused);
        }
        let Ok((number, answer)) = up.outlet.clients().begin(&task.request, timeout_ms, instant) else {
            return self.came(index, Attempted::Refused);
        };
        up.asks.push_back((number, task.request.clone()));
        let until = now + if hasty { client.random.within(100..8000) } else { u64::from(timeout_ms) * MS + GRACE };
        task.attempt = Some(Attempt { node: task.node, life: node.lives, answer, until, hasty });
        let (asked, doing) = (task.node, task.doing.clone());
        self.record
            .event(now, ("ask", index, asked, &doing), || format!("client {index} asks node {asked}: {doing:?}"));
        self.call(index, until);
        self.wake(asked);
        Ok(())
    }

    /// Looks which clients node `id` has answered.
    pub(super) fn hear(&mut self, id: usize) -> Result<(), String> {
        for index in 0..self.clients.len() {
            let Some(task) = &mut self.clients[index].task else { continue };
            let Some(attempt) = task.attempt.as_mut().filter(|attempt| attempt.node == id) else { continue };
            let attempted = match attempt.answer.try_recv() {
                Ok(answered) => Attempted::of(answered),
                Err(TryRecvError::Empty) => continue,
                // Its process is gone, and the connection with it.
                Err(TryRecvError::Closed) => Attempted::Maybe,
            };
            task.attempt = None;
            self.came(index, attempted)?;
        }
        Ok(())
    }

    /// What an attempt of a client came to.
    fn came(&mut self, index: usize, attempted: Attempted) -> Result<(), String> {
        self.record.event(self.now, ("came", index, format!("{attempted:?}")), || {
            format!("client {index} hears {attempted:?}")
        });
        let (now, nodes) = (self.now, self.nodes.len() as u64);
        let client = &mut self.clients[index];
        let mut pause = client.random.below(self.plan.pause);
        let task = client.task.as_mut().expect("it is at something");
        task.maybe |= matches!(attempted, Attempted::Maybe | Attempted::SessionLost);
        match attempted {
            Attempted::Answered(outcome) => {
                let task = client.task.take().expect("it is at something");
                let applied = self.nodes[task.node].up.as_ref().map(|up| up.core.applied());
                if let Some(shown) = client.ends_answered(&task, now, &outcome, applied)? {
                    let node = &mut self.nodes[task.node];
                    node.shown = node.shown.max(shown);
                }
                if let Some(probed) = &mut client.probes
                    && task.doing != Doing::Upkeep
                {
                    *probed += 1;
                }
            }
            Attempted::Refused | Attempted::Maybe if client.may_repeat(now) => {
                let task = client.task.as_mut().expect("it is at something");
                task.node = client.random.below(nodes) as usize;
                self.record.count("requests sent again");
                pause += MS;
            }
            _ => {
                if attempted == Attempted::SessionLost {
                    client.lose_session();
                }
                let task = client.task.take().expect("it is at something");
                client.ends_unanswered(&task, now);
                pause += MS;
            }
        }
        self.call(index, now + 1 + pause);
        Ok(())
    }
}
