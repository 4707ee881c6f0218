//! The kernel as a CPU has it that nobody disturbs: locks and interrupts cost what they cost elsewhere here.
//!
//! A kernel in a process keeps threads apart where a kernel turns interrupts off, at the price of locked operations that no
//! kernel makes. Here one thread alone maps, or each thread is a CPU ([`cpus`]), so that none is needed. And it looks for the machine that an address is of, where a kernel
//! has a direct map: here that is a sum, too.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::Arc;

use board::hardware::Hardware;
use dmamap::addr::{PhysAddr, PhysRange, VirtAddr};
use dmamap::platform::{
    Cpu, FrameRequest, Interrupt, InterruptHandler, MachineId, MemoryAttribute, OutOfFrames,
    OutOfInterrupts, Platform, VirtualMapError, barrier,
};
use hosted::Hosted;
use journeys::Computer;
use journeys::boot::{BootOptions, MachineDescription};

use crate::PeersError;
use crate::cpus;
use crate::spin_lock::SpinLock;

/// Who uses the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// One thread at a time.
    One,
    /// Threads, each of which is the CPU of its [number](cpus::current), one of the first [`FEW`].
    Threads,
}

/// CPUs where each thread is one: what is shared out among CPUs is so in a few parts, as on a small machine.
pub const FEW: usize = 4;

/// How far a reading of the clock is from the CPU's last one: no deadline comes near, however long a tool takes over an instruction.
const STEP_NS: u64 = 20;

thread_local! {
    /// The clock of a thread that is a CPU.
    static CLOCK_NS: Cell<u64> = const { Cell::new(0) };
}

/// A kernel that no interrupt handler ever enters.
#[derive(Clone, Copy)]
pub struct Undisturbed(Hosted, DirectMap, Cpus);

/// Where the kernel has physical address 0, and the end of its memory.
#[derive(Clone, Copy)]
struct DirectMap {
    start: NonNull<u8>,
    end: u64,
}

// SAFETY: an address alone: who has memory there says so with it.
unsafe impl Send for DirectMap {}
// SAFETY: as above.
unsafe impl Sync for DirectMap {}

/// Boots the computer that `board` is, used by `cpus`.
///
/// # Errors
/// [`PeersError::Failed`] where the host has no memory for it, or firmware does not describe it.
///
/// # Safety
/// Until the process ends, nobody but `cpus` uses it, and no device of it is set to work.
pub(crate) unsafe fn boot(
    board: Arc<dyn Hardware>,
    cpus: Cpus,
    options: BootOptions,
) -> Result<Computer<Undisturbed>, PeersError> {
    let failed = |what| move || PeersError::failed("dmamap", what);
    let kernel = match cpus {
        Cpus::One => Hosted::boot(board),
        Cpus::Threads => Hosted::boot_with_cpus(board, FEW),
    };
    let kernel = kernel.ok().ok_or_else(failed("boot"))?;
    let described = kernel.host_bridges().ok().zip(kernel.rsdp());
    let (mut bridges, rsdp) = described.ok_or_else(failed("describe its computer"))?;
    let description = MachineDescription {
        rsdp,
        host_bridge: bridges.remove(0),
    };
    // SAFETY: the caller's promise; and of devices that do no work none interrupts.
    let platform = unsafe { Undisturbed::new(kernel, cpus) };
    // SAFETY: the description is the computer's own, and nobody else drives it.
    let computer = unsafe { journeys::boot::boot(platform, &description, &kernel, options) };
    computer.ok().ok_or_else(failed("find its devices"))
}

impl Undisturbed {
    /// `kernel`, as `cpus` have it.
    ///
    /// # Safety
    /// Until the process ends, nobody but `cpus` uses `dmamap` on it, and no device of its computer interrupts.
    unsafe fn new(kernel: Hosted, cpus: Cpus) -> Self {
        let mut end = 0;
        kernel.memory_map(&mut |ram| end = ram.last().as_u64() + 1);
        let start = kernel.frame_pointer(PhysAddr::new(0));
        Self(kernel, DirectMap { start, end }, cpus)
    }
}

