//! Reads a virtio disk from its first byte to its last, one request after the other.
//!
//! ```
//! # use board as _;
//! use drivers::virtio::{Slot, VirtioBlock};
//! use journeys::virtio_disk::{ReadVirtioDiskError, read_virtio_disk};
//!
//! /// How many bytes of a disk are not 0.
//! fn used_bytes<S: Slot>(
//!     disk: &mut VirtioBlock<S>,
//! ) -> Result<u64, ReadVirtioDiskError<core::convert::Infallible>> {
//!     let mut used = 0;
//!     read_virtio_disk(disk, |bytes| {
//!         used += bytes.iter().filter(|&&byte| byte != 0).count() as u64;
//!         Ok(())
//!     })?;
//!     Ok(used)
//! }
//! ```

use alloc::vec;

use drivers::virtio::{MAX_TRANSFER_BYTES, Slot, VirtioBlock, VirtioBlockError};
use hw::virtio::block::SECTOR_BYTES;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VirtioDiskReport {
    /// Bytes of the disk.
    pub len_bytes: u64,
    /// Requests that moved them.
    pub requests: u64,
    /// Mappings made for them.
    pub maps: u64,
}

/// Why a virtio disk was not read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadVirtioDiskError<E> {
    /// The disk failed.
    #[error("at sector {sector} of the disk: {error}")]
    Disk {
        /// First sector of the request.
        sector: u64,
        /// How it failed.
        error: VirtioBlockError,
    },
    /// The caller's sink took no more.
    #[error("what was read could not be taken: {0}")]
    Sink(E),
}

/// Reads the disk and hands it to `sink` piece by piece, in disk order.
///
/// # Errors
/// The first error of the disk or of `sink`.
pub fn read_virtio_disk<S: Slot, E>(
    disk: &mut VirtioBlock<S>,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<VirtioDiskReport, ReadVirtioDiskError<E>> {
    let maps_before = disk.figures().maps;
    let capacity = disk.capacity_sectors();
    let mut piece = vec![0; MAX_TRANSFER_BYTES];
    let mut report = VirtioDiskReport::default();
    let mut sector = 0;
    while sector < capacity {
        let sectors = (MAX_TRANSFER_BYTES as u64 / SECTOR_BYTES).min(capacity - sector);
        let piece = &mut piece[..(sectors * SECTOR_BYTES) as usize];
        let read = disk.read(sector, piece);
        read.map_err(|error| ReadVirtioDiskError::Disk { sector, error })?;
        sink(piece).map_err(ReadVirtioDiskError::Sink)?;
        report.len_bytes += piece.len() as u64;
        report.requests += 1;
        sector += sectors;
    }
    report.maps = disk.figures().maps - maps_before;
    Ok(report)
}
