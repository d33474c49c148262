//! The trees of the store on disk, and the durable value in them.
//!
//! | tree | key | value |
//! |---|---|---|
//! | `meta` | `identity` | [`Identity`] |
//! | `meta` | `marks` | all of the durable value but its maps |
//! | `meta` | `stamp` | the number of the transaction |
//! | `log` | slot, big-endian, so that slots are in order | the entry voted for or decided |
//! | `votes` | slot, big-endian | the ballot of the vote |
//! | `items0`, `sessions0` | see [`super::sets`] | the snapshot, or what arrives of another |
//! | `items1`, `sessions1` | see [`super::sets`] | the other of the two |
//!
//! The marks tell which of the two sets is the snapshot. What has arrived whole becomes it where it lies, and is not written again;
//! what it replaces is cleared. A store of format 1 has neither the sets nor their marks.

use super::codec::{decode, encode};
use super::identity::Identity;
use super::sets::{Head, Set};
use crate::Machine;
use heed::types::Bytes;
use heed::{Database, Env, RoTxn, RwTxn, WithoutTls};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use paxos_model::replica::ballot::{Ballot, Slot};
use paxos_model::replica::durable::Durable;
use paxos_model::replica::executor::Executor;
use paxos_model::replica::pieces::PlaceOf;
use paxos_model::replica::snapshot::Arriving;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub(super) const IDENTITY: &[u8] = b"identity";
pub(super) const MARKS: &[u8] = b"marks";
pub(super) const STAMP: &[u8] = b"stamp";

pub(super) const META: &str = "meta";
const LOG: &str = "log";
const VOTES: &str = "votes";
const SETS: [[&str; 2]; 2] = [["items0", "sessions0"], ["items1", "sessions1"]];

/// The trees of a store in `format`, in the order of their bytes.
pub(super) fn names(format: u32) -> Vec<&'static str> {
    let mut names = vec![LOG, META, VOTES];
    if format > 1 {
        names.extend(SETS.as_flattened());
    }
    names.sort_unstable();
    names
}

pub(super) type Records = Database<Bytes, Bytes>;

/// The record that tells whose store it is, of a store of any format.
pub(super) fn identity<'t>(env: &Env<WithoutTls>, txn: &'t RoTxn<'_, WithoutTls>) -> Result<Option<&'t [u8]>, String> {
    let meta: Option<Records> = env.open_database(txn, Some(META)).map_err(told)?;
    meta.map_or(Ok(None), |meta| meta.get(txn, IDENTITY).map_err(told))
}

/// All of the durable value but its maps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marks {
    promised: Ballot,
    promised_at: Slot,
    decided: Slot,
    incarnation: u64,
    sets: SetMarks,
}

/// What the two sets are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct SetMarks {
    /// Whether the snapshot is the second.
    second: bool,
    snapshot: Head,
    /// Of the other one, with the place of the last piece that arrived.
    arriving: Option<(Head, Option<PlaceOf<Machine>>)>,
}

/// The marks of format 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OldMarks {
    pub(super) promised: Ballot,
    pub(super) promised_at: Slot,
    pub(super) decided: Slot,
    pub(super) incarnation: u64,
}

impl From<OldMarks> for Marks {
    fn from(OldMarks { promised, promised_at, decided, incarnation }: OldMarks) -> Marks {
        Marks { promised, promised_at, decided, incarnation, sets: SetMarks::default() }
    }
}

/// What was read, and whether its snapshot is the second set.
pub(super) type Read = (Durable<Machine>, bool);

#[derive(Clone, Copy)]
pub(super) struct Trees {
    meta: Records,
    log: Records,
    votes: Records,
    /// None in format 1, which is only read.
    sets: Option<[Set; 2]>,
}

