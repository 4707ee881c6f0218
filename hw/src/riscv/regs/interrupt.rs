//! Interrupts of the unit itself: what is pending, by which vector it is told, and the message of a vector.

use bitfield_struct::bitfield;

/// `ipsr`: interrupts pending; each bit is cleared by writing 1 (5.18).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct InterruptPending {
    /// Of the command queue.
    pub cip: bool,
    /// Of the fault queue.
    pub fip: bool,
    /// Of the performance monitor.
    pub pmip: bool,
    /// Of the page-request queue.
    pub pip: bool,
    #[bits(4)]
    __: u8,
    /// For custom use.
    pub custom: u8,
    __: u16,
}

/// `icvec`: the vector of each cause; some bits may be fixed to 0 (5.27).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct CauseVectors {
    /// Of the command queue.
    #[bits(4)]
    pub civ: u8,
    /// Of the fault queue.
    #[bits(4)]
    pub fiv: u8,
    /// Of the performance monitor.
    #[bits(4)]
    pub pmiv: u8,
    /// Of the page-request queue.
    #[bits(4)]
    pub piv: u8,
    __: u16,
    /// For custom use.
    pub custom: u32,
}

/// `msi_addr`: where the message of a vector is written (5.28).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct MessageAddress {
    #[bits(2)]
    __: u8,
    #[bits(54)]
    addr_dwords: u64,
    __: u8,
}

impl MessageAddress {
    /// Physical address the message is written to.
    pub const fn addr(self) -> u64 {
        self.addr_dwords() << 2
    }

    /// With the message written to physical address `phys`, a multiple of 4 (lower bits are dropped).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_dwords(phys >> 2 & ((1 << 54) - 1))
    }
}

/// `msi_vec_ctl` (5.28).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct VectorControl {
    /// Mask: the message is held back.
    pub m: bool,
    #[bits(31)]
    __: u32,
}
