//! A machine of CPUs alone: each of loom's threads is one.

use core::cell::Cell;
use core::ptr::NonNull;

use lock_api::{GuardSend, RawMutex};

use super::sync;
use crate::addr::{PhysAddr, PhysRange, VirtAddr};
use crate::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MemoryAttribute, OutOfFrames, OutOfInterrupts,
    Platform, VirtualMapError,
};

loom::thread_local! {
    static CPU: Cell<usize> = Cell::new(0);
}

/// The calling thread is this CPU from now on. No other is.
pub(crate) fn be(cpu: Cpu) {
    CPU.with(|it| it.set(cpu.0));
}

/// Who fences where a CPU enters its value and another stops all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fences {
    /// Each for itself.
    Own,
    /// Who stops, for all.
    OfAll,
}

#[derive(Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    pub(crate) fences: Fences,
}

/// Models lock by loom's own.
pub(crate) struct NoLock;

// SAFETY: nobody gets it.
unsafe impl RawMutex for NoLock {
    const INIT: Self = Self;
    type GuardMarker = GuardSend;

    fn lock(&self) {
        no_such_thing()
    }

    fn try_lock(&self) -> bool {
        false
    }

    unsafe fn unlock(&self) {}
}

fn no_such_thing() -> ! {
    panic!("the machine has CPUs alone")
}

// SAFETY: it lends nothing. A thread is one CPU, which no other is, and nothing interrupts it.
unsafe impl Platform for Machine {
    type Lock = NoLock;

    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        f(Cpu(CPU.with(Cell::get)))
    }

    fn cpu_count(&self) -> usize {
        self.cpus
    }

    fn fences_cpus(&self) -> bool {
        matches!(self.fences, Fences::OfAll)
    }

    fn fence_cpus(&self) {
        sync::fence_cpus();
    }

    fn relax(&self) {
        loom::thread::yield_now();
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn memory_map(&self, _visit: &mut dyn FnMut(PhysRange)) {}

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        Err(OutOfFrames(request))
    }

    unsafe fn free_frames(&self, _frames: PhysRange) {}

    fn frame_pointer(&self, _phys: PhysAddr) -> NonNull<u8> {
        no_such_thing()
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        let len_bytes = frames.len() as u64;
        Err(VirtualMapError::OutOfAddressSpace { len_bytes })
    }

    unsafe fn unmap_scattered(&self, _start: NonNull<u8>, _frames: usize) {}

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        _attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        Err(VirtualMapError::NothingThere(frames))
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

    fn dma_wmb(&self) {}

    fn dma_rmb(&self) {}

    fn dma_mb(&self) {}

    fn clean_cache(&self, _start: NonNull<u8>, _len_bytes: usize) {}

    fn invalidate_cache(&self, _start: NonNull<u8>, _len_bytes: usize) {}

    fn call_at(&self, _deadline_ns: u64, _handler: InterruptHandler) {
        no_such_thing()
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
