//! Disks: the crate's block driver.

use core::time::Duration;

use dmamap::device::{Device, Figures};
use dmamap::pci::Function;
use dmamap::resource::ResourceTree;
use hw::virtio::block::{FLUSH, SECTOR_BYTES};
use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::transport::DeviceType;

use super::driven::Driven;
use super::error::{InUse, VirtioBlockError, VirtioStartFailed};
use super::hal::SlotHal;
use super::place::Slot;
use super::terms::Terms;
use super::transport::PciTransport;

/// Most bytes of one request.
pub const MAX_TRANSFER_BYTES: usize = 128 << 10;

/// A disk whose driver does not know flushes writes through: what it has answered is written (VIRTIO 5.2.6.2).
const TERMS: Terms = Terms::new().withhold(FLUSH);

type Driver<S> = VirtIOBlk<SlotHal<S>, PciTransport<<S as Slot>::Platform>>;

/// A virtio disk at work, in the place of `S`.
///
/// Dropping it resets and detaches the device; [`stop`](Self::stop) gives the device back.
pub struct VirtioBlock<S: Slot> {
    driven: Driven<S, Driver<S>>,
    capacity: u64,
    is_read_only: bool,
}

impl<S: Slot> VirtioBlock<S> {
    /// Takes the disk of `function`, which `device` was attached for, claiming its registers in `tree`.
    ///
    /// # Errors
    /// [`VirtioStartFailed`] with the device.
    pub fn start(
        device: Device<S::Platform>,
        function: &Function<S::Platform>,
        tree: &mut ResourceTree,
    ) -> Result<Self, VirtioStartFailed<S::Platform>> {
        let kind = (DeviceType::Block, TERMS);
        let driven = Driven::start(device, function, tree, kind, Driver::<S>::new)?;
        let driver = driven.driver();
        Ok(Self {
            capacity: driver.map_or(0, VirtIOBlk::capacity),
            is_read_only: driver.is_some_and(VirtIOBlk::readonly),
            driven,
        })
    }

    /// Its length in sectors of 512 bytes.
    pub fn capacity_sectors(&self) -> u64 {
        self.capacity
    }

    /// Whether it can only be read.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Gives each request so much time.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.driven.set_timeout(timeout);
    }

    /// What the device's mappings add up to.
    pub fn figures(&self) -> Figures {
        self.driven.figures()
    }

    /// Reads the sectors from `first` on.
    ///
    /// # Errors
    /// [`VirtioBlockError`]; what `into` then holds is unknown.
    pub fn read(&mut self, first: u64, into: &mut [u8]) -> Result<(), VirtioBlockError> {
        self.check(first, into.len())?;
        let mut sector = first;
        for part in into.chunks_mut(MAX_TRANSFER_BYTES) {
            let len_bytes = part.len() as u64;
            let request = |driver: &mut Driver<S>| driver.read_blocks(sector as usize, part);
            self.driven.call(request)?;
            sector += len_bytes / SECTOR_BYTES;
        }
        Ok(())
    }

    /// Writes the sectors from `first` on. They are on the medium when this returns.
    ///
    /// # Errors
    /// [`VirtioBlockError`]; what the disk then holds is unknown.
    pub fn write(&mut self, first: u64, bytes: &[u8]) -> Result<(), VirtioBlockError> {
        self.check(first, bytes.len())?;
        if self.is_read_only {
            return Err(VirtioBlockError::ReadOnly);
        }
        let mut sector = first;
        for part in bytes.chunks(MAX_TRANSFER_BYTES) {
            let len_bytes = part.len() as u64;
            let request = |driver: &mut Driver<S>| driver.write_blocks(sector as usize, part);
            self.driven.call(request)?;
            sector += len_bytes / SECTOR_BYTES;
        }
        Ok(())
    }

    /// Resets the disk and gives its device back. The claim on the registers is released.
    ///
    /// # Errors
    /// [`InUse`] if somebody uses the device [in its place](super::Place::with_device), where it stays.
    pub fn stop(self) -> Result<Device<S::Platform>, InUse> {
        self.driven.stop()
    }

    fn check(&self, first: u64, len_bytes: usize) -> Result<(), VirtioBlockError> {
        if !(len_bytes as u64).is_multiple_of(SECTOR_BYTES) {
            return Err(VirtioBlockError::PartOfSector { len_bytes });
        }
        let sectors = len_bytes as u64 / SECTOR_BYTES;
        match first.checked_add(sectors) {
            // The crate counts sectors in `usize`.
            Some(end) if end <= self.capacity && usize::try_from(end).is_ok() => Ok(()),
            _ => Err(VirtioBlockError::OutOfDisk {
                first,
                sectors,
                capacity: self.capacity,
            }),
        }
    }
}
