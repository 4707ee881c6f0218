//! What one unit can do, and which of it is switched on.

use bitfield_struct::{bitenum, bitfield};

/// `capabilities.IGS`: how the unit can raise interrupts (5.3).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptGeneration {
    /// By messages only.
    Msi = 0,
    /// By wires only.
    Wsi = 1,
    /// By either, as [`Features::wsi`] says.
    Both = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// `capabilities` (5.3).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Capabilities {
    /// Version of the specification: major in bits 7:4, minor in bits 3:0.
    pub version: u8,
    /// First-stage tables of 32-bit addresses.
    pub sv32: bool,
    /// First-stage tables of 39-bit addresses, 3 levels.
    pub sv39: bool,
    /// First-stage tables of 48-bit addresses, 4 levels.
    pub sv48: bool,
    /// First-stage tables of 57-bit addresses, 5 levels.
    pub sv57: bool,
    #[bits(2)]
    __: u8,
    /// Bits 60 and 59 of page-table entries are left to software (Svrsw60t59b; later than version 1.0).
    pub svrsw60t59b: bool,
    /// Memory types in page-table entries (Svpbmt).
    pub svpbmt: bool,
    /// Second-stage tables of 34-bit addresses.
    pub sv32x4: bool,
    /// Second-stage tables of 41-bit addresses, 3 levels.
    pub sv39x4: bool,
    /// Second-stage tables of 50-bit addresses, 4 levels.
    pub sv48x4: bool,
    /// Second-stage tables of 59-bit addresses, 5 levels.
    pub sv57x4: bool,
    __: bool,
    /// Atomic updates of memory-resident interrupt files.
    pub amo_mrif: bool,
    /// MSI page tables: device contexts have the extended format.
    pub msi_flat: bool,
    /// MSI page tables that lead to memory-resident interrupt files.
    pub msi_mrif: bool,
    /// The unit updates accessed and dirty bits where a device context asks for it.
    pub amo_hwad: bool,
    /// PCIe address translation services and page requests.
    pub ats: bool,
    /// Guest-physical addresses in completions of translation requests.
    pub t2gpa: bool,
    /// Both byte orders; which one, [`Features::be`] says.
    pub end: bool,
    /// Interrupt generation support.
    #[bits(2)]
    pub igs: InterruptGeneration,
    /// Performance monitor.
    pub hpm: bool,
    /// Translation requests by registers.
    pub dbg: bool,
    /// Bits of a physical address.
    #[bits(6)]
    pub pas: u8,
    /// Process directories of one level.
    pub pd8: bool,
    /// Process directories of two levels.
    pub pd17: bool,
    /// Process directories of three levels.
    pub pd20: bool,
    /// Quality-of-service ids.
    pub qosid: bool,
    /// Invalidation of an address may include what is cached of tables above its leaf (8.2).
    pub nl: bool,
    /// Invalidation of an address may cover a range (8.3).
    pub s: bool,
    #[bits(12)]
    __: u16,
    /// For custom use.
    pub custom: u8,
}

impl Capabilities {
    /// Major version of the specification that the unit implements.
    pub const fn major_version(self) -> u8 {
        self.version() >> 4
    }
}

/// `fctl`: functions that are on (5.4). Each bit may be fixed.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Features {
    /// Structures and queues in memory are big-endian.
    pub be: bool,
    /// Interrupts are signalled by wires, not by messages.
    pub wsi: bool,
    /// Guest-physical addresses are those of 32-bit machines.
    pub gxl: bool,
    #[bits(13)]
    __: u16,
    /// For custom use.
    pub custom: u16,
}
