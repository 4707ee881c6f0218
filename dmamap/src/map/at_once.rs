//! Memory that a device is given a copy of, in slots that this CPU keeps ready and the device reaches already: no table changes and no
//! lock is taken, so the way is short.
//!
//! What is decided here [`place`](super::place) decides too, for any memory, and comes to the same: it is asked wherever one of the
//! questions of [`pool_at_once`](DeviceCore::pool_at_once) has another answer. What [`as_it_is`](super::as_it_is) is for memory that
//! the device is given itself this is for copies.

use core::ptr::NonNull;

use crate::addr::{BusRange, DmaMask, FRAME_SIZE_LOG2, PhysRange};
use crate::bounce::{self, AlwaysMapped, Forced, Holds, Pool, PoolName, Run, RunPlace, RunRequest};
use crate::device::{Coherence, DEFAULT_SEGMENT_BOUNDARY_LOG2, DeviceCore};
use crate::map::AnyDirection;
use crate::map::attributes::{CpuSync, Need};
use crate::map::copies::{Copies, CopyReach};
use crate::map::place::{ThroughBridge, asks_for_copies};
use crate::map::route::Route;
use crate::map::terms::{Shape, Terms};
use crate::pagetable::Privilege;
use crate::platform::Platform;

impl<P: Platform> DeviceCore<P> {
    /// Gives the device a copy of `len_bytes` bytes, of which `first` is the first piece and which the CPU has at `contents`, if that
    /// is how it is given them and slots are ready. Otherwise nothing was done.
    ///
    /// # Safety
    /// The bytes at `contents` are readable, and no reference that writes them is in use.
    #[inline]
    pub(super) unsafe fn copy_at_once(
        &self,
        terms: &Terms,
        (first, len_bytes): (PhysRange, u64),
        contents: NonNull<u8>,
    ) -> Option<(BusRange, Copies)> {
        let is_plain = terms.shape != Shape::AlignedBlock
            && terms.attributes.need == Need::Any
            && terms.attributes.privilege == Privilege::Any
            && self.limits.boundary_of_driver().is_none();
        if !is_plain || len_bytes == 0 || self.system.is_asleep() {
            return None;
        }
        let mask = terms.mask.narrowed_to(self.limits.bus_last());
        let (pool, run, range) = self.lend_at_once(terms, first, len_bytes, mask)?;
        // SAFETY: the caller vouches for the contents, which are as long as the run.
        unsafe { run.fill(self.platform, contents) };
        if self.coherence == Coherence::NotSnooped {
            self.clean_for_device(run.memory());
        }
        self.counters.bounced(len_bytes);
        Some((range, Copies::of_one(pool, &run)))
    }

    /// Slots that are ready for such a copy, and where the device has its bytes.
    #[inline]
    fn lend_at_once(
        &self,
        terms: &Terms,
        first: PhysRange,
        len_bytes: u64,
        mask: DmaMask,
    ) -> Option<(PoolName, Run, BusRange)> {
        let keep_mask = self.limits.min_align_mask();
        let mut request = RunRequest {
            len_bytes,
            offset: first.start().as_u64() & keep_mask,
            align_log2: u64::BITS - keep_mask.leading_zeros(),
            granule_log2: 0,
            boundary_log2: DEFAULT_SEGMENT_BOUNDARY_LOG2,
            origin: first.start(),
            direction: terms.direction,
        };
        match &self.route {
            Route::Blocked => None,
            Route::Translated(domain) => {
                let own = self.bounce.own_for(len_bytes)?;
                let page_log2 = domain.page_size_log2();
                if page_log2 != FRAME_SIZE_LOG2 {
                    request.granule_log2 = page_log2;
                }
                let permission = terms.permission();
                let always = AlwaysMapped {
                    core: self,
                    domain,
                    permission,
                    mask,
                };
                let run = own.of(permission).lend_ready(&request, &always)?;
                let range = run.bus_range()?;
                Some((PoolName::Own(permission), run, range))
            }
            Route::Direct(direct) => {
                let is_wanted = self.bounce.forced == Forced::Always || asks_for_copies(terms);
                if !is_wanted && direct.reach(first, mask).is_ok() {
                    return None;
                }
                let pool = self.bounce.shared;
                let run = pool.lend_ready(&request, &ThroughBridge { direct, mask })?;
                let kept = |bus: &BusRange| bus.start().as_u64() & keep_mask == request.offset;
                match direct.bus_range(run.bytes()).filter(kept) {
                    Some(range) => Some((PoolName::Shared, run, range)),
                    None => {
                        // SAFETY: the device was not told of it.
                        unsafe { pool.release(run) };
                        None
                    }
                }
            }
        }
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
    #[inline]
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
