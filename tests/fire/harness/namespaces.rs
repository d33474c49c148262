//! The links as the kernel has them: each node in a network namespace of its own, joined by a bridge. Needs the privileges for that.
//!
//! A link is cut by a route that swallows what its node sends to that peer: so connections stay open and are silent, and what they hold is sent again
//! by the kernel's own clock, as behind a real switch that fails. Packets are delayed, lost, repeated and altered by `tc` with netem, for all peers
//! of a node alike; where the kernel has no netem such faults are left out, and that is said.

use super::proxy::{State, Weather};
use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};
use std::sync::Mutex;

pub(crate) struct Namespaces {
    /// What all names begin with.
    name: String,
    network: [u8; 3],
    count: usize,
    /// Directed links that are cut.
    cut: Mutex<BTreeSet<(usize, usize)>>,
    netem: bool,
}

fn run(arguments: &[&str]) -> io::Result<()> {
    let (program, arguments) = arguments.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let Output { status, stderr, .. } = Command::new(program).args(arguments).output()?;
    let told =
        || io::Error::other(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&stderr).trim()));
    if status.success() { Ok(()) } else { Err(told()) }
}

impl Namespaces {
    /// Makes a namespace for each of `count` nodes.
    pub(crate) fn make(count: usize) -> io::Result<Namespaces> {
        let process = std::process::id();
        let network = [10, 64 + (process >> 8 & 0x7f) as u8, (process & 0xff) as u8];
        let (cut, netem) = Default::default();
        let mut spaces = Namespaces { name: format!("fire{}", process % 1_000_000), network, count, cut, netem };
        let bridge = spaces.bridge();
        run(&["ip", "link", "add", &bridge, "type", "bridge"])?;
        run(&["ip", "address", "add", &format!("{}/24", spaces.at(1)), "dev", &bridge])?;
        run(&["ip", "link", "set", &bridge, "up"])?;
        for node in 0..count {
            let (space, outside) = (spaces.space(node), format!("{}v{node}", spaces.name));
            run(&["ip", "netns", "add", &space])?;
            run(&["ip", "link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
            run(&["ip", "link", "set", &outside, "master", &bridge, "up"])?;
            let address = format!("{}/24", spaces.address(node));
            run(&["ip", "-n", &space, "address", "add", &address, "dev", "eth0"])?;
            run(&["ip", "-n", &space, "link", "set", "eth0", "up"])?;
            run(&["ip", "-n", &space, "link", "set", "lo", "up"])?;
        }
        spaces.netem = spaces.weather(0, Weather { delay_ms: 1, ..Weather::default() }).is_ok();
        if spaces.netem {
            spaces.weather(0, Weather::default())?;
        }
        Ok(spaces)
    }

    fn bridge(&self) -> String {
        format!("{}b", self.name)
    }

    pub(crate) fn space(&self, node: usize) -> String {
        format!("{}n{node}", self.name)
    }

    fn at(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.network;
        Ipv4Addr::new(a, b, c, last)
    }

    fn address(&self, node: usize) -> Ipv4Addr {
        self.at(node as u8 + 2)
    }

    pub(crate) fn addresses(&self, port: u16) -> Vec<SocketAddr> {
        (0..self.count).map(|node| SocketAddr::from((self.address(node), port))).collect()
    }

    /// Whether packets can be delayed, lost, repeated and altered here.
    pub(crate) fn has_weather(&self) -> bool {
        self.netem
    }

    pub(crate) fn set(&self, from: usize, to: usize, weather: Weather) -> io::Result<()> {
        let mut cut = self.cut.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (space, address) = (self.space(from), format!("{}/32", self.address(to)));
        if weather.state == State::Up {
            if cut.remove(&(from, to)) {
                run(&["ip", "-n", &space, "route", "del", "blackhole", &address])?;
            }
        } else if cut.insert((from, to)) {
            run(&["ip", "-n", &space, "route", "add", "blackhole", &address])?;
        }
        if self.netem && to == (from + 1) % self.count {
            self.weather(from, weather)?;
        }
        Ok(())
    }

    fn weather(&self, node: usize, weather: Weather) -> io::Result<()> {
        let space = self.space(node);
        let Weather { delay_ms, loss, duplication, corruption, .. } = weather;
        if [delay_ms, loss, duplication, corruption] == [0; 4] {
            // There may be none.
            let _ = run(&["tc", "-n", &space, "qdisc", "del", "dev", "eth0", "root"]);
            return Ok(());
        }
        let (delay, half) = (format!("{delay_ms}ms"), format!("{}ms", delay_ms / 2));
        let (loss, twice, wrong) = (format!("{loss}%"), format!("{duplication}%"), format!("{corruption}%"));
        let begin = ["tc", "-n", &space, "qdisc", "replace", "dev", "eth0", "root", "netem"];
        let rest = ["delay", &delay, &half, "loss", &loss, "duplicate", &twice, "corrupt", &wrong];
        run(&[&begin[..], &rest[..]].concat())
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for node in 0..self.count {
            let _ = run(&["ip", "netns", "del", &self.space(node)]);
        }
        let _ = run(&["ip", "link", "del", &self.bridge()]);
    }
}
