//! What a command asks for, and which commands are illegal (3.1).

use hw::riscv::command::{self, DirectoryInvalidation, Fence, Kind, TableInvalidation};
use hw::riscv::regs::{Capabilities, Features};

use super::cache::{DirectorySelection, Spaces};
use crate::iommu::translation_cache::{Extent, Tables};

/// A command, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Invalidate(Invalidation),
    Fence(Fence),
}

/// Something to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalidation {
    Directory(DirectorySelection),
    Translations { spaces: Spaces, extent: Extent },
}

/// A command that stops the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Illegal {
    #[error("opcode {0:#x} with function {1:#x} is none this unit has")]
    Kind(u64, u64),
    #[error("reserved bits are set")]
    Reserved,
    #[error("IOTINVAL.GVMA with PSCV")]
    ProcessOfGuest,
    #[error("a wired interrupt is asked for where interrupts are messages")]
    Wire,
}

/// Understands the command `words`.
pub(super) fn decode(
    capabilities: Capabilities,
    features: Features,
    words: [u64; 2],
) -> Result<Command, Illegal> {
    let any = |mask: [u64; 2]| words[0] & mask[0] != 0 || words[1] & mask[1] != 0;
    let refuse = |masks: &[[u64; 2]]| {
        if masks.iter().any(|mask| any(*mask)) {
            return Err(Illegal::Reserved);
        }
        Ok(())
    };
    match command::kind(words) {
        Some(Kind::InvalidateFirstStage | Kind::InvalidateSecondStage) => {
            refuse(&[TableInvalidation::RESERVED])?;
            if !capabilities.nl() {
                refuse(&[TableInvalidation::NL])?;
            }
            if !capabilities.s() {
                refuse(&[TableInvalidation::S])?;
            }
            let invalidation = TableInvalidation::from_words(words);
            if invalidation.func3() == 0 {
                Ok(Command::Invalidate(first_stage(invalidation)))
            } else if invalidation.pscv() {
                Err(Illegal::ProcessOfGuest)
            } else {
                Ok(Command::Invalidate(second_stage(invalidation)))
            }
        }
        Some(Kind::Fence) => {
            refuse(&[Fence::RESERVED])?;
            let fence = Fence::from_words(words);
            if fence.wsi() && !features.wsi() {
                return Err(Illegal::Wire);
            }
            Ok(Command::Fence(fence))
        }
        Some(Kind::InvalidateDevice) => {
            refuse(&[DirectoryInvalidation::RESERVED, DirectoryInvalidation::PID])?;
            let invalidation = DirectoryInvalidation::from_words(words);
            Ok(Command::Invalidate(Invalidation::Directory(
                if invalidation.dv() {
                    DirectorySelection::Device(invalidation.did())
                } else {
                    DirectorySelection::All
                },
            )))
        }
        // The unit has neither process directories nor address translation services.
        Some(Kind::InvalidateProcess | Kind::InvalidateDeviceCache | Kind::PageResponse) | None => {
            Err(Illegal::Kind(words[0] & 0x7f, words[0] >> 7 & 7))
        }
    }
}

/// `IOTINVAL.VMA` (3.1.1). No address space of the unit has both stages, so one with `GV` names none.
fn first_stage(invalidation: TableInvalidation) -> Invalidation {
    let spaces = match (invalidation.gv(), invalidation.pscv()) {
        (false, false) => Spaces::Host,
        (false, true) => Spaces::Process(invalidation.pscid()),
        (true, _) => Spaces::None,
    };
    Invalidation::Translations {
        spaces,
        extent: extent(invalidation),
    }
}

/// `IOTINVAL.GVMA` (3.1.1).
fn second_stage(invalidation: TableInvalidation) -> Invalidation {
    let (spaces, extent) = if invalidation.gv() {
        (Spaces::Guest(invalidation.gscid()), extent(invalidation))
    } else {
        (Spaces::Guests, Extent::All)
    };
    Invalidation::Translations { spaces, extent }
}

/// Leaves of the address, or of the range around it; what leads there with `NL` (8.2).
fn extent(invalidation: TableInvalidation) -> Extent {
    if !invalidation.av() {
        return Extent::All;
    }
    let (first, pages_log2) = invalidation.range();
    let rest = 1_u64
        .checked_shl(12 + pages_log2)
        .map_or(!0, |bytes| bytes - 1);
    Extent::Pages {
        first,
        last: first | rest,
        tables: if invalidation.nl() {
            Tables::Invalidate
        } else {
            Tables::Keep
        },
    }
}
