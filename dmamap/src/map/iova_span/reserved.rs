//! Bus addresses that were chosen, and what of them is linked: what the safe span and the raw one are made of.

use crate::addr::{BusRange, PhysAddr, PhysRange};
use crate::device::{Device, Held};
use crate::iommu::{Domain, DomainError, Linked, RevokeError};
use crate::map::backing::Backing;
use crate::map::copies::Copies;
use crate::map::edges::{GivenList, inner_ends_are_whole};
use crate::map::establish::fail;
use crate::map::list_syncs::ListSyncs;
use crate::map::place::Memory;
use crate::map::route::Route;
use crate::map::terms::Terms;
use crate::map::{Asked, MapError, MapFailure, Outside, translated};
use crate::pagetable::Replay;
use crate::platform::Platform;

/// Chosen addresses, and the hold on the device that goes with them.
///
/// Dropping one leaks the addresses and whatever is linked to them: its owners unlink and [`free`](Self::free).
pub(super) struct Reserved<P: Platform> {
    held: Held<P>,
    /// Whole pages.
    pages: BusRange,
    /// Bytes of the first page before the span's first.
    head: u64,
    len_bytes: u64,
    terms: Terms,
    /// How what is not synced yet was linked.
    how: Linked,
}

impl<P: Platform> Reserved<P> {
    /// Chooses addresses for `len_bytes` bytes of which the first will be the one at `first`.
    pub(super) fn try_alloc(
        device: &Device<P>,
        first: PhysAddr,
        len_bytes: u64,
        terms: Terms,
    ) -> Result<Self, MapError> {
        let failed = |failure| fail(device, Asked::from(first, len_bytes), failure);
        if len_bytes == 0 {
            return Err(failed(MapFailure::Empty));
        }
        let whole = PhysRange::new(first, len_bytes)
            .map_err(|_| failed(MapFailure::past_the_end(first, len_bytes)))?;
        let core = device.core();
        let terms = terms.within(&core.limits);
        terms.check_coherence(core.coherence).map_err(failed)?;
        let domain = match &core.route {
            Route::Translated(domain) if !core.gives_copies_alone(&terms) => domain,
            Route::Translated(_) | Route::Direct(_) => {
                return Err(failed(MapFailure::NotTranslated));
            }
            Route::Blocked => return Err(failed(MapFailure::Blocked)),
        };
        let mut list = Replay::new(core::iter::once(whole));
        let page_log2 = domain.page_size_log2();
        let place = translated::place(page_log2, &terms, whole, &mut list).map_err(failed)?;
        let held = Held::new(device, len_bytes);
        if core.system.is_asleep() {
            held.withdraw();
            return Err(failed(MapFailure::Suspended));
        }
        match translated::reserve(domain, &place) {
            Ok((pages, head)) => Ok(Self {
                held,
                pages,
                head,
                len_bytes,
                terms,
                how: Linked::OnKeptTables,
            }),
            Err(failure) => {
                held.withdraw();
                Err(failed(failure))
            }
        }
    }