impl Trees {
    /// Those of a store in `format`.
    pub(super) fn open(env: &Env<WithoutTls>, txn: &RoTxn<'_, WithoutTls>, format: u32) -> Result<Trees, String> {
        let open = |name: &'static str| match env.open_database(txn, Some(name)).map_err(told)? {
            Some(records) => Ok(records),
            None => Err(format!("it lacks the tree {name}")),
        };
        let set = |[items, sessions]: [&'static str; 2]| {
            Ok::<_, String>(Set { items: open(items)?, sessions: open(sessions)? })
        };
        let sets = if format > 1 { Some([set(SETS[0])?, set(SETS[1])?]) } else { None };
        Ok(Trees { meta: open(META)?, log: open(LOG)?, votes: open(VOTES)?, sets })
    }

    /// Makes those that are not there.
    pub(super) fn make(env: &Env<WithoutTls>, txn: &mut RwTxn<'_>) -> heed::Result<Trees> {
        let mut make = |name| env.create_database(txn, Some(name));
        let [first, second] = SETS;
        let sets = [
            Set { items: make(first[0])?, sessions: make(first[1])? },
            Set { items: make(second[0])?, sessions: make(second[1])? },
        ];
        Ok(Trees { meta: make(META)?, log: make(LOG)?, votes: make(VOTES)?, sets: Some(sets) })
    }

    /// Makes a store of format `from` one of the format of `identity`.
    pub(super) fn upgrade(
        env: &Env<WithoutTls>,
        txn: &mut RwTxn<'_>,
        identity: &Identity,
        from: u32,
    ) -> Result<(), String> {
        let trees = Trees::make(env, txn).map_err(told)?;
        if from == 1
            && let Some(record) = trees.meta.get(txn, MARKS).map_err(told)?
        {
            let marks: OldMarks = decode(MARKS, record).map_err(|why| format!("its marks: {why}"))?;
            trees.meta.put(txn, MARKS, &encode(MARKS, &Marks::from(marks))).map_err(told)?;
        }
        trees.identify(txn, identity).map_err(told)
    }

    /// Writes whose store it is.
    pub(super) fn identify(&self, txn: &mut RwTxn<'_>, identity: &Identity) -> heed::Result<()> {
        self.meta.put(txn, IDENTITY, &encode(IDENTITY, identity))?;
        self.stamp(txn)
    }

    /// Leaves the transaction's number in it, by which it is known which meta page is whose.
    pub(super) fn stamp(&self, txn: &mut RwTxn<'_>) -> heed::Result<()> {
        let number = txn.id() as u64;
        self.meta.put(txn, STAMP, &encode(STAMP, &number))
    }

    /// What the trees take of the file.
    pub(super) fn used(&self, txn: &RoTxn<'_, WithoutTls>) -> heed::Result<u64> {
        let sets = self.sets.iter().flatten().flat_map(|set| [set.items, set.sessions]);
        let mut bytes = 0;
        for tree in [self.meta, self.log, self.votes].into_iter().chain(sets) {
            let stat = tree.stat(txn)?;
            bytes += (stat.branch_pages + stat.leaf_pages + stat.overflow_pages) as u64 * u64::from(stat.page_size);
        }
        Ok(bytes)
    }

    /// Whether anything was committed: every commit writes the marks.
    pub(super) fn has_marks(&self, txn: &RoTxn<'_, WithoutTls>) -> heed::Result<bool> {
        Ok(self.meta.get(txn, MARKS)?.is_some())
    }

    fn marks(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Option<Marks>, String> {
        let Some(record) = self.meta.get(txn, MARKS).map_err(told)? else { return Ok(None) };
        let marks = match self.sets {
            Some(_) => decode(MARKS, record),
            None => decode(MARKS, record).map(|marks: OldMarks| marks.into()),
        };
        marks.map(Some).map_err(|why| format!("its marks: {why}"))
    }

    fn is_empty(&self, txn: &RoTxn<'_, WithoutTls>) -> heed::Result<bool> {
        let mut empty = self.log.is_empty(txn)? && self.votes.is_empty(txn)?;
        for set in self.sets.iter().flatten() {
            empty &= set.is_empty(txn)?;
        }
        Ok(empty)
    }

    /// What was committed last. An error says what is wrong with it.
    pub(super) fn read(&self, txn: &RoTxn<'_, WithoutTls>) -> Result<Option<Read>, String> {
        let Some(marks) = self.marks(txn)? else {
            let empty = self.is_empty(txn).unwrap_or(false);
            return if empty { Ok(None) } else { Err("there are records and no marks".into()) };
        };
        let Marks { promised, promised_at, decided, incarnation, sets: SetMarks { second, snapshot, arriving } } =
            marks;
        let log = read_slots(txn, LOG, self.log)?;
        let accepted = read_slots(txn, VOTES, self.votes)?;
        let (snapshot, arriving) = match &self.sets {
            None => (Executor::default(), None),
            Some(sets) => {
                let [active, other] = in_order(sets, second);
                let read = |set: &Set, head| set.read(txn, head);
                let snapshot = read(active, snapshot).map_err(|why| format!("its snapshot: {why}"))?;
                let arriving = match arriving {
                    Some((head, after)) => {
                        let executor = read(other, head).map_err(|why| format!("what arrives: {why}"))?;
                        Some(Arriving { executor, after })
                    }
                    None if other.is_empty(txn).map_err(told)? => None,
                    None => return Err("there are records of a snapshot that does not arrive".into()),
                };
                (snapshot, arriving)
            }
        };
        let value = Durable { promised, promised_at, accepted, log, decided, incarnation, snapshot, arriving };
        check(&value)?;
        Ok(Some((value, second)))
    }

    /// Writes where `value` differs from `before`, whose snapshot is the second set if `second`. Returns whether that of `value` is, and
    /// how many bytes were written.
    pub(super) fn write(
        &self,
        txn: &mut RwTxn<'_>,
        (before, second): (&Durable<Machine>, bool),
        value: &Durable<Machine>,
    ) -> heed::Result<(bool, u64)> {
        let switches = switches(before, value);
        let Durable { promised, promised_at, accepted, log, decided, incarnation, snapshot, arriving } = value;
        let sets = SetMarks {
            second: second != switches,
            snapshot: Head::of(snapshot),
            arriving: arriving.as_ref().map(|arriving| (Head::of(&arriving.executor), arriving.after.clone())),
        };
        let (promised, promised_at, decided, incarnation) = (*promised, *promised_at, *decided, *incarnation);
        let marks = Marks { promised, promised_at, decided, incarnation, sets };
        self.meta.put(txn, MARKS, &encode(MARKS, &marks))?;
        self.stamp(txn)?;
        let key = |slot: &Slot| slot.to_be_bytes();
        let mut bytes = write_changes(txn, self.log, &before.log, log, key, encode)?;
        bytes += write_changes(txn, self.votes, &before.accepted, accepted, key, encode)?;
        let sets = self.sets.as_ref().expect("a store is made one of this format before it is written");
        let [active, other] = in_order(sets, marks.sets.second);
        let arrived = before.arriving.as_ref().map(|arriving| &arriving.executor);
        let (held, left) = match arrived {
            Some(arrived) if switches => (arrived, Some(&before.snapshot)),
            arrived => (&before.snapshot, arrived),
        };
        bytes += active.write(txn, held, snapshot)?;
        let arriving = arriving.as_ref().map(|arriving| &arriving.executor);
        match (left, arriving) {
            (Some(left), Some(arriving)) if left.applied == arriving.applied => {
                bytes += other.write(txn, left, arriving)?;
            }
            (left, arriving) => {
                if left.is_some() {
                    other.clear(txn)?;
                }
                if let Some(arriving) = arriving {
                    bytes += other.write(txn, &Executor::default(), arriving)?;
                }
            }
        }
        Ok((marks.sets.second, bytes))
    }
}

