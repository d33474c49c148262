//! The links between nodes, in one of two ways: through a proxy on the loopback interface, or as network namespaces.

use super::namespaces::Namespaces;
use super::nodes::{self, Addresses};
use super::proxy::{Proxy, Tally, Weather};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) enum Network {
    Proxy { proxy: Proxy, addresses: Addresses },
    Namespaces(Namespaces),
}

impl Network {
    /// Links between `count` nodes.
    pub(crate) fn new(count: usize, namespaces: bool, seed: u64) -> Result<Network, String> {
        if namespaces {
            let spaces =
                Namespaces::make(count).map_err(|error| format!("no network namespaces can be made: {error}"))?;
            return Ok(Network::Namespaces(spaces));
        }
        let addresses = Addresses::new(count);
        let proxy = Proxy::start(&addresses.rpc, addresses.links, seed).map_err(|error| error.to_string())?;
        Ok(Network::Proxy { proxy, addresses })
    }

    /// Where `from` finds `to`; where it listens itself, if they are the same.
    pub(crate) fn rpc(&self, from: usize, to: usize) -> SocketAddr {
        match self {
            Network::Proxy { proxy, .. } => proxy.address(from, to),
            Network::Namespaces(spaces) => spaces.addresses(nodes::RPC_PORT)[to],
        }
    }

    /// Where clients find the nodes.
    pub(crate) fn stores(&self) -> Vec<SocketAddr> {
        match self {
            Network::Proxy { addresses, .. } => addresses.stores.clone(),
            Network::Namespaces(spaces) => spaces.addresses(nodes::STORE_PORT),
        }
    }

    /// What runs a node's program.
    pub(crate) fn command(&self, node: usize, program: &std::path::Path) -> Command {
        match self {
            Network::Proxy { .. } => Command::new(program),
            Network::Namespaces(spaces) => {
                // It becomes the program, so that signals go to that.
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &spaces.space(node)]).arg(program);
                command
            }
        }
    }

    pub(crate) fn has_weather(&self) -> bool {
        match self {
            Network::Proxy { .. } => true,
            Network::Namespaces(spaces) => spaces.has_weather(),
        }
    }

    pub(crate) fn set(&self, from: usize, to: usize, weather: Weather) -> Result<(), String> {
        match self {
            Network::Proxy { proxy, .. } => proxy.set(from, to, weather),
            Network::Namespaces(spaces) => spaces.set(from, to, weather).map_err(|error| error.to_string())?,
        }
        Ok(())
    }

    /// What happened to what was sent.
    pub(crate) fn told(&self) -> String {
        let Network::Proxy { proxy, .. } = self else { return "not counted: the kernel carried them".into() };
        let tally: &Arc<Tally> = &proxy.tally;
        let counts = [
            ("carried", &tally.carried),
            ("delayed", &tally.delayed),
            ("lost", &tally.lost),
            ("repeated", &tally.duplicated),
            ("corrupted", &tally.corrupted),
            ("connections ended", &tally.broken),
        ];
        let counts = counts.map(|(name, counter)| format!("{} {name}", counter.load(Ordering::Relaxed)));
        counts.join(", ")
    }
}
