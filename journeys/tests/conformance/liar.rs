//! A port that breaks one promise, or keeps all in an unusual way.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dmamap::addr::{BusAddr, FRAME_BYTES, PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MemoryAttribute, OutOfFrames, OutOfInterrupts,
    Platform, VirtualMapError,
};
use hosted::Hosted;
use lock_api::{GuardSend, RawMutex};
use parking_lot::Mutex;

/// What a port does otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// None: a right port.
    Honest,
    NoMemory,
    MemoryTwice,
    MemoryLeftOut,
    FramesRefused,
    UnalignedFrames,
    FramesAboveTheLimit,
    FramesLentTwice,
    FramesNeverTakenBack,
    OnePointerForAll,
    PhysOffByAPage,
    StackIsMemory,
    ScatteredRefused,
    ScatteredInOrder,
    InvalidateWithoutClean,
    UncachedRefused,
    UncachedElsewhere,
    CacheLineOfNoPower,
    CacheLineTooShort,
    RegistersRefused,
    /// A window in the middle of a page begins elsewhere.
    RegistersElsewhere,
    ClockGoesBack,
    ClockStands,
    DeadlineAtOnce,
    DeadlineNever,
    DeadlineTwice,
    CpuOutOfRange,
    EveryoneOnOneCpu,
    /// Counts one CPU too few.
    CpuForgotten,
    /// No lie: it counts a CPU that is not there yet.
    CpuComesLater,
    /// Counts one more when it is asked again.
    CpuAppears,
    FencesNobody,
    /// Fences others when they are pinned no more.
    FencesTheUnpinned,
    /// No lie: each CPU is to fence for itself.
    FencesNotForOthers,
    /// Means of the suite lie: nobody is let run on the last CPU.
    CpuNeverRuns,
    PinnedAgainElsewhere,
    /// The CPU is left with the inner closure, not the outer.
    LeftWhilePinned,
    OneMessageForAll,
    InterruptsByThemselves,
    WaitsPastTheDeadline,
    NeverArrives,
    NeverHandled,
    HandledLate,
    WindowOfHalfAFrame,
    WindowIsMemory,
    MessagesBesideTheWindow,
    /// No lie: there is one interrupt.
    OneInterrupt,
    /// No lie: drivers poll then.
    NoInterrupts,
}

/// A lock that keeps nobody out.
pub(crate) struct NoLock;

// SAFETY: it is not exclusive at all: the suite must find out. It guards no data.
unsafe impl RawMutex for NoLock {
    const INIT: Self = Self;
    type GuardMarker = GuardSend;

    fn lock(&self) {}

    fn try_lock(&self) -> bool {
        true
    }

    unsafe fn unlock(&self) {}
}

/// Clock time that a call of `relax` takes where waits are to be over soon.
const HURRY_NS: u64 = 500_000_000;

thread_local! {
    /// The CPU this thread is pinned to, for lies about pinning again.
    static PINNED: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The port. Its lock is `L`.
pub(crate) struct Liar<L> {
    inner: Hosted,
    lie: Lie,
    notes: &'static Notes,
    lock: PhantomData<fn() -> L>,
}

/// What lies need to remember.
#[derive(Default)]
struct Notes {
    /// A frame.
    frame: AtomicU64,
    /// How far the clock is ahead.
    ahead_ns: AtomicU64,
    /// `relax` takes long, as the clock has it.
    hurry: AtomicBool,
    /// The handler of the interrupt that is lent.
    lent: Mutex<Option<InterruptHandler>>,
    /// The handler of the one given back, which the next `relax` calls: whoever waits for it sees it.
    late: Mutex<Option<InterruptHandler>>,
    seats: [AtomicBool; 16],
    /// How often CPUs were counted.
    counts: AtomicUsize,
    /// CPUs that are pinned.
    pinned: AtomicUsize,
}

impl<L> Clone for Liar<L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L> Copy for Liar<L> {}

impl<L> Liar<L> {
    pub(crate) fn new(inner: Hosted, lie: Lie) -> Self {
        Self {
            inner,
            lie,
            notes: Box::leak(Box::default()),
            lock: PhantomData,
        }
    }

    /// Pins as `EveryoneOnOneCpu` would, were it not for the seats; pinned again, a thread leaves its seat too early.
    fn leave_early<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        if let Some(cpu) = PINNED.get() {
            let result = f(Cpu(cpu));
            self.notes.seats[cpu].store(false, Ordering::Release);
            return result;
        }
        let free = || {
            let mut seats = self.notes.seats[..self.inner.cpu_count()].iter();
            seats.position(|seat| !seat.swap(true, Ordering::AcqRel))
        };
        let cpu = loop {
            match free() {
                Some(cpu) => break cpu,
                None => std::thread::yield_now(),
            }
        };
        PINNED.set(Some(cpu));
        let result = f(Cpu(cpu));
        PINNED.set(None);
        self.notes.seats[cpu].store(false, Ordering::Release);
        result
    }

    /// Pinned again, a thread is given the number of another CPU.
    fn elsewhere<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        if let Some(cpu) = PINNED.get() {
            return f(Cpu((cpu + 1) % self.inner.cpu_count()));
        }
        self.inner.pin(|cpu| {
            PINNED.set(Some(cpu.0));
            let result = f(cpu);
            PINNED.set(None);
            result
        })
    }
}