/// Of the two sets the snapshot, and the other.
fn in_order(sets: &[Set; 2], second: bool) -> [&Set; 2] {
    let [first, last] = sets;
    if second { [last, first] } else { [first, last] }
}

/// Whether what arrived becomes the snapshot where it lies. It does where the snapshot was built on it, which is seen by what differs:
/// one that this replica made itself before the other was whole differs less from the one before.
fn switches(before: &Durable<Machine>, value: &Durable<Machine>) -> bool {
    let Some(arrived) = before.arriving.as_ref().map(|arriving| &arriving.executor) else { return false };
    if value.snapshot.applied < arrived.applied {
        return false;
    }
    let mut own = value.snapshot.machine.changes(&before.snapshot.machine);
    let mut others = value.snapshot.machine.changes(&arrived.machine);
    loop {
        if own.next().is_none() {
            return false;
        }
        if others.next().is_none() {
            return true;
        }
    }
}

/// Whether a value can have been committed.
pub(super) fn check(value: &Durable<Machine>) -> Result<(), String> {
    let (applied, decided, first) = (value.snapshot.applied, value.decided, value.first());
    if applied > decided || first > applied {
        return Err(format!("its snapshot is of slot {applied}, and its log of {first} to {decided}"));
    }
    // In order, and so without a look-up each.
    let hole = (first..decided).zip(value.log.keys().map(Some).chain(std::iter::repeat(None)));
    let hole = hole.into_iter().find(|(slot, found)| *found != Some(slot)).map(|(slot, _)| slot);
    let loose = value.accepted.keys().find(|slot| **slot < decided || !value.log.contains_key(*slot));
    if let Some(slot) = hole.or(loose.copied()) {
        return Err(format!("slot {slot} of {decided} decided is missing, or voted for twice"));
    }
    match &value.arriving {
        Some(arriving) if arriving.executor.applied <= decided => {
            Err(format!("a snapshot of slot {} arrives, and {decided} are decided", arriving.executor.applied))
        }
        _ => Ok(()),
    }
}

