//! What an invalidation command asks for, or why it is not one (4.3, 4.4).

use hw::smmu::command::{self, ConfigInvalidate, Opcode, Prefetch, Sync, TlbInvalidate};

use super::cache::Tag;
use super::config::Identification;
use crate::iommu::translation_cache::{Extent, Tables};

/// A command, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Config(ConfigSelection),
    Translations(TlbSelection),
    Sync(Sync),
    /// A hint that this unit does not take.
    Nothing,
}

/// Which stream table entries and context descriptors go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConfigSelection {
    All,
    /// Entries of streams from `first` to `last`, and their contexts.
    Streams {
        first: u32,
        last: u32,
        /// Descriptors of the first level go too.
        level1: bool,
    },
    /// The contexts of one stream.
    Contexts(u32),
}

impl ConfigSelection {
    pub(super) fn names(self, stream: u32) -> bool {
        match self {
            Self::All => true,
            Self::Streams { first, last, .. } => (first..=last).contains(&stream),
            Self::Contexts(one) => one == stream,
        }
    }

    pub(super) fn covers_entries(self) -> bool {
        !matches!(self, Self::Contexts(_))
    }

    pub(super) fn covers_level1(self) -> bool {
        matches!(self, Self::All | Self::Streams { level1: true, .. })
    }

    /// Whether it names a stream from `start` to `end`.
    pub(super) fn meets(self, start: u64, end: u64) -> bool {
        match self {
            Self::All => true,
            Self::Streams { first, last, .. } => start <= last.into() && u64::from(first) <= end,
            Self::Contexts(one) => (start..=end).contains(&one.into()),
        }
    }
}

/// Whose translations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Everybody,
    /// Both stages of a VMID.
    Vmid(u16),
    /// Stage 1 of a VMID, whatever the ASID.
    Stage1(u16),
    /// Stage 1 of an ASID, but not what is global.
    Asid {
        vmid: u16,
        asid: u16,
    },
    /// Stage 1 of an ASID, and what is global.
    AsidAndGlobal {
        vmid: u16,
        asid: u16,
    },
    /// Stage 2 of a VMID.
    Stage2(u16),
}

impl Who {
    pub(super) fn names(self, tag: Tag) -> bool {
        match (self, tag) {
            (Self::Everybody, _) => true,
            (
                Self::Vmid(named),
                Tag::Asid { vmid, .. } | Tag::Global { vmid } | Tag::Stage2 { vmid },
            ) => named == vmid,
            (Self::Stage1(named), Tag::Asid { vmid, .. } | Tag::Global { vmid }) => named == vmid,
            (
                Self::Asid { vmid, asid } | Self::AsidAndGlobal { vmid, asid },
                Tag::Asid {
                    vmid: known_vmid,
                    asid: known_asid,
                },
            ) => (vmid, asid) == (known_vmid, known_asid),
            (Self::AsidAndGlobal { vmid: named, .. }, Tag::Global { vmid }) => named == vmid,
            (Self::Stage2(named), Tag::Stage2 { vmid }) => named == vmid,
            _ => false,
        }
    }
}

/// Which translations go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TlbSelection {
    pub(super) who: Who,
    pub(super) extent: Extent,
    /// By its level hint, only leaves of so many bytes (log₂) go.
    pub(super) leaf_log2: Option<u32>,
}

/// A command that stops the queue with `CERROR_ILL` (7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Illegal {
    #[error("opcode {0:#x} is none this unit has")]
    Opcode(u8),
    #[error("it is about secure streams")]
    Secure,
    #[error("num, scale and level hint of a range are all 0, which is reserved")]
    EmptyRange,
    #[error("completion signal {0} is reserved")]
    Signal(u8),
}

/// A command, and bits of it that are to be zero and are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Understood {
    pub(super) command: Command,
    pub(super) reserved: u64,
}