    pub(super) fn held(&self) -> &Held<P> {
        &self.held
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The turns at what is linked, of which the device reaches `backing`.
    pub(super) fn syncs(&self, backing: &Backing) -> ListSyncs<'_, P> {
        let (core, terms) = (self.held.core(), &self.terms);
        let copies = Copies::of(backing);
        ListSyncs::new(core, terms.direction, terms.attributes, copies)
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The bus addresses of `len_bytes` bytes from byte `offset` of the span on.
    pub(super) fn range(&self, offset: u64, len_bytes: u64) -> Result<BusRange, Outside> {
        Outside::check(offset, len_bytes, self.len_bytes)?;
        let slice = self.pages.slice(self.head + offset, len_bytes);
        Ok(slice.expect("the pages hold the head and the span"))
    }

    fn domain(&self) -> &Domain<P> {
        match &self.held.core().route {
            Route::Translated(domain) => domain,
            Route::Direct(_) | Route::Blocked => {
                unreachable!("addresses were chosen in a domain, and a device's route is for life")
            }
        }
    }

    pub(super) fn error(&self, asked: Asked, failure: MapFailure) -> MapError {
        self.held.core().not_mapped(asked, failure)
    }

    /// Links `memory` from byte `offset` of the span on; what the device is given of it: the memory itself but for its ends.
    ///
    /// # Safety
    /// That of [`DeviceCore::place`](crate::device::DeviceCore::place).
    pub(super) unsafe fn link(
        &mut self,
        offset: u64,
        memory: &mut Memory<'_>,
    ) -> Result<Backing, MapFailure> {
        let core = self.held.core();
        if core.system.is_asleep() {
            return Err(MapFailure::Suspended);
        }
        let range = self
            .range(offset, memory.len_bytes)
            .map_err(MapFailure::OutsideSpan)?;
        let page_log2 = self.domain().page_size_log2();
        let page_bytes = 1u64 << page_log2;
        let within = range.start().as_u64() % page_bytes;
        let inside = offset > 0 && within != 0;
        let first = memory.first;
        let congruent = first.start().as_u64() % page_bytes == within;
        if inside || !congruent {
            return Err(MapFailure::InteriorEdge {
                memory: first,
                offset,
                page_bytes,
            });
        }
        // Else its pieces do not lie side by side on the bus, and copies of inner ends would be needed.
        if !inner_ends_are_whole(memory, page_bytes) {
            return Err(MapFailure::NotWholePages {
                memory: first,
                page_bytes,
            });
        }
        // SAFETY: the caller's promise.
        let backing = unsafe { core.give(page_log2, &self.terms, memory) }?;
        let start = range.start().align_down(page_log2);
        let mut pages = translated::WholePages {
            list: &mut GivenList::new(memory, &backing),
            page_log2,
        };
        let how = match self.domain().link(start, &mut pages, self.terms.grant()) {
            Ok(how) => how,
            Err(error) => return Err(core.not_given(backing, error.into())),
        };
        if backing.is_copied() {
            core.counters.bounced(backing.copied_bytes());
        }
        match how {
            Linked::OnKeptTables => {}
            Linked::WhileUnlinking => self.how = Linked::WhileUnlinking,
        }
        Ok(match (backing, offset) {
            // No page of it is whole: to the span it is the first bytes, or the last.
            (Backing::Whole { run, .. }, 0) => Backing::Edges {
                head: Some(run),
                tail: None,
            },
            (Backing::Whole { run, .. }, _) => Backing::Edges {
                head: None,
                tail: Some(run),
            },
            (backing, _) => backing,
        })
    }

    /// Makes what was linked in `len_bytes` bytes from `offset` on visible to the device.
    pub(super) fn sync(&mut self, offset: u64, len_bytes: u64) -> Result<(), MapFailure> {
        if self.held.core().system.is_asleep() {
            return Err(MapFailure::Suspended);
        }
        let range = self
            .range(offset, len_bytes)
            .map_err(MapFailure::OutsideSpan)?;
        self.domain()
            .make_visible(self.pages_of(range), self.how)
            .map_err(DomainError::from)?;
        Ok(())
    }

    /// Bytes of the smallest page.
    pub(super) fn page_bytes(&self) -> u64 {
        1 << self.domain().page_size_log2()
    }

    /// Whether the byte before byte `end` of the span is the last of a page.
    pub(super) fn is_page_end(&self, end: u64) -> bool {
        (self.head + end).is_multiple_of(self.page_bytes())
    }

    /// Whether the byte before byte `end` of the span is in `pages`.
    pub(super) fn reaches(&self, pages: BusRange, end: u64) -> bool {
        self.range(end - 1, 1)
            .is_ok_and(|last| pages.overlaps(last))
    }

    /// The whole pages that `range`, part of the span, lies in.
    pub(super) fn pages_of(&self, range: BusRange) -> BusRange {
        translated::pages(range, self.domain().page_size_log2())
    }

    /// Takes back the links that `pages` are made of.
    pub(super) fn unlink(&self, pages: BusRange) -> Result<(), RevokeError> {
        self.domain().unlink(pages)
    }

    /// Counts memory that was linked and may still be reached.
    pub(super) fn count_quarantined(&self, len_bytes: u64) {
        self.held.core().quarantine.count_foreign(len_bytes);
    }

    /// Gives the addresses back; nothing is linked to them.
    pub(super) fn free(self) {
        self.domain().free_span(self.pages);
    }
}
