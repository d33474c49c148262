//! Bytes that are nearly right.

use crate::support::random::Random;

/// Random bytes, up to `length_max`.
pub(crate) fn noise(random: &mut Random, length_max: u64) -> Vec<u8> {
    (0..random.below(length_max + 1)).map(|_| random.next() as u8).collect()
}

/// `bytes` with one to four changes; now and then with none.
pub(crate) fn altered(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.below(5) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let end = (at + random.below(16) as usize).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.extend_from_within(at..end),
            4 => drop(bytes.splice(at..at, noise(random, 16))),
            // What numbers and lengths are at their largest, and their smallest.
            5 => bytes[at..end].fill(*random.pick(&[0xff, 0x7f, 0x80, 0])),
            _ => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece.repeat(random.below(4) as usize));
            }
        }
    }
    bytes
}
