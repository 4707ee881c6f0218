//! What device table entries and page-table entries say on this unit, and which of their bits are reserved
//! (sections 2.2.2 and 2.2.3).

use hw::amd::device_table::{
    AttributeWord, DomainWord, InterruptControl, InterruptWord, MAX_MODE, TranslationWord,
};
use hw::amd::event::{Event, EventCode};
use hw::amd::page_table::{self, Entry, NEXT_LEVEL_LEAF, NEXT_LEVEL_SIZED};
use hw::amd::regs::ExtendedFeatures;

use super::geometry::size_log2;
use crate::iommu::grant::Grant;

/// What the entries of a unit's tables may say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    features: ExtendedFeatures,
    host_address_bits: u32,
}

/// A well-formed device table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceEntry {
    pub(super) domain: u16,
    pub(super) route: Route,
    /// `IR` and `IW`.
    pub(super) grant: Grant,
    /// `EX`: the exclusion range holds for the device.
    pub(super) excluded: bool,
    pub(super) logging: Logging,
}

/// Where requests of a device go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// As they are, whatever else the entry says: it is not valid.
    Open,
    /// Through the table at `table`, whose top is `levels`.
    Table { table: u64, levels: u32 },
    /// As they are, as far as the entry grants it (mode 0).
    Untranslated,
    /// Nowhere: the entry says nothing of translation (`TV` clear).
    Nowhere,
}

/// Which page faults of a device are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logging {
    All,
    /// `SE`: the first since the entry was cached.
    First,
    /// `SA`.
    None,
}

/// Why a request is blocked: the event without device, domain and address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    event: Event,
}

impl Cause {
    /// IO_PAGE_FAULT: nothing there.
    pub(super) const NOT_PRESENT: Self = Self::page_fault(Event::new());
    /// IO_PAGE_FAULT: the entries walked do not grant it.
    pub(super) const NOT_PERMITTED: Self =
        Self::page_fault(Event::new().with_pr(true).with_pe(true));
    /// IO_PAGE_FAULT: a page-table entry has a reserved bit set.
    pub(super) const RESERVED: Self = Self::page_fault(Event::new().with_pr(true).with_rz(true));
    /// IO_PAGE_FAULT: a page-table entry names a level that cannot be.
    pub(super) const LEVEL: Self = Self::page_fault(Event::new().with_pr(true));
    /// ILLEGAL_DEV_TABLE_ENTRY: a reserved bit is set.
    pub(super) const ILLEGAL_ENTRY: Self = Self::with_code(
        Event::new().with_rz(true),
        EventCode::IllegalDeviceTableEntry,
    );
    /// ILLEGAL_DEV_TABLE_ENTRY: the mode cannot be.
    pub(super) const ILLEGAL_MODE: Self =
        Self::with_code(Event::new(), EventCode::IllegalDeviceTableEntry);
    /// INVALID_DEVICE_REQUEST: an address that is no memory's.
    pub(super) const INVALID_REQUEST: Self =
        Self::with_code(Event::new(), EventCode::InvalidDeviceRequest);
    /// DEV_TAB_HARDWARE_ERROR: nobody answers where the entry should be.
    pub(super) const ENTRY_UNREACHABLE: Self = Self::with_code(
        Event::new().with_kind(1),
        EventCode::DeviceTableHardwareError,
    );
    /// PAGE_TAB_HARDWARE_ERROR: nobody answers where a table should be.
    pub(super) const TABLE_UNREACHABLE: Self =
        Self::with_code(Event::new().with_kind(1), EventCode::PageTableHardwareError);

    const fn page_fault(event: Event) -> Self {
        Self::with_code(event, EventCode::IoPageFault)
    }

    const fn with_code(event: Event, code: EventCode) -> Self {
        Self {
            event: event.with_code(code),
        }
    }

    pub(super) fn event(self) -> Event {
        self.event
    }

    pub(super) fn is_page_fault(self) -> bool {
        self.event.code() == Some(EventCode::IoPageFault)
    }
}

/// A table of `level` and what the entries above it grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableAt {
    pub(super) phys: u64,
    pub(super) level: u32,
    pub(super) grant: Grant,
}

/// A page-table entry, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    NotPresent,
    Malformed(Cause),
    /// A page of `2^size_log2` bytes.
    Leaf {
        entry: Entry,
        phys: u64,
        size_log2: u32,
    },
    /// A table of a lower level.
    Table {
        entry: Entry,
        level: u32,
    },
}

