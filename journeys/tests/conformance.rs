//! The suite a port runs: a right port passes, and each promise that is broken is found by its name.

use std::mem::discriminant;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dmamap::addr::{BusAddr, FRAME_BYTES, PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MemoryAttribute, OutOfFrames, OutOfInterrupts,
    Platform, VirtualMapError,
};
use hosted::Hosted;
use journeys::conformance::{Violation, conformance};
use machine::{Machine, MachineConfig};

fn on_four_threads(work: &(dyn Fn() + Sync)) {
    thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(work);
        }
    });
}

fn boot() -> (Arc<Machine>, Hosted) {
    let machine = Machine::boot(MachineConfig::default().with_ram(256 << 20)).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    (machine, kernel)
}

#[test]
fn a_kernel_in_a_process_keeps_every_promise() {
    let (machine, kernel) = boot();
    let report = conformance(kernel, &on_four_threads).unwrap();
    assert!(report.frames > 100 && report.pins > 1000, "{report:?}");
    machine.shutdown();
    assert!(kernel.shutdown().is_clean(), "{:?}", kernel.report());
}

/// A promise that a port breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    UnalignedFrames,
    FramesAboveTheLimit,
    FramesLentTwice,
    FramesNeverTakenBack,
    OnePointerForAll,
    PhysOffByAPage,
    StackIsMemory,
    ScatteredInOrder,
    InvalidateWithoutClean,
    UncachedElsewhere,
    ClockGoesBack,
    ClockStands,
    DeadlineAtOnce,
    DeadlineNever,
    DeadlineTwice,
    CpuOutOfRange,
    EveryoneOnOneCpu,
    OneMessageForAll,
    InterruptsByThemselves,
}

/// A port that breaks one promise.
#[derive(Clone, Copy)]
struct Liar {
    inner: Hosted,
    lie: Lie,
    /// What the lie needs to remember.
    memory: &'static AtomicU64,
}

// SAFETY: it is not: the suite must find out. What the lies make the suite touch is memory lent to it all the same: each
// points into frames that the real platform lent.
unsafe impl Platform for Liar {
    type Lock = parking_lot::RawMutex;

    fn memory_map(&self, visit: &mut dyn FnMut(PhysRange)) {
        self.inner.memory_map(visit);
    }

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        match self.lie {
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
                let first = self.memory.load(Ordering::Relaxed);
                if first != 0 {
                    return Ok(PhysRange::new(PhysAddr::new(first), 2 * FRAME_BYTES).unwrap());
                }
                // Low enough for every limit.
                let last = PhysAddr::new((64 << 20) - 1);
                let frames = self
                    .inner
                    .allocate_frames(FrameRequest { last, ..request })?;
                self.memory
                    .store(frames.start().as_u64(), Ordering::Relaxed);
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
        let first = match self.memory.load(Ordering::Relaxed) {
            0 => phys.as_u64(),
            first => first,
        };
        self.memory.store(first, Ordering::Relaxed);
        self.inner.frame_pointer(PhysAddr::new(first))
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        let mut frames = frames.to_vec();
        if self.lie == Lie::ScatteredInOrder {
            frames.sort_unstable();
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
        // SAFETY: the caller's promise is this one's.
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

    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        match self.lie {
            Lie::CpuOutOfRange => self.inner.pin(|cpu| f(Cpu(cpu.0 + self.inner.cpu_count()))),
            Lie::EveryoneOnOneCpu => f(Cpu(0)),
            _ => self.inner.pin(f),
        }
    }

    fn cpu_count(&self) -> usize {
        self.inner.cpu_count()
    }

    fn relax(&self) {
        if self.lie != Lie::ClockStands {
            self.inner.relax();
        }
    }

    fn now_ns(&self) -> u64 {
        match self.lie {
            Lie::ClockGoesBack => u64::MAX - self.inner.now_ns(),
            Lie::ClockStands => 1,
            _ => self.inner.now_ns(),
        }
    }

    fn call_at(&self, deadline_ns: u64, handler: InterruptHandler) {
        match self.lie {
            Lie::DeadlineAtOnce => handler(),
            Lie::DeadlineNever => {}
            Lie::DeadlineTwice => {
                self.inner.call_at(deadline_ns, Arc::clone(&handler));
                self.inner.call_at(deadline_ns, handler);
            }
            _ => self.inner.call_at(deadline_ns, handler),
        }
    }

    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        self.inner.allocate_interrupt(handler).map(|mut lent| {
            if self.lie == Lie::OneMessageForAll {
                (lent.address, lent.data) = (BusAddr::new(0xfee0_0000), 0);
            }
            lent
        })
    }

