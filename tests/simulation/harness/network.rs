//! The links between nodes: each message is encoded and framed as on a wire, lost, repeated, late or altered on its way, and decoded where it
//! arrives, if it does.

use super::Time;
use super::plan::{MS, Weather};
use super::random::Random;
use super::record::Record;
use paxos::Msg;
use paxos::transport::codec::{self, HEADER, Seal};

/// Every link between two nodes, in both directions.
pub(crate) struct Network {
    nodes: usize,
    pub(crate) weather: Weather,
    /// Whether a link carries nothing.
    cut: Vec<bool>,
    /// When the last message of a link arrives.
    last: Vec<Time>,
}

impl Network {
    pub(crate) fn new(nodes: usize, weather: Weather) -> Network {
        Network { nodes, weather, cut: vec![false; nodes * nodes], last: vec![0; nodes * nodes] }
    }

    pub(crate) fn set_cut(&mut self, src: usize, dst: usize, cut: bool) {
        self.cut[src * self.nodes + dst] = cut;
    }

    pub(crate) fn mend(&mut self) {
        self.cut.fill(false);
    }

    pub(crate) fn is_cut(&self, src: usize, dst: usize) -> bool {
        self.cut[src * self.nodes + dst]
    }

    /// When and as what bytes a message that leaves now arrives: not at all, once or twice.
    pub(crate) fn carry(
        &mut self,
        (src, dst): (usize, usize),
        message: &Msg,
        now: Time,
        random: &mut Random,
        record: &mut Record,
    ) -> Vec<(Time, Vec<u8>)> {
        let Some(body) = codec::encode(message) else { return Vec::new() };
        if self.is_cut(src, dst) {
            record.count("messages cut off");
            return Vec::new();
        }
        if random.percent(self.weather.lost) {
            record.count("messages lost");
            return Vec::new();
        }
        let mut frame = Vec::with_capacity(HEADER + body.len());
        codec::frame(&mut frame, Seal::NONE, &body);
        let copies = if random.percent(self.weather.repeated) { 2 } else { 1 };
        if copies > 1 {
            record.count("messages repeated");
        }
        let mut arrivals = Vec::with_capacity(copies);
        for _ in 0..copies {
            let mut bytes = frame.clone();
            if random.percent(self.weather.altered) {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] ^= 1 << random.below(8);
            }
            let late = if random.percent(self.weather.late) { random.below(300 * MS) } else { 0 };
            let mut at = now + random.within(self.weather.delay.clone()) + late;
            if self.weather.ordered {
                let last = &mut self.last[src * self.nodes + dst];
                at = at.max(*last);
                *last = at;
            }
            arrivals.push((at, bytes));
        }
        arrivals
    }
}

/// The message of a frame that arrived; none if it was altered.
pub(crate) fn open(frame: &[u8]) -> Option<Msg> {
    let (header, body) = frame.split_first_chunk::<HEADER>()?;
    let (length, checksum) = codec::header(Seal::NONE, *header)?;
    (length == body.len() && Seal::NONE.checksum(body) == checksum).then(|| codec::decode(body))?
}