fn told(error: heed::Error) -> String {
    error.to_string()
}

fn read_slots<T: DeserializeOwned + Clone>(
    txn: &RoTxn<'_, WithoutTls>,
    name: &str,
    from: Records,
) -> Result<OrdMap<Slot, T>, String> {
    let mut values = OrdMap::new();
    for record in from.iter(txn).map_err(told)? {
        let (key, record) = record.map_err(told)?;
        let slot: [u8; 8] = key.try_into().map_err(|_| format!("{name} has a key that is no slot"))?;
        let slot = Slot::from_be_bytes(slot);
        let value = decode(key, record).map_err(|why| format!("slot {slot} in {name}: {why}"))?;
        values.insert(slot, value);
    }
    Ok(values)
}

/// Puts a record, and returns how many bytes it has.
pub(super) fn put(txn: &mut RwTxn<'_>, to: Records, key: &[u8], record: &[u8]) -> heed::Result<u64> {
    to.put(txn, key, record)?;
    Ok((key.len() + record.len()) as u64)
}

/// Writes where `after` differs from `before`, and returns how many bytes that are.
pub(super) fn write_changes<K: Ord + Clone, V: Clone + PartialEq, B: AsRef<[u8]>>(
    txn: &mut RwTxn<'_>,
    to: Records,
    before: &OrdMap<K, V>,
    after: &OrdMap<K, V>,
    key: impl Fn(&K) -> B,
    encode: impl Fn(&[u8], &V) -> Vec<u8>,
) -> heed::Result<u64> {
    let mut bytes = 0;
    for change in before.diff(after) {
        match change {
            DiffItem::Add(name, value) | DiffItem::Update { new: (name, value), .. } => {
                let key = key(name);
                bytes += put(txn, to, key.as_ref(), &encode(key.as_ref(), value))?;
            }
            DiffItem::Remove(name, _) => {
                to.delete(txn, key(name).as_ref())?;
            }
        }
    }
    Ok(bytes)
}
