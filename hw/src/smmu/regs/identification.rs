//! What one unit can do: identification registers.

use bitfield_struct::{bitenum, bitfield};

/// `IDR0.TTF`: which formats of page tables a unit walks (6.3.1).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormats {
    /// Reserved.
    #[fallback]
    Reserved = 0,
    /// VMSAv8-32 (LPAE) only.
    AArch32 = 1,
    /// VMSAv8-64 only.
    AArch64 = 2,
    /// Both.
    Both = 3,
}

/// `IDR0.TTENDIAN`: which byte order of page tables a unit walks (6.3.1).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableEndianness {
    /// As each descriptor says.
    Mixed = 0,
    /// Reserved.
    #[fallback]
    Reserved = 1,
    /// Little-endian only.
    Little = 2,
    /// Big-endian only.
    Big = 3,
}

/// `IDR0.STALL_MODEL`: what can become of a request that faults (6.3.1).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallModel {
    /// It is terminated, or stalled, as its descriptor says.
    Both = 0,
    /// It is terminated.
    Terminate = 1,
    /// It is stalled.
    Stall = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// `IDR0.ST_LEVEL`: which stream tables a unit reads (6.3.1).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamTableLevels {
    /// Linear ones.
    Linear = 0,
    /// Linear ones and those of two levels.
    TwoLevel = 1,
    /// Reserved.
    #[fallback]
    Reserved = 2,
}

/// `IDR0` (6.3.1).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Idr0 {
    /// Stage 2 translation is supported.
    pub s2p: bool,
    /// Stage 1 translation is supported.
    pub s1p: bool,
    /// Page-table formats.
    #[bits(2)]
    pub ttf: TableFormats,
    /// Coherent access: walks, and accesses to tables and queues, can snoop the CPU's caches.
    pub cohacc: bool,
    /// Broadcast TLB maintenance is heard.
    pub btm: bool,
    /// Hardware update of access flag and dirty state: 0 none, 1 access flag, 2 both.
    #[bits(2)]
    pub htt_update: u8,
    /// Dormant hint is supported.
    pub dormhint: bool,
    /// Hypervisor stage 1 contexts are supported.
    pub hyp: bool,
    /// Device-TLBs (PCIe ATS) are supported.
    pub ats: bool,
    /// Split-stage ATS is supported.
    pub ns1ats: bool,
    /// ASIDs have 16 bits, else 8.
    pub asid16: bool,
    /// Messages can signal the unit's interrupts and ends of synchronisation.
    pub msi: bool,
    /// Events wake the CPU (`WFE`).
    pub sev: bool,
    /// Address translation operations are supported.
    pub atos: bool,
    /// Page requests (PCIe PRI) are supported.
    pub pri: bool,
    /// Invalidation can match a group of VMIDs.
    pub vmw: bool,
    /// VMIDs have 16 bits, else 8.
    pub vmid16: bool,
    /// Context descriptor tables of two levels are supported.
    pub cd2l: bool,
    /// The VATOS page exists.
    pub vatos: bool,
    /// Byte order of page tables.
    #[bits(2)]
    pub ttendian: TableEndianness,
    /// Failed ATS translations are recorded.
    pub atsrecerr: bool,
    /// What becomes of requests that fault.
    #[bits(2)]
    pub stall_model: StallModel,
    /// A terminated request is always aborted: the A bit of context descriptors must be set.
    pub term_model: bool,
    /// Stream tables.
    #[bits(2)]
    pub st_level: StreamTableLevels,
    #[bits(3)]
    __: u8,
}

/// `IDR1` (6.3.2).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Idr1 {
    /// Bits of a stream id, at most 32.
    #[bits(6)]
    pub sidsize: u8,
    /// Bits of a substream id, at most 20.
    #[bits(5)]
    pub ssidsize: u8,
    /// Largest page request queue: `2^priqs` entries.
    #[bits(5)]
    pub priqs: u8,
    /// Largest event queue: `2^eventqs` entries, at most `2^19`.
    #[bits(5)]
    pub eventqs: u8,
    /// Largest command queue: `2^cmdqs` entries, at most `2^19`.
    #[bits(5)]
    pub cmdqs: u8,
    /// Permission attributes of requests can be overridden.
    pub attr_perms_ovr: bool,
    /// Memory types of requests can be overridden.
    pub attr_types_ovr: bool,
    /// The preset addresses are relative to the unit's base.
    pub rel: bool,
    /// The queues' addresses are fixed.
    pub queues_preset: bool,
    /// The stream table's address is fixed.
    pub tables_preset: bool,
    /// Enhanced command queues are supported.
    pub ecmdq: bool,
}

/// `IDR3` (6.3.4).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Idr3 {
    #[bits(2)]
    __: u8,
    /// Hierarchical attributes can be disabled.
    pub had: bool,
    /// Page-based hardware attributes are supported.
    pub pbha: bool,
    /// Stage 2 execute permission is split.
    pub xnx: bool,
    /// PRI responses carry a substream id as their last request says.
    pub pps: bool,
    __: bool,
    /// Memory partitioning is supported.
    pub mpam: bool,
    /// Stage 2 can force write-back.
    pub fwb: bool,
    /// Small translation tables are supported.
    pub stt: bool,
    /// Invalidation of ranges, with level hints, is supported.
    pub ril: bool,
    /// Break-before-make behaviour level.
    #[bits(2)]
    pub bbml: u8,
    /// `E0PD` is supported.
    pub e0pd: bool,
    /// Walks through devices' memory are non-cacheable.
    pub ptwnnc: bool,
    /// Device permission tables are supported.
    pub dpt: bool,
    #[bits(16)]
    __: u16,
}

/// `IDR5` (6.3.6).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Idr5 {
    /// Output address size, encoded. See [`address_bits`].
    #[bits(3)]
    pub oas: u8,
    __: bool,
    /// Granules of 4 KiB.
    pub gran4k: bool,
    /// Granules of 16 KiB.
    pub gran16k: bool,
    /// Granules of 64 KiB.
    pub gran64k: bool,
    #[bits(3)]
    __: u8,
    /// Virtual addresses: 0 for 48 bits, 1 for 52 bits with granules of 64 KiB.
    #[bits(2)]
    pub vax: u8,
    #[bits(4)]
    __: u8,
    /// Requests that can be stalled at once.
    pub stall_max: u16,
}

/// Bits of an address whose size is encoded as `IDR5.OAS`, `CD.IPS` and `STE.S2PS` encode it; `None` for a
/// reserved value.
pub const fn address_bits(encoded: u8) -> Option<u32> {
    match encoded {
        0 => Some(32),
        1 => Some(36),
        2 => Some(40),
        3 => Some(42),
        4 => Some(44),
        5 => Some(48),
        6 => Some(52),
        _ => None,
    }
}
