//! End-to-end scenarios, written only against `dmamap` and `drivers`: each runs unchanged wherever there is a
//! [`Platform`](dmamap::platform::Platform), and says what it needs.
//!
//! A journey starts on a [`Computer`]: what [`boot`](boot::boot) makes of a machine, the same way in a process, in a guest, in a
//! kernel. It returns a typed report or error, and prints nothing.
//!
//! | journey | shows | needs |
//! |---|---|---|
//! | [`read_disk`](disk::read_disk), [`write_disk`](disk::write_disk), [`verify_disk`](disk::verify_disk) | a whole disk by DMA, every mapping living only while it is used | a disk |
//! | [`read_virtio_disk`](virtio_disk::read_virtio_disk) | a whole disk by a driver that knows nothing of `dmamap` | a virtio disk |
//! | [`virtio_net`](virtio_net::virtio_net) | frames sent and received as they were | [`LOOPED_NET`](Needs::LOOPED_NET) |
//! | [`virtio_console`](virtio_console::virtio_console) | a text sent and received as it was | [`LOOPED_CONSOLE`](Needs::LOOPED_CONSOLE) |
//! | [`virtio_rng`](virtio_rng::virtio_rng) | buffers of any alignment filled, and nothing beside them | [`VIRTIO_RNG`](Needs::VIRTIO_RNG) |
//! | [`virtio_gpu`](virtio_gpu::virtio_gpu) | pictures shown | [`VIRTIO_GPU`](Needs::VIRTIO_GPU) |
//! | [`unmap_blocks_device`](unmap_blocks_device::unmap_blocks_device) | a device reaches memory while it is mapped, not a moment longer | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`read_only_mapping`](read_only_mapping::read_only_mapping) | a device cannot write what it was lent to read | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`two_domains`](two_domains::two_domains) | a device reaches nothing of what another was lent | [`EDU`](Needs::EDU), [`DISK`](Needs::DISK), [`IOMMU`](Needs::IOMMU) |
//! | [`large_page`](large_page::large_page) | large pages are reached everywhere, a hole between them nowhere | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`attach_again`](attach_again::attach_again) | a device attached again finds nothing of its first domain | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`reserved_memory`](reserved_memory::reserved_memory) | reserved regions are kept, and nothing is mapped over them | [`RESERVED`](Needs::RESERVED), [`IOMMU`](Needs::IOMMU) |
//! | [`unit_reset`](unit_reset::unit_reset) | domains live on when their units are reset | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`suspend_resume`](suspend_resume::suspend_resume) | domains live on through a sleep | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU) |
//! | [`reset_device`](reset_device::reset_device) | a device that was reset forgets, its mappings stay | [`DISK`](Needs::DISK), [`IOMMU`](Needs::IOMMU) |
//! | [`surprise_removal`](surprise_removal::surprise_removal) | a device that is pulled out holds nobody up | [`DISK`](Needs::DISK), [`IOMMU`](Needs::IOMMU) |
//! | [`differential`](differential::differential) | random steps, compared with an oracle | [`EDU`](Needs::EDU), [`DISK`](Needs::DISK), [`IOMMU`](Needs::IOMMU) |
//! | [`mask_limits`](mask_limits::mask_limits) | 28 address lines reach memory above 4 GiB | [`EDU`](Needs::EDU), [`IOMMU`](Needs::IOMMU), [`HIGH_MEMORY`](Needs::HIGH_MEMORY) |
#![no_std]

extern crate alloc;

pub mod attach_again;
pub mod boot;
pub mod catalogue;
mod computer;
pub mod conformance;
pub mod differential;
pub mod disk;
mod isolation;
pub mod large_page;
pub mod mask_limits;
mod needs;
pub mod read_only_mapping;
pub mod reserved_memory;
pub mod reset_device;
pub mod surprise_removal;
pub mod suspend_resume;
mod transfer_buffer;
pub mod two_domains;
pub mod unit_reset;
pub mod unmap_blocks_device;
pub mod virtio_console;
pub mod virtio_device;
pub mod virtio_disk;
pub mod virtio_gpu;
pub mod virtio_net;
pub mod virtio_rng;

/// The code in the guide to porting, which is compiled with this crate's documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/porting.md")]
struct Porting;

pub use computer::Computer;
pub use isolation::{Attempt, IsolationError, Refused};
pub use needs::{Needs, Unmet};
pub use transfer_buffer::{MappedTransfer, TransferBuffer};
