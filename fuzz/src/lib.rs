//! What the targets share: tables whose header is good, so that what varies is read at all.
//!
//! A target is run by `cargo +nightly fuzz run TARGET`. That nothing panics on random, damaged and lying tables is
//! tested without any tool by `firmware/tests/parse/damage.rs`; this looks further.

/// Bytes of the header that all ACPI tables start with.
const HEADER_BYTES: usize = 36;
const CHECKSUM_AT: usize = 9;

/// Table `signature` with `body` behind a header whose length and checksum are right.
pub fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.extend_from_slice(body);
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(signature);
    bytes[4..8].copy_from_slice(&len.to_le_bytes());
    bytes[CHECKSUM_AT] = bytes
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_sub(*byte));
    bytes
}
