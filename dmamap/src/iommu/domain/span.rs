//! Mapping in two steps: addresses are chosen once, and memory is linked to parts of them later.

use super::{Chooser, Domain, DomainError, Inner, Linked, Reach, RevokeError};
use crate::addr::{BusAddr, BusRange};
use crate::iova::IovaRequest;
use crate::pagetable::{Grant, PhysList};
use crate::platform::Platform;

impl<P: Platform> Domain<P> {
    /// Chooses bus addresses as `request` says, at which nothing is mapped yet (`dma_iova_try_alloc`).
    pub(crate) fn reserve_span(&self, request: IovaRequest) -> Result<BusRange, DomainError> {
        self.choose_locked(|inner| match (inner.reach, inner.chooser) {
            (Reach::Live, Chooser::Layer) => Ok(inner.iova.allocate(request)?),
            (Reach::Live, Chooser::Owner) => Err(DomainError::HandedOver),
            (Reach::Revoked | Reach::Unconfirmed, _) => Err(DomainError::Revoked),
        })
    }

    /// Maps `memory` from `bus` on, which the caller reserved (`dma_iova_link`). No device may be told before
    /// [`make_visible`](Self::make_visible).
    pub(crate) fn link(
        &self,
        bus: BusAddr,
        memory: &mut dyn PhysList,
        grant: Grant,
    ) -> Result<Linked, DomainError> {
        let mut inner = self.inner.lock();
        let Inner {
            unlinking,
            table: Some(table),
            reach: Reach::Live,
            ..
        } = &mut *inner
        else {
            return Err(DomainError::Revoked);
        };
        table.map_list(bus, memory, grant)?;
        Ok(match *unlinking {
            0 => Linked::OnKeptTables,
            _ => Linked::WhileUnlinking,
        })
    }

    /// Makes what was linked in `range` unreachable and returns when it is; the addresses stay the caller's
    /// (`dma_iova_unlink`).
    pub(crate) fn unlink(&self, range: BusRange) -> Result<(), RevokeError> {
        let cleared = self.clear(|inner, gather| {
            let table = inner.table.as_mut().expect("a live domain has a table");
            Ok(table.unmap(range, gather)?)
        });
        let Some(gather) = cleared? else {
            return Ok(());
        };
        let outcome = self.sync(gather);
        // The addresses stay the caller's; the tables are kept.
        Ok(outcome.or_else(|(error, unconfirmed)| self.keep(None, unconfirmed, error))?)
    }

    /// Gives back addresses that [`reserve_span`](Self::reserve_span) chose, at which nothing is mapped (`dma_iova_free`).
    pub(crate) fn free_span(&self, range: BusRange) {
        self.inner.lock().free(range);
    }
}
