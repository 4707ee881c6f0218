//! The port: each promise of [`Platform`] and who keeps it.

use std::io::Write;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use board::hardware::{CacheOperation, Hardware};
use board::ram::Ram;
use dmamap::addr::{FRAME_BYTES, PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MachineId, MemoryAttribute, OutOfFrames,
    OutOfInterrupts, Platform, VirtualMapError, barrier,
};

use crate::{Hosted, cache, clock, membarrier, relax};

// SAFETY:
// - Frames come from an allocator that lends each once, within the request, from RAM that firmware left;
//   the direct map that `frame_pointer` points into is mapped as long as the process lives.
// - `map_scattered` has the host map those very pages of the RAM file.
// - `map_frames` has the host map those pages of the file that holds memory beneath the caches, where the board has
//   one; elsewhere the direct map is what everybody sees.
// - `virt_to_phys` knows the direct map and the scattered mappings, and says `None` to all else.
// - `ioremap` refuses RAM and opens a window of `board`, which routes `safe-mmio`; or, of memory on a device, has the host map
//   that very memory, which plain and register accesses reach.
// - Barriers are the architecture's, no weaker than the fences that threads and processes sharing memory need; cache operations go to the
//   hardware that models the caches.
// - Interrupt handlers run on a thread of their own, so to them a lock is a lock between threads, and `pin`
//   gives a CPU number to one thread at a time, handlers included.
// - `fence_cpus` has the host make every thread fence, whatever it holds, and is said to be there where the host does so.
// - A message only counts, wakes, and lets that thread run the handler.
unsafe impl Platform for Hosted {
    type Lock = parking_lot::RawMutex;

    fn machine(&self) -> MachineId {
        // Kernels are never freed, so none has another's address.
        MachineId::new(std::ptr::from_ref(self.0).addr())
    }

