//! The register file of one remapping hardware unit (chapter 11).
//!
//! Constants are byte offsets from the unit's register base, which DMAR's DRHD structure gives; names end
//! in `_REG` as in the manual. Two groups of registers lie where the unit says, in units of 16 bytes: fault
//! records at [`Cap::fro`], the IOTLB registers at [`Ecap::iro`].
//!
//! ```
//! use hw::vtd::regs::{self, Cap, Ecap};
//!
//! let cap = Cap::from_bits(0x0000_0000_2200_0002);
//! let ecap = Ecap::from_bits(0x1000);
//! assert_eq!(regs::fault_record(cap, 1), 0x230);
//! assert_eq!(regs::iotlb(ecap), 0x108);
//! ```

mod capability;
mod command;
mod event;
mod flush;
mod queue;

pub use capability::{AddressWidths, Cap, Ecap, LargePages, Version};
pub use command::{
    GlobalCommand, GlobalStatus, ProtectedMemoryEnable, RootTableAddress, TranslationTableMode,
};
pub use event::{EventAddress, EventControl, EventData, FaultStatus};
pub use flush::{
    ContextCommand, ContextGranularity, FunctionMask, InvalidateAddress, IotlbGranularity,
    IotlbInvalidate,
};
pub use queue::{
    CompletionStatus, InterruptTableAddress, QueueAddress, QueueErrorInfo, QueueErrorRecord,
    QueuePointer,
};

/// Version, 32 bits (11.4.1): [`Version`].
pub const VER_REG: u64 = 0x00;
/// Capability, 64 bits (11.4.2): [`Cap`].
pub const CAP_REG: u64 = 0x08;
/// Extended capability, 64 bits (11.4.3): [`Ecap`].
pub const ECAP_REG: u64 = 0x10;
/// Global command, 32 bits, write only (11.4.4.1): [`GlobalCommand`].
pub const GCMD_REG: u64 = 0x18;
/// Global status, 32 bits, read only (11.4.4.2): [`GlobalStatus`].
pub const GSTS_REG: u64 = 0x1c;
/// Root table address, 64 bits (11.4.5): [`RootTableAddress`].
pub const RTADDR_REG: u64 = 0x20;
/// Context command, 64 bits (11.4.6.1): [`ContextCommand`].
pub const CCMD_REG: u64 = 0x28;
/// Fault status, 32 bits (11.4.7.1): [`FaultStatus`].
pub const FSTS_REG: u64 = 0x34;
/// Fault event control, 32 bits (11.4.7.2): [`EventControl`].
pub const FECTL_REG: u64 = 0x38;
/// Fault event data, 32 bits (11.4.7.3): [`EventData`].
pub const FEDATA_REG: u64 = 0x3c;
/// Fault event address, 32 bits (11.4.7.4): [`EventAddress`].
pub const FEADDR_REG: u64 = 0x40;
/// Upper half of the fault event address, 32 bits (11.4.7.5).
pub const FEUADDR_REG: u64 = 0x44;
/// Advanced fault log, 64 bits (11.4.7.8); only where [`Cap::afl`] is set.
pub const AFLOG_REG: u64 = 0x58;
/// Protected memory enable, 32 bits (11.4.8.1): [`ProtectedMemoryEnable`].
pub const PMEN_REG: u64 = 0x64;
/// Protected low memory base, 32 bits (11.4.8.2).
pub const PLMBASE_REG: u64 = 0x68;
/// Protected low memory limit, 32 bits (11.4.8.3).
pub const PLMLIMIT_REG: u64 = 0x6c;
/// Protected high memory base, 64 bits (11.4.8.4).
pub const PHMBASE_REG: u64 = 0x70;
/// Protected high memory limit, 64 bits (11.4.8.5).
pub const PHMLIMIT_REG: u64 = 0x78;
/// Invalidation queue head, 64 bits, read only (11.4.9.1): [`QueuePointer`].
pub const IQH_REG: u64 = 0x80;
/// Invalidation queue tail, 64 bits (11.4.9.2): [`QueuePointer`].
pub const IQT_REG: u64 = 0x88;
/// Invalidation queue address, 64 bits (11.4.9.3): [`QueueAddress`].
pub const IQA_REG: u64 = 0x90;
/// Invalidation completion status, 32 bits (11.4.9.4): [`CompletionStatus`].
pub const ICS_REG: u64 = 0x9c;
/// Invalidation event control, 32 bits (11.4.9.5): [`EventControl`].
pub const IECTL_REG: u64 = 0xa0;
/// Invalidation event data, 32 bits (11.4.9.6): [`EventData`].
pub const IEDATA_REG: u64 = 0xa4;
/// Invalidation event address, 32 bits (11.4.9.7): [`EventAddress`].
pub const IEADDR_REG: u64 = 0xa8;
/// Upper half of the invalidation event address, 32 bits (11.4.9.8).
pub const IEUADDR_REG: u64 = 0xac;
/// Invalidation queue error record, 64 bits (11.4.9.9): [`QueueErrorRecord`].
pub const IQERCD_REG: u64 = 0xb0;
/// Interrupt remapping table address, 64 bits (11.4.10): [`InterruptTableAddress`].
pub const IRTA_REG: u64 = 0xb8;

/// Bytes of one register page: a unit's registers start on such a boundary (8.3).
pub const REGISTER_PAGE_BYTES: u64 = 0x1000;

/// Bytes of one fault recording register (11.4.7.6): [`FaultRecord`](super::fault::FaultRecord).
pub const FAULT_RECORD_BYTES: u64 = 16;

/// Offset of fault recording register `index`, which is below the number [`Cap::fault_records`] gives.
pub const fn fault_record(cap: Cap, index: u64) -> u64 {
    cap.fro() as u64 * 16 + index * FAULT_RECORD_BYTES
}

/// Offset of the invalidate address register (11.4.6.3): [`InvalidateAddress`].
pub const fn iva(ecap: Ecap) -> u64 {
    ecap.iro() as u64 * 16
}

/// Offset of the IOTLB invalidate register (11.4.6.2): [`IotlbInvalidate`].
pub const fn iotlb(ecap: Ecap) -> u64 {
    iva(ecap) + 8
}
