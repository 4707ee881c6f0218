//! What stream table entries and context descriptors say on this unit, and which of their values are not allowed
//! (5.2, 5.4).

use hw::smmu::context::{Cd1, ContextDescriptor};
use hw::smmu::event::EventKind;
use hw::smmu::regs::address_bits;
use hw::smmu::stream::{
    AtsTreatment, Config, Granule, Ste0, Ste1, Ste2, Ste3, StreamTableEntry, stage2_start_level,
};

use super::config::Identification;
use super::descriptor::{Geometry, Stage};
use super::privilege::PrivilegeConfig;

/// What the tables of a unit may say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) id: Identification,
}

/// What a stream table entry says of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Its requests are aborted, in silence.
    Abort,
    /// They pass.
    Bypass,
    Translate(Translating),
}

/// A stream that is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Translating {
    /// Where its context descriptor is, if stage 1 translates.
    pub(super) context: Option<u64>,
    /// Stage 2, if it translates.
    pub(super) stage2: Option<Tables>,
    pub(super) vmid: u16,
    /// What becomes of its requests' privilege.
    pub(super) privilege: PrivilegeConfig,
}

/// A context descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) asid: u16,
    pub(super) tables: Tables,
}

/// The page table of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) stage: Stage,
    /// Address of its root.
    pub(super) root: u64,
    pub(super) geometry: Geometry,
    /// Width of the addresses it gives.
    pub(super) output_bits: u32,
    /// A clear access flag faults.
    pub(super) checks_access_flag: bool,
    /// Its faults are recorded.
    pub(super) records: bool,
}

/// A configuration that stops a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConfigFault {
    pub(super) kind: EventKind,
    /// Where it was to be fetched.
    pub(super) at: u64,
    /// The word that is at fault, where it was fetched.
    pub(super) word: u64,
}

/// A decoded configuration, and bits that were to be zero and are not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded<T> {
    pub(super) value: T,
    pub(super) reserved: u64,
}

/// Least number of address bits that a table translates (T0SZ 39, without small translation tables).
const MIN_INPUT_BITS: u32 = 25;
/// Most, without 52-bit addresses.
const MAX_INPUT_BITS: u32 = 48;
/// Tables of the level that a stage 2 walk starts at may be so many, one after the other (log₂).
const CONCATENATED_LOG2: u32 = 4;

impl Rules {
    /// What the words of a stream table entry say.
    pub(super) fn stream(
        self,
        at: u64,
        entry: StreamTableEntry,
    ) -> Result<Decoded<Stream>, ConfigFault> {
        let StreamTableEntry {
            word0,
            word1,
            word2,
            word3,
            ..
        } = entry;
        let bad = |word| ConfigFault {
            kind: EventKind::BadSte,
            at,
            word,
        };
        if !word0.v() {
            return Err(bad(word0.into_bits()));
        }
        let config = word0.config();
        let value = match config {
            Config::Abort | Config::Reserved1 | Config::Reserved2 | Config::Reserved3 => {
                Stream::Abort
            }
            Config::Bypass => Stream::Bypass,
            Config::Stage1 | Config::Stage2 | Config::Nested => {
                if config.translates_stage1() && !self.stage1_is_allowed(word0, word1) {
                    return Err(bad(word0.into_bits()));
                }
                let stage2 = match config.translates_stage2() {
                    false => None,
                    true => Some(self.stage2(word2, word3).ok_or(bad(word2.into_bits()))?),
                };
                Stream::Translate(Translating {
                    context: config.translates_stage1().then_some(word0.s1_context_ptr()),
                    stage2,
                    // Without stage 2 there is one VMID.
                    vmid: if self.id.idr0.s2p() {
                        word2.s2vmid()
                    } else {
                        0
                    },
                    privilege: PrivilegeConfig::of(word1.privcfg()),
                })
            }
        };
        Ok(Decoded {
            value,
            reserved: self.stream_reserved(entry),
        })
    }

    fn stage1_is_allowed(self, word0: Ste0, word1: Ste1) -> bool {
        self.id.idr0.s1p()
            && word0.s1cdmax() <= self.id.idr1.ssidsize()
            // Requests cannot be stalled here (IDR0.STALL_MODEL), so nothing can be said of it.
            && !word1.s1stalld()
            // There are no hypervisor contexts (IDR0.Hyp).
            && word1.strw() == 0
    }

