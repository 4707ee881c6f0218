//! End-to-end scenarios, written only against `dmamap` and `drivers`: each runs unchanged wherever there is a
//! [`Platform`](dmamap::platform::Platform), and says what it needs.
//!
//! A journey starts on a [`Computer`]: what [`boot`](boot::boot) makes of a machine, the same way in a process, in a guest, in a
//! kernel. It returns a typed report or error, and prints nothing.
//!
//! | journey | shows | needs |
//! |---|---|---|
//! | [`read_disk`](disk::read_disk), [`write_disk`](disk::write_disk), [`verify_disk`](disk::verify_disk) | a whole disk by DMA, every mapping living only while it is used | a disk |
//! | [`unmap_blocks_device`](unmap_blocks_device::unmap_blocks_device) | a device reaches memory while it is mapped, not a moment longer | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`read_only_mapping`](read_only_mapping::read_only_mapping) | a device cannot write what it was lent to read | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`two_domains`](two_domains::two_domains) | a device reaches nothing of what another was lent | [`EDU`](Needs::EDU), [`DISK`](Needs::DISK), [`IOMMU`](Needs::IOMMU) |
//! | [`mask_limits`](mask_limits::mask_limits) | 28 address lines reach memory above 4 GiB | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU), [`HIGH_MEMORY`](Needs::HIGH_MEMORY) |
#![no_std]

extern crate alloc;

pub mod boot;
mod computer;
pub mod disk;
mod isolation;
pub mod mask_limits;
mod needs;
pub mod read_only_mapping;
mod transfer_buffer;
pub mod two_domains;
pub mod unmap_blocks_device;

pub use computer::Computer;
pub use isolation::{IsolationError, Refused};
pub use needs::{Needs, Unmet};
pub use transfer_buffer::{MappedTransfer, TransferBuffer};
