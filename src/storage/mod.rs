//! Where a node keeps what its replica saves.
//!
//! The replica saves its whole durable value; a [`Store`] finds what changed since the last commit and writes that much. After
//! [`Store::commit`] returns, the value survives a crash of the process and of the machine.

#[cfg(test)]
mod beside;
mod codec;
#[cfg(test)]
mod crashes;
#[cfg(test)]
mod damage;
mod delta;
mod directory;
pub mod disk;
pub mod identity;
mod journal;
mod lmdb;
pub mod memory;
mod needs;
mod pages;
mod sets;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod tests;
mod trees;

use crate::Stored;
use identity::Identity;
pub(crate) use needs::{Needs, brings_values};
use std::fmt;
use std::path::PathBuf;

/// The most that a store may be configured to hold, in MiB: what is mapped for it is well within the address space.
pub const STORE_MIB_MAX: usize = 4 << 20;

/// Keeps a replica's durable value.
pub trait Store: Send + 'static {
    /// Whose store it is.
    fn identity(&self) -> Identity;

    /// What was committed last; none if nothing ever was. Reads all of it: for the start, and after a failed commit.
    fn load(&mut self) -> Result<Option<Stored>, OpenError>;

    /// Makes `value` durable, all of it or none. A store that has no more room for values keeps a little for what needs less, as far
    /// as that is up to it.
    fn commit(&mut self, value: &Stored) -> Result<(), CommitError>;

    /// How much of the store is taken.
    fn usage(&self) -> Usage;

    /// Whether such a commit as found no room last may succeed now.
    fn has_room(&mut self) -> bool;
}

/// How much of a store is taken, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What the stored value takes, with everything that keeps it in order.
    pub used: u64,
    /// What it may take.
    pub limit: u64,
}

impl Usage {
    /// How far values in the log may fill the store. What is left when no more of them fit is for deletes, and for what makes room.
    fn limit_of_values(self) -> u64 {
        self.limit - self.limit / 20
    }

    /// Whether clients' values are to be refused: nine tenths are taken. The rest is for deletes, and for what is under way.
    pub fn is_nearly_full(self) -> bool {
        self.used >= self.limit - self.limit / 10
    }
}

/// Why a store cannot be used. Nothing in it was changed.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The directory is not there, cannot be made, or cannot be written.
    Directory(PathBuf, String),
    /// Another process has it open.
    InUse(PathBuf),
    /// It was written by a later version of this program.
    Newer {
        /// Where.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// It is the store of another node or cluster.
    Foreign {
        /// Where.
        path: PathBuf,
        /// Whose it is, and whose it should be.
        why: String,
    },
    /// There is no room for what has to be written when it is opened.
    NoRoom(PathBuf, String),
    /// What it holds cannot be trusted.
    Damaged(PathBuf, String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Directory(path, why) => write!(
                f,
                "cannot use the data directory {}: {why}. Make it a directory that this node can write, or name another one",
                path.display()
            ),
            OpenError::InUse(path) => write!(
                f,
                "the data directory {} is in use by another process: stop that first, or name another directory",
                path.display()
            ),
            OpenError::Newer { path, found } => write!(
                f,
                "{} is in format {found}, and this program reads up to {}: run the version that wrote it, or a later one",
                path.display(),
                identity::FORMAT
            ),
            OpenError::Foreign { path, why } => write!(
                f,
                "{} is another node's: {why}. Start the node that it belongs to, or name another directory",
                path.display()
            ),
            OpenError::NoRoom(path, why) => write!(
                f,
                "there is no room for a store in {}: {why}. Make room, or configure a larger store; nothing was changed",
                path.display()
            ),
            OpenError::Damaged(path, why) => write!(
                f,
                "{} is damaged: {why}. It is left as it is. Replace the node (`node replace`): one that lost its votes must not \
                 take part under its old number, nor one with a copy from before it cast them",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a commit failed.
#[derive(Debug, PartialEq, Eq)]
pub enum CommitError {
    /// There is no room: nothing of it was written, and the store is as it was before.
    Full(String),
    /// Anything else: it is not known what is on the disk. Nothing more may be committed, since this value may be found in its place.
    Failed(String),
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::Full(why) => write!(f, "no room in the store: {why}"),
            CommitError::Failed(why) => write!(f, "a commit failed: {why}"),
        }
    }
}

impl std::error::Error for CommitError {}
