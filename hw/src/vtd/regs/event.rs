//! Fault status, and the registers that shape the interrupts of faults and of completed invalidations.

use bitfield_struct::bitfield;

/// `FSTS_REG`: pending faults and errors of the unit (11.4.7.1).
///
/// All bits but `PPF` and `FRI` are cleared by writing 1.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FaultStatus {
    /// Primary fault overflow: a fault found no free recording register and was lost.
    pub pfo: bool,
    /// Primary pending fault: the logical OR of the F bits of all fault records; read only.
    pub ppf: bool,
    /// Advanced fault overflow.
    pub afo: bool,
    /// Advanced pending fault.
    pub apf: bool,
    /// Invalidation queue error: fetching or decoding a descriptor failed and the queue stopped.
    pub iqe: bool,
    /// Invalidation completion error: an unexpected or erroneous device-TLB completion.
    pub ice: bool,
    /// Invalidation time-out error: a device did not complete a device-TLB invalidation.
    pub ite: bool,
    /// Page request overflow; deprecated, where it exists it moved to `PRS_REG`.
    pub pro: bool,
    /// Index of the first pending fault record; valid while `PPF` is set, read only.
    #[bits(8)]
    pub fri: u8,
    #[bits(16)]
    __: u16,
}

/// `FECTL_REG` and `IECTL_REG`: masking of one event interrupt (11.4.7.2, 11.4.9.5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EventControl {
    #[bits(30)]
    __: u32,
    /// Interrupt pending, read only: a condition arose that was not yet sent because of the mask.
    pub ip: bool,
    /// Interrupt mask; set at reset.
    pub im: bool,
}

/// `FEDATA_REG` and `IEDATA_REG`: data of the interrupt message (11.4.7.3, 11.4.9.6).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EventData {
    /// Interrupt message data.
    #[bits(16)]
    pub imd: u16,
    /// Extended interrupt message data.
    #[bits(16)]
    pub eimd: u16,
}

/// `FEADDR_REG` and `IEADDR_REG`: bits 31:2 of the message's address (11.4.7.4, 11.4.9.7).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EventAddress {
    #[bits(2)]
    __: u8,
    #[bits(30)]
    ma_dwords: u32,
}

impl EventAddress {
    /// Lower 32 bits of the message's address.
    pub const fn ma(self) -> u32 {
        self.ma_dwords() << 2
    }

    /// With `address`, a multiple of 4 (lower bits are dropped), as the message's lower address.
    #[must_use]
    pub const fn with_ma(self, address: u32) -> Self {
        self.with_ma_dwords(address >> 2)
    }
}
