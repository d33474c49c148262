//! The files of traces: whose they are, in which order, and their lines.

#![allow(clippy::disallowed_types, reason = "a trace is files")]

use paxos_model::kv::Kv;
use paxos_model::replica::ballot::Slot;
use paxos_model::trace::file::FileName;
use paxos_model::trace::line::{At, Begin, Digest, FORMAT, Line, Taken};
use rustc_hash::FxHashSet;
use stateright::actor::Id;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A file of a trace, by what its first line says.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    number: Number,
    /// The file before it, as the node says.
    after: Option<Number>,
    /// Whether it begins where nothing was stored.
    from_nothing: bool,
    /// No vote was cast from here on before it begins.
    votes_end: Slot,
    /// Whether its node could not write on.
    cut: bool,
    /// Whether it goes on where the part before it ends, or it is the beginning of all.
    pub(super) follows: bool,
}

/// The life, and the file in it.
type Number = (u64, u64);

/// The traces that were given.
#[derive(Debug)]
pub(super) struct Traces {
    /// Of each node, in order.
    pub(super) parts: BTreeMap<Id, Vec<Part>>,
    /// What all of them say of their cluster.
    pub(super) begin: Begin<Kv>,
    /// The members of which all that they did is in them.
    pub(super) whole: BTreeSet<Id>,
    /// Votes in slots below this may not be in them.
    pub(super) unseen_below: Slot,
}

/// The lines of a file, one after the other.
pub(super) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    text: Vec<u8>,
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Lines, String> {
        let file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(Lines { path: path.into(), reader: BufReader::with_capacity(1 << 20, file), number: 0, text: Vec::new() })
    }

    /// Where the line stands that was read last.
    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.number)
    }

    /// The next line; none at the end. A last line without its end was being written when the node was killed, and nobody saw anything
    /// of what it tells: it is left out.
    pub(super) fn next(&mut self) -> Result<Option<Line<Kv>>, String> {
        self.text.clear();
        let read = self.reader.read_until(b'\n', &mut self.text);
        self.number += 1;
        read.map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
        if self.text.last() != Some(&b'\n') {
            return Ok(None);
        }
        let line = serde_json::from_slice(&self.text);
        line.map(Some).map_err(|error| format!("{}: no line of a trace: {error}", self.place()))
    }
}

/// More members than that have no cluster of ours.
const MEMBERS_MAX: usize = 32;

/// Finds the files below `paths`, each a file or a directory of them, and puts them in order.
pub(super) fn find(paths: &[PathBuf]) -> Result<Traces, String> {
    let mut parts: BTreeMap<Id, Vec<Part>> = BTreeMap::new();
    // Files in which not even the first line was written: nothing was done after it.
    let mut empty: BTreeSet<(Id, Number)> = BTreeSet::new();
    let mut common: Option<Begin<Kv>> = None;
    for path in expanded(paths)? {
        let Some(line) = Lines::open(&path)?.next()? else {
            empty.extend(name_of(&path).map(|name| (Id::from(name.node as usize), name.number)));
            continue;
        };
        let Line::Begin(begin) = line else {
            return Err(format!("{}: it does not begin as a trace does", path.display()));
        };
        if begin.format != FORMAT {
            return Err(format!("{}: format {}, and this is {FORMAT}", path.display(), begin.format));
        }
        begin.options.validate().map_err(|why| format!("{}: {why}", path.display()))?;
        if begin.configuration.members.len() > MEMBERS_MAX {
            return Err(format!("{}: more than {MEMBERS_MAX} members", path.display()));
        }
        if let Some(common) = &common {
            let same = |begin: &Begin<Kv>| (begin.cluster.clone(), begin.configuration.clone(), begin.protocol.clone());
            if same(common) != same(&begin) {
                let advice = "give files of one cluster whose nodes were built from the same sources";
                return Err(format!("{}: another cluster, or of other sources; {advice}", path.display()));
            }
        }
        let part = Part {
            cut: name_of(&path).is_some_and(|name| name.cut),
            path,
            number: (begin.life, begin.file),
            after: begin.after,
            from_nothing: begin.at == At::Start(None),
            votes_end: votes_end(&begin),
            follows: false,
        };
        parts.entry(begin.node).or_default().push(part);
        common.get_or_insert(*begin);
    }
    let begin = common.ok_or("there is no trace in what was given")?;
    let mut whole = BTreeSet::new();
    let mut unseen_below = 0;
    for (node, parts) in &mut parts {
        let unseen = put_in_order(*node, parts, &empty)?;
        whole.extend(unseen.is_none().then_some(*node));
        unseen_below = unseen_below.max(unseen.unwrap_or(0));
    }
    if begin.configuration.members.keys().any(|node| !parts.contains_key(node)) {
        unseen_below = Slot::MAX;
    }
    Ok(Traces { parts, begin, whole, unseen_below })
}

