//! Mappings that are copies in the device's own pools, which stay mapped: no table changes, and no unit is waited for.
//!
//! Either all mappings of a device are such ([`Protection::Bounce`](crate::system::Protection::Bounce)), or those that are shorter than the settings
//! say ([`BounceSettings::copy_below_bytes`](crate::bounce::BounceSettings::copy_below_bytes)): a short copy costs less than the wait for an
//! invalidation. The second is a matter of cost alone, so that whatever stands against a copy lets the memory be mapped as others are.

use crate::bounce::{AlwaysMapped, OwnPools, PoolName, Run, RunRequest};
use crate::device::DeviceCore;
use crate::iommu::Domain;
use crate::map::MapFailure;
use crate::map::backing::Backing;
use crate::map::place::{Memory, Placed, check_boundary};
use crate::map::terms::Terms;
use crate::pagetable::{Privilege, Privileges};
use crate::platform::Platform;

impl<P: Platform> DeviceCore<P> {
    /// Makes the mapping a copy in the device's own pools, if it has some and they are for such mappings.
    ///
    /// # Safety
    /// As [`place`](Self::place).
    pub(super) unsafe fn place_pooled(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Option<Result<Placed, MapFailure>> {
        // Pools that are always mapped are mapped for all requests.
        let closed = terms.attributes.privilege == Privilege::PrivilegedOnly
            && domain.privileges() == Privileges::Told;
        if closed {
            return None;
        }
        if let Some(own) = self.bounce.own_for_all() {
            // SAFETY: the caller's promise.
            return Some(unsafe { self.place_copy(own, domain, terms, memory) });
        }
        let own = self.bounce.own_for(memory.len_bytes)?;
        // SAFETY: the caller's promise.
        unsafe { self.place_short(own, domain, terms, memory) }.map(Ok)
    }

    /// Copies the memory, whatever its length.
    unsafe fn place_copy(
        &self,
        own: &OwnPools<P>,
        domain: &Domain<P>,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Result<Placed, MapFailure> {
        self.may_copy(terms, memory)?;
        let request = self.pooled_request(own, terms, memory);
        let always = self.always_mapped(domain, terms);
        let run = own.of(terms.permission()).allocate(&request, &always)?;
        // SAFETY: the caller's promise.
        unsafe { self.place_own(domain, terms, run, memory) }
    }

    /// Copies the memory, if slots are free that are mapped already, or can be.
    unsafe fn place_short(
        &self,
        own: &OwnPools<P>,
        domain: &Domain<P>,
        terms: &Terms,
        memory: &mut Memory<'_>,
    ) -> Option<Placed> {
        self.may_copy(terms, memory).ok()?;
        let request = self.pooled_request(own, terms, memory);
        let pool = own.of(terms.permission());
        let run = pool.lend_slots(&request, &self.always_mapped(domain, terms))?;
        // SAFETY: the caller's promise. It is mapped, so what can fail is its boundary, where memory in place may do better.
        unsafe { self.place_own(domain, terms, run, memory) }.ok()
    }

    fn pooled_request(&self, own: &OwnPools<P>, terms: &Terms, memory: &Memory<'_>) -> RunRequest {
        self.request(memory, terms, terms.min_align_mask, own.granule_log2())
    }

    fn always_mapped<'a>(&'a self, domain: &'a Domain<P>, terms: &Terms) -> AlwaysMapped<'a, P> {
        AlwaysMapped {
            core: self,
            domain,
            permission: terms.permission(),
            mask: terms.mask,
        }
    }

    /// Gives the device a copy of the memory in `run`, which is of its own pools.
    unsafe fn place_own(
        &self,
        domain: &Domain<P>,
        terms: &Terms,
        run: Run,
        memory: &mut Memory<'_>,
    ) -> Result<Placed, MapFailure> {
        let always_at = run.bus_range();
        let pool = PoolName::Own(terms.permission());
        if let Some(range) = always_at
            && let Err(failure) = check_boundary(range, terms, memory.first)
        {
            // SAFETY: nothing of this mapping's was put there, and the device has the memory always.
            unsafe { self.bounce.pool(pool).release(run) };
            return Err(failure);
        }
        // SAFETY: the caller vouches for the contents, which are as long as the run.
        unsafe { self.fill(&run, memory) };
        let backing = Backing::Whole { pool, run };
        match always_at {
            Some(range) => Ok(Placed { range, backing }),
            None => self.map_given(domain, terms, memory, backing),
        }
    }
}
