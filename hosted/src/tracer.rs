//! A platform that remembers what was asked of it.

use std::collections::VecDeque;
use std::ptr::NonNull;

use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MachineId, MemoryAttribute, OutOfFrames,
    OutOfInterrupts, Platform, VirtualMapError,
};
use parking_lot::Mutex;

use crate::forward::forward;

/// One call of a platform and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlatformCall {
    /// Frames were asked for.
    AllocateFrames(FrameRequest, Result<PhysRange, OutOfFrames>),
    /// Frames were given back.
    FreeFrames(PhysRange),
    /// Frames were asked for side by side.
    MapScattered(Vec<PhysAddr>, Result<VirtAddr, VirtualMapError>),
    /// A scattered mapping of so many frames ended.
    UnmapScattered(VirtAddr, usize),
    /// Frames were asked for with this attribute.
    MapFrames(
        PhysRange,
        MemoryAttribute,
        Result<VirtAddr, VirtualMapError>,
    ),
    /// Such a mapping of so many bytes ended.
    UnmapFrames(VirtAddr, u64),
    /// A register window was asked for.
    Ioremap(
        PhysRange,
        MemoryAttribute,
        Result<VirtAddr, VirtualMapError>,
    ),
    /// A register window of so many bytes was closed.
    Iounmap(VirtAddr, u64),
    /// So many bytes at a virtual address, behind which is this physical one, were written back.
    CleanCache(VirtAddr, Option<PhysAddr>, usize),
    /// So many bytes at a virtual address, behind which is this physical one, were dropped from the cache.
    InvalidateCache(VirtAddr, Option<PhysAddr>, usize),
    /// `dma_wmb`.
    WriteBarrier,
    /// `dma_rmb`.
    ReadBarrier,
    /// `dma_mb`.
    FullBarrier,
    /// An interrupt was asked for.
    AllocateInterrupt(Result<Interrupt, OutOfInterrupts>),
    /// An interrupt was given back.
    FreeInterrupt(Interrupt),
}

/// Wraps a platform and keeps the last calls of it, for a test to look at their order.
///
/// ```
/// use dmamap::platform::{FrameRequest, Platform};
/// use hosted::{Hosted, PlatformCall, Tracer};
/// # let machine = machine::Machine::boot(machine::MachineConfig::default())?;
/// # let kernel = Hosted::boot(machine.clone())?;
///
/// let platform = Tracer::new(kernel, 16);
/// let request = FrameRequest::new(2);
/// let frames = platform.allocate_frames(request)?;
/// // SAFETY: nothing refers to these frames.
/// unsafe { platform.free_frames(frames) };
/// let calls = [PlatformCall::AllocateFrames(request, Ok(frames)), PlatformCall::FreeFrames(frames)];
/// assert_eq!(platform.take(), calls);
/// # machine.shutdown();
/// # assert!(kernel.shutdown().is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Tracer<P> {
    inner: P,
    ring: &'static Mutex<Ring>,
}

/// Leaked with each tracer: a platform is `Copy` and lives for ever.
struct Ring {
    calls: VecDeque<PlatformCall>,
    capacity: usize,
    lost: u64,
}

impl<P: Platform> Tracer<P> {
    /// Wraps `inner` and keeps its last `capacity` calls.
    pub fn new(inner: P, capacity: usize) -> Self {
        let ring = Ring {
            calls: VecDeque::new(),
            capacity,
            lost: 0,
        };
        Self {
            inner,
            ring: Box::leak(Box::new(Mutex::new(ring))),
        }
    }

    /// The platform inside.
    pub fn inner(&self) -> P {
        self.inner
    }

    /// Takes the calls that are kept, oldest first.
    pub fn take(&self) -> Vec<PlatformCall> {
        std::mem::take(&mut self.ring.lock().calls).into()
    }

    /// How many calls were forgotten for younger ones so far.
    pub fn lost(&self) -> u64 {
        self.ring.lock().lost
    }

    fn record(&self, call: PlatformCall) {
        let mut ring = self.ring.lock();
        if ring.calls.len() >= ring.capacity {
            ring.calls.pop_front();
            ring.lost += 1;
        }
        if ring.capacity > 0 {
            ring.calls.push_back(call);
        }
    }
}

fn virt(pointer: NonNull<u8>) -> VirtAddr {
    VirtAddr::from_ptr(pointer.as_ptr())
}

// SAFETY: every call goes to the platform inside, which keeps the promises. What ends a loan is recorded
// before it is carried out, so that no other thread's new loan of the same thing is recorded first.
unsafe impl<P: Platform> Platform for Tracer<P> {
    type Lock = P::Lock;

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        let outcome = self.inner.allocate_frames(request);
        self.record(PlatformCall::AllocateFrames(request, outcome));
        outcome
    }

    unsafe fn free_frames(&self, frames: PhysRange) {
        self.record(PlatformCall::FreeFrames(frames));
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.free_frames(frames) }
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        let outcome = unsafe { self.inner.map_scattered(frames) };
        self.record(PlatformCall::MapScattered(
            frames.to_vec(),
            outcome.map(virt),
        ));
        outcome
    }

    unsafe fn unmap_scattered(&self, start: NonNull<u8>, frames: usize) {
        self.record(PlatformCall::UnmapScattered(virt(start), frames));
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.unmap_scattered(start, frames) }
    }

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        let outcome = unsafe { self.inner.map_frames(frames, attribute) };
        self.record(PlatformCall::MapFrames(
            frames,
            attribute,
            outcome.map(virt),
        ));
        outcome
    }

    unsafe fn unmap_frames(&self, start: NonNull<u8>, len_bytes: u64) {
        self.record(PlatformCall::UnmapFrames(virt(start), len_bytes));
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.unmap_frames(start, len_bytes) }
    }

    unsafe fn ioremap(
        &self,
        range: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        let outcome = unsafe { self.inner.ioremap(range, attribute) };
        self.record(PlatformCall::Ioremap(range, attribute, outcome.map(virt)));
        outcome
    }

    unsafe fn iounmap(&self, start: NonNull<u8>, len_bytes: u64) {
        self.record(PlatformCall::Iounmap(virt(start), len_bytes));
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.iounmap(start, len_bytes) }
    }

    fn dma_wmb(&self) {
        self.record(PlatformCall::WriteBarrier);
        self.inner.dma_wmb();
    }

    fn dma_rmb(&self) {
        self.record(PlatformCall::ReadBarrier);
        self.inner.dma_rmb();
    }

    fn dma_mb(&self) {
        self.record(PlatformCall::FullBarrier);
        self.inner.dma_mb();
    }

    fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        let phys = self.inner.virt_to_phys(virt(start));
        self.record(PlatformCall::CleanCache(virt(start), phys, len_bytes));
        self.inner.clean_cache(start, len_bytes);
    }

    fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        let phys = self.inner.virt_to_phys(virt(start));
        self.record(PlatformCall::InvalidateCache(virt(start), phys, len_bytes));
        self.inner.invalidate_cache(start, len_bytes);
    }

    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        let outcome = self.inner.allocate_interrupt(handler);
        self.record(PlatformCall::AllocateInterrupt(outcome));
        outcome
    }

    fn free_interrupt(&self, interrupt: Interrupt) {
        self.record(PlatformCall::FreeInterrupt(interrupt));
        self.inner.free_interrupt(interrupt);
    }

    forward! { memory_map frame_pointer virt_to_phys cpus_and_time interrupt_arrivals }
}
