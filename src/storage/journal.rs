//! The journal: a file of fixed size in which a commit costs one write and one sync.
//!
//! It continues a base, which has a number: records after that base, in order, each written when the one before was synced. When the base
//! moves on, so does its number; what continued the former is of no account from then on, without a write, and is written over.
//!
//! The file is cut into sectors, of which a disk writes each whole or not at all. Each tells its base, its record and its place in that,
//! and has a checksum over all that, the store's number and its place in the file. A crash leaves some sectors of the last record, and in the place
//! of the others what lay there before: such a record was never told to be durable, and is dropped. Whatever else is found is damage, and the
//! store is refused: a wrong checksum anywhere, a record that is missing before another, one that continues what is not there. Not found
//! out is a disk that forgets the last records altogether, which it said were synced: that looks as if they had not been written.
//!
//! | bytes of a sector | what |
//! |---|---|
//! | 0 to 4 | checksum over the store's number, the place in the file and the rest |
//! | 4 to 12 | number of the base |
//! | 12 to 16 | number of the record, from 0 |
//! | 16 to 20 | place in the record, from 0 |
//! | 20 to 24 | sectors of the record |
//! | 24 to 28 | bytes that are used of the rest, which is filled up with zeros |
//!
//! A sector that was never written holds zeros.

#![allow(clippy::disallowed_types, reason = "this is where files are")]

use super::directory::is_full;
use super::identity::StoreId;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The first format of a store that has one.
pub(super) const SINCE_FORMAT: u32 = 3;
/// Its name in the directory of a store.
pub(super) const FILE: &str = "journal";
/// How long it is. It is filled from the beginning, so that a full disk does not stop it, but where blocks are written in another place.
pub(super) const BYTES: usize = 1 << 20;
/// So much of it is left to records of marks, for which there may be no other room.
pub(super) const BYTES_FOR_MARKS: usize = 64 << 10;
pub(super) const SECTOR: usize = 512;
const HEAD: usize = 28;
const PAYLOAD: usize = SECTOR - HEAD;
const SECTORS: usize = BYTES / SECTOR;

/// Makes an empty one in `directory`, whatever was there.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    const PAGE: [u8; 4096] = [0; 4096];
    let file = File::create(directory.join(FILE))?;
    // One after the other: in memory the file lies in such pieces as it was written in, and each record has the whole of its pieces looked through.
    for at in (0..BYTES).step_by(PAGE.len()) {
        file.write_all_at(&PAGE, at as u64)?;
    }
    file.sync_all()
}

