//! `*_IRQ_CFG0` and `*_IRQ_CFG2`: the message that signals one of the unit's interrupts (6.3.20 to 6.3.22).
//!
//! Its data is `*_IRQ_CFG1`. All of them are written only while the interrupt is off in `IRQ_CTRL`.

use bitfield_struct::bitfield;

/// `*_IRQ_CFG0`: where the message is written; 0 sends none.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct MessageAddress {
    #[bits(2)]
    __: u8,
    #[bits(50)]
    addr_words: u64,
    #[bits(12)]
    __: u16,
}

impl MessageAddress {
    /// Physical address that the message is written to.
    pub const fn addr(self) -> u64 {
        self.addr_words() << 2
    }

    /// With the message written to physical address `phys`, a multiple of 4 (lower bits are dropped, and so are
    /// those above bit 51).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_words(phys << 12 >> 14)
    }
}

/// `*_IRQ_CFG2`: memory type and shareability of the message's write.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct MessageAttributes {
    /// Memory type: 1 for Device-nGnRE, 0xf for inner and outer write-back.
    #[bits(4)]
    pub memattr: u8,
    /// Shareability.
    #[bits(2)]
    pub sh: u8,
    #[bits(26)]
    __: u32,
}
