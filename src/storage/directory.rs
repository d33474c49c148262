//! The directory of a store: who may write in it, and what room is held there.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use super::{OpenError, journal};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file that takes room of the disk for marks, and for entries without values: it is given up when the disk is full.
pub(super) const RESERVE: &str = "reserve";
/// A commit of a few pages takes no more.
pub(super) const LITTLE: usize = 256 << 10;
/// What the journal holds goes along with whatever is committed, and may take twice as much.
pub(super) const RESERVE_BYTES: usize = 2 * journal::BYTES + LITTLE;

/// Takes the reserve of the disk, if it was given up. That is also how it is asked whether there is room: no other answer takes in
/// quotas, reserved blocks and thin volumes.
pub(super) fn reserve(path: &Path) -> std::io::Result<()> {
    let file = path.join(RESERVE);
    if fs::metadata(&file).is_ok_and(|metadata| metadata.len() == RESERVE_BYTES as u64) {
        return Ok(());
    }
    let taken = fs::File::create(&file).and_then(|mut file| {
        file.write_all(&vec![1; RESERVE_BYTES])?;
        file.sync_all()
    });
    if taken.is_err() {
        let _ = fs::remove_file(&file);
    }
    taken
}

/// Whether the disk has room for so many bytes: they are written, and given up again; not where it is known that they do not fit, since
/// others may need what is left meanwhile.
pub(super) fn probe(path: &Path, bytes: u64) -> std::io::Result<()> {
    const PIECE: [u8; 16 << 10] = [1; 16 << 10];
    if let Ok(told) = rustix::fs::statvfs(path)
        && told.f_bavail.saturating_mul(told.f_frsize) < bytes
    {
        return Err(ErrorKind::StorageFull.into());
    }
    let mut file = tempfile::tempfile_in(path)?;
    for _ in 0..bytes.div_ceil(PIECE.len() as u64) {
        file.write_all(&PIECE)?;
    }
    file.sync_all()
}

/// Whether `error` says that there is no room on the disk.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Whether `error` of LMDB says that the disk is full. LMDB calls it an input or output error where only a part of its pages could be written;
/// then it is asked whether there is room. It drops a transaction whose pages were not all written and synced, and nothing that was
/// committed depends on those; where a meta page fails, it refuses every further transaction. So nothing is lost by going on.
pub(super) fn lacks_room(path: &Path, error: &std::io::Error) -> bool {
    const INPUT_OUTPUT: i32 = 5;
    is_full(error) || error.raw_os_error() == Some(INPUT_OUTPUT) && probe(path, 1).is_err_and(|error| is_full(&error))
}

/// LMDB maps its table of readers and writes it there: on a full disk the process would end with SIGBUS, were it not there before.
pub(super) fn reserve_readers(path: &Path) -> std::io::Result<()> {
    const FILE: &str = "lock.mdb";
    const BYTES: usize = 8192;
    let mut options = fs::File::options();
    let file = options.create(true).write(true).truncate(false).open(path.join(FILE))?;
    if file.metadata()?.len() < BYTES as u64 { file.write_all_at(&[0; BYTES], 0) } else { Ok(()) }
}

pub(super) fn unusable(path: &Path, error: &std::io::Error) -> OpenError {
    if lacks_room(path, error) {
        OpenError::NoRoom(path.into(), error.to_string())
    } else {
        OpenError::Directory(path.into(), error.to_string())
    }
}

pub(super) const LOCK: &str = "lock";

pub(super) fn is_in_use(path: &Path) -> bool {
    fs::File::open(path.join(LOCK)).and_then(Lock::of).is_ok_and(|lock| lock.is_none())
}

/// Held by the one process that may write. It is given back by name, since closing the file does not do so while a child process
/// that was just forked still has it.
pub(super) struct Lock(fs::File);

impl Lock {
    /// None if another process has it.
    fn of(file: fs::File) -> std::io::Result<Option<Lock>> {
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

pub(super) fn lock(path: &Path) -> Result<Lock, OpenError> {
    let directory = |error| unusable(path, &error);
    let mut options = fs::File::options();
    let file = options.create(true).write(true).truncate(false).open(path.join(LOCK)).map_err(directory)?;
    Lock::of(file).map_err(directory)?.ok_or_else(|| OpenError::InUse(path.into()))
}
