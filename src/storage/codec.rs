//! Records as they lie on the disk: four bytes of checksum over key and value, then the value.

use serde::Serialize;
use serde::de::DeserializeOwned;

const CHECKSUM_BYTES: usize = 4;

fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize().to_le_bytes()
}

/// The record of `value` under `key`.
pub(super) fn encode<T: Serialize>(key: &[u8], value: &T) -> Vec<u8> {
    let record = vec![0; CHECKSUM_BYTES];
    let mut record = postcard::to_extend(value, record).expect("every saved value has a form in bytes");
    let sum = checksum(key, &record[CHECKSUM_BYTES..]);
    record[..CHECKSUM_BYTES].copy_from_slice(&sum);
    record
}

/// The value of a record. An error says what is wrong with it.
pub(super) fn decode<T: DeserializeOwned>(key: &[u8], record: &[u8]) -> Result<T, String> {
    let Some((sum, value)) = record.split_at_checked(CHECKSUM_BYTES) else {
        return Err(format!("a record of {} bytes", record.len()));
    };
    if checksum(key, value) != sum {
        return Err("a checksum does not match".into());
    }
    match postcard::take_from_bytes(value) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(format!("cannot be decoded: {error}")),
    }
}