    fn memory_map(&self, visit: &mut dyn FnMut(PhysRange)) {
        self.0.memory.regions().for_each(visit);
    }

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        if self.0.is_down() {
            return Err(OutOfFrames(request));
        }
        let frames = self.0.frames.lend(request)?;
        // SAFETY: these frames are lent to nobody but this call.
        let disturbed = unsafe {
            self.0
                .poison
                .check(self.frame_pointer(frames.start()), frames)
        };
        if disturbed > 0 {
            log::error!("{disturbed} of the frames {frames} were written to while they were free");
            self.0.frames.note_disturbed(disturbed);
        }
        Ok(frames)
    }

    unsafe fn free_frames(&self, frames: PhysRange) {
        if let Err(error) = self.0.frames.take_back(frames) {
            self.fatal(&error.to_string());
        }
        if let Some(hardware) = self.hardware() {
            // SAFETY: taken back from the caller and not released yet, these frames are nobody else's.
            unsafe {
                self.0
                    .poison
                    .fill(self.frame_pointer(frames.start()), frames)
            };
            hardware.frames_freed(frames.start().as_u64(), frames.len_bytes());
        }
        self.0.frames.release(frames);
    }

    fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8> {
        match self.0.memory.pointer(phys) {
            Some(pointer) => pointer,
            None => self.fatal(&format!("physical {phys} is past the end of memory")),
        }
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        let len_bytes = frames.len() as u64 * FRAME_BYTES;
        let hardware = self
            .hardware()
            .ok_or(VirtualMapError::OutOfAddressSpace { len_bytes })?;
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.vmalloc.map(hardware.ram(), frames) }
    }

    unsafe fn unmap_scattered(&self, start: NonNull<u8>, frames: usize) {
        // SAFETY: the caller's promise is this one's.
        if !unsafe { self.0.vmalloc.unmap(start, frames) } {
            self.fatal(&format!(
                "no scattered mapping of {frames} frames starts at {start:p}"
            ));
        }
    }

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        _attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        let len_bytes = frames.len_bytes();
        let hardware = self
            .hardware()
            .ok_or(VirtualMapError::OutOfAddressSpace { len_bytes })?;
        match hardware.uncached_ram() {
            None => Ok(self.frame_pointer(frames.start())),
            Some(ram) => {
                let frame = |index| PhysAddr::new(frames.start().as_u64() + index * FRAME_BYTES);
                let pages: Vec<_> = (0..len_bytes / FRAME_BYTES).map(frame).collect();
                // SAFETY: the caller's promise is this one's.
                unsafe { self.0.uncached.map(ram, &pages) }
            }
        }
    }

    unsafe fn unmap_frames(&self, start: NonNull<u8>, len_bytes: u64) {
        if self.0.memory.is_direct(VirtAddr::from_ptr(start.as_ptr())) {
            return;
        }
        let frames = (len_bytes / FRAME_BYTES) as usize;
        // SAFETY: the caller's promise is this one's.
        if !unsafe { self.0.uncached.unmap(start, frames) } {
            self.fatal(&format!(
                "no mapping of {len_bytes:#x} bytes of frames starts at {start:p}"
            ));
        }
    }

    fn virt_to_phys(&self, virt: VirtAddr) -> Option<PhysAddr> {
        self.0.phys_of(virt)
    }

    unsafe fn ioremap(
        &self,
        range: PhysRange,
        _attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        // Every access goes to the hardware at once and in order, which both attributes allow.
        match self.hardware() {
            Some(hardware) if !range.is_empty() && !self.0.memory.overlaps_ram(range) => {
                match pages_on_device(&*hardware, range) {
                    // SAFETY: memory of the device's, which the caller vouches to be its driver's.
                    Some((memory, pages)) => unsafe { self.0.device_memory.map(&memory, &pages) },
                    None => self.0.windows.open(hardware, range),
                }
            }
            _ => Err(VirtualMapError::NothingThere(range)),
        }
    }

    unsafe fn iounmap(&self, start: NonNull<u8>, len_bytes: u64) {
        if self.0.windows.close(start, len_bytes) {
            return;
        }
        let pages = (len_bytes / FRAME_BYTES) as usize;
        // SAFETY: the caller's promise is this one's.
        if !unsafe { self.0.device_memory.unmap(start, pages) } {
            self.fatal(&format!(
                "no register window of {len_bytes:#x} bytes is open at {start:p}"
            ));
        }
    }

    fn dma_wmb(&self) {
        barrier::dma_wmb();
    }

    fn dma_rmb(&self) {
        barrier::dma_rmb();
    }

    fn dma_mb(&self) {
        barrier::dma_mb();
    }

    fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        fence(Ordering::SeqCst);
        cache::maintain(self.0, CacheOperation::Clean, start, len_bytes);
    }

    fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        cache::maintain(self.0, CacheOperation::Invalidate, start, len_bytes);
        fence(Ordering::SeqCst);
    }

    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        self.0.cpus.pin(f)
    }

    fn cpu_count(&self) -> usize {
        self.0.cpus.count()
    }

    fn fences_cpus(&self) -> bool {
        membarrier::is_there()
    }

    fn fence_cpus(&self) {
        if let Err(error) = membarrier::fence_all() {
            self.fatal(&format!("CPUs cannot be made to fence: {error}"));
        }
    }

    fn relax(&self) {
        self.0.idle();
        relax::relax();
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn call_at(&self, deadline_ns: u64, handler: InterruptHandler) {
        self.0.dispatcher.call_at(deadline_ns, handler);
    }

    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        if self.0.is_down() {
            return Err(OutOfInterrupts);
        }
        self.0.interrupts.allocate(handler)
    }

    fn free_interrupt(&self, interrupt: Interrupt) {
        if !self.0.interrupts.free(interrupt) {
            self.fatal(&format!("{interrupt:?} is not lent"));
        }
    }

    fn message_window(&self) -> Option<PhysRange> {
        // Boards have their message window at one address for the CPU and for devices.
        let window = self.0.interrupts.window();
        let len_bytes = window.end.saturating_sub(window.start);
        PhysRange::new(PhysAddr::new(window.start), len_bytes)
            .ok()
            .filter(|window| !window.is_empty())
    }

    fn interrupt_count(&self, interrupt: Interrupt) -> u64 {
        self.0.interrupts.count(interrupt)
    }

    fn wait_for_interrupt(&self, interrupt: Interrupt, seen: u64, deadline_ns: u64) -> u64 {
        self.0
            .interrupts
            .wait(interrupt, seen, deadline_ns, || self.0.idle())
    }

    fn fatal(&self, message: &str) -> ! {
        // Not a panic: that could be caught, and the drops on its way would go on as if nothing had
        // happened. Past the test harness's capture too, which an abort would lose.
        let _ = writeln!(std::io::stderr(), "kernel stopped: {message}");
        std::process::abort()
    }
}

/// The memory on a device that all of `range` is, if that is whole pages of such memory.
fn pages_on_device(hardware: &dyn Hardware, range: PhysRange) -> Option<(Arc<Ram>, Vec<PhysAddr>)> {
    let found = hardware.device_memory(range.start().as_u64(), range.len_bytes())?;
    let whole = (found.offset | range.len_bytes()).is_multiple_of(FRAME_BYTES);
    let page = |index| PhysAddr::new(found.offset + index * FRAME_BYTES);
    whole.then(|| {
        let pages = (0..range.len_bytes() / FRAME_BYTES).map(page).collect();
        (found.memory, pages)
    })
}