impl Rules {
    pub(super) fn new(features: ExtendedFeatures, host_address_bits: u32) -> Self {
        Self {
            features,
            host_address_bits,
        }
    }

    /// Address bits of entries from the host address width on.
    fn beyond_host_address(self) -> u64 {
        page_table::ADDRESS_MASK & !((1 << self.host_address_bits) - 1)
    }

    /// What the words of a device table entry say, or the event they give.
    pub(super) fn decode_device(self, words: [u64; 4]) -> Result<DeviceEntry, Cause> {
        let translation = TranslationWord::from_bits(words[0]);
        let domain = DomainWord::from_bits(words[1]);
        let interrupt = InterruptWord::from_bits(words[2]);
        let mut entry = DeviceEntry {
            domain: domain.domainid(),
            route: Route::Open,
            grant: Grant::ALL,
            excluded: false,
            logging: Logging::All,
        };
        if !translation.v() {
            return Ok(entry);
        }
        let reserved = words[0]
            & (TranslationWord::RESERVED | TranslationWord::OPTIONAL | self.beyond_host_address())
            | words[1] & DomainWord::OPTIONAL
            | words[2] & InterruptWord::RESERVED
            | words[3] & AttributeWord::RESERVED;
        // The unit has no interrupt remapping.
        if reserved != 0 || interrupt.iv() && interrupt.intctl() != InterruptControl::Forward {
            return Err(Cause::ILLEGAL_ENTRY);
        }
        let levels = u32::from(translation.mode());
        if translation.mode() > MAX_MODE || Some(levels) > self.features.hats().levels() {
            return Err(Cause::ILLEGAL_MODE);
        }
        entry.grant = Grant::ALL.and(translation.ir(), translation.iw());
        entry.excluded = domain.ex();
        entry.logging = match (domain.sa(), domain.se()) {
            (true, _) => Logging::None,
            (false, true) => Logging::First,
            (false, false) => Logging::All,
        };
        entry.route = match (translation.tv(), levels) {
            (false, _) => Route::Nowhere,
            (true, 0) => Route::Untranslated,
            (true, levels) => Route::Table {
                table: translation.root(),
                levels,
            },
        };
        Ok(entry)
    }

    /// What an entry of `level` says.
    pub(super) fn decode(self, word: u64, level: u32) -> Decoded {
        let entry = Entry::from_bits(word);
        if !entry.pr() {
            return Decoded::NotPresent;
        }
        let leaf = |phys: u64, size_log2: u32| {
            if word & (page_table::LEAF_RESERVED | self.beyond_host_address()) != 0
                || phys & ((1 << size_log2) - 1) != 0
            {
                return Decoded::Malformed(Cause::RESERVED);
            }
            Decoded::Leaf {
                entry,
                phys,
                size_log2,
            }
        };
        match entry.next_level() {
            NEXT_LEVEL_LEAF => leaf(entry.addr(), size_log2(level)),
            NEXT_LEVEL_SIZED => {
                let own_log2 = page_table::sized_log2(entry.addr());
                if (size_log2(level) + 1..size_log2(level + 1)).contains(&own_log2) {
                    leaf(entry.addr() & !((1 << own_log2) - 1), own_log2)
                } else {
                    Decoded::Malformed(Cause::LEVEL)
                }
            }
            next if u32::from(next) < level => {
                if word & (page_table::TABLE_RESERVED | self.beyond_host_address()) != 0 {
                    return Decoded::Malformed(Cause::RESERVED);
                }
                Decoded::Table {
                    entry,
                    level: next.into(),
                }
            }
            _ => Decoded::Malformed(Cause::LEVEL),
        }
    }
}

/// What is left of `grant` below `entry`.
pub(super) fn through(grant: Grant, entry: Entry) -> Grant {
    grant.and(entry.ir(), entry.iw())
}

impl DeviceEntry {
    /// Whether it says nothing, not even a domain.
    pub(super) fn is_open(self) -> bool {
        self.route == Route::Open
    }

    /// Physical address of the page table's root, and its levels.
    pub(super) fn table(self) -> Option<(u64, u32)> {
        match self.route {
            Route::Table { table, levels } => Some((table, levels)),
            Route::Open | Route::Untranslated | Route::Nowhere => None,
        }
    }
}
