//! Writes a disk from its first byte on, and makes it last.

use dmamap::platform::Platform;

use super::pipeline::{Pipeline, Submission, Way};
use super::{Disk, DiskError, DiskOptions, DiskReport};

/// Why a disk was not written whole.
#[derive(Debug, thiserror::Error)]
pub enum WriteDiskError<E> {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The caller's source gave no more.
    #[error("what was to be written could not be had: {0}")]
    Source(E),
}

/// Fills the disk from `source`, piece by piece in disk order, then flushes it.
///
/// `source` fills the whole slice it is given. The rest of the last block, past
/// [`DiskOptions::len_bytes`], is written with zeroes.
///
/// # Errors
/// The first error of the disk or of `source`; commands that were under way are then waited for, and all
/// memory is back. What was written until then stays written.
pub fn write_disk<P: Platform, E>(
    disk: &mut Disk<P>,
    options: &DiskOptions,
    mut source: impl FnMut(&mut [u8]) -> Result<(), E>,
) -> Result<DiskReport, WriteDiskError<E>> {
    let mut pipeline = Pipeline::new(disk, Way::Write, options)?;
    while let Some(mut piece) = pipeline.take_next() {
        let (data, padding) = piece
            .buffer
            .as_mut_slice()
            .split_at_mut(piece.chunk.len_bytes);
        source(data).map_err(WriteDiskError::Source)?;
        padding.fill(0);
        if !pipeline.has_room() {
            retire_oldest(&mut pipeline)?;
        }
        while let Submission::NotNow(same) = pipeline.submit(piece)? {
            retire_oldest(&mut pipeline)?;
            piece = same;
        }
    }
    while retire_oldest(&mut pipeline)? == Retired::One {}
    pipeline.flush()?;
    Ok(pipeline.report())
}

#[derive(PartialEq, Eq)]
enum Retired {
    One,
    None,
}

fn retire_oldest<P: Platform>(pipeline: &mut Pipeline<'_, P>) -> Result<Retired, DiskError> {
    Ok(match pipeline.complete_oldest()? {
        Some(piece) => {
            pipeline.recycle(piece.buffer);
            Retired::One
        }
        None => Retired::None,
    })
}
