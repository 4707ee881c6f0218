//! Control registers of capabilities, which a reset takes as far as they are not sticky.
//!
//! Their fields are whoever's who set them: here is where they lie.
//!
//! ```
//! use hw::pci::control::{LINK_CONTROL, ResizableBarControl, aer, ats, resizable_bar};
//!
//! assert_eq!((LINK_CONTROL, aer::UNCORRECTABLE_MASK, ats::CONTROL), (0x10, 0x08, 0x06));
//! assert_eq!(resizable_bar::control(1), 0x10);
//! assert_eq!(ResizableBarControl::from_bits(0x0d40).bars(), 2);
//! assert_eq!(ResizableBarControl::from_bits(0x0d40).size_log2_mib(), 13);
//! ```

use bitfield_struct::bitfield;

/// Offset of Link Control in the PCI Express capability, 16 bits (7.5.3.7).
pub const LINK_CONTROL: u16 = 0x10;
/// Offset of Slot Control in the PCI Express capability, 16 bits (7.5.3.10).
pub const SLOT_CONTROL: u16 = 0x18;
/// Offset of Root Control in the PCI Express capability, 16 bits (7.5.3.12).
pub const ROOT_CONTROL: u16 = 0x1c;
/// Offset of Link Control 2 in the PCI Express capability, 16 bits (7.5.3.19).
pub const LINK_CONTROL_2: u16 = 0x30;
/// Offset of Slot Control 2 in the PCI Express capability, 16 bits (7.5.3.22).
pub const SLOT_CONTROL_2: u16 = 0x38;

/// Bit of Link Control that, written as 1, trains the link again; it reads as 0 (7.5.3.7).
pub const LINK_RETRAIN: u16 = 1 << 5;

/// Advanced error reporting (7.8.4).
pub mod aer {
    /// Offset of the mask of uncorrectable errors, 32 bits.
    pub const UNCORRECTABLE_MASK: u16 = 0x08;
    /// Offset of the severities of uncorrectable errors, 32 bits.
    pub const UNCORRECTABLE_SEVERITY: u16 = 0x0c;
    /// Offset of the mask of correctable errors, 32 bits.
    pub const CORRECTABLE_MASK: u16 = 0x14;
    /// Offset of capabilities and control, 32 bits: whether checksums are made and checked.
    pub const CONTROL: u16 = 0x18;
    /// Offset of the root's command, 32 bits: which errors interrupt. Of root ports and event collectors.
    pub const ROOT_COMMAND: u16 = 0x2c;
}

/// Latency tolerance reporting (7.8.2).
pub mod ltr {
    /// Offset of the greatest latencies, with snooping and without, 16 bits each.
    pub const MAX_LATENCIES: u16 = 0x04;
}

/// Address translation services (10.5.1).
pub mod ats {
    /// Offset of control, 16 bits.
    pub const CONTROL: u16 = 0x06;
}

/// Page requests (10.5.2).
pub mod pri {
    /// Offset of control, 16 bits.
    pub const CONTROL: u16 = 0x04;
    /// Bit of control that, written as 1, clears the interface; it reads as 0.
    pub const RESET: u16 = 1 << 1;
    /// Offset of how many requests may be outstanding, 32 bits.
    pub const ALLOCATION: u16 = 0x0c;
}

/// Process address space ids (7.8).
pub mod pasid {
    /// Offset of control, 16 bits.
    pub const CONTROL: u16 = 0x06;
}

/// Resizable base address registers (7.8.6).
pub mod resizable_bar {
    /// Most that one function has.
    pub const MAX_BARS: u16 = 6;

    /// Offset of control `index`, 32 bits: [`ResizableBarControl`](super::ResizableBarControl).
    pub const fn control(index: u16) -> u16 {
        0x08 + 8 * index
    }
}

/// Control of one resizable base address register (7.8.6.3).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ResizableBarControl {
    /// Which base address register it is.
    #[bits(3)]
    pub index: u8,
    #[bits(2)]
    __: u8,
    /// How many resizable registers the function has; in the first control only.
    #[bits(3)]
    pub bars: u8,
    /// log2 of the register's size in MiB.
    #[bits(6)]
    pub size_log2_mib: u8,
    #[bits(18)]
    __: u32,
}
