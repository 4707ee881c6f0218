//! Memory that a device is given a copy of, in slots that this CPU keeps ready and the device reaches already: no table changes and no
//! lock is taken, so the way is short.
//!
//! What is decided here [`place`](super::place) decides too, for any memory, and comes to the same: it is asked wherever one of the
//! questions of [`copy_at_once`](DeviceCore::copy_at_once) has another answer. What [`as_it_is`](super::as_it_is) is for memory that
//! the device is given itself this is for copies.

use core::ptr::NonNull;

use crate::addr::{BusAddr, BusRange, PhysRange};
use crate::bounce::{self, Forced, Holds, Pool, PoolName, RunPlace, RunRequest, RunStart};
use crate::device::{Coherence, DEFAULT_SEGMENT_BOUNDARY_LOG2, DeviceCore};
use crate::map::AnyDirection;
use crate::map::attributes::{CpuSync, Need};
use crate::map::copies::{Copies, CopyReach};
use crate::map::place::asks_for_copies;
use crate::map::route::Route;
use crate::map::terms::{Shape, Terms};
use crate::pagetable::Privilege;
use crate::platform::Platform;

/// The copy that a device was given at once.
///
/// Two words, and whoever asked for them reads them field by field, as they were written. What is read again in larger pieces than it was
/// written in a CPU waits for until all that was written before is in its cache: here that would be the whole copy.
#[derive(Clone, Copy)]
pub(super) struct AtOnce {
    /// Where the device finds the first byte.
    first: BusAddr,
    start: RunStart,
    pool: PoolName,
    reach: CopyReach,
}

const _: () = assert!(size_of::<Option<AtOnce>>() <= 16, "two words");

impl AtOnce {
    /// Where the device finds all of it, which is `len_bytes` long.
    #[inline]
    pub(super) fn range(self, len_bytes: u64) -> BusRange {
        BusRange::of_existing(self.first, len_bytes)
    }

    #[inline]
    pub(super) fn copies(self) -> Copies {
        Copies::Whole {
            pool: self.pool,
            run: RunPlace::of_slots(self.start),
            reach: self.reach,
        }
    }
}

impl<P: Platform> DeviceCore<P> {
    /// Gives the device a copy of `len_bytes` bytes, of which `first` is the first piece and which the CPU has at `contents`, if that
    /// is how it is given them and slots are ready. Otherwise nothing was done.
    ///
    /// # Safety
    /// The bytes at `contents` are readable, and no reference that writes them is in use.
    #[inline(never)]
    pub(super) unsafe fn copy_at_once(
        &self,
        terms: &Terms,
        first: PhysRange,
        len_bytes: u64,
        contents: NonNull<u8>,
    ) -> Option<AtOnce> {
        let is_plain = terms.shape != Shape::AlignedBlock
            && terms.attributes.need == Need::Any
            && terms.attributes.privilege == Privilege::Any
            && self.limits.boundary_of_driver().is_none();
        if !is_plain || len_bytes == 0 || self.system.is_asleep() {
            return None;
        }
        let mask = terms.mask.narrowed_to(self.limits.bus_last());
        let (pool_name, pool, granule_log2, direct) = match &self.route {
            Route::Blocked => return None,
            Route::Translated(_) => {
                let own = self.bounce.own_for(len_bytes)?;
                let permission = terms.permission();
                let pool = own.of(permission);
                (PoolName::Own(permission), pool, own.granule_log2(), None)
            }
            Route::Direct(direct) => {
                let is_wanted = self.bounce.forced == Forced::Always || asks_for_copies(terms);
                if !is_wanted && direct.reach(first, mask).is_ok() {
                    return None;
                }
                (PoolName::Shared, self.bounce.shared, 0, Some(direct))
            }
        };
        let keep_mask = self.limits.min_align_mask();
        let request = RunRequest {
            len_bytes,
            offset: first.start().as_u64() & keep_mask,
            align_log2: u64::BITS - keep_mask.leading_zeros(),
            granule_log2,
            boundary_log2: DEFAULT_SEGMENT_BOUNDARY_LOG2,
            origin: first.start(),
            direction: terms.direction,
        };
        let (run, start, bus) = pool.lend_ready_where(&request, |memory, always| {
            let bus = match direct {
                Some(direct) => direct.bus_range(memory)?.start().as_u64(),
                None => always?.as_u64(),
            };
            let run_last = bus.checked_add(memory.len_bytes() - 1)?;
            // The run is aligned in memory, and is to be so on the bus.
            (run_last <= mask.last().as_u64() && bus & keep_mask == 0).then_some(bus)
        })?;
        // SAFETY: the caller vouches for the contents, which are as long as the run.
        unsafe { run.fill(self.platform, contents) };
        if self.coherence == Coherence::NotSnooped {
            self.clean_for_device(run.memory());
        }
        self.counters.bounced(len_bytes);
        Some(AtOnce {
            first: BusAddr::new(bus + request.offset),
            start,
            pool: pool_name,
            reach: match direct {
                Some(_) => CopyReach::WhileMapped,
                None => CopyReach::Always,
            },
        })
    }

