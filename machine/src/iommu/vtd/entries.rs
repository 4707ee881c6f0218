//! What legacy-mode root and context entries, and second-stage entries, say on this unit, and which of their bits are reserved (chapter 9).

use hw::vtd::fault::FaultReason;
use hw::vtd::regs::{Cap, Ecap, RootTableAddress, TranslationTableMode};
use hw::vtd::root::{ContextEntry, RootEntry, TranslationType};
use hw::vtd::second_stage::{self, Entry, Kind};

use super::config::VtdConfig;
use super::core::{Mode, RootTable};
use super::first_stage;
use super::stage::Stage;
use crate::iommu::grant::Grant;

/// What the entries of a unit's tables may say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) cap: Cap,
    pub(super) ecap: Ecap,
    host_address_bits: u32,
}

/// What the tables say of a requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) tag: Tag,
    /// `FPD`: faults of this requester are not recorded.
    pub(super) silent: bool,
    pub(super) route: Route,
}

/// What cached translations are tagged with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tag {
    pub(super) did: u16,
    /// First-stage translations belong to one PASID of the domain.
    pub(super) pasid: Option<u32>,
}

/// Where a requester's requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through the table at `table`, whose top is `levels`.
    Table {
        table: u64,
        levels: u32,
        stage: Stage,
    },
    /// As they are.
    PassThrough,
}

/// What a walk came to know of a blocked request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContextFault {
    pub(super) reason: FaultReason,
    /// `FPD` of the context entry, where there was one to read.
    pub(super) silent: bool,
    /// The words that are at fault.
    pub(super) entry: [u64; 2],
}

/// A table of `level` and what the entries above it grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableAt {
    pub(super) phys: u64,
    pub(super) level: u32,
    pub(super) grant: Grant,
}

impl Rules {
    pub(super) fn new(config: &VtdConfig, cap: Cap, ecap: Ecap) -> Self {
        Self {
            cap,
            ecap,
            host_address_bits: config.host_address_bits,
        }
    }

    /// Address bits of entries from the host address width on, up to `top`.
    pub(super) fn beyond_host_address(self, top: u64) -> u64 {
        top & !((1 << self.host_address_bits) - 1)
    }

    /// Whether a table of `levels` levels translates `bus` on this unit.
    pub(super) fn translates(self, stage: Stage, levels: u32, bus: u64) -> bool {
        match stage {
            Stage::Legacy | Stage::Second => {
                bus >> (12 + 9 * levels).min(self.cap.guest_address_bits()) == 0
            }
            // Of the lower half, no more than the unit's address width (3.6).
            Stage::First(_) => {
                let lower_half = bus >> 63 == 0;
                first_stage::is_canonical(levels, bus)
                    && !(lower_half && bus >> self.cap.guest_address_bits() != 0)
            }
        }
    }

    pub(super) fn walks(self, levels: u32) -> bool {
        let widths = self.cap.sagaw();
        match levels {
            3 => widths.bits_39(),
            4 => widths.bits_48(),
            5 => widths.bits_57(),
            _ => false,
        }
    }

    /// Levels of the deepest second-stage table this unit walks, if it walks any.
    pub(super) fn deepest(self) -> Option<u32> {
        (3..=5).rev().find(|levels| self.walks(*levels))
    }

    /// Whether what is not there may be cached (caching mode).
    pub(super) fn caches_absence(self) -> bool {
        self.cap.cm()
    }

    /// Whether an entry of `level` of a `stage` table may be a leaf.
    pub(super) fn may_be_leaf(self, stage: Stage, level: u32) -> bool {
        let (size_2m, size_1g) = match stage {
            Stage::Legacy | Stage::Second => {
                (self.cap.sslps().size_2m(), self.cap.sslps().size_1g())
            }
            Stage::First(_) => (true, self.cap.fs1gp()),
        };
        match level {
            1 => true,
            2 => size_2m,
            3 => size_1g,
            _ => false,
        }
    }

