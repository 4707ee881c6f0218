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
    /// Mappings that began here, those included that never came to be. Only grows, as the next two do: what lives is a
    /// difference of sums, and each of them can be read while it grows ([`live_of`]).
    begun: AtomicU64,
    /// Mappings that were taken back here, wherever they began.
    unmapped: AtomicU64,
    /// Mappings of which it turned out here that they never came to be.
    withdrawn: AtomicU64,
    /// May be negative: a mapping can end on another CPU than it began.
    live_bytes: AtomicI64,
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

    /// A mapping of `bytes` begins. Called while a handle, a lane or another mapping holds the device.
    #[inline]
    pub(crate) fn begin(&self, bytes: u64) {
        self.on_this_cpu(|share| {
            let live_bytes = share.live_bytes.load(Ordering::Relaxed);
            share
                .live_bytes
                .store(live_bytes.wrapping_add(bytes as i64), Ordering::Relaxed);
            add(&share.begun, 1, Ordering::Relaxed);
        });
    }

    /// The device was given a copy of `bytes` of a mapping that was just made.
    pub(crate) fn bounced(&self, bytes: u64) {
        self.on_this_cpu(|share| {
            add(&share.bounced_maps, 1, Ordering::Relaxed);
            add(&share.bounced_bytes, bytes, Ordering::Relaxed);
        });
    }

    /// The shares, for [`finish`](Self::finish).
    #[inline]
    pub(crate) fn shares(&self) -> NonNull<[Share]> {
        NonNull::from(&*self.shares)
    }

    /// A mapping of `bytes` ends, on `cpu`. Its last step may let another thread free the counters, so it works
    /// on a pointer: a reference would promise that they outlive the call.
    ///
    /// # Safety
    /// `shares` are those of a device that counts this mapping as live.
    #[inline]
    pub(crate) unsafe fn finish(shares: NonNull<[Share]>, cpu: Cpu, bytes: u64) {
        // SAFETY: the caller's promise.
        unsafe { Self::uncount(shares, cpu, bytes, |share| &share.unmapped) };
    }

    /// Counts the mapping among those that `pick` names, which live no more.
    ///
    /// # Safety
    /// As [`finish`](Self::finish).
    #[inline]
    unsafe fn uncount(
        shares: NonNull<[Share]>,
        cpu: Cpu,
        bytes: u64,
        pick: fn(&Share) -> &AtomicU64,
    ) {
        let share = shares.cast::<Share>().as_ptr();
        // SAFETY: the index is below the number of shares, of which there is at least one.
        let share = unsafe { share.add(index_of(cpu, shares.len())) };
        // SAFETY: the mapping still counts as live, so the share lives.
        let ended = unsafe {
            let live_bytes = (*share).live_bytes.load(Ordering::Relaxed);
            (*share)
                .live_bytes
                .store(live_bytes.wrapping_sub(bytes as i64), Ordering::Relaxed);
            NonNull::from(pick(&*share))
        };
        // SAFETY: as above; Release, so that whoever counts this end also sees all that this mapping did, other mappings
        // that it began among it.
        unsafe { add(&*ended.as_ptr(), 1, Ordering::Release) };
    }

    /// A mapping of `bytes` ends, while a handle or a lane holds the device.
    #[inline]
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
        unsafe { Self::uncount(shares, cpu, bytes, |share| &share.withdrawn) };
    }

    /// So many bytes were written back.
    pub(crate) fn cleaned(&self, bytes: u64) {
        self.on_this_cpu(|share| add(&share.cleaned_bytes, bytes, Ordering::Relaxed));
    }

    /// So many bytes were dropped.
    pub(crate) fn invalidated(&self, bytes: u64) {
        self.on_this_cpu(|share| add(&share.invalidated_bytes, bytes, Ordering::Relaxed));
    }

    /// Mappings that live, or lived while this looked: never less than were alive at every moment of it. Once the handle is
    /// gone 0 is final.
    pub(crate) fn live(&self) -> u64 {
        live_of(&self.shares, || {}).live()
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
        let counts = live_of(&self.shares, || {});
        Figures {
            unmaps: counts.unmapped,
            maps: counts.begun.saturating_sub(counts.withdrawn),
            live_mappings: counts.live(),
            live_bytes: live_bytes.max(0) as u64,
            quarantined_bytes,
            lost_bytes,
            bounced_maps: sum(|share| &share.bounced_maps),
            bounced_bytes: sum(|share| &share.bounced_bytes),
            cleaned_bytes: sum(|share| &share.cleaned_bytes),
            invalidated_bytes: sum(|share| &share.invalidated_bytes),
        }
    }

    #[inline]
    fn on_this_cpu(&self, change: impl FnOnce(&Share)) {
        self.platform
            .pin(|cpu| change(&self.shares[index_of(cpu, self.shares.len())]));
    }
}

/// Which of `shares` shares, at least one, is that of `cpu`: its own, unless the platform has more CPUs than it said.
#[inline]
fn index_of(cpu: Cpu, shares: usize) -> usize {
    match cpu.0 < shares {
        true => cpu.0,
        false => cpu.0 % shares,
    }
}

/// Adds to a counter of the CPU that the caller is pinned to: nobody else writes it, so it need not be one operation. Whoever
/// was on the CPU before has left it before the caller came, so what is released with this sum has what they released with theirs.
#[inline]
fn add(counter: &AtomicU64, more: u64, order: Ordering) {
    let sum = counter.load(Ordering::Relaxed).wrapping_add(more);
    counter.store(sum, order);
}

/// The sums of what all CPUs counted.
#[derive(Clone, Copy)]
struct Counts {
    begun: u64,
    unmapped: u64,
    withdrawn: u64,
}

impl Counts {
    fn live(self) -> u64 {
        self.begun.saturating_sub(self.unmapped + self.withdrawn)
    }
}

/// Sums what all CPUs counted while they go on counting: all ends, and only then what began. `before_each` is called before
/// each share is looked at.
///
/// A mapping begins while a handle or another mapping holds the device, and such a one may begin on a CPU that was looked
/// at already and end on one that was not, however often while this looks: so a sum of differences could be 0 at no moment's
/// truth. This one cannot. All that is seen to have ended is seen to have begun, as ends are released and acquired. Of a
/// mapping that lives and is not seen to have begun, whoever held the device when it began is not seen to have ended
/// either; nor who held it then, and so on. The last of them began under the handle: who saw that go saw it begin. So
/// something began whose end is not seen, and the difference is not 0.
fn live_of(shares: &[Share], mut before_each: impl FnMut()) -> Counts {
    let mut sum = |pick: fn(&Share) -> &AtomicU64| {
        shares
            .iter()
            .map(|share| {
                before_each();
                pick(share).load(Ordering::Acquire)
            })
            .sum()
    };
    let (unmapped, withdrawn) = (sum(|share| &share.unmapped), sum(|share| &share.withdrawn));
    Counts {
        unmapped,
        withdrawn,
        begun: sum(|share| &share.begun),
    }
}

#[cfg(test)]
#[path = "counters_tests.rs"]
mod tests;
