//! How the unit's registers are reached: in the memory map, or as a PCI function. Both have the same meaning.

mod mmio;
mod pci;

use alloc::boxed::Box;

use hw::virtio::feature::Features;
use hw::virtio::status::DeviceStatus;

use super::KIND;
use super::ring::QueuePlace;
use crate::addr::PhysAddr;
use crate::iommu::setup::UnitPlace;
use crate::iommu::start_error::UnitStartError;
use crate::platform::{Interrupt, Platform};
use crate::resource::ResourceTree;

/// The registers of one device (VIRTIO 4).
pub(super) trait Transport<P: Platform>: Send + Sync {
    /// Physical address of its registers.
    fn base(&self) -> PhysAddr;

    fn status(&self) -> DeviceStatus;

    fn set_status(&self, status: DeviceStatus);

    /// The features the device offers.
    fn offered(&self) -> Features;

    fn accept(&self, features: Features);

    /// Most entries that queue `index` can have; 0 if there is no such queue.
    fn queue_size_max(&self, index: u16) -> u16;

    /// Tells the device where queue `index` is, and lets it use it from DRIVER_OK on.
    fn enable_queue(&self, index: u16, place: QueuePlace);

    /// Tells the device that there are new buffers in queue `index`. Memory written before is visible to it.
    fn notify(&self, index: u16);

    /// Byte `offset` of the device's configuration.
    fn config_u8(&self, offset: u64) -> u8;

    fn set_config_u8(&self, offset: u64, value: u8);

    /// The word at `offset` of the device's configuration.
    fn config_u32(&self, offset: u64) -> u32;

    /// The word of 64 bits at `offset` of the device's configuration, read in halves (4.1.3.1, 4.2.2.2).
    fn config_u64(&self, offset: u64) -> u64 {
        u64::from(self.config_u32(offset)) | u64::from(self.config_u32(offset + 4)) << 32
    }

    /// Whether the device can write messages, so that it is worth lending it an interrupt.
    fn can_interrupt(&self) -> bool;

    /// Makes used buffers of the event queue raise `interrupt`; after [`enable_queue`](Self::enable_queue) was told of
    /// it. False where the device does not take it.
    fn set_interrupt(&self, interrupt: &Interrupt) -> bool;

    /// Raises no interrupt any more.
    fn silence(&self);

    /// Lets the device read and write memory.
    fn start_dma(&self);

    /// The device, after its reset, has no more to read or write.
    fn stop_dma(&self);
}

/// Finds the registers of the unit at `place`. The device is recognised and untouched.
pub(super) fn open<P: Platform>(
    place: UnitPlace<P>,
    tree: &mut ResourceTree,
) -> Result<Box<dyn Transport<P>>, UnitStartError> {
    match place {
        UnitPlace::Registers(window) => Ok(Box::new(mmio::MmioTransport::new(window)?)),
        UnitPlace::Function(function) => Ok(Box::new(pci::PciTransport::new(function, tree)?)),
    }
}

/// The error of a unit that lacks `feature`.
pub(super) fn missing(unit: PhysAddr, feature: &'static str) -> UnitStartError {
    UnitStartError::Missing {
        kind: KIND,
        unit,
        feature,
    }
}
