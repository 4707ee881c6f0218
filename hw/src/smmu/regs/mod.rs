//! The register file of one unit (chapter 6): two pages of 64 KiB.
//!
//! Constants are byte offsets from the unit's base, which IORT's SMMUv3 node gives. Registers of page 0 are
//! below 64 KiB; where a unit is known to lack page 1, its registers lie at their offsets in page 0
//! (an erratum of some, which IORT tells).
//!
//! ```
//! use hw::smmu::regs::{self, Idr0, QueueIndex};
//!
//! let idr0 = Idr0::from_bits(0x0d00_1012);
//! assert!(idr0.s1p() && !idr0.s2p() && idr0.cohacc());
//! assert_eq!(regs::EVENTQ_PROD, 0x1_00a8);
//! // A queue of 2^7 entries, whose index has wrapped once.
//! let index = QueueIndex::from_bits(0x83);
//! assert_eq!((index.entry(7), index.wrapped(7)), (3, true));
//! ```

mod control;
mod error;
mod identification;
mod message;
mod queue;
mod stream_table;

pub use control::{Cr0, Cr1, Cr2, Gbpa};
pub use error::{Gerror, IrqCtrl};
pub use identification::{
    Idr0, Idr1, Idr3, Idr5, StallModel, StreamTableLevels, TableEndianness, TableFormats,
    address_bits,
};
pub use message::{MessageAddress, MessageAttributes};
pub use queue::{CommandConsumer, CommandError, QueueBase, QueueIndex};
pub use stream_table::{StreamTableBase, StreamTableConfig, StreamTableFormat};

/// Identification 0, 32 bits, read only (6.3.1): [`Idr0`].
pub const IDR0: u64 = 0x00;
/// Identification 1, 32 bits, read only (6.3.2): [`Idr1`].
pub const IDR1: u64 = 0x04;
/// Identification 2, 32 bits, read only (6.3.3): where the VATOS page lies.
pub const IDR2: u64 = 0x08;
/// Identification 3, 32 bits, read only (6.3.4): [`Idr3`].
pub const IDR3: u64 = 0x0c;
/// Identification 4, 32 bits, read only (6.3.5): implementation defined.
pub const IDR4: u64 = 0x10;
/// Identification 5, 32 bits, read only (6.3.6): [`Idr5`].
pub const IDR5: u64 = 0x14;
/// Implementer, 32 bits, read only (6.3.7).
pub const IIDR: u64 = 0x18;
/// Architecture version, 32 bits, read only (6.3.8): the minor revision of SMMUv3 in bits 3:0.
pub const AIDR: u64 = 0x1c;
/// Control 0, 32 bits (6.3.9): [`Cr0`].
pub const CR0: u64 = 0x20;
/// Control 0 as it took effect, 32 bits, read only (6.3.10): [`Cr0`].
pub const CR0ACK: u64 = 0x24;
/// Control 1, 32 bits (6.3.11): [`Cr1`].
pub const CR1: u64 = 0x28;
/// Control 2, 32 bits (6.3.12): [`Cr2`].
pub const CR2: u64 = 0x2c;
/// Status, 32 bits, read only (6.3.13).
pub const STATUSR: u64 = 0x40;
/// Global bypass attributes, 32 bits (6.3.14): [`Gbpa`].
pub const GBPA: u64 = 0x44;
/// Alternate global bypass attributes, 32 bits (6.3.15): implementation defined.
pub const AGBPA: u64 = 0x48;
/// Interrupt control, 32 bits (6.3.16): [`IrqCtrl`].
pub const IRQ_CTRL: u64 = 0x50;
/// Interrupt control as it took effect, 32 bits, read only (6.3.17): [`IrqCtrl`].
pub const IRQ_CTRLACK: u64 = 0x54;
/// Global errors that toggled, 32 bits, read only (6.3.18): [`Gerror`].
pub const GERROR: u64 = 0x60;
/// Global errors acknowledged, 32 bits (6.3.19): [`Gerror`].
pub const GERRORN: u64 = 0x64;
/// Address of the global error message, 64 bits (6.3.20): [`MessageAddress`].
pub const GERROR_IRQ_CFG0: u64 = 0x68;
/// Data of the global error message, 32 bits (6.3.21).
pub const GERROR_IRQ_CFG1: u64 = 0x70;
/// Attributes of the global error message, 32 bits (6.3.22): [`MessageAttributes`].
pub const GERROR_IRQ_CFG2: u64 = 0x74;
/// Stream table base, 64 bits (6.3.23): [`StreamTableBase`].
pub const STRTAB_BASE: u64 = 0x80;
/// Stream table configuration, 32 bits (6.3.24): [`StreamTableConfig`].
pub const STRTAB_BASE_CFG: u64 = 0x88;
/// Command queue base, 64 bits (6.3.25): [`QueueBase`].
pub const CMDQ_BASE: u64 = 0x90;
/// Command queue producer index, 32 bits (6.3.26): [`QueueIndex`].
pub const CMDQ_PROD: u64 = 0x98;
/// Command queue consumer index, 32 bits (6.3.27): [`CommandConsumer`].
pub const CMDQ_CONS: u64 = 0x9c;
/// Event queue base, 64 bits (6.3.28): [`QueueBase`].
pub const EVENTQ_BASE: u64 = 0xa0;
/// Address of the event queue message, 64 bits (6.3.31): [`MessageAddress`].
pub const EVENTQ_IRQ_CFG0: u64 = 0xb0;
/// Data of the event queue message, 32 bits (6.3.32).
pub const EVENTQ_IRQ_CFG1: u64 = 0xb8;
/// Attributes of the event queue message, 32 bits (6.3.33): [`MessageAttributes`].
pub const EVENTQ_IRQ_CFG2: u64 = 0xbc;
/// Page request queue base, 64 bits (6.3.34): [`QueueBase`]; only where [`Idr0::pri`] is set.
pub const PRIQ_BASE: u64 = 0xc0;

/// Bytes of one of the two register pages (6.1).
pub const REGISTER_PAGE_BYTES: u64 = 0x1_0000;
/// Event queue producer index, 32 bits, in page 1 (6.3.29): [`QueueIndex`].
pub const EVENTQ_PROD: u64 = REGISTER_PAGE_BYTES + 0xa8;
/// Event queue consumer index, 32 bits, in page 1 (6.3.30): [`QueueIndex`].
pub const EVENTQ_CONS: u64 = REGISTER_PAGE_BYTES + 0xac;
/// Page request queue producer index, 32 bits, in page 1 (6.3.35): [`QueueIndex`].
pub const PRIQ_PROD: u64 = REGISTER_PAGE_BYTES + 0xc8;
/// Page request queue consumer index, 32 bits, in page 1 (6.3.36): [`QueueIndex`].
pub const PRIQ_CONS: u64 = REGISTER_PAGE_BYTES + 0xcc;
