//! The command buffer (section 2.4): where it lies, how far it came, what stands in it.

use hw::amd::command::{
    self, CompletionWait, InvalidateAll, InvalidateDeviceEntry, InvalidateInterruptTable,
    InvalidatePages, Kind, PageRange,
};
use hw::amd::regs::{ExtendedFeatures, RING_ENTRY_BYTES, RingBase, RingPointer};

use crate::findings::FindingKind;
use crate::iommu::queue_hooks::QueueHooks;
use crate::iommu::reporter::Reporter;
use crate::iommu::translation_cache::{Extent, Tables};

/// Registers and state of the buffer.
#[derive(Debug, Default)]
pub(super) struct CommandRing {
    pub(super) base: RingBase,
    /// Byte offsets.
    pub(super) head: u64,
    pub(super) tail: u64,
    /// It is enabled, and so is the unit.
    pub(super) enabled: bool,
    was_disabled: bool,
    /// It stopped at an error, and was not enabled anew since.
    pub(super) stopped: bool,
    pub(super) hooks: QueueHooks,
}

/// What to do with the buffer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextCommand {
    /// Nothing to do until software writes a register or a hook is called.
    Idle,
    /// Something to do, but later.
    Later,
    /// The command at this physical address.
    Fetch(u64),
    /// The tail lies outside the buffer.
    Nonsense,
}

/// A command, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Wait(CompletionWait),
    Device(u16),
    Pages {
        domain: u16,
        extent: Extent,
    },
    All,
    /// Nothing the unit remembers.
    Nothing,
}

/// A command that stops the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Illegal {
    #[error("opcode {0:#x} is none this unit has")]
    Opcode(u8),
    #[error("reserved bits are set")]
    Reserved,
    #[error("the unit has no guest translation")]
    Guest,
}

impl CommandRing {
    /// Whether commands are done.
    pub(super) fn runs(&self) -> bool {
        self.enabled && !self.stopped
    }

    /// What comes next.
    pub(super) fn next(&self) -> NextCommand {
        if !self.runs() || self.hooks.held || self.head == self.tail {
            return NextCommand::Idle;
        }
        if self.base.len_bytes().is_none_or(|len| self.tail >= len) {
            return NextCommand::Nonsense;
        }
        if self.hooks.is_early() {
            return NextCommand::Later;
        }
        NextCommand::Fetch(self.base.base() + self.head)
    }

    /// Physical addresses of the commands that are not done.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> + use<> {
        let (base, head) = (self.base.base(), self.head);
        let len = self.base.len_bytes().unwrap_or(RING_ENTRY_BYTES);
        let count = (self.tail + len - head) % len / RING_ENTRY_BYTES;
        (0..count).map(move |n| base + (head + n * RING_ENTRY_BYTES) % len)
    }

    /// The command at the head is done.
    pub(super) fn advance(&mut self) {
        if let Some(len_bytes) = self.base.len_bytes() {
            self.head = (self.head + RING_ENTRY_BYTES) % len_bytes;
        }
    }

    /// The unit, or the buffer, was switched.
    pub(super) fn switch(&mut self, on: bool) {
        if on && (self.was_disabled || !self.enabled) {
            self.stopped = false;
            self.was_disabled = false;
        }
        self.enabled = on;
    }

    /// Software cleared the enable bit: when it is set again, what stopped the buffer is over, however short the
    /// time between.
    pub(super) fn note_disabled(&mut self) {
        self.was_disabled = true;
    }

    /// Software wrote the base register.
    pub(super) fn set_base(&mut self, value: RingBase, reporter: &Reporter) {
        if self.enabled {
            reporter.illegal("command buffer base written while the buffer is enabled");
            return;
        }
        reporter.check_reserved("command buffer base", value.into_bits(), RingBase::RESERVED);
        self.base = value;
        self.head = 0;
        self.tail = 0;
    }

    /// Software wrote the head.
    pub(super) fn set_head(&mut self, value: u64, reporter: &Reporter) {
        if self.enabled {
            reporter.illegal("command buffer head written while the buffer is enabled");
            return;
        }
        reporter.check_reserved("command buffer head", value, RingPointer::RESERVED);
        self.head = RingPointer::from_bits(value).offset();
    }

    /// Software wrote the tail.
    pub(super) fn set_tail(&mut self, value: u64, reporter: &Reporter) {
        reporter.check_reserved("command buffer tail", value, RingPointer::RESERVED);
        self.tail = RingPointer::from_bits(value).offset();
        if self.base.len_bytes().is_some_and(|len| self.tail >= len) {
            reporter.report(
                FindingKind::DoorbellOutOfRange,
                format!("command buffer tail {:#x} lies outside", self.tail),
            );
        }
        self.hooks.tail_written();
    }

    /// Physical range of the buffer, while it is used.
    pub(super) fn frames(&self) -> Option<std::ops::Range<u64>> {
        let start = self.base.base();
        let len_bytes = self.base.len_bytes().filter(|_| self.enabled)?;
        Some(start..start + len_bytes)
    }
}

/// Understands the command `words`.
pub(super) fn decode(features: ExtendedFeatures, words: [u64; 2]) -> Result<Command, Illegal> {
    let checked = |mask: [u64; 2], command| {
        if words[0] & mask[0] != 0 || words[1] & mask[1] != 0 {
            return Err(Illegal::Reserved);
        }
        Ok(command)
    };
    match command::kind(words) {
        Some(Kind::CompletionWait) => checked(
            CompletionWait::RESERVED,
            Command::Wait(CompletionWait::from_words(words)),
        ),
        Some(Kind::InvalidateDeviceEntry) => checked(
            InvalidateDeviceEntry::RESERVED,
            Command::Device(InvalidateDeviceEntry::from_words(words).deviceid()),
        ),
        Some(Kind::InvalidatePages) => {
            let command = InvalidatePages::from_words(words);
            if command.gn() || command.pasid() != 0 {
                return Err(Illegal::Guest);
            }
            let pages = Command::Pages {
                domain: command.domainid(),
                extent: extent(command),
            };
            checked(InvalidatePages::RESERVED, pages)
        }
        Some(Kind::InvalidateInterruptTable) => {
            checked(InvalidateInterruptTable::RESERVED, Command::Nothing)
        }
        Some(Kind::InvalidateAll) if features.iasup() => {
            checked(InvalidateAll::RESERVED, Command::All)
        }
        // The unit has neither devices' caches nor prefetch nor page requests.
        Some(
            Kind::InvalidateAll
            | Kind::InvalidateIotlb
            | Kind::Prefetch
            | Kind::CompletePageRequest,
        )
        | None => Err(Illegal::Opcode(command::opcode(words[0]))),
    }
}

fn extent(command: InvalidatePages) -> Extent {
    let tables = if command.pde() {
        Tables::Invalidate
    } else {
        Tables::Keep
    };
    match command.range() {
        PageRange::Block { start, len_log2 } => Extent::Pages {
            first: start,
            last: start | ((1 << len_log2) - 1),
            tables,
        },
        // All pages; tables only if they are asked for.
        PageRange::All if !command.pde() => Extent::Pages {
            first: 0,
            last: u64::MAX,
            tables,
        },
        PageRange::All => Extent::All,
    }
}
