//! What the host environment lends us: the one trait a port implements.
//!
//! A kernel implements [`Platform`] for a zero-sized type, the hosted port for a small handle, so that
//! many machines can live in one process. Everything here is a loan: memory goes back with
//! [`free_frames`](Platform::free_frames), a register window with [`iounmap`](Platform::iounmap), an
//! interrupt with [`free_interrupt`](Platform::free_interrupt). What a port's barriers are made of is in [`barrier`].

pub mod barrier;

use alloc::sync::Arc;
use core::ptr::NonNull;

use crate::addr::{BusAddr, FRAME_SIZE_LOG2, PhysAddr, PhysRange, VirtAddr};

/// Physically contiguous frames a caller would like to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRequest {
    /// Number of frames.
    pub count: usize,
    /// Alignment of the first byte, as a power of two of bytes; at least a frame.
    pub align_log2: u32,
    /// The highest physical address the last byte may have.
    pub last: PhysAddr,
    /// The memory node preferred, where the platform has several.
    pub node: Option<u32>,
}

impl FrameRequest {
    /// `count` frames anywhere, aligned to a frame.
    pub const fn new(count: usize) -> Self {
        Self {
            count,
            align_log2: FRAME_SIZE_LOG2,
            last: PhysAddr::new(u64::MAX),
            node: None,
        }
    }
}

/// No run of free frames satisfies a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {} contiguous frames aligned to 2^{} bytes at or below {}", .0.count, .0.align_log2, .0.last)]
pub struct OutOfFrames(
    /// What was asked for.
    pub FrameRequest,
);

/// A virtual mapping could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VirtualMapError {
    /// No virtual address space, or no bookkeeping for it, is left.
    #[error("no virtual address space left for {len_bytes:#x} bytes")]
    OutOfAddressSpace {
        /// Bytes asked for.
        len_bytes: u64,
    },
    /// Nothing answers at these physical addresses.
    #[error("nothing answers at physical {0}")]
    NothingThere(PhysRange),
}

/// How the CPU treats accesses to an [`ioremap`](Platform::ioremap)ped window, or to
/// [mapped frames](Platform::map_frames).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryAttribute {
    /// Each access goes to the device, or to memory, and not to a cache. Accesses to a device stay in order; those to
    /// memory in the order of the [barriers](Platform::dma_wmb).
    Uncached,
    /// Not to a cache either, and writes may be merged (frame buffers).
    WriteCombining,
}

/// An interrupt the platform lent: where a device writes what to raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    number: u32,
    address: BusAddr,
    data: u32,
}

impl Interrupt {
    /// An interrupt that a platform lends under a number of its own, raised by a write of `data` to `address`.
    ///
    /// # Safety
    /// That write raises an interrupt or does nothing, whoever makes it and whenever: devices that reach all memory are told to
    /// make it, by [safe calls](crate::pci::MsixTable::program).
    pub const unsafe fn new(number: u32, address: BusAddr, data: u32) -> Self {
        Self {
            number,
            address,
            data,
        }
    }

    /// The platform's own number for it.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// The bus address a message is written to.
    pub const fn address(&self) -> BusAddr {
        self.address
    }

    /// The value written.
    pub const fn data(&self) -> u32 {
        self.data
    }
}

/// All interrupts are lent out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no interrupt left to lend")]
pub struct OutOfInterrupts;

/// Called in interrupt context each time an interrupt arrives.
pub type InterruptHandler = Arc<dyn Fn() + Send + Sync>;

/// The CPU a piece of code runs on, while it is [pinned](Platform::pin).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(
    /// 0 up to, not including, [`Platform::cpu_count`].
    pub usize,
);

/// Which machine a [`Platform`]'s handle is of: what belongs to one machine is not used on another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MachineId(usize);

impl MachineId {
    /// The one machine that there is, for a kernel that runs on it.
    pub const ONLY: Self = Self(0);

    /// The machine of that number, other than 0, where there are several.
    pub const fn new(number: usize) -> Self {
        Self(number)
    }
}

impl core::fmt::Display for MachineId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "machine {:#x}", self.0)
    }
}