/// Understands the command `words`.
pub(super) fn understand(id: Identification, words: [u64; 2]) -> Result<Understood, Illegal> {
    let code = words[0] as u8;
    let absent = Illegal::Opcode(code);
    let opcode = command::opcode(words).ok_or(absent)?;
    let reserved = |mask: [u64; 2]| words[0] & mask[0] | words[1] & mask[1];
    let understood = match opcode {
        Opcode::CfgiCd | Opcode::CfgiCdAll if !id.idr0.s1p() => return Err(absent),
        Opcode::CfgiSte | Opcode::CfgiSteRange | Opcode::CfgiCd | Opcode::CfgiCdAll => {
            let command = ConfigInvalidate::from_words(words);
            if command.ssec() {
                return Err(Illegal::Secure);
            }
            Understood {
                command: Command::Config(config(opcode, command)),
                reserved: reserved(ConfigInvalidate::RESERVED),
            }
        }
        Opcode::TlbiNhAll | Opcode::TlbiNhAsid | Opcode::TlbiNhVa | Opcode::TlbiNhVaa
            if !id.idr0.s1p() =>
        {
            return Err(absent);
        }
        Opcode::TlbiS12Vmall | Opcode::TlbiS2Ipa if !id.idr0.s2p() => return Err(absent),
        Opcode::TlbiNhAll
        | Opcode::TlbiNhAsid
        | Opcode::TlbiNhVa
        | Opcode::TlbiNhVaa
        | Opcode::TlbiS12Vmall
        | Opcode::TlbiS2Ipa
        | Opcode::TlbiNsnhAll => {
            let command = TlbInvalidate::from_words(words);
            let ranges = command.tg() != 0 || command.num() != 0 || command.scale() != 0;
            Understood {
                command: Command::Translations(translations(id, opcode, command)?),
                reserved: reserved(TlbInvalidate::RESERVED) | u64::from(ranges && !id.idr3.ril()),
            }
        }
        Opcode::Sync => {
            let command = Sync::from_words(words);
            if command.cs() > Sync::SIG_SEV {
                return Err(Illegal::Signal(command.cs()));
            }
            Understood {
                command: Command::Sync(command),
                reserved: reserved(Sync::RESERVED),
            }
        }
        Opcode::PrefetchConfig | Opcode::PrefetchAddress => Understood {
            command: Command::Nothing,
            reserved: reserved(Prefetch::RESERVED),
        },
        // The unit has no hypervisor contexts, no device-TLBs, no page requests, and stalls nothing.
        Opcode::TlbiEl2All
        | Opcode::AtcInv
        | Opcode::PriResp
        | Opcode::Resume
        | Opcode::StallTerm => return Err(absent),
    };
    Ok(understood)
}

fn config(opcode: Opcode, command: ConfigInvalidate) -> ConfigSelection {
    let stream = command.stream();
    match opcode {
        Opcode::CfgiSteRange if command.range() == ConfigInvalidate::ALL => ConfigSelection::All,
        Opcode::CfgiSteRange => {
            let rest = ((1_u64 << (command.range() + 1)) - 1) as u32;
            ConfigSelection::Streams {
                first: stream & !rest,
                last: stream | rest,
                level1: true,
            }
        }
        Opcode::CfgiSte => ConfigSelection::Streams {
            first: stream,
            last: stream,
            level1: !command.leaf(),
        },
        _ => ConfigSelection::Contexts(stream),
    }
}

fn translations(
    id: Identification,
    opcode: Opcode,
    command: TlbInvalidate,
) -> Result<TlbSelection, Illegal> {
    let vmid = if id.idr0.s2p() { command.vmid() } else { 0 };
    let asid = command.asid();
    let who = match opcode {
        Opcode::TlbiNhAll => Who::Stage1(vmid),
        Opcode::TlbiNhAsid => Who::Asid { vmid, asid },
        Opcode::TlbiNhVa => Who::AsidAndGlobal { vmid, asid },
        Opcode::TlbiNhVaa => Who::Stage1(vmid),
        Opcode::TlbiS12Vmall => Who::Vmid(vmid),
        Opcode::TlbiS2Ipa => Who::Stage2(vmid),
        _ => Who::Everybody,
    };
    if !matches!(
        opcode,
        Opcode::TlbiNhVa | Opcode::TlbiNhVaa | Opcode::TlbiS2Ipa
    ) {
        return Ok(TlbSelection {
            who,
            extent: Extent::All,
            leaf_log2: None,
        });
    }
    let first = command.address();
    let (last, leaf_log2) = match command.tg() {
        tg @ 1..=3 if id.idr3.ril() => {
            if command.num() == 0 && command.scale() == 0 && command.ttl() == 0 {
                return Err(Illegal::EmptyRange);
            }
            let granule_log2 = 10 + 2 * u32::from(tg);
            let granules = (u64::from(command.num()) + 1) << command.scale();
            let bytes = granules.saturating_mul(1 << granule_log2);
            let leaf_log2 = match command.ttl() {
                0 => None,
                level => Some(granule_log2 + (3 - u32::from(level)) * (granule_log2 - 3)),
            };
            (first.saturating_add(bytes - 1), leaf_log2)
        }
        // Whatever translates the address.
        _ => (first, None),
    };
    let tables = if command.leaf() {
        Tables::Keep
    } else {
        Tables::Invalidate
    };
    Ok(TlbSelection {
        who,
        extent: Extent::Pages {
            first,
            last,
            tables,
        },
        leaf_log2,
    })
}