/// Whether nothing was ever written to the one in `directory`, or none is there: then it can be made.
pub(super) fn is_unused(directory: &Path) -> io::Result<bool> {
    match bytes(directory) {
        Ok(bytes) => Ok(bytes.iter().all(|byte| *byte == 0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// What a sector tells of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    base: u64,
    record: u32,
    place: u32,
    sectors: u32,
    used: u32,
}

impl Head {
    fn write(self, store: StoreId, at: usize, sector: &mut [u8]) {
        let Head { base, record, place, sectors, used } = self;
        sector[4..12].copy_from_slice(&base.to_le_bytes());
        for (field, value) in [record, place, sectors, used].into_iter().enumerate() {
            sector[12 + 4 * field..16 + 4 * field].copy_from_slice(&value.to_le_bytes());
        }
        let sum = checksum(store, at, sector);
        sector[..4].copy_from_slice(&sum);
    }

    /// None if the sector was never written.
    fn read(store: StoreId, at: usize, sector: &[u8]) -> Result<Option<Head>, String> {
        if sector.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if sector[..4] != checksum(store, at, sector) {
            return Err(format!("the checksum of sector {at} does not match"));
        }
        let number = |at: usize| u32::from_le_bytes(sector[at..at + 4].try_into().expect("four bytes"));
        let base = u64::from(number(4)) | u64::from(number(8)) << 32;
        let head = Head { base, record: number(12), place: number(16), sectors: number(20), used: number(24) };
        let fits = head.place < head.sectors && head.sectors as usize <= SECTORS && head.used as usize <= PAYLOAD;
        if fits { Ok(Some(head)) } else { Err(format!("sector {at} tells what cannot be")) }
    }
}

fn checksum(store: StoreId, at: usize, sector: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&store.0.to_le_bytes());
    hasher.update(&(at as u64).to_le_bytes());
    hasher.update(&sector[4..]);
    hasher.finalize().to_le_bytes()
}

/// What was found in a journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The whole records, in order.
    pub(super) records: Vec<Vec<u8>>,
    /// The sectors that they take.
    end: usize,
    /// Where the last sector of a record ends that is not whole, if there is one.
    torn_to: Option<usize>,
}

/// What the journal of `directory` holds.
pub(super) fn bytes(directory: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(directory.join(FILE))
}

/// Finds the records that continue `base` in the `bytes` of a journal. Of one that `is_written` meanwhile, what is not whole ends it.
pub(super) fn read(bytes: &[u8], store: StoreId, base: u64, is_written: bool) -> Result<Found, String> {
    if bytes.len() != BYTES {
        return Err(format!("it has {} bytes, and should have {BYTES}", bytes.len()));
    }
    let mut heads = Vec::with_capacity(SECTORS);
    for (at, sector) in bytes.chunks_exact(SECTOR).enumerate() {
        let head = match Head::read(store, at, sector) {
            Err(_) if is_written => None,
            head => head?,
        };
        if let Some(later) = head.filter(|head| head.base > base) {
            return Err(format!("it continues commit {} of the store, and that is at {base}", later.base));
        }
        // What continued an earlier base is of no account.
        heads.push(head.filter(|head| head.base == base));
    }
    let mut found = Found { records: Vec::new(), end: 0, torn_to: None };
    while let Some(sectors) = whole(&heads[found.end..], found.records.len()) {
        let end = found.end + sectors;
        let pieces = heads[found.end..end].iter().zip(bytes[found.end * SECTOR..].chunks_exact(SECTOR));
        let piece = |(head, sector): (&Option<Head>, &[u8])| {
            let used = head.map_or(0, |head| head.used as usize);
            sector[HEAD..HEAD + used].to_vec()
        };
        found.records.push(pieces.flat_map(piece).collect());
        found.end = end;
    }
    for (at, head) in heads.iter().enumerate().skip(found.end) {
        let Some(head) = head else { continue };
        let (last, first) = (found.records.len(), found.end);
        if (head.record as usize, head.place as usize) != (last, at - first) && !is_written {
            return Err(format!("sector {at} is of record {}, and record {last} is not whole", head.record));
        }
        found.torn_to = Some(at + 1);
    }
    Ok(found)
}

/// How many sectors the record `number` has that begins here, if it is whole.
fn whole(heads: &[Option<Head>], number: usize) -> Option<usize> {
    let sectors = heads.first().copied().flatten()?.sectors;
    let is_part = |(place, head): (usize, &Option<Head>)| {
        head.is_some_and(|head| (head.record as usize, head.place as usize, head.sectors) == (number, place, sectors))
    };
    let record = heads.get(..sectors as usize)?;
    record.iter().enumerate().all(is_part).then_some(sectors as usize)
}

/// Why a record was not written.
#[derive(Debug)]
pub(super) enum AppendError {
    /// It does not fit, or the disk had no room. Only when the base has moved on can there be records again.
    NoRoom,
    /// It is not known what is on the disk.
    Failed(io::Error),
}

/// The journal of a store that is open.
pub(super) struct Journal {
    file: File,
    store: StoreId,
    base: u64,
    /// The records that continue it.
    records: u32,
    /// The sectors that they take.
    end: usize,
    /// Whether no record can follow: what is left of one lies there.
    closed: bool,
    /// Kept for the next record.
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the journal of `directory`, in whose `bytes` that was `found` to continue `base`. A record that is not whole is wiped out. All of it is
    /// written again and synced: what was found may have been in memory alone, where the one who wrote it ended, or failed, before it was synced.
    pub(super) fn open(
        directory: &Path,
        store: StoreId,
        base: u64,
        mut bytes: Vec<u8>,
        found: &Found,
    ) -> io::Result<Journal> {
        let file = File::options().write(true).open(directory.join(FILE))?;
        let (records, end) = (found.records.len() as u32, found.end);
        if let Some(torn_to) = found.torn_to {
            tracing::info!(record = records, "a record that a crash cut off is dropped: nobody was told of it");
            bytes[end * SECTOR..torn_to * SECTOR].fill(0);
        }
        let closed = match file.write_all_at(&bytes, 0) {
            Err(error) if is_full(&error) => true,
            written => {
                written?;
                false
            }
        };
        file.sync_data()?;
        Ok(Journal { file, store, base, records, end, closed, buffer: Vec::new() })
    }

    /// What is left of it for records that bring entries, in bytes of theirs.
    pub(super) fn room(&self) -> usize {
        (SECTORS - self.end).saturating_sub(BYTES_FOR_MARKS / SECTOR) * PAYLOAD
    }

    /// Writes `record`, of at least one byte, and syncs it.
    pub(super) fn append(&mut self, record: &[u8]) -> Result<(), AppendError> {
        let sectors = record.len().div_ceil(PAYLOAD);
        if self.closed || self.end + sectors > SECTORS {
            return Err(AppendError::NoRoom);
        }
        self.buffer.clear();
        self.buffer.resize(sectors * SECTOR, 0);
        for (place, (sector, piece)) in self.buffer.chunks_exact_mut(SECTOR).zip(record.chunks(PAYLOAD)).enumerate() {
            sector[HEAD..HEAD + piece.len()].copy_from_slice(piece);
            let (place, sectors, used) = (place as u32, sectors as u32, piece.len() as u32);
            let head = Head { base: self.base, record: self.records, place, sectors, used };
            head.write(self.store, self.end + place as usize, sector);
        }
        if let Err(error) = self.file.write_all_at(&self.buffer, (self.end * SECTOR) as u64) {
            self.closed = true;
            return Err(if is_full(&error) { AppendError::NoRoom } else { AppendError::Failed(error) });
        }
        // Not even where the disk was full is this for want of room: after a sync that failed the kernel may take for written what is not, and a
        // later sync says nothing of it. So the record may be there or not, and whoever reads it finds it in memory alone.
        if let Err(error) = self.file.sync_data() {
            self.closed = true;
            return Err(AppendError::Failed(error));
        }
        self.end += sectors;
        self.records += 1;
        Ok(())
    }

    /// From now on each write fails, as on a disk that is gone.
    #[cfg(test)]
    pub(super) fn lose_disk(&mut self) {
        self.file = File::open("/dev/null").expect("it can be read, and not written");
    }

    /// Continues `base` from now on, which holds what the records said.
    pub(super) fn restart(&mut self, base: u64) {
        (self.base, self.records, self.end, self.closed) = (base, 0, 0, false);
    }
}