    /// Whether [`end_copy`](Self::end_copy) ends a mapping with these.
    #[inline]
    pub(super) fn ends_copy_at_once(&self, cpu_sync: CpuSync) -> bool {
        self.coherence == Coherence::Snooped && cpu_sync == CpuSync::Automatic
    }

    /// Brings what the device wrote to the one copy of a mapping to `buffer`, and gives the copy back.
    ///
    /// # Safety
    /// The copy is that of a mapping that the device lost, or has always, and that ends with this call; as many bytes as it has
    /// are writable at `buffer`, and no reference to them is in use.
    #[inline(never)]
    pub(super) unsafe fn end_copy(
        &self,
        pool: PoolName,
        run: RunPlace,
        direction: AnyDirection,
        buffer: NonNull<u8>,
    ) {
        let pool = self.bounce.pool(pool);
        self.platform.dma_rmb();
        // What the device could not write still holds zeros beside the copy. It costs less to leave none of a short copy there than to
        // write zeros beside the next one.
        let was_only_read = !direction.device_writes() && self.route.joins_pieces();
        let finish = |first, [len_bytes, run_bytes]: [u64; 2], reach| {
            let copy = self.platform.frame_pointer(first);
            if direction.device_writes() {
                // SAFETY: the bytes of the run, and the buffer that the caller vouches for.
                unsafe { bounce::copy_across(copy, buffer, len_bytes as usize) };
            }
            let is_left_blank = was_only_read && len_bytes <= run_bytes / 2;
            // And what the device may read at any time holds nothing of a mapping that is over.
            if reach == CopyReach::Always || is_left_blank {
                // SAFETY: the bytes of the run.
                unsafe { bounce::zero(copy, len_bytes as usize) };
            }
            match is_left_blank {
                true => Holds::Zeros,
                false => Holds::Anything,
            }
        };
        // SAFETY: the caller's promise; it came from this pool.
        if !unsafe { pool.end_slots(run, finish) } {
            // SAFETY: as above.
            unsafe { self.end_copy_of_its_own(pool, run, direction, buffer) };
        }
    }

    /// The same, of a copy in frames of its own.
    ///
    /// # Safety
    /// As [`end_copy`](Self::end_copy).
    #[cold]
    unsafe fn end_copy_of_its_own(
        &self,
        pool: &Pool<P>,
        run: RunPlace,
        direction: AnyDirection,
        buffer: NonNull<u8>,
    ) {
        // SAFETY: the mapping's own, until now.
        let Some(run) = (unsafe { pool.run(run) }) else {
            return;
        };
        if direction.device_writes() {
            // SAFETY: the whole run, and the buffer that the caller vouches for.
            unsafe { run.copy_out(self.platform, 0, buffer, run.len_bytes()) };
        }
        // SAFETY: the caller's promise; it came from this pool.
        unsafe { pool.release(run) };
    }
}
