//! Registers that switch a unit's functions and say how it reads its structures.

use bitfield_struct::bitfield;

/// `CR0` and `CR0ACK`: functions asked for, and functions as they took effect (6.3.9, 6.3.10).
///
/// After a write of `CR0`, software waits until `CR0ACK` shows it.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Cr0 {
    /// Translation: clear, requests bypass or are aborted as [`Gbpa`] says.
    pub smmuen: bool,
    /// Page requests are recorded.
    pub priqen: bool,
    /// Events are recorded.
    pub eventqen: bool,
    /// Commands are processed.
    pub cmdqen: bool,
    /// ATS-translated requests are checked.
    pub atschk: bool,
    __: bool,
    /// Group of VMIDs that invalidations match.
    #[bits(3)]
    pub vmw: u8,
    #[bits(23)]
    __: u32,
}

/// `CR1`: cacheability and shareability of the unit's own accesses (6.3.11). Only written while what it is
/// about is off.
///
/// Cacheability: [`Cr1::NON_CACHEABLE`], [`Cr1::WRITE_BACK`]; shareability: [`Cr1::INNER_SHAREABLE`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Cr1 {
    /// Inner cacheability of queues.
    #[bits(2)]
    pub queue_ic: u8,
    /// Outer cacheability of queues.
    #[bits(2)]
    pub queue_oc: u8,
    /// Shareability of queues.
    #[bits(2)]
    pub queue_sh: u8,
    /// Inner cacheability of the stream table.
    #[bits(2)]
    pub table_ic: u8,
    /// Outer cacheability of the stream table.
    #[bits(2)]
    pub table_oc: u8,
    /// Shareability of the stream table.
    #[bits(2)]
    pub table_sh: u8,
    #[bits(20)]
    __: u32,
}

impl Cr1 {
    /// Accesses read and write memory.
    pub const NON_CACHEABLE: u8 = 0;
    /// Accesses see caches that write back.
    pub const WRITE_BACK: u8 = 1;
    /// Shareability: none.
    pub const NON_SHAREABLE: u8 = 0;
    /// Shareability: outer.
    pub const OUTER_SHAREABLE: u8 = 2;
    /// Shareability: inner.
    pub const INNER_SHAREABLE: u8 = 3;
}

/// `CR2` (6.3.12). Only written while the unit is off.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Cr2 {
    /// Hypervisor contexts are those of `E2H`.
    pub e2h: bool,
    /// Requests with a stream id outside the stream table are recorded (`C_BAD_STREAMID`).
    pub recinvsid: bool,
    /// Private TLB maintenance: broadcast invalidations are not heard.
    pub ptm: bool,
    /// Configuration errors of ATS requests are recorded.
    pub rec_cfg_ats: bool,
    #[bits(28)]
    __: u32,
}

/// `GBPA`: what becomes of requests while `SMMUEN` is clear (6.3.14).
///
/// A write is taken when `UPDATE` reads clear before it, has `UPDATE` set, and has ended when it reads clear again.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Gbpa {
    /// Memory type, where `MTCFG` is set.
    #[bits(4)]
    pub memattr: u8,
    /// The memory type is replaced.
    pub mtcfg: bool,
    #[bits(3)]
    __: u8,
    /// Allocation hints.
    #[bits(4)]
    pub alloccfg: u8,
    /// Shareability: 1 keeps the request's own.
    #[bits(2)]
    pub shcfg: u8,
    #[bits(2)]
    __: u8,
    /// Privilege override.
    #[bits(2)]
    pub privcfg: u8,
    /// Instruction override.
    #[bits(2)]
    pub instcfg: u8,
    /// All requests are aborted.
    pub abort: bool,
    #[bits(10)]
    __: u16,
    /// The write is under way.
    pub update: bool,
}