/// The host environment: memory, address translation, register windows, order, time, interrupts.
///
/// # Safety
/// The safe API of this crate rests on these promises of an implementer:
/// - [`allocate_frames`](Self::allocate_frames) returns RAM that is within the request, that nobody else
///   uses until it is freed, and that [`frame_pointer`](Self::frame_pointer) makes readable and writable
///   from every CPU for as long as it is not freed. Over one lent range the pointers are linear: that of the first byte and an
///   offset lead where the pointer of that byte does, in one allocation. They are aligned as the physical
///   addresses are, to a frame at least.
/// - [`memory_map`](Self::memory_map) tells of all RAM, whoever has it, and of nothing that is not: what it leaves out may be
///   mapped for devices as registers.
/// - Handles whose [`machine`](Self::machine) is the same are of one machine, whatever types they have: memory, registers
///   and interrupts of one are those of the other.
/// - [`map_scattered`](Self::map_scattered) makes the frames readable and writable side by side.
/// - [`map_frames`](Self::map_frames) makes the frames readable and writable past every cache that a device does not
///   snoop.
/// - [`virt_to_phys`](Self::virt_to_phys) tells the truth, and `None` for anything that is not RAM a device
///   could be given.
/// - [`ioremap`](Self::ioremap) returns a window through which register accesses (through `safe-mmio`)
///   reach exactly those physical addresses.
/// - The barriers and cache operations order and publish memory as documented.
/// - [`Lock`](Self::Lock) excludes other CPUs and interrupt handlers of this one.
/// - [`pin`](Self::pin) keeps the closure on one CPU whose number no other CPU has, not interrupted.
/// - [`fence_cpus`](Self::fence_cpus) has the other CPUs fence, where [`fences_cpus`](Self::fences_cpus) says that it does.
/// - An [`Interrupt`]'s address and data, written by a device, do nothing but raise that interrupt.
pub unsafe trait Platform: Copy + Send + Sync + 'static {
    /// A lock that is safe to take in interrupt context.
    type Lock: lock_api::RawMutex + Send + Sync + 'static;

    /// Which machine this is: functions found on it, claims on its registers and memory it lent are refused on others.
    /// [`MachineId::ONLY`] is right for a kernel, whose machine is the only one it knows.
    fn machine(&self) -> MachineId {
        MachineId::ONLY
    }

    /// Calls `visit` with each range of RAM, in ascending order, firmware's and what is lent included.
    fn memory_map(&self, visit: &mut dyn FnMut(PhysRange));

    /// Lends physically contiguous frames; their content is whatever was there.
    ///
    /// Must not sleep.
    ///
    /// # Errors
    /// [`OutOfFrames`] if no free run satisfies the request.
    fn allocate_frames(&self, request: FrameRequest) -> Result<PhysRange, OutOfFrames>;

    /// Takes frames back.
    ///
    /// # Safety
    /// `frames` came from [`allocate_frames`](Self::allocate_frames) as one range, is given back once, and no CPU
    /// pointer, page table or device refers to it any more.
    unsafe fn free_frames(&self, frames: PhysRange);

    /// The CPU's pointer to lent frames (the direct map): aligned as `phys` is, and linear over each lent range.
    fn frame_pointer(&self, phys: PhysAddr) -> NonNull<u8>;

    /// Makes `frames` readable and writable side by side at the address returned (`vmap`).
    ///
    /// # Errors
    /// [`VirtualMapError::OutOfAddressSpace`] when the address space or its bookkeeping is used up.
    ///
    /// # Safety
    /// Each frame is lent to the caller and stays so until [`unmap_scattered`](Self::unmap_scattered).
    unsafe fn map_scattered(&self, frames: &[PhysAddr]) -> Result<NonNull<u8>, VirtualMapError>;

    /// Undoes [`map_scattered`](Self::map_scattered).
    ///
    /// # Safety
    /// `start` and `frames` (a count) are of one earlier mapping, and nothing uses its addresses any more.
    unsafe fn unmap_scattered(&self, start: NonNull<u8>, frames: usize);

    /// A second mapping of lent frames, with an attribute that the direct map has not: what the CPU stores there
    /// reaches memory without cache maintenance, and what it loads is what memory holds. Where all hardware snoops,
    /// or the CPU has no caches, the direct map's pointer does as well and may be returned.
    ///
    /// # Errors
    /// [`VirtualMapError::OutOfAddressSpace`] when the address space or its bookkeeping is used up.
    ///
    /// # Safety
    /// - The frames are lent to the caller and stay so until [`unmap_frames`](Self::unmap_frames).
    /// - Their cached lines were [cleaned](Self::clean_cache) and then [invalidated](Self::invalidate_cache), and until
    ///   `unmap_frames` nobody accesses them through the direct map or another mapping. Whoever does so afterwards
    ///   invalidates them first.
    unsafe fn map_frames(
        &self,
        frames: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError>;

    /// Undoes [`map_frames`](Self::map_frames).
    ///
    /// # Safety
    /// `start` and `len_bytes` are of one earlier mapping, and nothing uses its addresses any more.
    unsafe fn unmap_frames(&self, start: NonNull<u8>, len_bytes: u64);

    /// X → Y: the physical address behind a virtual one, for memory a device could be given; page by page,
    /// as the next virtual page may lie anywhere. `None` for stacks, images, heaps that are not RAM of
    /// the machine, and addresses that are not mapped.
    fn virt_to_phys(&self, virt: VirtAddr) -> Option<PhysAddr>;

    /// B → C: a window onto registers.
    ///
    /// # Errors
    /// [`VirtualMapError`] when there is no address space or nothing to map.
    ///
    /// # Safety
    /// The caller owns these physical addresses (a claim in the resource tree), and they are not RAM.
    unsafe fn ioremap(
        &self,
        range: PhysRange,
        attribute: MemoryAttribute,
    ) -> Result<NonNull<u8>, VirtualMapError>;

    /// Undoes [`ioremap`](Self::ioremap).
    ///
    /// # Safety
    /// `start` and `len_bytes` are of one earlier window, and nothing uses it any more.
    unsafe fn iounmap(&self, start: NonNull<u8>, len_bytes: u64);

    /// Earlier writes to memory are visible to a device before later ones, to registers too (`dma_wmb`;
    /// [`barrier::dma_wmb`] for most ports).
    fn dma_wmb(&self);

    /// Earlier reads of memory a device writes, and of registers, are done before later ones (`dma_rmb`;
    /// [`barrier::dma_rmb`]).
    fn dma_rmb(&self);

    /// Earlier accesses, to memory and registers, are done before later ones (`mb`; [`barrier::dma_mb`]).
    fn dma_mb(&self);

    /// Writes dirty cache lines of this memory back, so that one who does not snoop sees it: every line that holds a
    /// byte of it. Returns after the last line reached memory; earlier stores are in it.
    fn clean_cache(&self, start: NonNull<u8>, len_bytes: usize);

    /// Drops cached lines of this memory, so that the CPU sees what one who does not snoop wrote. A line that also holds
    /// other bytes is written back first. Later loads come from memory.
    fn invalidate_cache(&self, start: NonNull<u8>, len_bytes: usize);

    /// Bytes of the longest cache line that [`clean_cache`](Self::clean_cache) and
    /// [`invalidate_cache`](Self::invalidate_cache) work on: a power of two.
    fn cache_line_bytes(&self) -> u64 {
        64
    }

    /// Runs `f` on the current CPU with interrupts off. It may be called again inside `f`: the inner closure is given the same
    /// CPU, and interrupts stay off until the outermost has ended. `f` does not sleep; should it panic, the CPU is left too.
    fn pin<R>(&self, f: impl FnOnce(Cpu) -> R) -> R;

    /// Number of CPUs [`pin`](Self::pin) may name; always the same.
    fn cpu_count(&self) -> usize;

    /// Whether [`fence_cpus`](Self::fence_cpus) does what it says; always the same. Where it does not, what is kept per CPU
    /// costs each use a fence of its own.
    fn fences_cpus(&self) -> bool {
        false
    }

    /// Has every other CPU execute a full barrier, and returns when they have (`membarrier`; an interrupt that cannot be masked).
    /// What this CPU did before is seen by what they do after it, and what they did before it by what this CPU does after.
    ///
    /// It is called seldom, but under a [`Lock`](Self::Lock), for which others may spin with interrupts off: where
    /// that keeps them from fencing, there is no such thing.
    fn fence_cpus(&self) {}

    /// Called in every loop that waits for hardware: a pause, a yield, or a step of a simulated clock.
    fn relax(&self);

    /// A monotonic clock, in nanoseconds.
    fn now_ns(&self) -> u64;

    /// Calls `handler` once, not before `deadline_ns` of [`now_ns`](Self::now_ns)'s clock (deferred flushes).
    fn call_at(&self, deadline_ns: u64, handler: InterruptHandler);

    /// Lends an interrupt. `handler` runs at each arrival; arrivals are counted in any case.
    ///
    /// # Errors
    /// [`OutOfInterrupts`] when none is left.
    fn allocate_interrupt(
        &self,
        handler: Option<InterruptHandler>,
    ) -> Result<Interrupt, OutOfInterrupts>;

    /// Takes an interrupt back; its handler does not run after this returns.
    fn free_interrupt(&self, interrupt: Interrupt);

    /// The physical addresses that devices write to raise interrupts, whole frames, where some write there through an
    /// IOMMU that translates interrupt messages like any write (SMMUv3, RISC-V): they are then mapped for every
    /// device. `None` where no device does.
    fn message_window(&self) -> Option<PhysRange> {
        None
    }

    /// How often the interrupt has arrived.
    fn interrupt_count(&self, interrupt: Interrupt) -> u64;

    /// Waits until the interrupt has arrived more than `seen` times, or the clock passes `deadline_ns`;
    /// returns how often it has arrived. May return early.
    fn wait_for_interrupt(&self, interrupt: Interrupt, seen: u64, deadline_ns: u64) -> u64;

    /// Stops everything: a promise that safety rests on was broken.
    fn fatal(&self, message: &str) -> !;
}
