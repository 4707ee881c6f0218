//! Registers of the three queues (3.5): base, producer and consumer index.
//!
//! An index counts entries in the queue's size and has one more bit, which flips at each turn: equal indices
//! mean an empty queue, indices that differ in this bit alone a full one.

use bitfield_struct::{bitenum, bitfield};

/// `CMDQ_BASE`, `EVENTQ_BASE`, `PRIQ_BASE`: where a queue lies and how long it is (6.3.25).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct QueueBase {
    /// `2^log2size` entries.
    #[bits(5)]
    pub log2size: u8,
    #[bits(47)]
    addr_units: u64,
    #[bits(10)]
    __: u16,
    /// `RA` or `WA`: allocation hint for the unit's accesses.
    pub allocate: bool,
    __: bool,
}

impl QueueBase {
    /// Physical address of the queue.
    pub const fn addr(self) -> u64 {
        self.addr_units() << 5
    }

    /// With the queue at physical address `phys`, aligned to its length and to 32 bytes (lower bits are dropped,
    /// and so are those above bit 51).
    #[must_use]
    pub const fn with_addr(self, phys: u64) -> Self {
        self.with_addr_units(phys << 12 >> 17)
    }
}

/// `*_PROD` and `*_CONS`: a place in a queue (6.3.26, 6.3.29, 6.3.30).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct QueueIndex {
    /// Index and wrap bit: as many bits as the queue's size needs, and one.
    #[bits(20)]
    pub index: u32,
    #[bits(11)]
    __: u16,
    /// `OVFLG` and `OVACKFLG`: entries were lost while the two differ; not of the command queue.
    pub overflow: bool,
}

impl QueueIndex {
    /// The entry the index stands at in a queue of `2^log2size` entries.
    pub const fn entry(self, log2size: u32) -> u32 {
        self.index() & ((1 << log2size) - 1)
    }

    /// The wrap bit in a queue of `2^log2size` entries.
    pub const fn wrapped(self, log2size: u32) -> bool {
        self.index() >> log2size & 1 != 0
    }
}

/// `CMDQ_CONS.ERR`: why the command queue stopped (7.1).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// `CERROR_NONE`: it did not.
    None = 0,
    /// `CERROR_ILL`: a command is unknown, or one of its fields has a value that is not allowed.
    Illegal = 1,
    /// `CERROR_ABT`: fetching a command was aborted.
    Abort = 2,
    /// `CERROR_ATC_INV_SYNC`: a `CMD_SYNC` found that an invalidation of a device-TLB had timed out.
    AtcInvalidation = 3,
    /// A value the manual does not name.
    #[fallback]
    Reserved = 0x7f,
}

/// `CMDQ_CONS`: how far the command queue came, and why it stopped (6.3.27).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CommandConsumer {
    /// Index and wrap bit.
    #[bits(20)]
    pub index: u32,
    #[bits(4)]
    __: u8,
    /// Why it stopped; valid while `GERROR.CMDQ_ERR` is active.
    #[bits(7)]
    pub err: CommandError,
    __: bool,
}
