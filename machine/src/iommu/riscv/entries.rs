//! What device contexts say on this unit, and which of their bits are reserved (2.1).

use hw::riscv::directory::{
    ContextFormat, DeviceContext, DirectoryEntry, FirstStage, FirstStageMode, MSI_PAGE_RESERVED,
    MsiTable, MsiTableMode, SecondStage, SecondStageMode, TranslationAttributes,
    TranslationControl,
};
use hw::riscv::fault::Cause;
use hw::riscv::regs::Capabilities;

use super::cache::Tag;
use super::config::RiscvConfig;
use crate::iommu::grant::Grant;

/// What the entries of a unit's tables may say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) capabilities: Capabilities,
    pub(super) format: ContextFormat,
}

/// Which stage a table is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    First,
    Second,
}

/// A well-formed device context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    /// `DTF`: most faults of the device are not recorded.
    pub(super) silent: bool,
    pub(super) route: Route,
}

/// Where a device context sends requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// Through a first-stage table at `table`, whose top is `levels`.
    First { table: u64, levels: u32, pscid: u32 },
    /// Through a second-stage table at `table`, whose top is `levels`.
    Second { table: u64, levels: u32, gscid: u16 },
    /// As they are: neither stage.
    Bare,
}

impl Route {
    /// What translations by this route are remembered under.
    pub(super) fn tag(self) -> Option<Tag> {
        match self {
            Self::First { pscid, .. } => Some(Tag::Process(pscid)),
            Self::Second { gscid, .. } => Some(Tag::Guest(gscid)),
            Self::Bare => None,
        }
    }
}

/// Why no context was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContextFault {
    pub(super) cause: Cause,
    /// The word that is at fault.
    pub(super) entry: u64,
}

/// A page table of `level`, what the entries above it grant, and whether one of them said global.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableAt {
    pub(super) phys: u64,
    pub(super) level: u32,
    pub(super) grant: Grant,
    pub(super) global: bool,
}

impl Rules {
    pub(super) fn new(config: &RiscvConfig, capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            format: config.context_format,
        }
    }

    /// Whether no memory can be at `phys` (`capabilities.PAS`).
    pub(super) fn is_beyond_memory(self, phys: u64) -> bool {
        phys >> self.capabilities.pas() != 0
    }

    fn walks_first(self, mode: FirstStageMode) -> bool {
        match mode {
            FirstStageMode::Sv39 => self.capabilities.sv39(),
            FirstStageMode::Sv48 => self.capabilities.sv48(),
            FirstStageMode::Sv57 => self.capabilities.sv57(),
            FirstStageMode::Bare => true,
            FirstStageMode::Reserved => false,
        }
    }

    fn walks_second(self, mode: SecondStageMode) -> bool {
        match mode {
            SecondStageMode::Sv39x4 => self.capabilities.sv39x4(),
            SecondStageMode::Sv48x4 => self.capabilities.sv48x4(),
            SecondStageMode::Sv57x4 => self.capabilities.sv57x4(),
            SecondStageMode::Bare => true,
            SecondStageMode::Reserved => false,
        }
    }

    /// The table an entry of the directory leads to (2.1.1).
    pub(super) fn decode_directory(self, word: u64) -> Result<u64, ContextFault> {
        let entry = DirectoryEntry::from_bits(word);
        let fault = |cause| ContextFault { cause, entry: word };
        if !entry.v() {
            return Err(fault(Cause::DirectoryNotValid));
        }
        if word & DirectoryEntry::RESERVED != 0 {
            return Err(fault(Cause::DirectoryMisconfigured));
        }
        Ok(entry.table())
    }

    /// What the words of a device context say (2.1.4). In the base format the last four are zero.
    pub(super) fn decode_context(self, words: [u64; 8]) -> Result<Context, ContextFault> {
        let context = DeviceContext::from_words(words);
        let fault = |cause, index: usize| ContextFault {
            cause,
            entry: words[index],
        };
        if !context.tc.v() {
            return Err(fault(Cause::DirectoryNotValid, 0));
        }
        match self.misconfigured(context) {
            Some(index) => Err(fault(Cause::DirectoryMisconfigured, index)),
            None => Ok(Context {
                silent: context.tc.dtf(),
                route: route(context),
            }),
        }
    }

    /// The word of a valid context that asks for what is reserved or for what the unit cannot do.
    fn misconfigured(self, context: DeviceContext) -> Option<usize> {
        let words = context.to_words();
        // The unit has neither ATS, nor process directories, nor updates of accessed and dirty bits, and one byte
        // order and register width: none of their bits may be set.
        let allowed = TranslationControl::new().with_v(true).with_dtf(true);
        let custom = TranslationControl::new().with_custom(0xff);
        let control = words[0] & !(allowed.into_bits() | custom.into_bits()) != 0;
        let second = context.iohgatp;
        let second_is_wrong = !self.walks_second(second.mode())
            || second.mode() != SecondStageMode::Bare
                && !second.root().is_multiple_of(SecondStage::ROOT_BYTES);
        let attributes =
            words[2] & (TranslationAttributes::RESERVED | TranslationAttributes::QOS) != 0;
        // Both stages at once are for guests, of which this machine has none: the model does not nest.
        let nested =
            second.mode() != SecondStageMode::Bare && context.fsc.mode() != FirstStageMode::Bare;
        let first =
            words[3] & FirstStage::RESERVED != 0 || !self.walks_first(context.fsc.mode()) || nested;
        // Nor has it virtual interrupt files: an MSI page table leads nowhere.
        let messages =
            words[4] & MsiTable::RESERVED != 0 || context.msiptp.mode() != MsiTableMode::Off;
        [
            control,
            second_is_wrong,
            attributes,
            first,
            messages,
            words[5] & MSI_PAGE_RESERVED != 0,
            words[6] & MSI_PAGE_RESERVED != 0,
            words[7] != 0,
        ]
        .iter()
        .position(|wrong| *wrong)
    }
}

/// Where a context that is well formed leads.
fn route(context: DeviceContext) -> Route {
    let (first, second) = (context.fsc, context.iohgatp);
    if let Some(levels) = second.mode().levels() {
        Route::Second {
            table: second.root(),
            levels,
            gscid: second.gscid(),
        }
    } else if let Some(levels) = first.mode().levels() {
        Route::First {
            table: first.root(),
            levels,
            pscid: context.ta.pscid(),
        }
    } else {
        Route::Bare
    }
}
