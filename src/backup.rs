//! What a backup is made of, one JSON object a line: the head, an entry for each key, deleted ones with the empty value, and the end, by
//! which a file that is truncated or altered is known.
//!
//! ```text
//! {"format":1,"cluster":"paxos","slot":17,"floor":0}
//! {"key":"a","val":"1","ver":3}
//! {"entries":1,"checksum":"f9830a5f"}
//! ```
//!
//! The checksum is the CRC-32 of all lines before the last.

use crate::{KEY_MAX, Machine, VALUE_MAX};
use crc32fast::Hasher;
use paxos_model::kv::{Entry, FLOOR_MAX, Place, VERSION_MAX};
use paxos_model::machine::StateMachine;
use paxos_model::replica::ballot::Slot;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Read};

/// The form that is written and read.
pub const FORMAT: u64 = 1;
/// The longest line: a key and a value of which every byte is escaped, and the rest.
const LINE_MAX: usize = 6 * (KEY_MAX + VALUE_MAX) + 256;
/// About so many bytes are made at a time.
const PART_BYTES: usize = 64 << 10;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`FORMAT`].
    pub format: u64,
    /// The name of the cluster.
    pub cluster: String,
    /// Everything that was decided below this slot is in the backup, and nothing else.
    pub slot: Slot,
    /// The version that an absent key shows.
    pub floor: u64,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    entries: u64,
    checksum: String,
}

fn checksum(hasher: Hasher) -> String {
    format!("{:08x}", hasher.finalize())
}

/// The lines of a machine's backup, part by part. It keeps no more of them than one part, and the machine.
pub struct Parts {
    machine: Machine,
    /// None once it is written.
    head: Option<Head>,
    after: Option<Place>,
    entries: u64,
    hasher: Hasher,
    ended: bool,
}

impl Parts {
    /// Of `machine` as it is once everything below `slot` is applied.
    pub fn new(cluster: &str, slot: Slot, machine: Machine) -> Parts {
        let head = Head { format: FORMAT, cluster: cluster.into(), slot, floor: machine.floor() };
        // The floor stands in the head.
        let after = Some(Place::Floor);
        Parts { machine, head: Some(head), after, entries: 0, hasher: Hasher::new(), ended: false }
    }
}

fn push_line<T: Serialize>(part: &mut Vec<u8>, line: &T) {
    serde_json::to_writer(&mut *part, line).expect("every line has a form in JSON");
    part.push(b'\n');
}

impl Iterator for Parts {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.ended {
            return None;
        }
        let mut part = Vec::with_capacity(PART_BYTES);
        if let Some(head) = self.head.take() {
            push_line(&mut part, &head);
        }
        self.ended = true;
        let after = self.after.clone();
        for (place, item) in self.machine.items(after.as_ref()) {
            let Place::Key(key) = place else { continue };
            if part.len() >= PART_BYTES {
                self.ended = false;
                break;
            }
            push_line(&mut part, &Entry { key: key.clone(), val: item.val, ver: item.ver });
            self.entries += 1;
            self.after = Some(Place::Key(key));
        }
        self.hasher.update(&part);
        if self.ended {
            let checksum = checksum(self.hasher.clone());
            push_line(&mut part, &End { entries: self.entries, checksum });
        }
        Some(part)
    }
}

/// Reads a backup. The entries are those of a whole and unaltered one if all of them are there, and none is an error.
pub struct Entries<R> {
    /// The first line.
    pub head: Head,
    input: R,
    hasher: Hasher,
    read: u64,
    ended: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Entry(Entry),
    End(End),
}

/// The next line with its end; none if there is none that is whole.
fn line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let limit = LINE_MAX as u64;
    input.take(limit).read_until(b'\n', &mut line).map_err(|error| format!("cannot be read: {error}"))?;
    Ok(line.ends_with(b"\n").then_some(line))
}

impl<R: BufRead> Entries<R> {
    /// Reads the head.
    pub fn new(mut input: R) -> Result<Self, String> {
        let first = line(&mut input)?.ok_or("is no backup: it has no first line")?;
        let head: Head = serde_json::from_slice(&first).map_err(|error| format!("is no backup: {error}"))?;
        if head.format != FORMAT {
            return Err(format!("has the format {}, and this program reads {FORMAT}", head.format));
        }
        if head.floor > FLOOR_MAX {
            return Err(format!("is damaged: it has the floor {}, and no store has one above {FLOOR_MAX}", head.floor));
        }
        let mut hasher = Hasher::new();
        hasher.update(&first);
        Ok(Entries { head, input, hasher, read: 0, ended: false })
    }