    /// The root table that the root table address register names, if the unit has such tables.
    pub(super) fn root_table(self, register: RootTableAddress) -> Option<RootTable> {
        let mode = match register.ttm() {
            TranslationTableMode::Legacy => Mode::Legacy,
            TranslationTableMode::Scalable if self.ecap.smts() => Mode::Scalable,
            _ => return None,
        };
        let phys = register.rta();
        let well_formed = register.into_bits() & 0x3ff == 0 && self.beyond_host_address(phys) == 0;
        well_formed.then_some(RootTable { phys, mode })
    }

    pub(super) fn root_reserved(self, words: [u64; 2]) -> bool {
        words[0] & (RootEntry::RESERVED[0] | self.beyond_host_address(!0)) != 0
            || words[1] & RootEntry::RESERVED[1] != 0
    }

    /// What the words of a context entry say (9.3).
    pub(super) fn decode_context(self, words: [u64; 2]) -> Result<Context, ContextFault> {
        let entry = ContextEntry::from_words(words);
        let fault = |reason| ContextFault {
            reason,
            silent: entry.fpd(),
            entry: words,
        };
        if !entry.p() {
            return Err(fault(FaultReason::ContextNotPresent));
        }
        let reserved_did = u32::from(entry.did()) >> self.cap.domain_id_bits() != 0;
        if words[0] & (ContextEntry::RESERVED[0] | self.beyond_host_address(!0)) != 0
            || words[1] & ContextEntry::RESERVED[1] != 0
            || reserved_did
        {
            return Err(fault(FaultReason::ContextReserved));
        }
        let levels = entry.aw().levels().filter(|levels| self.walks(*levels));
        let route = match (entry.tt(), levels) {
            (TranslationType::Untranslated, Some(levels)) => Route::Table {
                table: entry.ssptptr(),
                levels,
                stage: Stage::Legacy,
            },
            // The width says how wide an address may be, and must be the widest of the unit (9.3).
            (TranslationType::PassThrough, Some(levels))
                if self.ecap.pt() && self.deepest() == Some(levels) =>
            {
                Route::PassThrough
            }
            (TranslationType::DeviceTlb, Some(levels)) if self.ecap.dt() => Route::Table {
                table: entry.ssptptr(),
                levels,
                stage: Stage::Legacy,
            },
            _ => return Err(fault(FaultReason::ContextInvalid)),
        };
        Ok(Context {
            tag: Tag {
                did: entry.did(),
                pasid: None,
            },
            silent: entry.fpd(),
            route,
        })
    }

    /// What an entry of `level` of a `stage` table says.
    pub(super) fn decode(self, stage: Stage, word: u64, level: u32) -> Decoded {
        match stage {
            Stage::Legacy | Stage::Second => self.decode_second_stage(stage, word, level),
            Stage::First(first) => self.decode_first_stage(first, word, level),
        }
    }

    /// A second-stage entry (9.8).
    fn decode_second_stage(self, stage: Stage, word: u64, level: u32) -> Decoded {
        let entry = Entry::from_bits(word);
        if !entry.is_present() {
            return Decoded::NotPresent;
        }
        let leaf = level == 1 || (entry.ps() && self.may_be_leaf(stage, level));
        let mut reserved = self.beyond_host_address(second_stage::ADDRESS_MASK);
        if leaf {
            reserved |= second_stage::reserved(level, Kind::Leaf);
            if !self.ecap.sc() {
                reserved |= second_stage::SNP;
            }
            if !self.ecap.dt() {
                reserved |= second_stage::TM;
            }
        } else {
            // A page size that the unit does not know is reserved (CAP.SSLPS).
            reserved |=
                second_stage::reserved(level, Kind::Table) | Entry::new().with_ps(true).into_bits();
        }
        if word & reserved != 0 {
            return Decoded::Malformed(stage.reserved());
        }
        let target = Target {
            phys: entry.addr(),
            grant: Grant {
                read: entry.r(),
                write: entry.w(),
            },
        };
        if leaf {
            Decoded::Leaf(target)
        } else {
            Decoded::Table(target)
        }
    }
}

/// What a present entry leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) phys: u64,
    /// What this entry grants.
    pub(super) grant: Grant,
}

/// A page-table entry, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    NotPresent,
    Malformed(FaultReason),
    Leaf(Target),
    Table(Target),
}
