//! The register file of one IOMMU, a page of 4 KiB (chapter 5).
//!
//! Constants are byte offsets from its first register. Registers of 64 bits may be accessed as one or as two
//! halves, the upper one first; registers of 32 bits only as such (6.1).
//!
//! ```
//! use hw::riscv::regs::{self, Capabilities, Ddtp, IommuMode};
//!
//! let capabilities = Capabilities::new().with_version(0x10).with_sv39(true).with_pas(56);
//! assert_eq!(capabilities.into_bits(), 0x38_0000_0210);
//! let ddtp = Ddtp::new().with_iommu_mode(IommuMode::ThreeLevel).with_root(0x8000_5000);
//! assert_eq!(ddtp.into_bits(), 0x2000_1404);
//! assert_eq!(regs::msi_addr(1), 0x310);
//! ```

mod capability;
mod ddtp;
mod interrupt;
mod queue;

pub use capability::{Capabilities, Features, InterruptGeneration};
pub use ddtp::{Ddtp, IommuMode};
pub use interrupt::{CauseVectors, InterruptPending, MessageAddress, VectorControl};
pub use queue::{CommandQueueControl, FaultQueueControl, PageRequestQueueControl, QueueBase};

/// `capabilities`, 64 bits, read only (5.3): [`Capabilities`].
pub const CAPABILITIES: u64 = 0;
/// `fctl`, features control, 32 bits (5.4): [`Features`].
pub const FCTL: u64 = 8;
/// `ddtp`, device-directory-table pointer, 64 bits (5.5): [`Ddtp`].
pub const DDTP: u64 = 16;
/// `cqb`, command-queue base, 64 bits (5.6): [`QueueBase`].
pub const CQB: u64 = 24;
/// `cqh`, command-queue head, 32 bits, read only (5.7): an index.
pub const CQH: u64 = 32;
/// `cqt`, command-queue tail, 32 bits (5.8): an index.
pub const CQT: u64 = 36;
/// `fqb`, fault-queue base, 64 bits (5.9): [`QueueBase`].
pub const FQB: u64 = 40;
/// `fqh`, fault-queue head, 32 bits (5.10): an index.
pub const FQH: u64 = 48;
/// `fqt`, fault-queue tail, 32 bits, read only (5.11): an index.
pub const FQT: u64 = 52;
/// `pqb`, page-request-queue base, 64 bits (5.12): [`QueueBase`]; only where [`Capabilities::ats`] is set.
pub const PQB: u64 = 56;
/// `pqh`, page-request-queue head, 32 bits (5.13): an index; only where [`Capabilities::ats`] is set.
pub const PQH: u64 = 64;
/// `pqt`, page-request-queue tail, 32 bits, read only (5.14): an index; only where [`Capabilities::ats`] is set.
pub const PQT: u64 = 68;
/// `cqcsr`, command-queue control and status, 32 bits (5.15): [`CommandQueueControl`].
pub const CQCSR: u64 = 72;
/// `fqcsr`, fault-queue control and status, 32 bits (5.16): [`FaultQueueControl`].
pub const FQCSR: u64 = 76;
/// `pqcsr`, page-request-queue control and status, 32 bits (5.17): [`PageRequestQueueControl`]; only where
/// [`Capabilities::ats`] is set.
pub const PQCSR: u64 = 80;
/// `ipsr`, interrupt pending status, 32 bits (5.18): [`InterruptPending`].
pub const IPSR: u64 = 84;
/// `iocountovf`, the first register of the performance monitor (5.19); only where [`Capabilities::hpm`] is set.
pub const IOCOUNTOVF: u64 = 88;
/// `tr_req_iova`, the first register of the debug interface (5.24); only where [`Capabilities::dbg`] is set.
pub const TR_REQ_IOVA: u64 = 600;
/// `icvec`, interrupt cause to vector, 64 bits (5.27): [`CauseVectors`].
pub const ICVEC: u64 = 760;
/// `msi_cfg_tbl`, 16 entries of 16 bytes (5.28); zero where the unit signals by wire only.
pub const MSI_CFG_TBL: u64 = 768;

/// Bytes of the register file; it starts on such a boundary (5.1).
pub const REGISTER_PAGE_BYTES: u64 = 0x1000;

/// Entries of [`MSI_CFG_TBL`].
pub const MSI_CFG_ENTRIES: u64 = 16;

/// Bytes of one entry of [`MSI_CFG_TBL`].
pub const MSI_CFG_ENTRY_BYTES: u64 = 16;

/// Offset of `msi_addr` of interrupt vector `vector`, 64 bits: [`MessageAddress`].
pub const fn msi_addr(vector: u64) -> u64 {
    MSI_CFG_TBL + vector * MSI_CFG_ENTRY_BYTES
}

/// Offset of `msi_data` of interrupt vector `vector`, 32 bits: the message's data.
pub const fn msi_data(vector: u64) -> u64 {
    msi_addr(vector) + 8
}

/// Offset of `msi_vec_ctl` of interrupt vector `vector`, 32 bits: [`VectorControl`].
pub const fn msi_vec_ctl(vector: u64) -> u64 {
    msi_addr(vector) + 12
}
