//! A mapping's hold on its device: a per-CPU count instead of a shared reference count.

use core::ptr::NonNull;

use crate::device::{Counters, Device, DeviceCore};
use crate::platform::Platform;

/// Keeps a device's core from being freed, whatever becomes of the [`Device`] handle. Forgetting it
/// keeps the core for ever.
pub(crate) struct Held<P: Platform> {
    core: NonNull<DeviceCore<P>>,
    bytes: u64,
}

// SAFETY: the core is reached only through shared references, and is `Sync`.
unsafe impl<P: Platform> Send for Held<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for Held<P> {}

impl<P: Platform> Held<P> {
    /// Counts a mapping of `bytes` in. The borrow of the handle ends with the call: the count holds on.
    pub(crate) fn new(device: &Device<P>, bytes: u64) -> Self {
        let core = device.core();
        core.counters.begin(bytes);
        Self {
            core: NonNull::from(core),
            bytes,
        }
    }

    /// Holds a core that is not unreferenced, for a while and without a mapping; ends with [`withdraw`](Self::withdraw).
    pub(crate) fn briefly(core: &DeviceCore<P>) -> Self {
        core.counters.begin(0);
        Self {
            core: NonNull::from(core),
            bytes: 0,
        }
    }

    /// Counts one more mapping of `bytes` in, on the same device.
    pub(crate) fn another(&self, bytes: u64) -> Self {
        // This one is counted, so the core lives.
        self.core().counters.begin(bytes);
        Self {
            core: self.core,
            bytes,
        }
    }

    pub(crate) fn core(&self) -> &DeviceCore<P> {
        // SAFETY: the count this value stands for is not 0, so the core is not unreferenced and the
        // system does not free it.
        unsafe { self.core.as_ref() }
    }

    /// The mapping never came to be.
    pub(crate) fn withdraw(self) {
        let this = core::mem::ManuallyDrop::new(self);
        this.core().counters.withdraw(this.bytes);
    }
}

impl<P: Platform> Drop for Held<P> {
    fn drop(&mut self) {
        let bytes = self.bytes;
        let (platform, shares) = {
            let core = self.core();
            (core.platform, core.counters.shares())
        };
        // No reference into the core is left here: the count is the last thing that kept it.
        // SAFETY: this mapping still counts; what `finish` does last is its last access.
        platform.pin(|cpu| unsafe { Counters::<P>::finish(shares, cpu, bytes) });
    }
}