/// No vote is cast further ahead than the horizon.
fn votes_end(begin: &Begin<Kv>) -> Slot {
    let stored = match &begin.at {
        At::Start(stored) => stored,
        At::Middle { saved, .. } => saved,
    };
    let decided = stored.as_ref().map_or(0, |stored| stored.decided);
    decided.saturating_add(begin.options.horizon.saturating_mul(2))
}

/// Puts the files of a node in order, and finds out which go on where the one before ends. If something is missing it returns below which
/// slot votes may be.
fn put_in_order(node: Id, parts: &mut [Part], empty: &BTreeSet<(Id, Number)>) -> Result<Option<Slot>, String> {
    parts.sort_by_key(|part| part.number);
    if let Some(pair) = parts.windows(2).find(|pair| pair[0].number == pair[1].number) {
        let (a, b) = (pair[0].path.display(), pair[1].path.display());
        return Err(format!("{a} and {b} are of the same node, life and number"));
    }
    let mut unseen_below = None;
    let mut before: Option<(Number, bool)> = None;
    for part in parts.iter_mut() {
        let is_empty = |number: Number| empty.contains(&(node, number));
        part.follows = match before {
            None => part.from_nothing && part.after.is_none_or(is_empty),
            Some((number, cut)) => !cut && part.after.is_some_and(|after| follows(after, number, &is_empty)),
        };
        if !part.follows {
            // What is missing in between, nobody knows how far it went.
            unseen_below = unseen_below.max(Some(if before.is_none() { part.votes_end } else { Slot::MAX }));
        }
        before = Some((part.number, part.cut));
    }
    Ok(if before.is_some_and(|(_, cut)| cut) { Some(Slot::MAX) } else { unseen_below })
}

/// Whether nothing lies between the file `before` and `number`, but for empty ones. Of those nobody says what was before them; it was the
/// file before of the same life, or one of the life before.
fn follows(number: Number, before: Number, is_empty: &impl Fn(Number) -> bool) -> bool {
    let (life, file) = number;
    number == before
        || is_empty(number)
            && match (life, file) {
                (0, 0) => false,
                (_, 0) => before.0 + 1 == life || follows((life - 1, 0), before, is_empty),
                _ => follows((life, file - 1), before, is_empty),
            }
}

/// What a file's name says.
fn name_of(path: &Path) -> Option<FileName> {
    FileName::parse(path.file_name()?.to_str()?)
}

/// Every message that the files tell was put out: from whom, for whom, what.
pub(super) fn all_sends(parts: &BTreeMap<Id, Vec<PathBuf>>) -> Result<FxHashSet<(Id, Id, Digest)>, String> {
    let mut sends = FxHashSet::default();
    for (node, paths) in parts {
        for path in paths {
            let mut lines = Lines::open(path)?;
            while let Some(line) = lines.next()? {
                if let Line::Step(Taken { out, .. }) = line {
                    sends.extend(out.sends.into_iter().map(|(dst, _, digest)| (*node, dst, digest)));
                }
            }
        }
    }
    Ok(sends)
}

/// Directories stand for the traces in them.
fn expanded(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths {
        let failed = |error| format!("cannot read {}: {error}", path.display());
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        for entry in fs::read_dir(path).map_err(failed)? {
            let found = entry.map_err(failed)?.path();
            if found.extension().is_some_and(|extension| extension == "ndjson") {
                files.push(found);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_hides_nothing_that_is_missing_before_it() {
        let empty = [(1, 2), (2, 0), (3, 0), (0, 0)];
        let is_empty = |number| empty.contains(&number);
        let after = |number, before| follows(number, before, &is_empty);
        assert!(after((1, 1), (1, 1)) && !after((1, 1), (1, 0)));
        assert!(after((1, 2), (1, 1)) && !after((1, 2), (1, 0)), "(1, 1) is missing");
        assert!(after((3, 0), (1, 7)) && after((3, 0), (2, 1)), "life 2 may have been empty, or not");
        assert!(!after((3, 0), (0, 3)), "life 1 is missing");
    }
}
