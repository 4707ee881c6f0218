//! The pools of one device, always mapped for it: no mapping changes a table, no unmapping waits for a unit.
//!
//! One for each permission, so that the device cannot change what it shall only read.

use core::sync::atomic::{AtomicBool, Ordering};

use super::figures::PoolFigures;
use super::pool::{Exposure, Pool};
use crate::addr::{BusAddr, DmaMask, FRAME_SIZE_LOG2, PhysAddr, PhysRange};
use crate::iommu::{Domain, DomainError};
use crate::iova::IovaRequest;
use crate::map::Permission;
use crate::map::window::zero;
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
    /// The device lost its domain, and its unit confirmed it.
    lost: AtomicBool,
}

impl<P: Platform> OwnPools<P> {
    pub(crate) fn new(platform: P) -> Self {
        Self {
            pools: PERMISSIONS.map(|_| Pool::new(platform, AREA_BYTES, LIMIT_BYTES)),
            lost: AtomicBool::new(false),
        }
    }

    pub(crate) fn of(&self, permission: Permission) -> &Pool<P> {
        let n = PERMISSIONS.iter().position(|&one| one == permission);
        &self.pools[n.unwrap_or(PERMISSIONS.len() - 1)]
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool<P>> {
        self.pools.iter()
    }

    /// The device lost its domain, and its unit confirmed it.
    pub(crate) fn device_lost_them(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(crate) fn figures(&self) -> PoolFigures {
        let figures = self.pools.iter().map(Pool::figures);
        figures.fold(PoolFigures::default(), PoolFigures::and)
    }
}

impl<P: Platform> Drop for OwnPools<P> {
    fn drop(&mut self) {
        if *self.lost.get_mut() {
            for pool in &self.pools {
                // SAFETY: the device's unit confirmed that it has nothing any more.
                unsafe { pool.release_idle() };
            }
        }
    }
}

/// Memory that shall always be mapped for the device of a domain.
pub(crate) struct AlwaysMapped<'a, P: Platform> {
    pub(crate) platform: P,
    pub(crate) domain: &'a Domain<P>,
    pub(crate) permission: Permission,
    pub(crate) mask: DmaMask,
}

impl<P: Platform> Exposure for AlwaysMapped<'_, P> {
    fn last(&self) -> PhysAddr {
        PhysAddr::new(u64::MAX)
    }

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
        let start = self.platform.frame_pointer(frames.start());
        // SAFETY: the frames were just lent to the pool, whole. What was in them is not the device's to see.
        unsafe { zero(start, frames.len_bytes() as usize) };
        // Aligned as the memory is, so that addresses keep their lower bits.
        let request = IovaRequest::new(frames.len_bytes())
            .aligned(frames.len_bytes().ilog2(), 0)
            .below(self.mask.last());
        let mut list = Replay::new(core::iter::once(frames));
        let range = self.domain.map_list(request, &mut list, self.permission)?;
        Ok(Some(range.start()))
    }
}
