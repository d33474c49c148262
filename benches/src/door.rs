//! The three ways in that are measured, and what is asked through each: ours, etcd's JSON gateway, and its gRPC.

use crate::cluster::System;
use crate::http::{Connection, request};
use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use etcd_client::{Client, GetOptions, KvClient, Txn, TxnOp};
use serde_json::{Value, json};

/// A way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Door {
    Ours,
    Gateway,
    Grpc,
}

/// One operation of a client. Keys are numbers here, and have the same names everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Writes one key.
    Put,
    /// Reads one key, linearizably.
    Read,
    /// Reads one key from what the node has.
    LocalRead,
    /// Lists all keys that there are, linearizably, without their values.
    Keys,
    /// Writes [`BULK`] keys at once.
    Bulk,
}

/// Keys in one [`Operation::Bulk`]: as many as our nodes restore at a time.
pub(crate) const BULK: u64 = 32;
/// No message of etcd's is longer.
const MESSAGE_MAX: usize = 256 << 20;

impl Door {
    /// All of them.
    pub(crate) const ALL: [Door; 3] = [Door::Ours, Door::Gateway, Door::Grpc];

    /// Where it leads.
    pub(crate) fn system(self) -> System {
        if self == Door::Ours { System::Ours } else { System::Etcd }
    }

    /// What it is called in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Door::Ours => "ours",
            Door::Gateway => "etcd, JSON",
            Door::Grpc => "etcd, gRPC",
        }
    }
}

/// A client behind one door, with its own connection; with gRPC several clients may share one.
pub(crate) enum Caller {
    Ours(Connection),
    Gateway(Connection),
    Grpc(Box<KvClient>),
}

/// Connections through which `clients` callers go, of which gRPC multiplexes many over each of `channels`.
pub(crate) async fn callers(door: Door, address: &str, clients: usize, channels: usize) -> Result<Vec<Caller>> {
    let mut callers = Vec::with_capacity(clients);
    let mut shared = Vec::new();
    for number in 0..clients {
        callers.push(match door {
            Door::Ours => Caller::Ours(Connection::open(address).await?),
            Door::Gateway => Caller::Gateway(Connection::open(address).await?),
            Door::Grpc => {
                if shared.len() < channels {
                    let client = Client::connect([format!("http://{address}")], None).await?;
                    shared.push(client.kv_client().max_decoding_message_size(MESSAGE_MAX));
                }
                Caller::Grpc(Box::new(shared[number % channels].clone()))
            }
        });
    }
    Ok(callers)
}

impl Caller {
    /// Carries out `operation` on key number `key` with the value `val`, and fails unless it was done. Returns how many bytes it was told.
    pub(crate) async fn call(&mut self, operation: Operation, key: u64, val: &str) -> Result<usize> {
        match self {
            Caller::Ours(connection) => ok(connection.exchange(&to_ours(operation, key, val)).await?),
            Caller::Gateway(connection) => ok(connection.exchange(&to_gateway(operation, key, val)).await?),
            Caller::Grpc(client) => by_grpc(client, operation, key, val).await,
        }
    }
}

fn ok((status, body): (u16, &[u8])) -> Result<usize> {
    if status != 200 {
        bail!("{status}: {}", String::from_utf8_lossy(body).trim());
    }
    Ok(body.len())
}

/// Bytes that the answer to `operation` has at least, if there are `keys` keys with values of `bytes`: less is no answer.
pub(crate) fn least(operation: Operation, keys: u64, bytes: usize) -> usize {
    match operation {
        Operation::Put | Operation::Bulk => 0,
        Operation::Read | Operation::LocalRead => bytes,
        Operation::Keys => (0..keys).map(|key| name(key).len()).sum(),
    }
}

fn name(key: u64) -> String {
    format!("key/{key:08}")
}

fn to_ours(operation: Operation, key: u64, val: &str) -> Vec<u8> {
    let path = format!("/kvstore/{}", name(key));
    match operation {
        Operation::Put => request("PUT", &path, &format!("{{\"val\":\"{val}\"}}")),
        Operation::Read => request("GET", &path, ""),
        Operation::LocalRead => request("GET", &format!("{path}?consistency=local"), ""),
        Operation::Keys => request("GET", "/kvstore/?prefix=key/", ""),
        Operation::Bulk => {
            let entries: Vec<Value> =
                (key..key + BULK).map(|key| json!({ "key": name(key), "val": val, "ver": 1 })).collect();
            request("POST", "/restore", &json!({ "entries": entries }).to_string())
        }
    }
}

fn to_gateway(operation: Operation, key: u64, val: &str) -> Vec<u8> {
    let code = |text: &str| STANDARD.encode(text);
    let one = code(&name(key));
    let put = |body: String| request("POST", "/v3/kv/put", &body);
    let range = |body: String| request("POST", "/v3/kv/range", &body);
    match operation {
        Operation::Put => put(format!("{{\"key\":\"{one}\",\"value\":\"{}\"}}", code(val))),
        Operation::Read => range(format!("{{\"key\":\"{one}\"}}")),
        Operation::LocalRead => range(format!("{{\"key\":\"{one}\",\"serializable\":true}}")),
        // The end of what begins so is the last byte plus one.
        Operation::Keys => {
            range(format!("{{\"key\":\"{}\",\"range_end\":\"{}\",\"keys_only\":true}}", code("key/"), code("key0")))
        }
        Operation::Bulk => {
            let puts: Vec<Value> = (key..key + BULK)
                .map(|key| json!({ "requestPut": { "key": code(&name(key)), "value": code(val) } }))
                .collect();
            request("POST", "/v3/kv/txn", &json!({ "success": puts }).to_string())
        }
    }
}

async fn by_grpc(client: &mut KvClient, operation: Operation, key: u64, val: &str) -> Result<usize> {
    let (from, options) = match operation {
        Operation::Put => {
            client.put(name(key), val, None).await?;
            return Ok(0);
        }
        Operation::Bulk => {
            let puts: Vec<TxnOp> = (key..key + BULK).map(|key| TxnOp::put(name(key), val, None)).collect();
            client.txn(Txn::new().and_then(puts)).await?;
            return Ok(0);
        }
        Operation::Read => (name(key), None),
        Operation::LocalRead => (name(key), Some(GetOptions::new().with_serializable())),
        Operation::Keys => ("key/".into(), Some(GetOptions::new().with_prefix().with_keys_only())),
    };
    let answer = client.get(from, options).await?;
    Ok(answer.kvs().iter().map(|entry| entry.key().len() + entry.value().len()).sum())
}
