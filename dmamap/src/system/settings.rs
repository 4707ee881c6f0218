//! Choices a machine's owner may make of how its units are used.

use super::Protection;

/// Which of a unit's two kinds of tables translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The one an operating system uses for itself: VT-d and RISC-V first stage, Arm stage 1.
    First,
    /// The one a hypervisor uses for a guest: VT-d and RISC-V second stage, Arm stage 2.
    Second,
}

/// How a unit finds the table of a requester, where it has two ways (VT-d).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableMode {
    /// VT-d legacy mode: a context entry names a second-stage table.
    Legacy,
    /// VT-d scalable mode: a context entry names a directory of address spaces (PASIDs), each of which has a first- or
    /// a second-stage table.
    Scalable,
}

/// The smallest page of a unit's tables, where it has several kinds (Arm).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB.
    FourKib,
    /// 16 KiB.
    SixteenKib,
    /// 64 KiB.
    SixtyFourKib,
}

impl Granule {
    /// log2 of its bytes.
    pub const fn size_log2(self) -> u32 {
        match self {
            Self::FourKib => 12,
            Self::SixteenKib => 14,
            Self::SixtyFourKib => 16,
        }
    }
}

/// Which bus addresses a device that reaches more than 4 GiB of them is given first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOrder {
    /// The lowest: those above 4 GiB only when the ones below are used up or too much in pieces. Requests to
    /// them have shorter headers on the bus, and not every device that claims 64 address lines has them.
    LowFirst,
    /// Those above 4 GiB, so that what is below is left to devices that reach no other (Linux's `iommu.forcedac`).
    HighFirst,
}

/// Choices a machine's owner may make. The default leaves them to the units' drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a unit may take to answer, in milliseconds, before a wait for it ends in an error.
    pub wait_bound_ms: u64,
    /// Levels of page tables, where the unit walks several; `None` takes the fewest that reach all
    /// memory.
    pub table_levels: Option<u8>,
    /// The stage that translates, where the unit has both; `None` takes the first.
    pub stage: Option<Stage>,
    /// How tables are found, where the unit has two ways; `None` takes VT-d's scalable mode where the unit has it with
    /// a stage that is wanted, and else legacy mode.
    pub mode: Option<TableMode>,
    /// The smallest page, where the unit has several; `None` takes the smallest it has.
    pub granule: Option<Granule>,
    /// The weakest protection a device may be attached with or relaxed to. [`Protection::Identity`] forbids nothing.
    pub least_protection: Protection,
    /// How many unmapped mappings of a domain may wait for a shared flush; whoever unmaps one more flushes, and whoever
    /// maps where bus addresses are missing. From 1 to 16384; `None` takes 512 for each CPU, 4096 at most.
    pub flush_entries: Option<u32>,
    /// How long an unmapped mapping may wait for a shared flush, in milliseconds, before a timer flushes. The device may
    /// reach it for so long, and for as long as the flush takes.
    pub flush_window_ms: u64,
    /// Which bus addresses are given first to a device that reaches more than 4 GiB of them.
    pub address_order: AddressOrder,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            wait_bound_ms: 10_000,
            table_levels: None,
            stage: None,
            mode: None,
            granule: None,
            least_protection: Protection::Identity,
            flush_entries: None,
            flush_window_ms: 10,
            address_order: AddressOrder::LowFirst,
        }
    }
}