    fn stage2(self, word2: Ste2, word3: Ste3) -> Option<Tables> {
        if !self.id.idr0.s2p()
            || !word2.s2aa64()
            || word2.s2endi()
            || word2.s2hd()
            || word2.s2ha()
            || word2.s2s()
        {
            return None;
        }
        let output_bits = self.id.output_bits();
        let granule = self.granule(word2.s2tg())?;
        let input_bits = self.input_bits(word2.s2t0sz())?;
        if input_bits > output_bits {
            return None;
        }
        let start_level = stage2_start_level(word2.s2tg(), word2.s2sl0())?;
        let geometry = Geometry {
            granule_log2: granule,
            input_bits,
            start_level,
        };
        // The table that the walk starts at must not be smaller than one entry, nor larger than its concatenation.
        let index_bits = input_bits.checked_sub(geometry.entry_log2(start_level))?;
        if index_bits == 0 || index_bits > geometry.index_log2() + CONCATENATED_LOG2 {
            return None;
        }
        if word3.s2ttb() >> output_bits != 0 {
            return None;
        }
        Some(Tables {
            stage: Stage::Second,
            root: word3.s2ttb() & !geometry.root_reserved(),
            geometry,
            output_bits: address_bits(word2.s2ps())?.min(output_bits),
            checks_access_flag: !word2.s2affd(),
            records: word2.s2r(),
        })
    }

    fn stream_reserved(self, entry: StreamTableEntry) -> u64 {
        let StreamTableEntry {
            word0,
            word1,
            word2,
            word3,
            rest,
        } = entry;
        let narrow_vmid = match self.id.idr0.vmid16() {
            true => 0,
            false => u64::from(word2.s2vmid() >> 8),
        };
        let unaligned = match self.stage2(word2, word3) {
            Some(tables) if word0.config().translates_stage2() => {
                word3.s2ttb() & tables.geometry.root_reserved()
            }
            _ => 0,
        };
        // There are no device-TLBs here.
        let ats = match word1.eats() {
            AtsTreatment::Abort => 0,
            _ => word1.into_bits(),
        };
        word0.into_bits() & Ste0::RESERVED
            | word1.into_bits() & Ste1::RESERVED
            | word2.into_bits() & Ste2::RESERVED
            | word3.into_bits() & Ste3::RESERVED
            | rest.into_iter().fold(0, |all, word| all | word)
            | narrow_vmid
            | unaligned
            | ats
    }

    /// What the words of a context descriptor say. Addresses above the lower range are not for devices: `EPD1` is to
    /// be set.
    pub(super) fn context(
        self,
        at: u64,
        descriptor: ContextDescriptor,
    ) -> Result<Decoded<Context>, ConfigFault> {
        let word0 = descriptor.word0;
        let bad = ConfigFault {
            kind: EventKind::BadCd,
            at,
            word: word0.into_bits(),
        };
        if !word0.v()
            || !word0.aa64()
            || word0.endi()
            || word0.hd()
            || word0.ha()
            || word0.s()
            || !word0.a()
            || !word0.epd1()
            || word0.epd0()
        {
            return Err(bad);
        }
        let granule_log2 = self.granule(word0.tg0()).ok_or(bad)?;
        let input_bits = self.input_bits(word0.t0sz()).ok_or(bad)?;
        let output_bits = address_bits(word0.ips())
            .ok_or(bad)?
            .min(self.id.output_bits());
        let geometry = Geometry::stage1(granule_log2, input_bits);
        let root = descriptor.word1.ttb0();
        if root >> output_bits != 0 {
            return Err(bad);
        }
        let narrow_asid = match self.id.idr0.asid16() {
            true => 0,
            false => u64::from(word0.asid() >> 8),
        };
        let reserved = descriptor.word1.into_bits() & Cd1::RESERVED
            | root & geometry.root_reserved()
            | narrow_asid
            | descriptor.rest.into_iter().fold(0, |all, word| all | word);
        Ok(Decoded {
            value: Context {
                asid: word0.asid(),
                tables: Tables {
                    stage: Stage::First,
                    root: root & !geometry.root_reserved(),
                    geometry,
                    output_bits,
                    checks_access_flag: !word0.affd(),
                    records: word0.r(),
                },
            },
            reserved,
        })
    }

    fn granule(self, granule: Granule) -> Option<u32> {
        granule.size_log2().filter(|_| self.id.walks(granule))
    }

    fn input_bits(self, tsz: u8) -> Option<u32> {
        64_u32
            .checked_sub(tsz.into())
            .filter(|bits| (MIN_INPUT_BITS..=MAX_INPUT_BITS).contains(bits))
    }
}
