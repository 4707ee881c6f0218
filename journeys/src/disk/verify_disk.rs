//! Reads a disk back and compares it with what should be there.

use alloc::vec::Vec;

use dmamap::platform::Platform;

use super::read_disk::{ReadDiskError, read_disk};
use super::{Disk, DiskError, DiskOptions, DiskReport};

/// Why a disk is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum VerifyDiskError<E> {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The caller could not say what should be there.
    #[error("what was to be compared could not be had: {0}")]
    Expected(E),
    /// The disk holds something else.
    #[error("the disk differs at byte {at_byte:#x}: {found:#04x} instead of {expected:#04x}")]
    Differs {
        /// The first byte that differs.
        at_byte: u64,
        /// What it is.
        found: u8,
        /// What it should be.
        expected: u8,
    },
}

/// Reads the disk and compares it, in disk order, with what `expected` puts into the slices it is given.
///
/// # Errors
/// The first difference or failure.
pub fn verify_disk<P: Platform, E>(
    disk: &mut Disk<P>,
    options: &DiskOptions,
    mut expected: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<DiskReport, VerifyDiskError<E>> {
    let mut wanted = Vec::new();
    let mut at_byte = 0;
    let read = read_disk(disk, options, |found| {
        wanted.resize(found.len(), 0);
        expected(&mut wanted).map_err(VerifyDiskError::Expected)?;
        compare(at_byte, found, &wanted)?;
        at_byte += found.len() as u64;
        Ok(())
    });
    read.map_err(|error| match error {
        ReadDiskError::Disk(error) => VerifyDiskError::Disk(error),
        ReadDiskError::Sink(error) => error,
    })
}

fn compare<E>(start: u64, found: &[u8], expected: &[u8]) -> Result<(), VerifyDiskError<E>> {
    // Whole slices first: that is the common case, and fast.
    if found == expected {
        return Ok(());
    }
    let differing = found
        .iter()
        .zip(expected)
        .enumerate()
        .find(|(_, (a, b))| a != b);
    match differing {
        Some((offset, (&found, &expected))) => Err(VerifyDiskError::Differs {
            at_byte: start + offset as u64,
            found,
            expected,
        }),
        None => Ok(()),
    }
}