    fn free_interrupt(&self, interrupt: Interrupt) {
        if self.lie != Lie::OneMessageForAll {
            self.inner.free_interrupt(interrupt);
        }
    }

    fn interrupt_count(&self, interrupt: Interrupt) -> u64 {
        let by_itself = u64::from(self.lie == Lie::InterruptsByThemselves);
        self.inner.interrupt_count(interrupt) + by_itself
    }

    fn wait_for_interrupt(&self, interrupt: Interrupt, seen: u64, deadline_ns: u64) -> u64 {
        self.inner.wait_for_interrupt(interrupt, seen, deadline_ns)
    }

    fn fatal(&self, message: &str) -> ! {
        self.inner.fatal(message)
    }
}

fn verdict(lie: Lie) -> Violation {
    let (machine, inner) = boot();
    let memory = Box::leak(Box::new(AtomicU64::new(0)));
    let liar = Liar { inner, lie, memory };
    let found = conformance(liar, &on_four_threads);
    machine.shutdown();
    inner.shutdown();
    found.expect_err(&format!("{lie:?} was not noticed"))
}

#[test]
fn each_broken_promise_is_found_by_its_name() {
    let range = PhysRange::new(PhysAddr::new(0), 0).unwrap();
    let (phys, virt) = (PhysAddr::new(0), VirtAddr::new(0));
    let request = FrameRequest::new(1);
    let not_as_requested = Violation::NotAsRequested {
        request,
        frames: range,
    };
    let wrong_phys = Violation::WrongPhys {
        virt,
        expected: None,
        found: None,
    };
    let interrupt = Interrupt {
        number: 0,
        address: BusAddr::new(0),
        data: 0,
    };
    let expected = [
        (Lie::UnalignedFrames, not_as_requested),
        (Lie::FramesAboveTheLimit, not_as_requested),
        (
            Lie::FramesLentTwice,
            Violation::LentTwice {
                frames: range,
                other: range,
            },
        ),
        (
            Lie::FramesNeverTakenBack,
            Violation::FramesLost { rounds: 0 },
        ),
        (Lie::OnePointerForAll, Violation::NotMemory { phys }),
        (Lie::PhysOffByAPage, wrong_phys),
        (Lie::StackIsMemory, wrong_phys),
        (
            Lie::ScatteredInOrder,
            Violation::ScatteredElsewhere { offset: 0 },
        ),
        (
            Lie::InvalidateWithoutClean,
            Violation::CacheLosesWrites {
                operation: "",
                offset: 0,
            },
        ),
        (Lie::UncachedElsewhere, Violation::OtherMemory { offset: 0 }),
        (
            Lie::ClockGoesBack,
            Violation::ClockGoesBack {
                earlier: 0,
                later: 0,
            },
        ),
        (Lie::ClockStands, Violation::ClockStands { looks: 0 }),
        (Lie::DeadlineAtOnce, Violation::CalledEarly { early_ns: 0 }),
        (Lie::DeadlineTwice, Violation::NotCalledOnce { times: 0 }),
        (
            Lie::CpuOutOfRange,
            Violation::NoSuchCpu { cpu: 0, count: 0 },
        ),
        (Lie::EveryoneOnOneCpu, Violation::CpuShared { cpu: 0 }),
        (
            Lie::OneMessageForAll,
            Violation::OneMessage {
                first: interrupt,
                second: interrupt,
            },
        ),
        (
            Lie::InterruptsByThemselves,
            Violation::Unraised {
                interrupt,
                count: 0,
            },
        ),
    ];
    for (lie, violation) in expected {
        let found = verdict(lie);
        let right = discriminant(&found) == discriminant(&violation);
        assert!(right, "{lie:?} was taken for: {found}");
    }
}

/// Takes the ten seconds that a deadline may be late.
#[test]
#[ignore = "waits as long as a deadline may be late"]
fn a_deadline_that_never_comes_is_found() {
    let found = verdict(Lie::DeadlineNever);
    assert_eq!(found, Violation::NotCalledOnce { times: 0 });
}
