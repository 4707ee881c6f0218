//! The platform `dmamap` runs on here: frames out of lists, as cheap as those Linux's code gets here.
//!
//! Physical addresses are virtual ones, and everything that only a machine has is refused: no load asks for it.
//!
//! ```
//! use dmamap::platform::{FrameRequest, Platform};
//! use peers::frames::Frames;
//!
//! let frames = Frames.allocate_frames(FrameRequest::new(1))?;
//! assert_eq!(Frames.frame_pointer(frames.start()).addr().get() as u64, frames.start().as_u64());
//! // SAFETY: nobody uses it.
//! unsafe { Frames.free_frames(frames) };
//! # Ok::<(), dmamap::platform::OutOfFrames>(())
//! ```

use std::alloc::{Layout, alloc};
use std::ptr::NonNull;
use std::time::Instant;

use dmamap::addr::{FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MemoryAttribute, OutOfFrames, OutOfInterrupts,
    Platform, VirtualMapError,
};

use rustix::mm::{Advice, madvise};

use crate::cpus;
use crate::spin_lock::{Locked, SpinLock};

const FRAME: usize = 1 << FRAME_SIZE_LOG2;

/// Frames the list grows by: a huge page, through which a kernel reaches all memory, and so seldom misses in the CPU's TLB.
const GROWTH: usize = 512;

/// Single frames that were given back. They link themselves.
static FREE: Locked<FreeList> = lock_api::Mutex::new(FreeList(None));

struct FreeList(Option<NonNull<FreeFrame>>);

struct FreeFrame {
    next: Option<NonNull<FreeFrame>>,
}

// SAFETY: free frames are the list's alone, and its lock guards them.
unsafe impl Send for FreeList {}

impl FreeList {
    fn push(&mut self, frame: NonNull<FreeFrame>) {
        // SAFETY: a free frame is readable, writable and aligned, and nobody else's.
        unsafe { frame.write(FreeFrame { next: self.0 }) };
        self.0 = Some(frame);
    }

    fn pop(&mut self) -> Option<NonNull<FreeFrame>> {
        if self.0.is_none() {
            self.grow();
        }
        let frame = self.0?;
        // SAFETY: it was written when it was pushed.
        self.0 = unsafe { frame.read() }.next;
        Some(frame)
    }

    #[cold]
    fn grow(&mut self) {
        if let Some(memory) = fresh(GROWTH, GROWTH * FRAME) {
            let (start, len) = (memory.as_ptr().cast(), GROWTH * FRAME);
            // SAFETY: advice about memory of ours. Without huge pages it works too.
            let _ = unsafe { madvise(start, len, Advice::LinuxHugepage) };
            for n in (0..GROWTH).rev() {
                // SAFETY: that many frames were allocated.
                self.push(unsafe { memory.add(n * FRAME) }.cast());
            }
        }
    }
}

/// Memory of the process that stays the process's.
fn fresh(frames: usize, align: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(frames.checked_mul(FRAME)?, align).ok()?;
    if layout.size() == 0 {
        return None;
    }
    // SAFETY: the layout is not empty.
    let memory = NonNull::new(unsafe { alloc(layout) })?;
    memory.as_ptr().expose_provenance();
    Some(memory)
}

/// The platform.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames;

// SAFETY: frames are lent once, and are memory of the process that is never freed; locks exclude; what is not needed
// here is refused, or ends the process.
unsafe impl Platform for Frames {
    type Lock = SpinLock;

