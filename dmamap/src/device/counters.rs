//! What a device's mappings add up to, counted per CPU so that no two CPUs write the same line.

use alloc::boxed::Box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::platform::{Cpu, Platform};

/// What a device's mappings add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Mappings made, coherent memory included.
    pub maps: u64,
    /// Mappings taken back.
    pub unmaps: u64,
    /// Mappings that live now.
    pub live_mappings: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes of memory kept because the IOMMU did not confirm that the device lost them, until
    /// [`recover`](crate::device::Device::recover) or [`reset`](crate::device::Device::reset).
    pub quarantined_bytes: u64,
    /// Bytes of such memory that are kept for ever, as there was no frame left to note them down in.
    pub lost_bytes: u64,
    /// Mappings made of which the device was given a copy, whole or in part.
    pub bounced_maps: u64,
    /// Bytes that were copied for these when they were made.
    pub bounced_bytes: u64,
    /// Bytes written back from the CPU's caches for the device; 0 for one that snoops.
    pub cleaned_bytes: u64,
    /// Bytes dropped from the CPU's caches because the device may have written them; 0 for one that snoops.
    pub invalidated_bytes: u64,
}

/// One CPU's share; two cache lines, as neighbours are prefetched in pairs.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Share {
    /// May be negative: a mapping can end on another CPU than it began.
    live: AtomicI64,
    live_bytes: AtomicI64,
    maps: AtomicU64,
    unmaps: AtomicU64,
    bounced_maps: AtomicU64,
    bounced_bytes: AtomicU64,
    cleaned_bytes: AtomicU64,
    invalidated_bytes: AtomicU64,
}

/// The counters of one device.
pub(crate) struct Counters<P: Platform> {
    platform: P,
    shares: Box<[Share]>,
}

impl<P: Platform> Counters<P> {
    pub(crate) fn new(platform: P) -> Self {
        let shares = (0..platform.cpu_count().max(1))
            .map(|_| Share::default())
            .collect();
        Self { platform, shares }
    }

    /// A mapping of `bytes` begins. Called while a handle or another mapping holds the device.
    pub(crate) fn begin(&self, bytes: u64) {
        self.on_this_cpu(|share| {
            share.maps.fetch_add(1, Ordering::Relaxed);
            share.live_bytes.fetch_add(bytes as i64, Ordering::Relaxed);
            share.live.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// The device was given a copy of `bytes` of a mapping that was just made.
    pub(crate) fn bounced(&self, bytes: u64) {
        self.on_this_cpu(|share| {
            share.bounced_maps.fetch_add(1, Ordering::Relaxed);
            share.bounced_bytes.fetch_add(bytes, Ordering::Relaxed);
        });
    }

    /// The shares, for [`finish`](Self::finish).
    pub(crate) fn shares(&self) -> NonNull<[Share]> {
        NonNull::from(&*self.shares)
    }

    /// A mapping of `bytes` ends, on `cpu`. Its last step may let another thread free the counters, so it works
    /// on a pointer: a reference would promise that they outlive the call.
    ///
    /// # Safety
    /// `shares` are those of a device that counts this mapping as live.
    pub(crate) unsafe fn finish(shares: NonNull<[Share]>, cpu: Cpu, bytes: u64) {
        // SAFETY: the caller's promise.
        unsafe { Self::uncount(shares, cpu, bytes, |share| &share.unmaps, 1) };
    }

    /// Adds `change` to the figure that `pick` names, and takes the mapping out of those that live.
    ///
    /// # Safety
    /// As [`finish`](Self::finish).
    unsafe fn uncount(
        shares: NonNull<[Share]>,
        cpu: Cpu,
        bytes: u64,
        pick: fn(&Share) -> &AtomicU64,
        change: u64,
    ) {
        let share = shares.cast::<Share>().as_ptr();
        // SAFETY: the index is below the number of shares, of which there is at least one.
        let share = unsafe { share.add(cpu.0 % shares.len()) };
        // SAFETY: the mapping is still counted, so the share lives.
        unsafe {
            pick(&*share).fetch_add(change, Ordering::Relaxed);
            (*share)
                .live_bytes
                .fetch_sub(bytes as i64, Ordering::Relaxed);
        }
        // SAFETY: as above; Release, so that whoever sees the sum reach 0 sees all that this mapping did.
        unsafe { (*share).live.fetch_sub(1, Ordering::Release) };
    }

    /// A mapping of `bytes` ends, while a handle holds the device.
    pub(crate) fn end(&self, bytes: u64) {
        // SAFETY: `self` keeps the shares alive.
        self.platform
            .pin(|cpu| unsafe { Self::finish(self.shares(), cpu, bytes) });
    }

    /// A mapping that never came to be leaves no trace in the figures. On a pointer, as [`finish`](Self::finish).
    ///
    /// # Safety
    /// As [`finish`](Self::finish).
    pub(crate) unsafe fn withdraw(shares: NonNull<[Share]>, cpu: Cpu, bytes: u64) {
        // SAFETY: the caller's promise.
        unsafe { Self::uncount(shares, cpu, bytes, |share| &share.maps, u64::MAX) };
    }

    /// So many bytes were written back.
    pub(crate) fn cleaned(&self, bytes: u64) {
        self.on_this_cpu(|share| _ = share.cleaned_bytes.fetch_add(bytes, Ordering::Relaxed));
    }

    /// So many bytes were dropped.
    pub(crate) fn invalidated(&self, bytes: u64) {
        self.on_this_cpu(|share| _ = share.invalidated_bytes.fetch_add(bytes, Ordering::Relaxed));
    }

    /// Mappings that live. Exact once no new one can begin; then 0 stays 0, and a sum read while
    /// others end is never less than what is left.
    pub(crate) fn live(&self) -> i64 {
        self.shares
            .iter()
            .map(|share| share.live.load(Ordering::Acquire))
            .sum()
    }

    pub(crate) fn figures(&self, quarantined_bytes: u64, lost_bytes: u64) -> Figures {
        let sum = |pick: fn(&Share) -> &AtomicU64| {
            self.shares
                .iter()
                .map(|share| pick(share).load(Ordering::Relaxed))
                .sum::<u64>()
        };
        let live_bytes: i64 = self
            .shares
            .iter()
            .map(|share| share.live_bytes.load(Ordering::Relaxed))
            .sum();
        Figures {
            // Unmaps first: a mapping seen ended is then also seen begun.
            unmaps: sum(|share| &share.unmaps),
            maps: sum(|share| &share.maps),
            live_mappings: self.live().max(0) as u64,
            live_bytes: live_bytes.max(0) as u64,
            quarantined_bytes,
            lost_bytes,
            bounced_maps: sum(|share| &share.bounced_maps),
            bounced_bytes: sum(|share| &share.bounced_bytes),
            cleaned_bytes: sum(|share| &share.cleaned_bytes),
            invalidated_bytes: sum(|share| &share.invalidated_bytes),
        }
    }

    fn on_this_cpu(&self, change: impl FnOnce(&Share)) {
        self.platform
            .pin(|cpu| change(&self.shares[cpu.0 % self.shares.len()]));
    }
}
