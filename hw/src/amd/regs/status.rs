//! The status register: what runs, what stopped.

use bitfield_struct::bitfield;

/// `IOMMU Status` (section 3.4). Bits that tell of something that happened are cleared by writing 1; those that tell
/// what runs are read only.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// An event found no room in the log and was lost; the log stopped.
    pub eventoverflow: bool,
    /// An event was logged.
    pub eventlogint: bool,
    /// A completion wait that asked for an interrupt is done.
    pub comwaitint: bool,
    /// The event log runs; read only.
    pub eventlogrun: bool,
    /// The command buffer runs; read only. Clear while enabled: it stopped at an error.
    pub cmdbufrun: bool,
    /// The page request log overflowed.
    pub pproverflow: bool,
    /// A page request was logged.
    pub pprint: bool,
    /// The page request log runs; read only.
    pub pprlogrun: bool,
    /// The guest virtual-APIC log runs; read only.
    pub galogrun: bool,
    /// The guest virtual-APIC log overflowed.
    pub galoverflow: bool,
    /// An entry of the guest virtual-APIC log was written.
    pub gaint: bool,
    #[bits(53)]
    __: u64,
}