    fn memory_map(&self, _visit: &mut dyn FnMut(PhysRange)) {
        self.fatal("nothing that is measured asks what memory there is")
    }

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        let align = 1usize
            .checked_shl(request.align_log2)
            .unwrap_or(0)
            .max(FRAME);
        let start = match (request.count, align) {
            (1, FRAME) => FREE.lock().pop().map(NonNull::cast::<u8>),
            (count, align) => fresh(count, align),
        };
        let start = start.ok_or(OutOfFrames(request))?.addr().get() as u64;
        let frames = PhysRange::new(PhysAddr::new(start), (request.count * FRAME) as u64);
        frames
            .ok()
            .filter(|frames| frames.last() <= request.last)
            .ok_or(OutOfFrames(request))
    }

    unsafe fn free_frames(&self, frames: PhysRange) {
        let mut free = FREE.lock();
        for offset in (0..frames.len_bytes()).step_by(FRAME) {
            let phys = PhysAddr::new(frames.start().as_u64() + offset);
            free.push(self.frame_pointer(phys).cast());
        }
    }

    #[inline]
    fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8> {
        let pointer = std::ptr::with_exposed_provenance_mut(phys.as_u64() as usize);
        NonNull::new(pointer).expect("frames do not lie at 0")
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        let len_bytes = (frames.len() * FRAME) as u64;
        Err(VirtualMapError::OutOfAddressSpace { len_bytes })
    }

    unsafe fn unmap_scattered(&self, _start: NonNull<u8>, _frames: usize) {}

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        _attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        let len_bytes = frames.len_bytes();
        Err(VirtualMapError::OutOfAddressSpace { len_bytes })
    }

    unsafe fn unmap_frames(&self, _start: NonNull<u8>, _len_bytes: u64) {}

    fn virt_to_phys(&self, _virt: VirtAddr) -> Option<PhysAddr> {
        None
    }

    unsafe fn ioremap(
        &self,
        range: PhysRange,
        _attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        Err(VirtualMapError::NothingThere(range))
    }

    unsafe fn iounmap(&self, _start: NonNull<u8>, _len_bytes: u64) {}

    // Order among stores to memory costs x86 nothing, nor does it Linux's code here: `shim.h`.
    fn dma_wmb(&self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    fn dma_rmb(&self) {
        std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    }

    fn dma_mb(&self) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    }

    // Everybody snoops.
    fn clean_cache(&self, _start: NonNull<u8>, _len_bytes: usize) {}

    fn invalidate_cache(&self, _start: NonNull<u8>, _len_bytes: usize) {}

    #[inline(always)]
    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        // A thread is interrupted by no other of its number, which is what turning interrupts off is for.
        f(Cpu(cpus::current()))
    }

    fn cpu_count(&self) -> usize {
        cpus::COUNT
    }

    fn fences_cpus(&self) -> bool {
        cpus::can_fence_all()
    }

    fn fence_cpus(&self) {
        cpus::fence_all();
    }

    fn relax(&self) {
        std::hint::spin_loop();
    }

    fn now_ns(&self) -> u64 {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    fn call_at(&self, _deadline_ns: u64, _handler: InterruptHandler) {
        self.fatal("nothing that is measured asks to be called")
    }

    fn allocate_interrupt(
        &self,
        _handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        Err(OutOfInterrupts)
    }

    fn free_interrupt(&self, _interrupt: Interrupt) {}

    fn interrupt_count(&self, _interrupt: Interrupt) -> u64 {
        0
    }

    fn wait_for_interrupt(&self, _interrupt: Interrupt, _seen: u64, _deadline_ns: u64) -> u64 {
        0
    }

    fn fatal(&self, message: &str) -> ! {
        panic!("{message}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_lent_once_as_asked_for() {
        let mut lent = Vec::new();
        for n in 0..GROWTH {
            let request = FrameRequest {
                align_log2: 12 + (n % 3) as u32,
                ..FrameRequest::new(1 + n % 2)
            };
            let frames = Frames.allocate_frames(request).unwrap();
            assert!(frames.start().is_aligned(request.align_log2));
            assert!(lent.iter().all(|other: &PhysRange| !other.overlaps(frames)));
            lent.push(frames);
        }
        // SAFETY: nobody uses them.
        lent.drain(..)
            .for_each(|frames| unsafe { Frames.free_frames(frames) });
        let low = FrameRequest {
            last: PhysAddr::new(0xffff),
            ..FrameRequest::new(2)
        };
        assert_eq!(Frames.allocate_frames(low), Err(OutOfFrames(low)));
    }
}
