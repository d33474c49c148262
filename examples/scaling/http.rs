//! What the HTTP interface costs: one node with its store in memory answers local reads of 64 connections, driven by one thread whose processor
//! time is taken off.

use crate::{Failure, cpu};
use paxos::config::{Config, NodeConfig};
use paxos::metrics;
use paxos::server::{Server, Sockets};
use paxos::storage::memory::MemoryStore;
use paxos::transport::pins::Pins;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 64;

/// The processor time of a request with its answer, in seconds, for a value of each of these lengths.
pub(crate) fn measure(values: &[usize], time: Duration) -> Result<Vec<f64>, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let server = runtime.block_on(start())?;
    let measured = values.iter().map(|bytes| read(server.address, *bytes, time)).collect();
    runtime.block_on(server.stop())?;
    measured
}

async fn start() -> Result<Server, Failure> {
    let local = "127.0.0.1:0";
    let sockets = Sockets::bind(local, local).await?;
    let rpc = sockets.tcp.local_addr()?.to_string();
    let config = Config::of_nodes(vec![NodeConfig { data: "".into(), rpc, store: local.into(), transport: None }]);
    let store = MemoryStore::new(&config.cluster, 0);
    Ok(Server::start(&config, 0, store, Pins::open(None, 1, false)?, sockets, metrics::install()?, None)?)
}

fn read(address: SocketAddr, value_bytes: usize, time: Duration) -> Result<f64, Failure> {
    let value = "v".repeat(value_bytes);
    let body = format!("{{\"val\": \"{value}\"}}");
    let put = format!("PUT /kvstore/k HTTP/1.1\r\nhost: node\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let get = "GET /kvstore/k?consistency=local HTTP/1.1\r\nhost: node\r\n\r\n";
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        exchange(&mut connection, &put)?;
        connections.push(connection);
    }
    let mut length = 0;
    let (begin, process, thread) = (Instant::now(), cpu::of_process()?, cpu::of_thread()?);
    let mut requests = 0.0;
    while begin.elapsed() < time {
        for connection in &mut connections {
            connection.write_all(get.as_bytes())?;
        }
        for connection in &mut connections {
            length = answer(connection)?;
            requests += 1.0;
        }
    }
    assert!(length > value_bytes, "the answer holds the value");
    Ok((cpu::of_process()? - process - (cpu::of_thread()? - thread)) / requests)
}

fn exchange(connection: &mut TcpStream, request: &str) -> Result<usize, Failure> {
    connection.write_all(request.as_bytes())?;
    answer(connection)
}

/// Reads an answer, which must be of status 200; returns the length of its body.
fn answer(connection: &mut TcpStream) -> Result<usize, Failure> {
    let mut bytes = vec![0; 64 << 10];
    let mut filled = 0;
    loop {
        filled += connection.read(&mut bytes[filled..])?;
        let text = std::str::from_utf8(&bytes[..filled])?;
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let length: usize = length.ok_or("no length")?;
            if !head.starts_with("HTTP/1.1 200") {
                return Err(text.into());
            }
            if body.len() == length {
                return Ok(length);
            }
        }
    }
}
