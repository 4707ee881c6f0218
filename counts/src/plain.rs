//! A platform as cheap as a kernel's, over the [`Hosted`] one: what a map and an unmap ask of it is arithmetic.
//!
//! A process has to find which machine's memory an address is of, take turns on its virtual CPUs and read the host's clock. A kernel
//! has a direct map, knows its CPU, and its lock is one locked operation and a store; its platform is a type without values. What is not on
//! the way of a map goes to the port.
//!
//! ```
//! use dmamap::addr::VirtAddr;
//! use dmamap::platform::{FrameRequest, Platform};
//!
//! let platform = counts::computer::Booted::get()?.platform();
//! let frames = platform.allocate_frames(FrameRequest::new(1))?;
//! let pointer = platform.frame_pointer(frames.start());
//! assert_eq!(platform.virt_to_phys(VirtAddr::from_ptr(pointer.as_ptr())), Some(frames.start()));
//! # // SAFETY: nobody uses it.
//! # unsafe { platform.free_frames(frames) };
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MachineId, MemoryAttribute, OutOfFrames,
    OutOfInterrupts, Platform, VirtualMapError, barrier,
};
use hosted::Hosted;

/// How far a reading of the clock is from the one before. No deadline comes near.
const STEP_NS: u64 = 20;

static CLOCK_NS: AtomicU64 = AtomicU64::new(0);

/// The one port of this process.
static KERNEL: OnceLock<Hosted> = OnceLock::new();
/// Where its direct map begins, with physical address 0; and the end of RAM. Set before there is a [`Plain`].
static DIRECT_MAP: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static RAM_END: AtomicU64 = AtomicU64::new(0);

/// The platform, for one thread that drives devices.
#[derive(Clone, Copy, Debug)]
pub struct Plain(());

impl Plain {
    /// Over a port that has booted; `None` where there is one over another.
    pub fn over(kernel: Hosted) -> Option<Self> {
        KERNEL.set(kernel).ok()?;
        let mut end = 0;
        kernel.memory_map(&mut |ram| end = ram.last().as_u64() + 1);
        RAM_END.store(end, Ordering::Relaxed);
        let start = kernel.frame_pointer(PhysAddr::new(0));
        DIRECT_MAP.store(start.as_ptr(), Ordering::Release);
        Some(Self(()))
    }

    /// The port.
    pub fn kernel(&self) -> Hosted {
        *KERNEL.get().expect("the port is there before this is")
    }

    fn direct_map(&self) -> *mut u8 {
        DIRECT_MAP.load(Ordering::Relaxed)
    }
}

/// A lock that spins: one locked operation to take it, and a store.
pub struct SpinLock(AtomicBool);

// SAFETY: only one caller of `swap` sees false until `unlock` stores it again.
unsafe impl lock_api::RawMutex for SpinLock {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = lock_api::GuardSend;

    #[inline]
    fn lock(&self) {
        while !self.try_lock() {
            while self.0.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
        }
    }

    #[inline]
    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    #[inline]
    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

// SAFETY: the port keeps the promises. What is not asked of it keeps them too: its direct map begins at physical 0 and is linear, so
// the pointer of a frame, and the way back within RAM, is a sum; the lock excludes; one thread drives all devices of this program, so
// that it is one CPU's alone; the clock goes on, if slowly, and no deadline is reached: a handler would have to wait for ever.
unsafe impl Platform for Plain {
    type Lock = SpinLock;

    fn machine(&self) -> MachineId {
        self.kernel().machine()
    }

    fn memory_map(&self, visit: &mut dyn FnMut(PhysRange)) {
        self.kernel().memory_map(visit);
    }

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        self.kernel().allocate_frames(request)
    }

    unsafe fn free_frames(&self, frames: PhysRange) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.kernel().free_frames(frames) }
    }

    #[inline]
    fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8> {
        // SAFETY: frames are RAM, all of which the direct map holds; it does not begin at 0.
        unsafe { NonNull::new_unchecked(self.direct_map().add(phys.as_u64() as usize)) }
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.kernel().map_scattered(frames) }
    }

    unsafe fn unmap_scattered(&self, start: NonNull<u8>, frames: usize) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.kernel().unmap_scattered(start, frames) }
    }

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.kernel().map_frames(frames, attribute) }
    }

    unsafe fn unmap_frames(&self, start: NonNull<u8>, len_bytes: u64) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.kernel().unmap_frames(start, len_bytes) }
    }

    #[inline]
    fn virt_to_phys(&self, virt: VirtAddr) -> Option<PhysAddr> {
        let base = self.direct_map().addr() as u64;
        let phys = virt.as_u64().wrapping_sub(base);
        match phys < RAM_END.load(Ordering::Relaxed) {
            true => Some(PhysAddr::new(phys)),
            false => self.kernel().virt_to_phys(virt),
        }
    }

    unsafe fn ioremap(
        &self,
        range: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.kernel().ioremap(range, attribute) }
    }

    unsafe fn iounmap(&self, start: NonNull<u8>, len_bytes: u64) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.kernel().iounmap(start, len_bytes) }
    }

    #[inline]
    fn dma_wmb(&self) {
        barrier::dma_wmb();
    }

    #[inline]
    fn dma_rmb(&self) {
        barrier::dma_rmb();
    }

    #[inline]
    fn dma_mb(&self) {
        barrier::dma_mb();
    }

    fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        self.kernel().clean_cache(start, len_bytes);
    }

    fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        self.kernel().invalidate_cache(start, len_bytes);
    }

    #[inline]
    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        f(Cpu(0))
    }

    #[inline]
    fn cpu_count(&self) -> usize {
        2
    }

    // One thread runs here: no other CPU has anything to fence.
    #[inline]
    fn fences_cpus(&self) -> bool {
        true
    }

    fn relax(&self) {
        self.kernel().relax();
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        let now = CLOCK_NS.load(Ordering::Relaxed) + STEP_NS;
        CLOCK_NS.store(now, Ordering::Relaxed);
        now
    }

    fn call_at(&self, _deadline_ns: u64, _handler: InterruptHandler) {}

    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        self.kernel().allocate_interrupt(handler)
    }

    fn free_interrupt(&self, interrupt: Interrupt) {
        self.kernel().free_interrupt(interrupt);
    }

    fn message_window(&self) -> Option<PhysRange> {
        self.kernel().message_window()
    }

    fn interrupt_count(&self, interrupt: Interrupt) -> u64 {
        self.kernel().interrupt_count(interrupt)
    }

    fn wait_for_interrupt(&self, interrupt: Interrupt, seen: u64, deadline_ns: u64) -> u64 {
        self.kernel()
            .wait_for_interrupt(interrupt, seen, deadline_ns)
    }

    fn fatal(&self, message: &str) -> ! {
        self.kernel().fatal(message)
    }
}
