//! Root and context tables (VT-d 9.1, 9.3): from a requester to its domain's table.
//!
//! A context entry is 128 bits and a unit may fetch it at any moment, so an entry that is present
//! changes only by one 64-bit store: its upper half (domain id, width) stays while the lower half
//! (table, type, present) is replaced or cleared.

use alloc::boxed::Box;

use hw::vtd::root::{self, AddressWidth, ContextEntry, ENTRIES, RootEntry, TranslationType};

use crate::frame::HardwareFrames;
use crate::iommu::translation::Translate;
use crate::iommu::unit::DomainId;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// What became of a context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It was not present before.
    Fresh,
    /// It was present with the same domain id and width, and changed in one store.
    Replaced,
    /// It is present with another domain id or width, which one store cannot change: left as it was.
    Occupied,
}

/// A context table per bus that has one.
type Contexts<P> = Box<[Option<HardwareFrames<P>>]>;

/// The tables of one unit.
pub(super) struct DeviceTable<P: Platform> {
    platform: P,
    coherence: WalkCoherence,
    root: HardwareFrames<P>,
    contexts: lock_api::Mutex<P::Lock, Contexts<P>>,
}

impl<P: Platform> DeviceTable<P> {
    /// A root table in which no bus is present.
    pub(super) fn new(platform: P, coherence: WalkCoherence) -> Result<Self, OutOfFrames> {
        Ok(Self {
            platform,
            coherence,
            root: HardwareFrames::allocate(platform, 1, coherence)?,
            contexts: lock_api::Mutex::new((0..ENTRIES).map(|_| None).collect()),
        })
    }

    /// Physical address of the root table.
    pub(super) fn root_phys(&self) -> u64 {
        self.root.phys().as_u64()
    }

    /// Points `requester` at a table. `widest` is the greatest address width the unit knows, which
    /// pass-through asks for (9.3, AW).
    pub(super) fn write(
        &self,
        requester: u16,
        domain: DomainId,
        translate: Translate,
        widest: AddressWidth,
    ) -> Result<Written, OutOfFrames> {
        let entry = ContextEntry::new().with_p(true).with_did(domain.0);
        let [low, high] = match translate {
            Translate::Table { root, levels } => entry
                .with_tt(TranslationType::Untranslated)
                .with_aw(AddressWidth::from_levels(levels.into()).unwrap_or(AddressWidth::Reserved))
                .with_ssptptr(root.as_u64()),
            Translate::PassThrough => entry.with_tt(TranslationType::PassThrough).with_aw(widest),
        }
        .to_words();

        let mut contexts = self.contexts.lock();
        let bus = root::root_index(requester);
        let context = match &mut contexts[bus] {
            Some(context) => context,
            absent => {
                let context = HardwareFrames::allocate(self.platform, 1, self.coherence)?;
                let entry = RootEntry::new()
                    .with_p(true)
                    .with_ctp(context.phys().as_u64());
                self.root.store(bus * 2, entry.to_words()[0]);
                absent.insert(context)
            }
        };
        let index = root::context_index(requester) * 2;
        let present = ContextEntry::from_words([context.load(index), 0]).p();
        if present && context.load(index + 1) != high {
            return Ok(Written::Occupied);
        }
        if !present {
            context.store(index + 1, high);
        }
        context.store(index, low);
        Ok(if present {
            Written::Replaced
        } else {
            Written::Fresh
        })
    }

    /// Makes requests of `requester` fault.
    pub(super) fn clear(&self, requester: u16) {
        let contexts = self.contexts.lock();
        if let Some(context) = &contexts[root::root_index(requester)] {
            // Not present first; the rest is ignored from then on.
            context.store(root::context_index(requester) * 2, 0);
        }
    }

    /// Gives the tables back.
    ///
    /// # Safety
    /// The unit no longer walks them.
    pub(super) unsafe fn free(self) {
        for context in self.contexts.into_inner().into_iter().flatten() {
            // SAFETY: the caller vouches that the unit has let go.
            unsafe { context.free() };
        }
        // SAFETY: as above.
        unsafe { self.root.free() };
    }
}
