//! Bus addresses that were chosen, and what of them is linked: what the safe span and the raw one are made of.

use crate::addr::{BusRange, FRAME_BYTES, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::device::{Device, Held};
use crate::iommu::{Domain, DomainError, Linked, RevokeError};
use crate::map::backing::Backing;
use crate::map::establish::fail;
use crate::map::list_syncs::ListSyncs;
use crate::map::route::Route;
use crate::map::terms::Terms;
use crate::map::{Asked, MapError, MapFailure, Outside, translated};
use crate::pagetable::{PhysList, Replay};
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
        // What is not the buffers' must not become reachable, and links are never copied: only whole pages are lent.
        check_whole_pages(whole, page_log2).map_err(failed)?;
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

    pub(super) fn syncs(&self) -> ListSyncs<'_, P> {
        ListSyncs::new(self.held.core(), &self.terms, &Backing::InPlace)
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

    /// Links the `len_bytes` bytes of the pieces of `memory`, the first of which is `first`, from byte `offset` of the span on.
    pub(super) fn link(
        &mut self,
        offset: u64,
        first: PhysRange,
        len_bytes: u64,
        memory: &mut dyn PhysList,
    ) -> Result<(), MapFailure> {
        if self.held.core().system.is_asleep() {
            return Err(MapFailure::Suspended);
        }
        let range = self
            .range(offset, len_bytes)
            .map_err(MapFailure::OutsideSpan)?;
        let page_bytes = 1u64 << self.domain().page_size_log2();
        let within = range.start().as_u64() % page_bytes;
        let inside = offset > 0 && within != 0;
        let congruent = first.start().as_u64() % page_bytes == within;
        if inside || !congruent {
            return Err(MapFailure::InteriorEdge {
                memory: first,
                offset,
                page_bytes,
            });
        }
        let start = range.start().align_down(self.domain().page_size_log2());
        // Of frames, not pages: where pages are larger, the table refuses what does not begin and end with one.
        let mut frames = translated::WholePages {
            list: memory,
            page_log2: FRAME_SIZE_LOG2,
        };
        let permission = self.terms.permission();
        match self.domain().link(start, &mut frames, permission)? {
            Linked::OnKeptTables => {}
            Linked::WhileUnlinking => self.how = Linked::WhileUnlinking,
        }
        Ok(())
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

    /// The whole pages that `range`, part of the span, lies in.
    pub(super) fn pages_of(&self, range: BusRange) -> BusRange {
        translated::pages(range, self.domain().page_size_log2())
    }

    /// Takes back the links that `pages` are made of.
    pub(super) fn unlink(&mut self, pages: BusRange) -> Result<(), RevokeError> {
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

/// Whether the frames that `memory` touches are whole pages of `2^page_log2` bytes.
fn check_whole_pages(memory: PhysRange, page_log2: u32) -> Result<(), MapFailure> {
    let page_bytes = 1u64 << page_log2;
    let begin = memory.start().align_down(FRAME_SIZE_LOG2);
    let last = memory.last().as_u64() | (FRAME_BYTES - 1);
    match begin.is_aligned(page_log2) && last % page_bytes == page_bytes - 1 {
        true => Ok(()),
        false => Err(MapFailure::NotWholePages { memory, page_bytes }),
    }
}
