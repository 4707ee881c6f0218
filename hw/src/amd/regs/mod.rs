//! The register file of one IOMMU (section 3.4).
//!
//! Constants are byte offsets from the IOMMU's register base, which IVRS's IVHD block gives. Names are the
//! manual's titles of the registers, shortened. All are 64 bits wide and may be accessed by halves, but for the
//! message registers, which mirror a PCI capability and are 32 bits wide.
//!
//! ```
//! use hw::amd::regs::{DeviceTableBase, RingBase};
//!
//! // A table for all 65536 device ids at 16 MiB, and a ring of 512 entries.
//! let table = DeviceTableBase::new().with_base(0x100_0000).with_size(511);
//! assert_eq!(table.into_bits(), 0x100_01ff);
//! assert_eq!(table.len_bytes(), 2 << 20);
//! let ring = RingBase::new().with_base(0x5000).with_entries_log2(9);
//! assert_eq!((ring.into_bits(), ring.entries()), (0x0900_0000_0000_5000, Some(512)));
//! ```

mod base;
mod control;
mod exclusion;
mod feature;
mod interrupt;
mod status;

pub use base::{DeviceTableBase, MIN_RING_LOG2, RING_ENTRY_BYTES, RingBase, RingPointer};
pub use control::{Control, InvalidationTimeout};
pub use exclusion::{ExclusionBase, ExclusionLimit};
pub use feature::{ExtendedFeatures, HostLevels};
pub use interrupt::{IntCapXt, MsiHeader};
pub use status::Status;

/// Device table base address: [`DeviceTableBase`].
pub const DEVICE_TABLE_BASE: u64 = 0x0000;
/// Command buffer base address: [`RingBase`].
pub const COMMAND_BUFFER_BASE: u64 = 0x0008;
/// Event log base address: [`RingBase`].
pub const EVENT_LOG_BASE: u64 = 0x0010;
/// Control: [`Control`].
pub const CONTROL: u64 = 0x0018;
/// Exclusion base: [`ExclusionBase`].
pub const EXCLUSION_BASE: u64 = 0x0020;
/// Exclusion limit: [`ExclusionLimit`].
pub const EXCLUSION_LIMIT: u64 = 0x0028;
/// Extended features, read only: [`ExtendedFeatures`]. Zero where the IOMMU has no such register.
pub const EXTENDED_FEATURES: u64 = 0x0030;
/// Page request log base address.
pub const PPR_LOG_BASE: u64 = 0x0038;
/// MSI capability header, 32 bits: [`MsiHeader`]. Only with [`ExtendedFeatures::msicapmmiosup`], as the three
/// that follow.
pub const MSI_HEADER: u64 = 0x0158;
/// Lower half of the address of the IOMMU's messages, 32 bits.
pub const MSI_ADDRESS_LOW: u64 = 0x015c;
/// Upper half of the address of the IOMMU's messages, 32 bits.
pub const MSI_ADDRESS_HIGH: u64 = 0x0160;
/// Data of the IOMMU's messages, 32 bits.
pub const MSI_DATA: u64 = 0x0164;
/// The event log's interrupt where [`Control::intcapxten`] is set: [`IntCapXt`].
pub const INT_CAP_XT_EVENT: u64 = 0x0170;
/// The page request log's interrupt, likewise.
pub const INT_CAP_XT_PPR: u64 = 0x0178;
/// The guest virtual-APIC log's interrupt, likewise.
pub const INT_CAP_XT_GA: u64 = 0x0180;
/// Command buffer head, moved by the IOMMU: [`RingPointer`].
pub const COMMAND_HEAD: u64 = 0x2000;
/// Command buffer tail, moved by software: [`RingPointer`].
pub const COMMAND_TAIL: u64 = 0x2008;
/// Event log head, moved by software: [`RingPointer`].
pub const EVENT_HEAD: u64 = 0x2010;
/// Event log tail, moved by the IOMMU: [`RingPointer`].
pub const EVENT_TAIL: u64 = 0x2018;
/// Status: [`Status`].
pub const STATUS: u64 = 0x2020;

/// Bytes of the register file of an IOMMU without performance counters; it starts on such a boundary.
pub const REGISTERS_BYTES: u64 = 0x4000;
