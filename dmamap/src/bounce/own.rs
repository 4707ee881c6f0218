//! The pools of one device, always mapped for it: no mapping changes a table, no unmapping waits for a unit.
//!
//! One for each permission, so that the device cannot change what it shall only read.

use alloc::sync::Arc;

use super::copying::zero;
use super::figures::PoolFigures;
use super::pool::{Exposure, Pool};
use crate::addr::{BusAddr, DmaMask, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::device::DeviceCore;
use crate::iommu::{Domain, DomainError};
use crate::iova::IovaRequest;
use crate::map::Permission;
use crate::pagetable::Replay;
use crate::platform::Platform;

/// Bytes of an area: devices have few of them.
const AREA_BYTES: u64 = 1 << 20;
/// Bytes of one of the pools.
const LIMIT_BYTES: u64 = 32 << 20;

const PERMISSIONS: [Permission; 3] = [Permission::Read, Permission::Write, Permission::ReadWrite];

/// A device's pools, one for each permission.
pub(crate) struct OwnPools<P: Platform> {
    pools: [Pool<P>; 3],
    /// log2 of the bytes that runs are made of whole ones of: those of memory of their own are mapped in whole pages. 0 where pages
    /// are frames, as memory is lent in such anyway.
    granule_log2: u32,
    /// Where they are mapped; it may be others' of the device's group as well.
    domain: Arc<Domain<P>>,
}

impl<P: Platform> OwnPools<P> {
    pub(crate) fn new(platform: P, domain: Arc<Domain<P>>) -> Self {
        Self {
            pools: PERMISSIONS.map(|_| Pool::new(platform, AREA_BYTES, LIMIT_BYTES)),
            granule_log2: match domain.page_size_log2() {
                FRAME_SIZE_LOG2 => 0,
                larger => larger,
            },
            domain,
        }
    }

    #[inline]
    pub(crate) fn of(&self, permission: Permission) -> &Pool<P> {
        let [read, write, both] = &self.pools;
        match permission {
            Permission::Read => read,
            Permission::Write => write,
            Permission::ReadWrite => both,
        }
    }

    /// See [`RunRequest::granule_log2`](super::RunRequest::granule_log2).
    #[inline]
    pub(crate) fn granule_log2(&self) -> u32 {
        self.granule_log2
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool<P>> {
        self.pools.iter()
    }

    /// Bytes of the longest run that each is sure to lend when it is idle.
    pub(crate) fn longest_run(&self) -> u64 {
        AREA_BYTES
    }

    pub(crate) fn figures(&self) -> PoolFigures {
        let figures = self.pools.iter().map(Pool::figures);
        figures.fold(PoolFigures::default(), PoolFigures::and)
    }
}

impl<P: Platform> Drop for OwnPools<P> {
    fn drop(&mut self) {
        for pool in &self.pools {
            // Whoever else uses the domain reaches the memory until it is unmapped.
            let lost = |range| self.domain.unmap(range).is_ok();
            // SAFETY: the device is gone with its last mapping, and memory goes back only where it was confirmed that
            // nobody reaches it.
            unsafe { pool.release_idle_where(lost) };
        }
    }
}

/// Memory that shall always be mapped for the device of a domain.
pub(crate) struct AlwaysMapped<'a, P: Platform> {
    pub(crate) core: &'a DeviceCore<P>,
    pub(crate) domain: &'a Domain<P>,
    pub(crate) permission: Permission,
    pub(crate) mask: DmaMask,
}

impl<P: Platform> Exposure for AlwaysMapped<'_, P> {
    fn last(&self) -> PhysAddr {
        PhysAddr::new(u64::MAX)
    }

    #[inline]
    fn reaches(&self, frames: PhysRange, bus: Option<BusAddr>) -> bool {
        let Some(bus) = bus else { return true };
        let last = bus.as_u64().checked_add(frames.len_bytes() - 1);
        last.is_some_and(|last| last <= self.mask.last().as_u64())
    }

    fn expose(&self, frames: PhysRange) -> Result<Option<BusAddr>, DomainError> {
        let page_log2 = self.domain.page_size_log2().max(FRAME_SIZE_LOG2);
        if !frames.start().is_aligned(page_log2) || frames.len_bytes() >> page_log2 == 0 {
            return Err(DomainError::Revoked);
        }
        let start = self.core.platform.frame_pointer(frames.start());
        // SAFETY: the frames were just lent to the pool, whole. What was in them is not the device's to see.
        unsafe { zero(start, frames.len_bytes() as usize) };
        self.core.clean_for_device(frames);
        // Aligned as the memory is, so that addresses keep their lower bits.
        let request = IovaRequest::new(frames.len_bytes())
            .aligned(frames.len_bytes().ilog2(), 0)
            .below(self.mask.last());
        let mut list = Replay::new(core::iter::once(frames));
        let mapped = self
            .domain
            .map_list(request, &mut list, self.permission.into());
        if let Err(DomainError::Unconfirmed { .. }) = mapped {
            // Nobody has the frames any more but, it may be, the device.
            self.core.quarantine.lose(frames.len_bytes());
        }
        Ok(Some(mapped?.start()))
    }
}
