//! virtio devices and the transports they sit on. Section numbers are those of *Virtual I/O Device (VIRTIO) Version 1.3*.
//!
//! - [`feature`]: what device and driver agree on (sections 2.2, 5.13.3 and 6)
//! - [`status`]: how far the driver got, and why the device interrupts (sections 2.1, 4.1.4.5 and 4.2.2)
//! - [`queue`]: split virtqueues (section 2.7)
//! - [`pci`]: the registers of a device on a PCI bus, and how its capabilities place them (section 4.1)
//! - [`mmio`]: the registers of a device in the memory map (section 4.2)
//! - [`iommu`]: configuration, requests and fault reports of the IOMMU device (section 5.13)
//! - [`block`], [`net`], [`console`], [`entropy`], [`gpu`]: what of those devices is needed here (sections 5.2, 5.1, 5.3,
//!   5.4 and 5.7)
//!
//! Everything is little-endian: legacy devices are not described here.

pub mod block;
pub mod console;
pub mod entropy;
pub mod feature;
pub mod gpu;
pub mod iommu;
pub mod mmio;
pub mod net;
pub mod pci;
pub mod queue;
pub mod status;

/// Device type of an IOMMU (section 5).
pub const DEVICE_TYPE_IOMMU: u32 = 23;
