//! The second half of the job: the data goes from the first disk to the second, by DMA on both sides.

use std::convert::Infallible;
use std::path::Path;

use drivers::nvme::{Blocks, CommandError};
use hosted::Hosted;
use journeys::TransferBuffer;
use journeys::disk::{
    Disk, DiskError, DiskOptions, ReadDiskError, WriteDiskError, read_disk, write_disk,
};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::hash::Sha;
use crate::input::Input;
use crate::progress::Progress;
use crate::report::CopyReport;

/// Bytes the source is asked for at a time.
const PIECE_BYTES: u64 = 256 << 10;

/// Writes what `input` holds from the disk `from` to the disk `to`, which is the file at `path`; flushes, and
/// reads it back.
pub(crate) fn copy(
    input: &Input,
    from: &mut Disk<Hosted>,
    path: &Path,
    to: &mut Disk<Hosted>,
) -> Result<CopyReport, Error> {
    let len_bytes = input.len_bytes;
    let options = DiskOptions {
        len_bytes: Some(len_bytes),
        ..DiskOptions::default()
    };
    let failed = |doing: &str, error: DiskError| {
        Error::failed(format!(
            "{}: {doing} the copy: {error} (DMAMAP_LOG=warn shows more)",
            path.display()
        ))
    };
    let mut source = Source::new(from)?;
    let progress = Progress::new("writing", len_bytes);
    write_disk(to, &options, |piece: &mut [u8]| {
        source.fill(piece)?;
        progress.advance(piece.len());
        Ok::<(), CommandError>(())
    })
    .map_err(|error| match error {
        WriteDiskError::Disk(error) => failed("writing", error),
        WriteDiskError::Source(error) => input.failed(&error),
    })?;
    drop(progress);

    let progress = Progress::new("checking", len_bytes);
    let mut hasher = Sha256::new();
    read_disk(to, &options, |piece| {
        hasher.update(piece);
        progress.advance(piece.len());
        Ok::<(), Infallible>(())
    })
    .map_err(|error| match error {
        ReadDiskError::Disk(error) => failed("reading back", error),
        ReadDiskError::Sink(never) => match never {},
    })?;
    Ok(CopyReport {
        sha256: Sha::finish(hasher),
    })
}

/// The first disk as a stream of bytes.
struct Source<'a> {
    disk: &'a mut Disk<Hosted>,
    /// `None` only while a command has it.
    buffer: Option<TransferBuffer<Hosted>>,
    next_block: u64,
    /// What of the buffer has not been handed out.
    unread: std::ops::Range<usize>,
}

impl<'a> Source<'a> {
    fn new(disk: &'a mut Disk<Hosted>) -> Result<Self, Error> {
        let len = PIECE_BYTES.min(disk.max_transfer_bytes());
        let platform = disk.device().platform();
        let buffer = TransferBuffer::allocate(platform, 0, len).map_err(Error::failed)?;
        Ok(Self {
            disk,
            buffer: Some(buffer),
            next_block: 0,
            unread: 0..0,
        })
    }

    /// Fills `piece` with the disk's next bytes.
    fn fill(&mut self, mut piece: &mut [u8]) -> Result<(), CommandError> {
        while !piece.is_empty() {
            if self.unread.is_empty() {
                self.read_on()?;
            }
            let Some(buffer) = &self.buffer else { break };
            let len = piece.len().min(self.unread.len());
            let (head, rest) = piece.split_at_mut(len);
            head.copy_from_slice(&buffer.as_slice()[self.unread.start..][..len]);
            self.unread.start += len;
            piece = rest;
        }
        Ok(())
    }

    fn read_on(&mut self) -> Result<(), CommandError> {
        let Some(buffer) = self.buffer.take() else {
            return Ok(());
        };
        let block_bytes = self.disk.namespace().block_bytes();
        let left = self.disk.namespace().blocks() - self.next_block;
        let count = (buffer.as_slice().len() as u64 / block_bytes).min(left);
        let blocks = Blocks {
            first: self.next_block,
            count: count as u32,
        };
        let buffer = self
            .disk
            .read(blocks, buffer)
            .map_err(|failed| failed.error)?;
        self.buffer = Some(buffer);
        self.next_block += count;
        self.unread = 0..(count * block_bytes) as usize;
        Ok(())
    }
}
