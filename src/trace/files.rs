//! The files of a trace: one after the other in one directory, each of bounded length, the oldest removed.
//!
#![allow(clippy::disallowed_types, reason = "a trace is files")]

use paxos_model::trace::file::FileName;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Into how many files the room is divided, about.
const PARTS: u64 = 16;
/// No file is shorter, unless its life ends.
const FILE_MIN: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    node: u64,
    bytes_max: u64,
    next_life: u64,
    /// The present file; none before the first, and after one that could not be written.
    file: Option<File>,
    path: PathBuf,
    /// The life and the number of the file that was begun last.
    latest: Option<(u64, u64)>,
    /// How long it is.
    length: u64,
    /// How long it may become.
    full_at: u64,
    /// The others, oldest first, with their lengths.
    earlier: Vec<(PathBuf, u64)>,
}

impl Files {
    /// Those of `node` in `directory`, which take up to `bytes_max`.
    pub(super) fn open(directory: &Path, node: u64, bytes_max: u64) -> io::Result<Files> {
        fs::create_dir_all(directory)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str().and_then(FileName::parse).filter(|name| name.node == node) {
                found.push((name.number, entry.path(), entry.metadata()?.len()));
            }
        }
        found.sort();
        Ok(Files {
            directory: directory.into(),
            node,
            bytes_max,
            next_life: found.last().map_or(0, |((life, _), ..)| life + 1),
            file: None,
            path: PathBuf::new(),
            latest: found.last().map(|(numbers, ..)| *numbers),
            length: 0,
            full_at: 0,
            earlier: found.into_iter().map(|(_, path, length)| (path, length)).collect(),
        })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The life and the number of the file that was begun last, if there is one.
    pub(super) fn latest(&self) -> Option<(u64, u64)> {
        self.latest
    }

    /// The number of the next life; another one each time.
    pub(super) fn next_life(&mut self) -> u64 {
        self.next_life += 1;
        self.next_life - 1
    }

    /// Goes on in a new file, and removes the oldest if all together are too long.
    pub(super) fn next(&mut self, life: u64, file: u64) -> io::Result<()> {
        if self.file.take().is_some() {
            self.earlier.push((std::mem::take(&mut self.path), self.length));
        }
        let mut total: u64 = self.earlier.iter().map(|(_, length)| length).sum();
        // The latest stays: it tells what the next one goes on from.
        while total + self.bytes_max / PARTS > self.bytes_max && self.earlier.len() > 1 {
            let (path, length) = self.earlier.remove(0);
            // Whoever else removed it, or keeps it: the trace goes on.
            let _ = fs::remove_file(path);
            total -= length;
        }
        let name = FileName { node: self.node, number: (life, file), cut: false };
        let path = self.directory.join(name.to_string());
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(opened) => {
                (self.path, self.length, self.file) = (path, 0, Some(opened));
                self.latest = Some((life, file));
                Ok(())
            }
            Err(error) => {
                self.cut_off_earlier();
                Err(error)
            }
        }
    }

    /// Marks that what follows on the last file is told nowhere.
    fn cut_off_earlier(&mut self) {
        if let Some((path, length)) = self.earlier.pop() {
            self.earlier.push((cut_off(&path), length));
        }
    }

    /// Its first line, with so many bytes, is written: it may be as long again, and at least as long as its part of the room.
    pub(super) fn began(&mut self, first: u64) {
        self.full_at = first + first.max(self.bytes_max / PARTS).max(FILE_MIN);
    }

    /// Whether the file is long enough.
    pub(super) fn is_full(&self) -> bool {
        self.length >= self.full_at
    }

    /// Marks that the present file could not be written to its end.
    pub(super) fn cut_off(&mut self) {
        if self.file.take().is_none() {
            return;
        }
        if self.length == 0 {
            // It tells nothing: the one before is the last that tells of what follows on it.
            let _ = fs::remove_file(&self.path);
            self.cut_off_earlier();
        } else {
            self.earlier.push((cut_off(&self.path), self.length));
        }
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::Error::other("there is no file")) };
        file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Gives a file the name of one that could not be written to its end, unless it has it. Returns its path.
fn cut_off(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(FileName::parse);
    let Some(name) = name.filter(|name| !name.cut) else { return path.into() };
    let to = path.with_file_name(FileName { cut: true, ..name }.to_string());
    // Where not even that can be done, the next life will seem not to follow.
    if fs::rename(path, &to).is_ok() { to } else { path.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = entries.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_after_which_none_can_be_made_is_marked_once() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = Files::open(directory.path(), 0, 16 << 20).unwrap();
        files.next(0, 0).unwrap();
        files.append(b"{}\n").unwrap();
        for life in [1, 2] {
            let name = FileName { node: 0, number: (life, 0), cut: false };
            fs::create_dir(directory.path().join(name.to_string())).unwrap();
            assert!(files.next(life, 0).is_err(), "something is in the way");
        }
        assert_eq!(names(directory.path())[0], "node0-life000000-file0000-cut.ndjson");
        assert_eq!(files.latest(), Some((0, 0)), "the next one tells that this one was before it");
        files.next(3, 0).unwrap();
        files.append(b"{}\n").unwrap();
        files.next(4, 0).unwrap();
        files.cut_off();
        assert_eq!(files.latest(), Some((4, 0)), "though it is empty, and gone");
        files.next(5, 0).unwrap();
        files.append(b"{}\n").unwrap();
        files.cut_off();
        files.next(6, 0).unwrap();
        files.cut_off();
        let names = names(directory.path());
        assert!(names.iter().all(|name| !name.contains("-cut-cut") && !name.contains("life000004")), "{names:?}");
        for life in [3, 5] {
            assert!(names.contains(&format!("node0-life00000{life}-file0000-cut.ndjson")), "{names:?}");
        }
        assert_eq!(Files::open(directory.path(), 0, 16 << 20).unwrap().next_life(), 6);
    }
}
