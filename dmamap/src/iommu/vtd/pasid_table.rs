//! Root, context and PASID tables of scalable mode (VT-d 9.2, 9.4 to 9.6): from a requester to its domain's table.
//!
//! Requests without PASID are the only ones served, as PASID 0 of their requester: each requester that was ever attached
//! has a PASID directory and one PASID table, whose entry 0 alone is used.
//!
//! A unit may fetch an entry of 512 bits at any moment. While one is present it changes by single stores, first of
//! words its translation type makes the unit ignore, at last of one word that counts.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use hw::vtd::pasid::{DirectoryEntry, Entry, FirstStagePaging, Translation};
use hw::vtd::root::AddressWidth;
use hw::vtd::scalable::{self, CONTEXT_ENTRY_BYTES, ContextEntry, Half, ROOT_ENTRIES, RootEntry};

use super::device_table::Written;
use crate::frame::HardwareFrames;
use crate::iommu::translation::Translate;
use crate::iommu::unit::DomainId;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};
use crate::system::Stage;

/// What requests without PASID are translated as.
pub(super) const PASID: u32 = 0;

/// 64-bit words of a context entry.
const CONTEXT_WORDS: usize = CONTEXT_ENTRY_BYTES as usize / 8;

/// The words of an entry that are ever set.
const WORDS: usize = 3;

/// The address spaces of one requester.
struct Spaces<P: Platform> {
    directory: HardwareFrames<P>,
    pasids: HardwareFrames<P>,
}

/// What hangs from the root table.
struct Below<P: Platform> {
    /// Two context tables per bus.
    contexts: Box<[Option<HardwareFrames<P>>]>,
    /// By requester.
    spaces: BTreeMap<u16, Spaces<P>>,
}

/// How the entries of one unit are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// The stage whose tables translate.
    pub(super) stage: Stage,
    /// Walks of page tables are to snoop (`PWSNP`).
    pub(super) walks_snoop: bool,
    /// Accesses to first-stage pages are to snoop (`PGSNP`); second-stage leaves say so themselves.
    pub(super) pages_snoop: bool,
    /// The unit's greatest address width, which pass-through asks for (9.6, AW).
    pub(super) widest: AddressWidth,
}

/// The tables of one unit in scalable mode.
pub(super) struct PasidTables<P: Platform> {
    platform: P,
    coherence: WalkCoherence,
    style: Style,
    root: HardwareFrames<P>,
    below: lock_api::Mutex<P::Lock, Below<P>>,
}

impl<P: Platform> PasidTables<P> {
    /// A root table in which no bus is present. `coherence` is that of these tables, not of page tables.
    pub(super) fn new(
        platform: P,
        coherence: WalkCoherence,
        style: Style,
    ) -> Result<Self, OutOfFrames> {
        Ok(Self {
            platform,
            coherence,
            style,
            root: HardwareFrames::allocate(platform, 1, coherence)?,
            below: lock_api::Mutex::new(Below {
                contexts: (0..2 * ROOT_ENTRIES).map(|_| None).collect(),
                spaces: BTreeMap::new(),
            }),
        })
    }

    /// Physical address of the root table.
    pub(super) fn root_phys(&self) -> u64 {
        self.root.phys().as_u64()
    }

    /// Points `requester` at a table.
    pub(super) fn write(
        &self,
        requester: u16,
        domain: DomainId,
        translate: Translate,
    ) -> Result<Written, OutOfFrames> {
        let new = self.entry(domain, translate).to_words();
        let mut below = self.below.lock();
        self.make_spaces(&mut below, requester)?;
        let spaces = &below.spaces[&requester];
        let pasids = &spaces.pasids;
        let old = Entry::from_words(core::array::from_fn(|word| pasids.load(word)));
        if !old.p() {
            for word in (0..WORDS).rev() {
                pasids.store(word, new[word]);
            }
            return Ok(Written::Fresh);
        }
        let [low, tag, first, ..] = old.to_words();
        if tag != new[1] {
            return Ok(Written::Occupied);
        }
        let was_first = old.pgtt() == Translation::FirstStage;
        if was_first && low != new[0] {
            // It stops to be a first-stage entry first; the table's address is ignored then.
            pasids.store(0, new[0]);
        } else if first != new[2] {
            pasids.store(2, new[2]);
        }
        if pasids.load(0) != new[0] {
            pasids.store(0, new[0]);
        }
        Ok(Written::Replaced)
    }