const REFUSED: VirtualMapError = VirtualMapError::OutOfAddressSpace { len_bytes: 0 };

// SAFETY: it is not: the suite must find out. What the lies make the suite touch is memory lent to it all the same: each
// points into frames that the real platform lent.
unsafe impl<L: RawMutex + Send + Sync + 'static> Platform for Liar<L> {
    type Lock = L;

    fn memory_map(&self, visit: &mut dyn FnMut(PhysRange)) {
        match self.lie {
            Lie::NoMemory => {}
            Lie::MemoryTwice => self.inner.memory_map(&mut |range| {
                visit(range);
                visit(range);
            }),
            Lie::MemoryLeftOut => self.inner.memory_map(&mut |range| {
                visit(range.slice(0, FRAME_BYTES).unwrap());
            }),
            _ => self.inner.memory_map(visit),
        }
    }

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        match self.lie {
            Lie::FramesRefused => Err(OutOfFrames(request)),
            Lie::UnalignedFrames if request.align_log2 > 12 => {
                let count = request.count + 1;
                let wide = self
                    .inner
                    .allocate_frames(FrameRequest { count, ..request })?;
                let len_bytes = request.count as u64 * FRAME_BYTES;
                Ok(wide.slice(FRAME_BYTES, len_bytes).unwrap())
            }
            Lie::FramesAboveTheLimit => {
                let last = PhysAddr::new(u64::MAX);
                self.inner.allocate_frames(FrameRequest { last, ..request })
            }
            Lie::FramesLentTwice if request.count == 2 => {
                let first = self.notes.frame.load(Ordering::Relaxed);
                if first != 0 {
                    return Ok(PhysRange::new(PhysAddr::new(first), 2 * FRAME_BYTES).unwrap());
                }
                // Low enough for every limit.
                let last = PhysAddr::new((64 << 20) - 1);
                let frames = self
                    .inner
                    .allocate_frames(FrameRequest { last, ..request })?;
                let start = frames.start().as_u64();
                self.notes.frame.store(start, Ordering::Relaxed);
                Ok(frames)
            }
            _ => self.inner.allocate_frames(request),
        }
    }

    unsafe fn free_frames(&self, frames: PhysRange) {
        if self.lie != Lie::FramesNeverTakenBack {
            // SAFETY: the caller's promise is this one's.
            unsafe { self.inner.free_frames(frames) };
        }
    }

    fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8> {
        if self.lie != Lie::OnePointerForAll {
            return self.inner.frame_pointer(phys);
        }
        let first = match self.notes.frame.load(Ordering::Relaxed) {
            0 => phys.as_u64(),
            first => first,
        };
        self.notes.frame.store(first, Ordering::Relaxed);
        self.inner.frame_pointer(PhysAddr::new(first))
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        let mut frames = frames.to_vec();
        match self.lie {
            Lie::ScatteredRefused => return Err(REFUSED),
            Lie::ScatteredInOrder => frames.sort_unstable(),
            _ => {}
        }
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.map_scattered(&frames) }
    }

    unsafe fn unmap_scattered(&self, start: NonNull<u8>, frames: usize) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.unmap_scattered(start, frames) }
    }

    fn virt_to_phys(&self, virt: VirtAddr) -> Option<PhysAddr> {
        let found = self.inner.virt_to_phys(virt);
        match self.lie {
            Lie::PhysOffByAPage => found.and_then(|phys| phys.checked_add(FRAME_BYTES)),
            Lie::StackIsMemory => Some(found.unwrap_or(PhysAddr::new(0x1000))),
            _ => found,
        }
    }

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        if self.lie == Lie::UncachedRefused {
            return Err(REFUSED);
        }
        // SAFETY: the caller's promise is this one's.
        let start = unsafe { self.inner.map_frames(frames, attribute) };
        match self.lie {
            // SAFETY: the suite reaches less than a frame from there.
            Lie::UncachedElsewhere => start.map(|start| unsafe { start.add(8) }),
            _ => start,
        }
    }

    unsafe fn unmap_frames(&self, start: NonNull<u8>, len_bytes: u64) {
        let back = match self.lie {
            Lie::UncachedElsewhere => 8,
            _ => 0,
        };
        // SAFETY: the caller's promise is this one's, and `map_frames` went as far forward.
        unsafe { self.inner.unmap_frames(start.sub(back), len_bytes) }
    }

    unsafe fn ioremap(
        &self,
        range: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        let mut range = range;
        match self.lie {
            Lie::RegistersRefused => return Err(REFUSED),
            // The next register of configuration space that keeps its low byte.
            Lie::RegistersElsewhere if !range.start().is_aligned(12) => {
                let start = PhysAddr::new(range.start().as_u64() + 0x30);
                range = PhysRange::new(start, range.len_bytes()).unwrap();
            }
            _ => {}
        }
        // SAFETY: the caller's promise is this one's; what lies beside its register is nobody's in the test.
        unsafe { self.inner.ioremap(range, attribute) }
    }

    unsafe fn iounmap(&self, start: NonNull<u8>, len_bytes: u64) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.inner.iounmap(start, len_bytes) }
    }

    fn dma_wmb(&self) {
        self.inner.dma_wmb();
    }

    fn dma_rmb(&self) {
        self.inner.dma_rmb();
    }

    fn dma_mb(&self) {
        self.inner.dma_mb();
    }

    fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        self.inner.clean_cache(start, len_bytes);
    }

    fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        if self.lie == Lie::InvalidateWithoutClean {
            // What a cache that was never written back would leave: what memory held before.
            // SAFETY: the suite's own frame, as long as it says.
            unsafe { start.write_bytes(0, len_bytes) };
        }
        self.inner.invalidate_cache(start, len_bytes);
    }

    fn cache_line_bytes(&self) -> u64 {
        match self.lie {
            Lie::CacheLineOfNoPower => 48,
            Lie::CacheLineTooShort => 8,
            _ => self.inner.cache_line_bytes(),
        }
    }

    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        if self.lie == Lie::CpuNeverRuns {
            self.notes.hurry.store(true, Ordering::Relaxed);
        }
        match self.lie {
            Lie::CpuOutOfRange => self.inner.pin(|cpu| f(Cpu(cpu.0 + self.inner.cpu_count()))),
            Lie::EveryoneOnOneCpu => f(Cpu(0)),
            Lie::PinnedAgainElsewhere => self.elsewhere(f),
            Lie::LeftWhilePinned => self.leave_early(f),
            Lie::FencesTheUnpinned => self.inner.pin(|cpu| {
                self.notes.pinned.fetch_add(1, Ordering::AcqRel);
                let result = f(cpu);
                self.notes.pinned.fetch_sub(1, Ordering::AcqRel);
                result
            }),
            _ => self.inner.pin(f),
        }
    }

    fn cpu_count(&self) -> usize {
        match self.lie {
            Lie::CpuForgotten => self.inner.cpu_count() - 1,
            Lie::CpuComesLater => self.inner.cpu_count() + 1,
            Lie::CpuAppears => {
                let counts = self.notes.counts.fetch_add(1, Ordering::Relaxed);
                self.inner.cpu_count() + usize::from(counts > 0)
            }
            _ => self.inner.cpu_count(),
        }
    }

    fn fences_cpus(&self) -> bool {
        match self.lie {
            Lie::FencesNobody | Lie::FencesTheUnpinned => true,
            Lie::FencesNotForOthers => false,
            _ => self.inner.fences_cpus(),
        }
    }

    fn fence_cpus(&self) {
        match self.lie {
            Lie::FencesNobody => {}
            Lie::FencesTheUnpinned => {
                self.notes.hurry.store(true, Ordering::Relaxed);
                while self.notes.pinned.load(Ordering::Acquire) > 0 {
                    self.relax();
                }
            }
            _ => self.inner.fence_cpus(),
        }
    }

    fn relax(&self) {
        let late = self.notes.late.lock().take();
        if let Some(handler) = late {
            handler();
        }
        if self.notes.hurry.load(Ordering::Relaxed) {
            self.notes.ahead_ns.fetch_add(HURRY_NS, Ordering::Relaxed);
        }
        if self.lie != Lie::ClockStands {
            self.inner.relax();
        }
    }

    fn now_ns(&self) -> u64 {
        match self.lie {
            Lie::ClockGoesBack => u64::MAX - self.inner.now_ns(),
            Lie::ClockStands => 1,
            _ => self.inner.now_ns() + self.notes.ahead_ns.load(Ordering::Relaxed),
        }
    }

    fn call_at(&self, deadline_ns: u64, handler: InterruptHandler) {
        match self.lie {
            Lie::DeadlineAtOnce => handler(),
            Lie::DeadlineNever => self.notes.hurry.store(true, Ordering::Relaxed),
            Lie::DeadlineTwice => {
                // In one go: a second call that somebody has to get to may come when the suite no longer looks.
                let twice = move || {
                    handler();
                    handler();
                };
                self.inner.call_at(deadline_ns, Arc::new(twice));
            }
            _ => self.inner.call_at(deadline_ns, handler),
        }
    }

    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        let inner = self.inner;
        let handler = match self.lie {
            Lie::NoInterrupts => return Err(OutOfInterrupts),
            Lie::OneInterrupt if inner.report().interrupts > 0 => return Err(OutOfInterrupts),
            Lie::NeverHandled => None,
            Lie::HandledLate => {
                *self.notes.lent.lock() = handler.clone();
                handler
            }
            _ => handler,
        };
        let lent = self.inner.allocate_interrupt(handler)?;
        let (address, data) = match self.lie {
            Lie::OneMessageForAll => (BusAddr::new(0xfee0_0000), 0),
            Lie::MessagesBesideTheWindow => {
                let beside = 0x1000 + u64::from(lent.number());
                (BusAddr::new(beside), lent.data())
            }
            _ => (lent.address(), lent.data()),
        };
        // SAFETY: the suite tells no device of it.
        Ok(unsafe { Interrupt::new(lent.number(), address, data) })
    }

    fn free_interrupt(&self, interrupt: Interrupt) {
        if !matches!(
            self.lie,
            Lie::OneMessageForAll | Lie::MessagesBesideTheWindow
        ) {
            self.inner.free_interrupt(interrupt);
        }
        if self.lie == Lie::HandledLate {
            *self.notes.late.lock() = self.notes.lent.lock().take();
        }
    }

    fn message_window(&self) -> Option<PhysRange> {
        let start = self.inner.message_window()?.start();
        match self.lie {
            Lie::WindowOfHalfAFrame => PhysRange::new(start, FRAME_BYTES / 2).ok(),
            Lie::WindowIsMemory => PhysRange::new(PhysAddr::new(0x1000), FRAME_BYTES).ok(),
            _ => self.inner.message_window(),
        }
    }

    fn interrupt_count(&self, interrupt: Interrupt) -> u64 {
        let by_itself = u64::from(self.lie == Lie::InterruptsByThemselves);
        self.inner.interrupt_count(interrupt) + by_itself
    }

    fn wait_for_interrupt(&self, interrupt: Interrupt, seen: u64, deadline_ns: u64) -> u64 {
        if self.lie == Lie::WaitsPastTheDeadline {
            self.notes
                .ahead_ns
                .fetch_add(20_000_000_000, Ordering::Relaxed);
        }
        if self.lie == Lie::NeverArrives {
            self.notes.hurry.store(true, Ordering::Relaxed);
            return 0;
        }
        if self.lie == Lie::NeverHandled {
            self.notes.hurry.store(true, Ordering::Relaxed);
        }
        self.inner.wait_for_interrupt(interrupt, seen, deadline_ns)
    }

    fn fatal(&self, message: &str) -> ! {
        self.inner.fatal(message)
    }
}
