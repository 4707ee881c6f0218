//! The device table (48882 2.2.2): from a device id to its domain's table.
//!
//! A device without a valid entry passes as if there were no unit. So the table has an entry for every device id
//! that there can be, and every entry is valid from the beginning: blocked, it grants neither reads nor writes.
//!
//! An entry is 256 bits and a unit may fetch it at any moment, so its words are never changed in a way that some of
//! the old and some of the new ones together mean anything: the word that holds table and permissions is replaced by
//! one 64-bit store, and the domain id beside it changes only while that word blocks and the unit has confirmed
//! that it knows. An entry that blocks bears id 0, which no domain has: the unit tags what it remembers with the id
//! alone, so all entries with one id must lead to one table. The words for interrupts and attributes stay zero: interrupts pass as they are.

use hw::amd::device_table::{DomainWord, entry_offset};
use hw::amd::device_table::{ENTRY_BYTES, ENTRY_WORDS, MAX_ENTRIES, TranslationWord};
use hw::amd::regs::DeviceTableBase;

use crate::addr::FRAME_BYTES;
use crate::frame::HardwareFrames;
use crate::iommu::translation::Translate;
use crate::iommu::unit::DomainId;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// Frames of the whole table.
const FRAMES: usize = (MAX_ENTRIES * ENTRY_BYTES / FRAME_BYTES) as usize;

/// The word of an entry that blocks: valid, no table, and neither reads nor writes may pass.
const BLOCKED: u64 = TranslationWord::new()
    .with_v(true)
    .with_tv(true)
    .into_bits();

/// How an entry can be pointed at a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It blocks.
    Blocked,
    /// It is this domain's and translates: one store replaces its table.
    Attached,
    /// It is another domain's and translates.
    Occupied,
}

/// The table of one unit.
pub(super) struct DeviceTable<P: Platform> {
    words: HardwareFrames<P>,
}

impl<P: Platform> DeviceTable<P> {
    /// A table that blocks every device.
    pub(super) fn new(platform: P, coherence: WalkCoherence) -> Result<Self, OutOfFrames> {
        let word = |index: usize| {
            if index.is_multiple_of(ENTRY_WORDS) {
                BLOCKED
            } else {
                0
            }
        };
        let words = HardwareFrames::allocate_filled(platform, FRAMES, coherence, word)?;
        Ok(Self { words })
    }

    /// What the base register is set to.
    pub(super) fn base(&self) -> DeviceTableBase {
        DeviceTableBase::new()
            .with_base(self.words.phys().as_u64())
            .with_size((FRAMES - 1) as u16)
    }

    /// What the entry of `device` is to `domain`.
    pub(super) fn entry(&self, device: u16, domain: DomainId) -> Entry {
        if self.words.load(index(device)) == BLOCKED {
            Entry::Blocked
        } else if self.words.load(index(device) + 1) == domain_word(domain) {
            Entry::Attached
        } else {
            Entry::Occupied
        }
    }

    /// Gives the entry of `device`, which blocks, the id of `domain`. The unit must confirm that it forgot the
    /// entry before it is pointed at a table.
    pub(super) fn name(&self, device: u16, domain: DomainId) {
        self.words.store(index(device) + 1, domain_word(domain));
    }

    /// Points the entry of `device`, which bears the domain's id, at a table.
    pub(super) fn point(&self, device: u16, translate: Translate) {
        let open = TranslationWord::from_bits(BLOCKED)
            .with_ir(true)
            .with_iw(true);
        let word = match translate {
            Translate::Table { root, levels } => open.with_mode(levels).with_root(root.as_u64()),
            Translate::PassThrough => open,
        };
        self.words.store(index(device), word.into_bits());
    }

    /// Makes requests of `device` fault.
    pub(super) fn block(&self, device: u16) {
        self.words.store(index(device), BLOCKED);
    }

    /// Takes the domain's id away from the entry of `device`, which blocks: another domain may get it, and the unit
    /// must not find a device under it that is not that domain's. The unit must confirm before that it knows that the
    /// entry blocks, and after that it forgot the entry.
    pub(super) fn unname(&self, device: u16) {
        self.words.store(index(device) + 1, 0);
    }

    /// Gives the table back.
    ///
    /// # Safety
    /// The unit no longer reads it.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller vouches that the unit has let go.
        unsafe { self.words.free() };
    }
}

fn index(device: u16) -> usize {
    (entry_offset(device) / 8) as usize
}

fn domain_word(domain: DomainId) -> u64 {
    DomainWord::new().with_domainid(domain.0).into_bits()
}
