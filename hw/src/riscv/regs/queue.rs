//! Registers of the queues in memory: base, control and status.

use bitfield_struct::bitfield;

/// `cqb`, `fqb` and `pqb`: where a queue lies and how many entries it has (5.6, 5.9, 5.12).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct QueueBase {
    /// `LOG2SZ-1`: the queue has `2^(log2sz_1 + 1)` entries.
    #[bits(5)]
    pub log2sz_1: u8,
    #[bits(5)]
    __: u8,
    /// Physical page number of the queue. A queue larger than a page starts at a multiple of its size.
    #[bits(44)]
    pub ppn: u64,
    #[bits(10)]
    __: u16,
}

impl QueueBase {
    /// Physical address of the queue.
    pub const fn base(self) -> u64 {
        self.ppn() << 12
    }

    /// With the queue at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_base(self, phys: u64) -> Self {
        self.with_ppn(phys >> 12)
    }

    /// Number of entries: 2 to `2^32`.
    pub const fn entries(self) -> u64 {
        2 << self.log2sz_1()
    }

    /// With `2^log2` entries, `log2` being 1 to 32.
    #[must_use]
    pub const fn with_entries_log2(self, log2: u8) -> Self {
        self.with_log2sz_1(log2.saturating_sub(1) & 0x1f)
    }
}

/// `cqcsr` (5.15).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CommandQueueControl {
    /// Enable.
    pub cqen: bool,
    /// Interrupt enable.
    pub cie: bool,
    #[bits(6)]
    __: u8,
    /// Memory fault: a command was not fetched, or the memory it writes not reached; the queue stands still until
    /// it is cleared by writing 1.
    pub cqmf: bool,
    /// Command time-out: likewise.
    pub cmd_to: bool,
    /// Illegal or unsupported command: likewise.
    pub cmd_ill: bool,
    /// A fence that asked for a wired interrupt is done; cleared by writing 1.
    pub fence_w_ip: bool,
    #[bits(4)]
    __: u8,
    /// The queue is active; read only.
    pub cqon: bool,
    /// The last write of this register is not yet carried out; read only.
    pub busy: bool,
    #[bits(10)]
    __: u16,
    /// For custom use.
    #[bits(4)]
    pub custom: u8,
}

/// `fqcsr` (5.16).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FaultQueueControl {
    /// Enable.
    pub fqen: bool,
    /// Interrupt enable.
    pub fie: bool,
    #[bits(6)]
    __: u8,
    /// Memory fault: a record could not be stored; no more are until it is cleared by writing 1.
    pub fqmf: bool,
    /// Overflow: the queue was full; no more records are stored until it is cleared by writing 1.
    pub fqof: bool,
    #[bits(6)]
    __: u8,
    /// The queue is active; read only.
    pub fqon: bool,
    /// The last write of this register is not yet carried out; read only.
    pub busy: bool,
    #[bits(10)]
    __: u16,
    /// For custom use.
    #[bits(4)]
    pub custom: u8,
}

/// `pqcsr` (5.17).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct PageRequestQueueControl {
    /// Enable.
    pub pqen: bool,
    /// Interrupt enable.
    pub pie: bool,
    #[bits(6)]
    __: u8,
    /// Memory fault; cleared by writing 1.
    pub pqmf: bool,
    /// Overflow; cleared by writing 1.
    pub pqof: bool,
    #[bits(6)]
    __: u8,
    /// The queue is active; read only.
    pub pqon: bool,
    /// The last write of this register is not yet carried out; read only.
    pub busy: bool,
    #[bits(10)]
    __: u16,
    /// For custom use.
    #[bits(4)]
    pub custom: u8,
}
