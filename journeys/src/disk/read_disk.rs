//! Reads a disk from its first byte to its last.

use dmamap::platform::Platform;

use super::pipeline::{Piece, Pipeline, Submission, Way};
use super::{Disk, DiskError, DiskOptions, DiskReport};

/// Why a disk was not read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadDiskError<E> {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The caller's sink took no more.
    #[error("what was read could not be taken: {0}")]
    Sink(E),
}

/// Reads the disk and hands it to `sink` piece by piece, in disk order.
///
/// The last piece ends with [`DiskOptions::len_bytes`]. While `sink` runs, all queues are full.
///
/// # Errors
/// The first error of the disk or of `sink`; commands that were under way are then waited for, and all
/// memory is back.
pub fn read_disk<P: Platform, E>(
    disk: &mut Disk<P>,
    options: &DiskOptions,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<DiskReport, ReadDiskError<E>> {
    let mut pipeline = Pipeline::new(disk, Way::Read, options)?;
    fill(&mut pipeline)?;
    while let Some(Piece { buffer, chunk }) = pipeline.complete_oldest()? {
        fill(&mut pipeline)?;
        sink(&buffer.as_slice()[..chunk.len_bytes]).map_err(ReadDiskError::Sink)?;
        pipeline.recycle(buffer);
    }
    Ok(pipeline.report())
}

/// Submits until the queues are full or the disk's end is reached.
fn fill<P: Platform>(pipeline: &mut Pipeline<'_, P>) -> Result<(), DiskError> {
    while pipeline.has_room() {
        let Some(piece) = pipeline.take_next() else {
            break;
        };
        if let Submission::NotNow(piece) = pipeline.submit(piece)? {
            pipeline.put_back(piece);
            break;
        }
    }
    Ok(())
}
