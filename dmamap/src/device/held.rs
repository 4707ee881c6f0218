//! A mapping's hold on its device: a per-CPU count instead of a shared reference count.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::device::counters::Share;
use crate::device::{Counters, Device, DeviceCore};
use crate::platform::{Cpu, Platform};

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
    #[inline]
    pub(crate) fn new(device: &Device<P>, bytes: u64) -> Self {
        let core = device.core();
        core.counters.begin(bytes);
        Self {
            core: NonNull::from(core),
            bytes,
        }
    }

    /// Counts one more mapping of `bytes` in, on the same device.
    pub(crate) fn another(&self, bytes: u64) -> Self {
        // This one counts as live until after that one does, so whoever sums sees one of them.
        self.core().counters.begin(bytes);
        Self {
            core: self.core,
            bytes,
        }
    }

    /// Bytes of the mapping.
    #[inline]
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    #[inline]
    pub(crate) fn core(&self) -> &DeviceCore<P> {
        // SAFETY: the count this value stands for is not 0, so the core is not unreferenced and the
        // system does not free it.
        unsafe { self.core.as_ref() }
    }

    /// The mapping never came to be.
    pub(crate) fn withdraw(self) {
        ManuallyDrop::new(self).end(Counters::<P>::withdraw);
    }

    /// Takes the count back as `how` does.
    #[inline]
    fn end(&self, how: unsafe fn(NonNull<[Share]>, Cpu, u64)) {
        let bytes = self.bytes;
        let (platform, shares) = {
            let core = self.core();
            (core.platform, core.counters.shares())
        };
        // No reference into the core is left here: the count is the last thing that kept it.
        // SAFETY: this mapping still counts; what `how` does last is its last access.
        platform.pin(|cpu| unsafe { how(shares, cpu, bytes) });
    }
}

impl<P: Platform> Drop for Held<P> {
    #[inline]
    fn drop(&mut self) {
        self.end(Counters::<P>::finish);
    }
}

/// Holds a core for a while and without a mapping: it leaves no trace in the figures, however it ends.
pub(crate) struct HeldBriefly<P: Platform>(ManuallyDrop<Held<P>>);

impl<P: Platform> HeldBriefly<P> {
    /// Holds a core that the system does not free meanwhile.
    pub(crate) fn new(core: &DeviceCore<P>) -> Self {
        core.counters.begin(0);
        Self(ManuallyDrop::new(Held {
            core: NonNull::from(core),
            bytes: 0,
        }))
    }

    pub(crate) fn core(&self) -> &DeviceCore<P> {
        self.0.core()
    }
}

impl<P: Platform> Drop for HeldBriefly<P> {
    fn drop(&mut self) {
        self.0.end(Counters::<P>::withdraw);
    }
}