    fn read(&mut self) -> Result<Option<Entry>, String> {
        let after = self.read;
        let bytes = line(&mut self.input)?.ok_or(format!("is truncated after {after} entries"))?;
        match serde_json::from_slice(&bytes) {
            Ok(Line::Entry(entry)) => {
                let fits = (1..=KEY_MAX).contains(&entry.key.len()) && entry.val.len() <= VALUE_MAX;
                if !fits || !(1..=VERSION_MAX).contains(&entry.ver) {
                    return Err(format!("is damaged: the entry after {after} others is none that can be written"));
                }
                self.hasher.update(&bytes);
                self.read += 1;
                Ok(Some(entry))
            }
            Ok(Line::End(end)) => {
                let counted = End { entries: self.read, checksum: checksum(self.hasher.clone()) };
                if end != counted {
                    return Err(format!("is damaged: it should end with {end:?}, and what is there has {counted:?}"));
                }
                let more = self.input.fill_buf().map_err(|error| format!("cannot be read: {error}"))?;
                if more.is_empty() { Ok(None) } else { Err("is damaged: something follows its end".into()) }
            }
            Err(error) => Err(format!("is damaged after {after} entries: {error}")),
        }
    }
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = Result<Entry, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.read().transpose();
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paxos_model::kv::{Command, Put};

    /// Some keys, one of them large, one of them deleted, and a floor.
    fn machine() -> Machine {
        let mut machine = Machine::default();
        machine.apply(&Command::RaiseFloor { to: 5 });
        let put = |key: String, val: String| Put { key: key.into(), val: val.into(), ver: None };
        let mut puts: Vec<Put> = (0..3000).map(|key| put(format!("key {key}"), format!("\u{1}\"{key}\n"))).collect();
        puts.push(put("k".repeat(KEY_MAX), "\u{1}".repeat(VALUE_MAX)));
        puts.push(put("key 17".into(), String::new()));
        machine.apply(&Command::Write { puts, atomic: false });
        machine
    }

    fn read(bytes: &[u8]) -> Result<(Head, Vec<Entry>), String> {
        let entries = Entries::new(bytes)?;
        let head = entries.head.clone();
        Ok((head, entries.collect::<Result<_, _>>()?))
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let machine = machine();
        let parts: Vec<Vec<u8>> = Parts::new("c", 9, machine.clone()).collect();
        assert!(parts.len() > 2 && parts.iter().all(|part| part.len() <= PART_BYTES + LINE_MAX));
        let (head, entries) = read(&parts.concat()).unwrap();
        assert_eq!(head, Head { format: FORMAT, cluster: "c".into(), slot: 9, floor: 5 });
        let mut again = Machine::default();
        let puts = entries.into_iter().map(|Entry { key, val, ver }| Put { key, val, ver: Some(ver) }).collect();
        again.apply(&Command::Write { puts, atomic: false });
        again.apply(&Command::RaiseFloor { to: head.floor });
        assert_eq!(again, machine);
    }

    #[test]
    fn the_example_of_the_form_is_what_is_written() {
        let mut machine = Machine::default();
        let text = |machine: &Machine| String::from_utf8(Parts::new("paxos", 17, machine.clone()).flatten().collect());
        let head = "{\"format\":1,\"cluster\":\"paxos\",\"slot\":17,\"floor\":0}\n";
        assert!(text(&machine).unwrap().starts_with(&format!("{head}{{\"entries\":0,\"checksum\":\"")));
        let put = Put { key: "a".into(), val: "1".into(), ver: Some(3) };
        machine.apply(&Command::Write { puts: vec![put], atomic: false });
        let example = "{\"key\":\"a\",\"val\":\"1\",\"ver\":3}\n{\"entries\":1,\"checksum\":\"f9830a5f\"}\n";
        assert_eq!(text(&machine).unwrap(), format!("{head}{example}"));
    }

    #[test]
    fn what_is_truncated_or_altered_is_refused_wherever_it_is() {
        let mut machine = Machine::default();
        let put = |key: &str, ver| Put { key: key.into(), val: "v".into(), ver: Some(ver) };
        machine.apply(&Command::Write { puts: vec![put("a", 3), put("b", 9)], atomic: false });
        let bytes: Vec<u8> = Parts::new("c", 9, machine).flatten().collect();
        assert_eq!(read(&bytes).unwrap().1.len(), 2);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "of {length} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                assert!(read(&altered).is_err(), "bit {bit} of byte {at}");
            }
        }
        assert!(read(&[&bytes[..], b"\n"].concat()).unwrap_err().contains("follows"));
        let text = String::from_utf8(bytes).unwrap();
        assert!(read(text.replace("\"format\":1", "\"format\":2").as_bytes()).unwrap_err().contains("format"));
        let floor = format!("\"floor\":{}", FLOOR_MAX + 1);
        assert!(read(text.replace("\"floor\":0", &floor).as_bytes()).unwrap_err().contains("floor"));
    }
}
