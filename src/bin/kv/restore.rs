//! `kv restore`: the file of a backup, in an empty cluster.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use crate::client::{Client, Fail};
use paxos::RESTORE_MAX;
use paxos::backup::{Entries, Head};
use paxos::model::kv::Entry;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;
use std::time::Duration;

/// About how many bytes of entries are sent at a time.
const PART_BYTES: usize = 256 << 10;
/// How often the nodes are asked to do what none of them did, and the pause before they are asked again.
const ROUNDS: u64 = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// Writes all entries with their versions, and then the floor. Tells how many there were.
///
/// What has a value comes first: should the cluster collect deleted keys meanwhile, the floor rises, and that no value is written below it
/// would be a loss. A deleted key below the floor shows the floor, as it would if it had been collected after the restore.
pub(crate) fn restore(client: &Client, path: &Path, resume: bool) -> Result<Value, Fail> {
    let file = |why: String| Fail::Refused(format!("nothing was written, since {} {why}", path.display()));
    let mut input = File::open(path).map_err(|error| file(format!("cannot be read: {error}")))?;
    let head = pass(&mut input, |_| Ok(())).map_err(|why| why.or_else(file))?;
    if !resume {
        refuse_unless_empty(client)?;
    }
    let mut sending = Sending { client, session: client.open_session()?, sequence: 0, restored: 0, present: 0 };
    let done = sending.all(&mut input, &head);
    client.end_session(&sending.session);
    let Sending { restored, present, .. } = sending;
    let floor = done.map_err(|fail| match fail {
        Fail::Conflict(entry) => Fail::Conflict(entry),
        Fail::Usage(why) => {
            Fail::Usage(format!("{restored} entries were restored, and what follows is refused for good: {why}"))
        }
        Fail::Refused(why) | Fail::Unknown(why) => {
            Fail::Unknown(format!("{restored} entries were restored; go on with --resume: {why}"))
        }
    })?;
    Ok(json!({"cluster": head.cluster, "restored": restored, "present": present, "floor": floor}))
}

/// What may go wrong on the way through the file.
enum Broken {
    /// The file is not as it should be.
    File(String),
    /// Nor is what was done with it.
    Other(Fail),
}

impl Broken {
    fn or_else(self, file: impl FnOnce(String) -> Fail) -> Fail {
        match self {
            Broken::File(why) => file(why),
            Broken::Other(fail) => fail,
        }
    }
}

/// Reads the whole file from its beginning, entry by entry.
fn pass(input: &mut File, mut each: impl FnMut(Entry) -> Result<(), Fail>) -> Result<Head, Broken> {
    input.rewind().map_err(|error| Broken::File(format!("cannot be read: {error}")))?;
    let mut entries = Entries::new(BufReader::new(input)).map_err(Broken::File)?;
    for entry in &mut entries {
        each(entry.map_err(Broken::File)?).map_err(Broken::Other)?;
    }
    Ok(entries.head)
}

/// The backup of an empty cluster is empty: no key is there, nor was one deleted.
fn refuse_unless_empty(client: &Client) -> Result<(), Fail> {
    let failed = |why| Fail::Refused(format!("nothing was written; what the cluster has {why}"));
    let mut entries = Entries::new(BufReader::new(client.stream("/backup")?)).map_err(failed)?;
    let floor = entries.head.floor;
    match entries.next().transpose().map_err(failed)? {
        None if floor == 0 => Ok(()),
        None => Err(Fail::Refused("nothing was written: the cluster has had keys, which were deleted".into())),
        Some(entry) => {
            let sort = if entry.val.is_empty() { "a deleted key" } else { "a key" };
            Err(Fail::Refused(format!("nothing was written: the cluster is not empty, it has {sort}, {:?}", entry.key)))
        }
    }
}

struct Sending<'a> {
    client: &'a Client,
    session: String,
    sequence: u64,
    restored: u64,
    present: u64,
}

impl Sending<'_> {
    /// Returns the floor.
    fn all(&mut self, input: &mut File, head: &Head) -> Result<u64, Fail> {
        for deleted in [false, true] {
            let (mut part, mut bytes) = (Vec::new(), 0);
            let read = pass(input, |entry| {
                if entry.val.is_empty() != deleted {
                    return Ok(());
                }
                let size = entry.key.len() + entry.val.len();
                if part.len() >= RESTORE_MAX || !part.is_empty() && bytes + size > PART_BYTES {
                    self.entries(&std::mem::take(&mut part))?;
                    bytes = 0;
                }
                bytes += size;
                part.push(entry);
                Ok(())
            });
            read.map_err(|why| why.or_else(|why| Fail::Refused(format!("the file changed meanwhile: it {why}"))))?;
            if !part.is_empty() {
                self.entries(&part)?;
            }
        }
        let told = self.send(&json!({"floor": head.floor}))?;
        told["floor"].as_u64().ok_or_else(|| Fail::Unknown(format!("the floor was answered with {told}")))
    }

    fn entries(&mut self, part: &[Entry]) -> Result<(), Fail> {
        let told = self.send(&json!({"entries": part}))?;
        self.restored += told["restored"].as_u64().unwrap_or_default();
        self.present += told["present"].as_u64().unwrap_or_default();
        Ok(())
    }

    /// Sends the next operation of the session until it is done.
    fn send(&mut self, body: &Value) -> Result<Value, Fail> {
        self.sequence += 1;
        let body = body.to_string();
        let mut round = 1;
        loop {
            match self.client.write_in(&self.session, self.sequence, "POST", "/restore", &body) {
                Err(Fail::Refused(_) | Fail::Unknown(_)) if round < ROUNDS => round += 1,
                done => return done,
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}
