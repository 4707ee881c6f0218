//! Memory as the CPU sees it and, line by line as it is written back, as one sees it who does not snoop; and CPUs that threads
//! take turns on.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MemoryAttribute, OutOfFrames, OutOfInterrupts,
    Platform, VirtualMapError,
};

/// Bytes of a cache line.
pub const LINE_BYTES: usize = 64;

const FRAME: usize = 4096;
/// What a freed frame is filled with: present, and reserved bits set, in every format.
const POISON: u8 = 0xa5;

/// A handle; each arena lives until the process ends, or until its memory is [closed](Arena::close).
#[derive(Clone, Copy)]
pub struct Arena(&'static State);

struct State {
    base: u64,
    cpu: NonNull<u8>,
    /// Each is held by the thread that is pinned to it.
    cpus: Vec<Mutex<()>>,
    inner: Mutex<Inner>,
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The CPU that this thread is pinned to, modulo their number.
    static PLACE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed));
    static PINNED: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: the pointer is to memory that is not freed before `close`; frames of it are handed out one owner at a time.
unsafe impl Send for State {}
// SAFETY: as above.
unsafe impl Sync for State {}

type Watcher = Box<dyn FnMut(&Memory, Line) + Send>;

/// A line that has just reached memory.
#[derive(Clone, Copy)]
pub struct Line {
    /// Where its first byte is.
    pub phys: u64,
    /// What memory held before.
    pub before: [u64; LINE_BYTES / 8],
}

struct Inner {
    lent: Vec<bool>,
    memory: Memory,
    in_use: usize,
    allocations: usize,
    fail_at: Option<usize>,
    cleaned: Vec<u64>,
    watcher: Option<Watcher>,
    next: usize,
}

/// What one sees who does not snoop the CPU's caches.
pub struct Memory {
    base: u64,
    /// Poison where it is 0, so that a large arena costs what is used of it.
    words: Vec<u64>,
}

/// A word of memory that nobody has written to, or whose frame was freed.
pub const POISON_WORD: u64 = u64::from_ne_bytes([POISON; 8]);

impl Memory {
    /// The word at `phys`, as who does not snoop reads it.
    pub fn word(&self, phys: u64) -> u64 {
        self.words[((phys - self.base) / 8) as usize] ^ POISON_WORD
    }

    fn set_word(&mut self, phys: u64, word: u64) {
        self.words[((phys - self.base) / 8) as usize] = word ^ POISON_WORD;
    }
}

fn layout(frames: usize) -> Layout {
    Layout::from_size_align(frames * FRAME, FRAME).expect("a layout")
}

impl Arena {
    /// `frames` frames from physical address 1 MiB on, and one CPU.
    pub fn new(frames: usize) -> Self {
        Self::with_cpus(frames, 1)
    }

    /// The same with so many CPUs. Threads are pinned to one after the other.
    pub fn with_cpus(frames: usize, cpus: usize) -> Self {
        // SAFETY: the layout is not empty.
        let cpu = NonNull::new(unsafe { alloc_zeroed(layout(frames)) }).expect("memory");
        let base = 1 << 20;
        let inner = Inner {
            lent: vec![false; frames],
            memory: Memory {
                base,
                words: vec![0; frames * FRAME / 8],
            },
            in_use: 0,
            allocations: 0,
            fail_at: None,
            cleaned: Vec::new(),
            watcher: None,
            next: 0,
        };
        Self(Box::leak(Box::new(State {
            base,
            cpu,
            cpus: (0..cpus).map(|_| Mutex::new(())).collect(),
            inner: Mutex::new(inner),
        })))
    }

    /// Gives the arena's memory back, as tests of many tables need much.
    ///
    /// # Safety
    /// Nobody uses a frame of it, nor will.
    pub unsafe fn close(self) {
        let mut inner = self.inner();
        let frames = std::mem::take(&mut inner.lent);
        assert!(!frames.contains(&true), "frames are lent still");
        inner.memory.words = Vec::new();
        // SAFETY: it was allocated with this layout, and the caller says that nobody uses it.
        unsafe { dealloc(self.0.cpu.as_ptr(), layout(frames.len())) };
    }

    fn inner(&self) -> MutexGuard<'static, Inner> {
        self.0
            .inner
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Has this thread pinned to that CPU from now on.
    pub fn run_on(cpu: usize) {
        PLACE.set(cpu);
    }

    /// Frames lent.
    pub fn in_use(&self) -> usize {
        self.inner().in_use
    }

    /// Allocations so far, failed ones included.
    pub fn allocations(&self) -> usize {
        self.inner().allocations
    }

    /// Lets the `n`th allocation from now fail, and all after it; `None`: none.
    pub fn fail_from(&self, n: Option<usize>) {
        let mut inner = self.inner();
        inner.fail_at = n.map(|n| inner.allocations + n);
    }

    /// Physical addresses of the lines cleaned since the last call.
    pub fn take_cleaned(&self) -> Vec<u64> {
        std::mem::take(&mut self.inner().cleaned)
    }

    /// Calls `watcher` after each line that reaches memory.
    pub fn watch(&self, watcher: impl FnMut(&Memory, Line) + Send + 'static) {
        self.inner().watcher = Some(Box::new(watcher));
    }

    /// Looks at memory as one who does not snoop.
    pub fn with_memory<R>(&self, look: impl FnOnce(&Memory) -> R) -> R {
        look(&self.inner().memory)
    }

    /// A word as the CPU sees it.
    pub fn word(&self, phys: u64) -> u64 {
        // SAFETY: the arena is not closed while it is used, and the pointer is checked to lie in it.
        unsafe {
            self.frame_pointer(PhysAddr::new(phys))
                .cast::<u64>()
                .read_volatile()
        }
    }

