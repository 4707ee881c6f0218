//! A kernel in a process: the port of `dmamap` that runs on any [`board`].
//!
//! ```text
//!    what dmamap asks for              who answers it here            what it rests on
//!    ────────────────────              ───────────────────            ────────────────
//!    allocate_frames                   frames       buddy, poison     the memory map
//!    frame_pointer, virt_to_phys       memory       direct map        board::ram::RamMapping
//!    map_scattered                     vmalloc      X → Y per page    board::ram::Reservation
//!    ioremap                           ioremap      B → C             board::mmio::RegisterWindow
//!    clean_cache, invalidate_cache     cache        X → Y, by pages   Hardware::maintain_cache
//!    map_frames                        vmalloc      past the caches   Hardware::uncached_ram
//!    host_bridges                      host_bridges A ↔ B, Y ↔ Z      Hardware::host_bridges
//!    allocate_interrupt, call_at       interrupts   interrupt thread  board::hardware::InterruptSink
//!    pin, relax, now_ns                cpu, relax, clock              the host
//!    fence_cpus                        membarrier                     the host's call of that name
//! ```
//!
//! [`Hosted`] is the handle, [`platform`](self) is where each promise of
//! [`Platform`](dmamap::platform::Platform) is kept. Whoever ports `dmamap` to a kernel writes the same file
//! over that kernel's own services. [`FaultInjector`], [`Forgetful`] and [`Tracer`] wrap any platform, this one or another.
//!
//! ```
//! use dmamap::platform::{FrameRequest, Platform};
//! use hosted::Hosted;
//! use machine::{Machine, MachineConfig};
//!
//! let machine = Machine::boot(MachineConfig::default())?;
//! let kernel = Hosted::boot(machine.clone())?;
//!
//! let frames = kernel.allocate_frames(FrameRequest::new(3))?;
//! assert_eq!(kernel.frames().in_use, 3);
//! // SAFETY: nothing refers to these frames.
//! unsafe { kernel.free_frames(frames) };
//!
//! machine.shutdown();
//! assert!(kernel.shutdown().is_clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod platform;

mod kernel;

mod cache;
mod clock;
mod cpu;
mod frames;
mod host_bridges;
mod interrupts;
mod ioremap;
mod membarrier;
mod memory;
mod relax;
mod vmalloc;

mod forward;

mod barrier_observer;
mod fault_injector;
mod forgetful;
mod tracer;

use std::fmt;
use std::sync::Arc;

use board::hardware::{Hardware, InterruptSink};
use dmamap::addr::{PhysAddr, VirtAddr};
use dmamap::bridge::HostBridge;
use dmamap::platform::Interrupt;
use firmware::{PhysicalMemory, Unreadable};

pub use barrier_observer::{Barrier, BarrierObserver};
pub use fault_injector::{FaultInjector, Persistence, Resource};
pub use forgetful::{Forget, Forgetful, Maintenance};
pub use frames::{FrameCounts, FreeError, POISON};
pub use host_bridges::HostBridgeError;
pub use kernel::{BootError, ShutdownReport};
pub use tracer::{PlatformCall, Tracer};

use kernel::{Kernel, Lent};

/// Most virtual CPUs a kernel boots with, however many the host has.
const MAX_CPUS: usize = 16;

/// A kernel that runs on a board, as a handle to pass around.
///
/// The kernel behind it is leaked, so a handle is never invalid. After [`shutdown`](Self::shutdown) it lends
/// nothing any more, and never something of a kernel booted later.
#[derive(Clone, Copy)]
pub struct Hosted(&'static Kernel);

impl Hosted {
    /// Boots on `hardware`: maps its memory, frames it, and takes its interrupts.
    ///
    /// # Errors
    /// [`BootError`] when the memory cannot be mapped or firmware leaves none.
    pub fn boot(hardware: Arc<dyn Hardware>) -> Result<Self, BootError> {
        // Two at least: what is only right on one CPU shall not look right.
        let cpus =
            std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, MAX_CPUS));
        Self::boot_with_cpus(hardware, cpus)
    }

    /// As [`boot`](Self::boot), with a number of virtual CPUs (at least one) that does not depend on the host.
    ///
    /// # Errors
    /// As [`boot`](Self::boot).
    pub fn boot_with_cpus(hardware: Arc<dyn Hardware>, cpus: usize) -> Result<Self, BootError> {
        Kernel::boot(hardware, cpus.max(1)).map(Self)
    }

    /// The board, until [`shutdown`](Self::shutdown). Not for drivers, which have this handle as well: who has the board can
    /// do to memory what hardware can.
    fn hardware(&self) -> Option<Arc<dyn Hardware>> {
        self.0.hardware()
    }

    /// Where firmware left the ACPI root pointer.
    pub fn rsdp(&self) -> Option<PhysAddr> {
        self.hardware()?.rsdp().map(PhysAddr::new)
    }

    /// The flattened devicetree, where firmware describes the board by one.
    pub fn devicetree(&self) -> Option<Vec<u8>> {
        self.hardware()?.devicetree()
    }

    /// The PCI host bridges firmware describes; none after shutdown.
    ///
    /// # Errors
    /// [`HostBridgeError`] for the first one that cannot be as it is described.
    pub fn host_bridges(&self) -> Result<Vec<HostBridge>, HostBridgeError> {
        let described = self.hardware().map(|hardware| hardware.host_bridges());
        described
            .iter()
            .flatten()
            .map(host_bridges::checked)
            .collect()
    }

    /// Who has which part of the memory.
    pub fn frames(&self) -> FrameCounts {
        self.0.frames.counts()
    }

    /// Where the register at `phys` is mapped now, as `/proc/vmallocinfo` would tell; `None` if nowhere.
    pub fn ioremapped(&self, phys: PhysAddr) -> Option<VirtAddr> {
        self.0.windows.find(phys)
    }

    /// Raises an interrupt as the message of a device would, from the calling thread.
    pub fn raise(&self, interrupt: Interrupt) {
        let message = interrupt.address().as_u64();
        self.0.interrupts.deliver(message, interrupt.data());
    }

    /// What is lent now, and what went wrong so far.
    pub fn report(&self) -> ShutdownReport {
        self.0.report()
    }

    /// Whether the kernel was shut down: it has no board any more.
    pub fn is_shut_down(&self) -> bool {
        self.0.is_down()
    }

    /// Stops the interrupt thread, parts with the board and gives the RAM that is not lent back to the host. Stop the
    /// board's devices first.
    ///
    /// Memory that is still lent is as it was: somebody may look at it. A second call only reports.
    pub fn shutdown(&self) -> ShutdownReport {
        self.0.shutdown(Lent::Kept)
    }

    /// As [`shutdown`](Self::shutdown), and gives back to the host what is lent, too: it reads as zeros from now on. Pointers
    /// to it stay valid.
    ///
    /// # Safety
    /// No reference to memory that this kernel lent is used any more: no buffer's slice, and none that lies in wait in
    /// what was forgotten.
    pub unsafe fn power_off(&self) -> ShutdownReport {
        self.0.shutdown(Lent::Discarded)
    }
}

/// Firmware's tables are read from what firmware keeps of RAM for itself, and nothing else is: what the kernel has may be
/// behind somebody's reference.
impl PhysicalMemory for Hosted {
    fn read(&self, phys: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        self.0.memory.read(phys, into)
    }
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosted")
            .field("report", &self.report())
            .finish_non_exhaustive()
    }
}
