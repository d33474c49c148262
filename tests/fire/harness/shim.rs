//! The words to a node's disk and wall clock, which `shim.c` heeds inside its process.

#![allow(clippy::disallowed_types, reason = "it is shared with the node's process as a file")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = include_str!("shim.c");
/// The places of the words in the file, as in the struct of `shim.c`.
const DELAY_US: u64 = 0;
const SYNCS_FAIL: u64 = 4;
const FULL: u64 = 8;
const JOURNAL_ALONE: u64 = 12;
const WALL_MS: u64 = 16;
const HITS: u64 = 24;
const HELD: u64 = 32;
const WRITTEN: u64 = 40;
const LENGTH: u64 = 48;

pub(crate) struct Shim {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Shim {
    /// Compiles the library into `directory`.
    pub(crate) fn build(directory: &Path) -> io::Result<PathBuf> {
        let (source, library) = (directory.join("shim.c"), directory.join("shim.so"));
        std::fs::write(&source, SOURCE)?;
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        let output =
            compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output()?;
        let told = || io::Error::other(format!("shim.c: {}", String::from_utf8_lossy(&output.stderr)));
        if output.status.success() { Ok(library) } else { Err(told()) }
    }

    pub(crate) fn new(library: &Path, path: &Path) -> io::Result<Shim> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(LENGTH)?;
        Ok(Shim { library: library.into(), path: path.into(), file })
    }

    pub(crate) fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("PAXOS_FIRE_SHIM", &self.path);
    }

    pub(crate) fn delay_us(&mut self, delay: u32) -> io::Result<()> {
        self.file.write_all_at(&delay.to_ne_bytes(), DELAY_US)
    }

    pub(crate) fn syncs_fail(&mut self, fail: bool) -> io::Result<()> {
        const INPUT_OUTPUT: u32 = 5;
        self.file.write_all_at(&0u32.to_ne_bytes(), JOURNAL_ALONE)?;
        self.file.write_all_at(&if fail { INPUT_OUTPUT } else { 0 }.to_ne_bytes(), SYNCS_FAIL)
    }

    /// Only those of the journal, with such an error.
    pub(crate) fn journal_syncs_fail(&mut self, error: u32) -> io::Result<()> {
        self.file.write_all_at(&1u32.to_ne_bytes(), JOURNAL_ALONE)?;
        self.file.write_all_at(&error.to_ne_bytes(), SYNCS_FAIL)
    }

    pub(crate) fn full(&mut self, full: bool) -> io::Result<()> {
        self.file.write_all_at(&u32::from(full).to_ne_bytes(), FULL)
    }

    /// Only the meta pages find no room.
    pub(crate) fn meta_full(&mut self) -> io::Result<()> {
        self.file.write_all_at(&2u32.to_ne_bytes(), FULL)
    }

    /// How far the wall clock is off.
    pub(crate) fn wall_ms(&mut self, off: i64) -> io::Result<()> {
        self.file.write_all_at(&off.to_ne_bytes(), WALL_MS)
    }

    fn read(&self, at: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// How often anything was done to the node so far.
    pub(crate) fn hits(&self) -> io::Result<u64> {
        self.read(HITS)
    }

    /// Writes that were never synced, so that a kill or a failed sync undid them.
    pub(crate) fn undone(&self) -> io::Result<u64> {
        Ok(self.read(HELD)?.saturating_sub(self.read(WRITTEN)?))
    }
}