    /// Overwrites a word, behind the back of its owner.
    pub fn set_word(&self, phys: u64, word: u64) {
        // SAFETY: as for `word`; tests do this to words that their owner accesses as atomics, on one thread.
        unsafe {
            self.frame_pointer(PhysAddr::new(phys))
                .cast::<u64>()
                .write_volatile(word)
        };
    }

    fn free_run(&self, inner: &Inner, request: FrameRequest) -> Option<usize> {
        let frames = inner.lent.len();
        (0..frames)
            .map(|n| (inner.next + n) % frames)
            .find(|&first| {
                let phys = self.0.base + (first * FRAME) as u64;
                let last = phys + (request.count * FRAME) as u64 - 1;
                phys.trailing_zeros() >= request.align_log2
                    && last <= request.last.as_u64()
                    && inner
                        .lent
                        .get(first..first + request.count)
                        .is_some_and(|run| !run.contains(&true))
            })
    }
}

// SAFETY: frames are lent once and lie in memory that is not freed while they are; what tests do not need panics.
unsafe impl Platform for Arena {
    type Lock = super::SpinLock;

    fn memory_map(&self, visit: &mut dyn FnMut(PhysRange)) {
        let len = self.inner().lent.len() * FRAME;
        visit(PhysRange::new(PhysAddr::new(self.0.base), len as u64).expect("a range"));
    }

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        let mut inner = self.inner();
        let number = inner.allocations;
        inner.allocations += 1;
        if inner.fail_at.is_some_and(|fail_at| number >= fail_at) {
            return Err(OutOfFrames(request));
        }
        let first = self.free_run(&inner, request).ok_or(OutOfFrames(request))?;
        inner.lent[first..first + request.count].fill(true);
        inner.in_use += request.count;
        // Go round, so that a frame freed too early is not at once the next one's.
        inner.next = first + request.count;
        drop(inner);
        let phys = PhysAddr::new(self.0.base + (first * FRAME) as u64);
        let range = PhysRange::new(phys, (request.count * FRAME) as u64).expect("a range");
        // SAFETY: the frames lie in the arena and were nobody's.
        unsafe {
            self.frame_pointer(phys)
                .as_ptr()
                .write_bytes(POISON, request.count * FRAME);
        }
        Ok(range)
    }

    unsafe fn free_frames(&self, frames: PhysRange) {
        let first = ((frames.start().as_u64() - self.0.base) as usize) / FRAME;
        let count = frames.len_bytes() as usize / FRAME;
        // SAFETY: the caller is done with the frames.
        unsafe {
            self.frame_pointer(frames.start())
                .as_ptr()
                .write_bytes(POISON, count * FRAME);
        }
        let mut inner = self.inner();
        let run = &mut inner.lent[first..first + count];
        assert!(run.iter().all(|lent| *lent), "{frames} freed but not lent");
        run.fill(false);
        inner.in_use -= count;
        inner.memory.words[first * FRAME / 8..(first + count) * FRAME / 8].fill(0);
    }

    fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8> {
        let offset = (phys.as_u64() - self.0.base) as usize;
        // SAFETY: physical addresses in tests are those of lent frames, so the sum stays in the arena.
        unsafe { self.0.cpu.add(offset) }
    }

    fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        assert!(len_bytes > 0);
        let first = start.addr().get() - self.0.cpu.addr().get();
        let lines = first / LINE_BYTES..=(first + len_bytes - 1) / LINE_BYTES;
        let mut inner = self.inner();
        let mut watcher = inner.watcher.take();
        for line in lines {
            let phys = self.0.base + (line * LINE_BYTES) as u64;
            let mut before = [0; LINE_BYTES / 8];
            for (at, before) in (phys..).step_by(8).zip(&mut before) {
                *before = inner.memory.word(at);
                inner.memory.set_word(at, self.word(at));
            }
            inner.cleaned.push(phys);
            if let Some(watcher) = &mut watcher {
                watcher(&inner.memory, Line { phys, before });
            }
        }
        inner.watcher = watcher;
    }

    fn invalidate_cache(&self, _start: NonNull<u8>, _len_bytes: usize) {}

    fn dma_wmb(&self) {}

    fn dma_rmb(&self) {}

    fn dma_mb(&self) {}

    unsafe fn map_scattered(&self, _frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        unimplemented!()
    }

    unsafe fn unmap_scattered(&self, _start: NonNull<u8>, _frames: usize) {}

    unsafe fn map_frames(
        &self,
        _frames: PhysRange,
        _attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        unimplemented!()
    }

    unsafe fn unmap_frames(&self, _start: NonNull<u8>, _len_bytes: u64) {}

    fn virt_to_phys(&self, _virt: VirtAddr) -> Option<PhysAddr> {
        None
    }

    unsafe fn ioremap(
        &self,
        _range: PhysRange,
        _attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        unimplemented!()
    }

    unsafe fn iounmap(&self, _start: NonNull<u8>, _len_bytes: u64) {}

    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        let cpus = &self.0.cpus;
        let cpu = Cpu(PLACE.get() % cpus.len());
        assert!(!PINNED.replace(true), "nobody pins twice here");
        let _unpin = Unpin;
        let _alone = cpus[cpu.0].lock().unwrap_or_else(PoisonError::into_inner);
        f(cpu)
    }

    fn cpu_count(&self) -> usize {
        self.0.cpus.len()
    }

    fn relax(&self) {
        std::thread::yield_now();
    }

    fn now_ns(&self) -> u64 {
        0
    }

    fn call_at(&self, _deadline_ns: u64, _handler: InterruptHandler) {
        unimplemented!()
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

/// Also where what is done there panics.
struct Unpin;

impl Drop for Unpin {
    fn drop(&mut self) {
        PINNED.set(false);
    }
}
