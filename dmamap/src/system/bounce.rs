//! The machine's bounce buffers: how they are used, and devices that have a pool of reserved memory.

use alloc::boxed::Box;

use super::DmaSystem;
use super::device_memory::User;
use crate::addr::PhysRange;
use crate::bounce::{BounceError, BounceSettings, Pool, PoolFigures};
use crate::iommu::Requester;
use crate::platform::Platform;

/// Devices that copy only to memory reserved for them.
pub(super) struct Restricted<P: Platform> {
    pub(super) user: User,
    pub(super) pool: &'static Pool<P>,
}

/// Why a device could not be restricted to some memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestrictError {
    /// It has a driver already.
    #[error("{device} is attached already: restrict it before")]
    AlreadyAttached {
        /// The device.
        device: Requester,
    },
    /// The memory is no pool.
    #[error("{device}: {error}")]
    Pool {
        /// The device.
        device: Requester,
        /// Why.
        error: BounceError,
    },
}

/// The machine's pool as long as nobody said more.
pub(super) fn default_pool<P: Platform>(platform: P) -> Pool<P> {
    let BounceSettings {
        area_bytes,
        limit_bytes,
        ..
    } = BounceSettings::default();
    Pool::new(platform, area_bytes, limit_bytes)
}

impl<P: Platform> DmaSystem<P> {
    /// Changes how bounce buffers are used: by devices attached from now on, and for memory taken from now on.
    pub fn set_bounce(&self, settings: BounceSettings) {
        self.bounce
            .set_limits(settings.area_bytes, settings.limit_bytes);
        self.state.lock().bounce = settings;
    }

    /// How bounce buffers are used.
    pub fn bounce_settings(&self) -> BounceSettings {
        self.state.lock().bounce
    }

    /// What the machine's own pool of bounce buffers holds and lends. Pools of single devices are
    /// [`Device::bounce_figures`](crate::device::Device::bounce_figures)'.
    pub fn bounce_figures(&self) -> PoolFigures {
        self.bounce.figures()
    }

    /// Gives the platform back the areas of the machine's pool of which nothing is lent. Stopping the units and taking
    /// the last device's driver away do the same.
    pub fn reclaim_bounce(&self) {
        // SAFETY: devices are given the pool's memory through mappings alone, each of which holds its run.
        unsafe { self.bounce.release_idle() };
    }

    /// Lets `device` reach only `memory` where no unit translates for it (a `restricted-dma-pool`): all its streaming
    /// mappings are copied there, and its coherent memory is of it. To be called before the device is attached; the last call counts.
    ///
    /// # Errors
    /// [`RestrictError`].
    ///
    /// # Safety
    /// `memory` is RAM that firmware reserved for the device: nobody else uses it, now or later, and
    /// [`Platform::frame_pointer`] reaches it.
    pub unsafe fn restrict(
        &self,
        device: Requester,
        memory: PhysRange,
    ) -> Result<(), RestrictError> {
        // SAFETY: the caller's promise.
        let pool = unsafe { Pool::of(self.platform, memory) }
            .map_err(|error| RestrictError::Pool { device, error })?;
        self.restrict_to(pool, &[User::Device(device)])
            .map_err(|device| RestrictError::AlreadyAttached { device })
    }

    /// Lets `users` reach only memory of `pool`, all of them together. Fails with one that is attached.
    pub(super) fn restrict_to(&self, pool: Pool<P>, users: &[User]) -> Result<(), Requester> {
        let mut state = self.state.lock();
        state.check_unattached(users)?;
        // As long as the machine's state: devices refer to it.
        let pool = Box::leak(Box::new(pool));
        for &user in users {
            state.restricted.retain(|each| each.user != user);
            state.restricted.push(Restricted { user, pool });
        }
        Ok(())
    }
}