    fn entry(&self, domain: DomainId, translate: Translate) -> Entry {
        let Style {
            stage,
            walks_snoop,
            pages_snoop,
            widest,
        } = self.style;
        let entry = Entry::new()
            .with_p(true)
            .with_did(domain.0)
            .with_pwsnp(walks_snoop)
            .with_pgsnp(pages_snoop && stage == Stage::First);
        match (translate, stage) {
            (Translate::PassThrough, _) => {
                entry.with_pgtt(Translation::PassThrough).with_aw(widest)
            }
            // The manual has a width for second-stage tables only; QEMU's unit refuses first-stage addresses beyond half of it.
            (Translate::Table { root, levels }, Stage::First) => entry
                .with_pgtt(Translation::FirstStage)
                .with_aw(width_of(levels.into()))
                .with_fspm(
                    FirstStagePaging::from_levels(levels.into())
                        .unwrap_or(FirstStagePaging::Reserved),
                )
                .with_fsptptr(root.as_u64()),
            (Translate::Table { root, levels }, Stage::Second) => entry
                .with_pgtt(Translation::SecondStage)
                .with_aw(width_of(levels.into()))
                .with_ssptptr(root.as_u64()),
        }
    }

    /// Makes sure that `requester` has a context entry, a directory and a PASID table.
    fn make_spaces(&self, below: &mut Below<P>, requester: u16) -> Result<(), OutOfFrames> {
        if below.spaces.contains_key(&requester) {
            return Ok(());
        }
        let allocate = || HardwareFrames::allocate(self.platform, 1, self.coherence);
        let half = Half::of(requester);
        let word = scalable::root_index(requester) * 2 + usize::from(half == Half::Upper);
        let context = match &mut below.contexts[word] {
            Some(context) => context,
            absent => {
                let context = allocate()?;
                let entry = RootEntry::new().with_table(half, context.phys().as_u64());
                self.root.store(word, entry.to_words()[word % 2]);
                absent.insert(context)
            }
        };
        let directory = allocate()?;
        let pasids = match allocate() {
            Ok(pasids) => pasids,
            Err(error) => {
                // SAFETY: no entry leads to it yet.
                unsafe { directory.free() };
                return Err(error);
            }
        };
        let entry = DirectoryEntry::new()
            .with_p(true)
            .with_smptblptr(pasids.phys().as_u64());
        directory.store(0, entry.into_bits());
        // The smallest directory, of 128 entries; the upper words, RID_PASID among them, stay 0.
        let entry = ContextEntry::new()
            .with_p(true)
            .with_pasiddirptr(directory.phys().as_u64());
        let index = scalable::context_index(requester) * CONTEXT_WORDS;
        context.store(index, entry.to_words()[0]);
        below.spaces.insert(requester, Spaces { directory, pasids });
        Ok(())
    }

    /// Makes requests of `requester` fault.
    pub(super) fn clear(&self, requester: u16) {
        if let Some(Spaces { pasids, .. }) = self.below.lock().spaces.get(&requester) {
            // Not present first; the rest is ignored from then on.
            pasids.store(0, 0);
        }
    }

    /// Gives the tables back.
    ///
    /// # Safety
    /// The unit no longer walks them.
    pub(super) unsafe fn free(self) {
        let Below { contexts, spaces } = self.below.into_inner();
        let spaces = spaces
            .into_values()
            .flat_map(|Spaces { directory, pasids }| [directory, pasids]);
        for frames in contexts.into_iter().flatten().chain(spaces) {
            // SAFETY: the caller vouches that the unit has let go.
            unsafe { frames.free() };
        }
        // SAFETY: as above.
        unsafe { self.root.free() };
    }
}

/// What a table of so many levels translates.
fn width_of(levels: u32) -> AddressWidth {
    AddressWidth::from_levels(levels).unwrap_or(AddressWidth::Reserved)
}