// SAFETY: most calls go to the kernel, which keeps the promises. Locks exclude; `pin` names one CPU to one thread at a time, and
// no handler runs: of one thread that is the promise made to `new`, and no other CPU has anything to fence; a thread that is a CPU has its
// number until it ends, and one that is no CPU's is refused; others fence by the host's call. Their clocks go on, if slowly, and no
// deadline is reached: a handler would have to wait for ever. The kernel's direct map is linear
// and begins at physical 0, so that the pointer of a frame, and the way back within RAM, is a sum.
unsafe impl Platform for Undisturbed {
    type Lock = SpinLock;

    #[inline]
    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R {
        match self.2 {
            Cpus::One => f(Cpu(0)),
            Cpus::Threads => {
                let number = cpus::current();
                assert!(number < FEW, "more threads than CPUs");
                f(Cpu(number))
            }
        }
    }

    #[inline]
    fn cpu_count(&self) -> usize {
        match self.2 {
            Cpus::One => 1,
            Cpus::Threads => FEW,
        }
    }

    #[inline]
    fn fences_cpus(&self) -> bool {
        match self.2 {
            Cpus::One => true,
            Cpus::Threads => cpus::can_fence_all(),
        }
    }

    fn fence_cpus(&self) {
        match self.2 {
            Cpus::One => {}
            Cpus::Threads => cpus::fence_all(),
        }
    }

    fn machine(&self) -> MachineId {
        self.0.machine()
    }

    fn memory_map(&self, visit: &mut dyn FnMut(PhysRange)) {
        self.0.memory_map(visit);
    }

    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames> {
        self.0.allocate_frames(request)
    }

    unsafe fn free_frames(&self, frames: PhysRange) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.free_frames(frames) }
    }

    #[inline]
    fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8> {
        // SAFETY: frames are RAM, all of which the direct map holds.
        unsafe { self.1.start.add(phys.as_u64() as usize) }
    }

    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.map_scattered(frames) }
    }

    unsafe fn unmap_scattered(&self, start: NonNull<u8>, frames: usize) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.unmap_scattered(start, frames) }
    }

    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.map_frames(frames, attribute) }
    }

    unsafe fn unmap_frames(&self, start: NonNull<u8>, len_bytes: u64) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.unmap_frames(start, len_bytes) }
    }

    #[inline]
    fn virt_to_phys(&self, virt: VirtAddr) -> Option<PhysAddr> {
        let phys = virt.as_u64().wrapping_sub(self.1.start.addr().get() as u64);
        match phys < self.1.end {
            true => Some(PhysAddr::new(phys)),
            false => self.0.virt_to_phys(virt),
        }
    }

    unsafe fn ioremap(
        &self,
        range: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError> {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.ioremap(range, attribute) }
    }

    unsafe fn iounmap(&self, start: NonNull<u8>, len_bytes: u64) {
        // SAFETY: the caller's promise is this one's.
        unsafe { self.0.iounmap(start, len_bytes) }
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
        self.0.clean_cache(start, len_bytes);
    }

    fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize) {
        self.0.invalidate_cache(start, len_bytes);
    }

    fn cache_line_bytes(&self) -> u64 {
        self.0.cache_line_bytes()
    }

    fn relax(&self) {
        self.0.relax();
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        match self.2 {
            Cpus::One => self.0.now_ns(),
            Cpus::Threads => CLOCK_NS.replace(CLOCK_NS.get() + STEP_NS),
        }
    }

    fn call_at(&self, deadline_ns: u64, handler: InterruptHandler) {
        match self.2 {
            Cpus::One => self.0.call_at(deadline_ns, handler),
            Cpus::Threads => {}
        }
    }

    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts> {
        self.0.allocate_interrupt(handler)
    }

    fn free_interrupt(&self, interrupt: Interrupt) {
        self.0.free_interrupt(interrupt);
    }

    fn message_window(&self) -> Option<PhysRange> {
        self.0.message_window()
    }

    fn interrupt_count(&self, interrupt: Interrupt) -> u64 {
        self.0.interrupt_count(interrupt)
    }

    fn wait_for_interrupt(&self, interrupt: Interrupt, seen: u64, deadline_ns: u64) -> u64 {
        self.0.wait_for_interrupt(interrupt, seen, deadline_ns)
    }

    fn fatal(&self, message: &str) -> ! {
        self.0.fatal(message)
    }
}
