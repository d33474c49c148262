//! The files of traces: whose they are, in which order, and their lines.

use paxos_model::kv::Kv;
use paxos_model::trace::line::{Begin, FORMAT, Line};
use stateright::actor::Id;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// A file of a trace, by what its first line says.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) life: u64,
    pub(super) file: u64,
    /// Whether its node could not write on.
    pub(super) cut: bool,
}

/// The traces that were given.
#[derive(Debug)]
pub(super) struct Traces {
    /// Of each node, in order.
    pub(super) parts: BTreeMap<Id, Vec<Part>>,
    /// What all of them say of their cluster.
    pub(super) begin: Begin<Kv>,
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

/// Finds the files below `paths`, each a file or a directory of them, and puts them in order.
pub(super) fn find(paths: &[PathBuf]) -> Result<Traces, String> {
    let mut parts: BTreeMap<Id, Vec<Part>> = BTreeMap::new();
    let mut common: Option<Begin<Kv>> = None;
    for path in expanded(paths)? {
        let Some(line) = Lines::open(&path)?.next()? else { continue };
        let Line::Begin(begin) = line else {
            return Err(format!("{}: it does not begin as a trace does", path.display()));
        };
        if begin.format != FORMAT {
            return Err(format!("{}: format {}, and this is {FORMAT}", path.display(), begin.format));
        }
        let cut = path.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("-cut"));
        let part = Part { path, life: begin.life, file: begin.file, cut };
        if let Some(common) = &common {
            let same = |begin: &Begin<Kv>| (begin.cluster.clone(), begin.configuration.clone(), begin.protocol.clone());
            if same(common) != same(&begin) {
                let advice = "give files of one cluster whose nodes were built from the same sources";
                return Err(format!("{}: another cluster, or of other sources; {advice}", part.path.display()));
            }
        }
        parts.entry(begin.node).or_default().push(part);
        common.get_or_insert(*begin);
    }
    for parts in parts.values_mut() {
        parts.sort_by_key(|part| (part.life, part.file));
        if let Some(pair) = parts.windows(2).find(|pair| (pair[0].life, pair[0].file) == (pair[1].life, pair[1].file)) {
            let (a, b) = (pair[0].path.display(), pair[1].path.display());
            return Err(format!("{a} and {b} are of the same node, life and number"));
        }
    }
    let begin = common.ok_or("there is no trace in what was given")?;
    Ok(Traces { parts, begin })
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
