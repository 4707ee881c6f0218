//! One kernel: what boot makes of a board, and what shutdown leaves.

use std::ops::Range;
use std::sync::Arc;

use board::hardware::{Hardware, InterruptSink};
use board::ram::RamError;
use dmamap::addr::{PhysAddr, VirtAddr};
use parking_lot::RwLock;

use crate::cpu::Cpus;
use crate::frames::{FrameCounts, Frames, PoisonMap};
use crate::interrupts::{Dispatcher, Interrupts};
use crate::ioremap::Windows;
use crate::memory::Memory;
use crate::vmalloc::Vmalloc;

/// Why a kernel could not boot.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The board's memory cannot be mapped.
    #[error("the memory of {board} cannot be mapped: {source}")]
    Map {
        /// The board's name.
        board: String,
        /// What failed.
        source: RamError,
    },
    /// Firmware keeps all memory for itself, or there is none.
    #[error("{board} has no memory for a kernel: firmware keeps all of it")]
    NoMemory {
        /// The board's name.
        board: String,
    },
}

/// What a kernel had not given back when it was shut down, and what went wrong on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Frames: those in use were never freed.
    pub frames: FrameCounts,
    /// Scattered mappings that live.
    pub scattered_mappings: usize,
    /// Mappings of frames past the caches that live.
    pub uncached_mappings: usize,
    /// Register windows, and mappings of memory on devices, that are open.
    pub register_windows: usize,
    /// Interrupts that are lent.
    pub interrupts: usize,
    /// Messages that were no interrupt anybody held.
    pub spurious_interrupts: u64,
    /// Interrupt handlers and timers that panicked.
    pub handler_panics: u64,
}

impl ShutdownReport {
    /// Whether everything lent came back and nothing went wrong.
    pub fn is_clean(&self) -> bool {
        let mappings = self.scattered_mappings + self.uncached_mappings;
        let lent = mappings + self.register_windows + self.interrupts;
        self.frames.in_use == 0
            && self.frames.disturbed == 0
            && lent == 0
            && self.handler_panics == 0
    }
}

/// What becomes of memory that is lent when its kernel is shut down.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lent {
    /// It is as it was.
    Kept,
    /// It goes back to the host and reads as zeros.
    Discarded,
}

/// Everything a [`Hosted`](crate::Hosted) handle reaches. Leaked at boot: a handle never dangles.
pub(crate) struct Kernel {
    /// `None` once shut down.
    hardware: RwLock<Option<Arc<dyn Hardware>>>,
    pub(crate) memory: Memory,
    pub(crate) frames: Frames,
    pub(crate) poison: PoisonMap,
    pub(crate) vmalloc: Vmalloc,
    /// Mappings of memory beneath the caches. Not known to [`phys_of`](Self::phys_of): it is no memory to be mapped for
    /// a device again.
    pub(crate) uncached: Vmalloc,
    /// Mappings of memory on devices; likewise.
    pub(crate) device_memory: Vmalloc,
    pub(crate) windows: Windows,
    pub(crate) interrupts: Arc<Interrupts>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) cpus: Cpus,
}

impl Kernel {
    pub(crate) fn boot(
        hardware: Arc<dyn Hardware>,
        cpus: usize,
    ) -> Result<&'static Self, BootError> {
        let board = || hardware.name().to_owned();
        let memory = Memory::map(&*hardware).map_err(|source| BootError::Map {
            board: board(),
            source,
        })?;
        let frames = Frames::new(memory.usable());
        if frames.counts().total == 0 {
            return Err(BootError::NoMemory { board: board() });
        }
        let dispatcher = Arc::new(Dispatcher::default());
        let interrupts = Arc::new(Interrupts::new(
            hardware.message_window(),
            cpus,
            Arc::clone(&dispatcher),
        ));
        hardware.connect_interrupts(Arc::clone(&interrupts) as Arc<dyn InterruptSink>);
        Ok(Box::leak(Box::new(Self {
            poison: PoisonMap::new(memory.end()),
            hardware: RwLock::new(Some(hardware)),
            memory,
            frames,
            vmalloc: Vmalloc::default(),
            uncached: Vmalloc::default(),
            device_memory: Vmalloc::default(),
            windows: Windows::default(),
            interrupts,
            dispatcher,
            cpus: Cpus::new(cpus),
        })))
    }

    /// The board, until shutdown.
    pub(crate) fn hardware(&self) -> Option<Arc<dyn Hardware>> {
        self.hardware.read().clone()
    }

    /// Whether it was shut down.
    pub(crate) fn is_down(&self) -> bool {
        self.hardware.read().is_none()
    }

    /// Lets the hardware know that somebody waits for it.
    pub(crate) fn idle(&self) {
        if let Some(hardware) = self.hardware() {
            hardware.idle();
        }
    }

    /// X → Y, whichever way `virt` is mapped.
    pub(crate) fn phys_of(&self, virt: VirtAddr) -> Option<PhysAddr> {
        self.memory
            .phys_of(virt)
            .or_else(|| self.vmalloc.phys_of(virt))
    }

    /// What is lent now and what went wrong so far.
    pub(crate) fn report(&self) -> ShutdownReport {
        ShutdownReport {
            frames: self.frames.counts(),
            scattered_mappings: self.vmalloc.count(),
            uncached_mappings: self.uncached.count(),
            register_windows: self.windows.count() + self.device_memory.count(),
            interrupts: self.interrupts.lent_count(),
            spurious_interrupts: self.interrupts.spurious_count(),
            handler_panics: self.dispatcher.panic_count(),
        }
    }

    /// Parts with the board.
    ///
    /// Memory that is still mapped stays mapped, and windows that are open stay open, for whoever kept a
    /// pointer; but RAM that is not lent, or all of it, goes back to the host and reads as zeros.
    pub(crate) fn shutdown(&self, lent: Lent) -> ShutdownReport {
        let report = self.report();
        self.dispatcher.stop();
        let Some(hardware) = self.hardware.write().take() else {
            return report;
        };
        // From here on nothing is lent, so what is not lent now stays nobody's.
        let kept = match (self.frames.close(), lent) {
            (kept, Lent::Kept) => kept,
            (_, Lent::Discarded) => Vec::new(),
        };
        for region in self.memory.regions_without(&kept) {
            discard(&*hardware, region);
        }
        report
    }
}

fn discard(hardware: &dyn Hardware, region: Range<u64>) {
    for ram in [Some(hardware.ram()), hardware.uncached_ram()] {
        let discarded = ram.map(|ram| ram.discard(region.start, region.end - region.start));
        if let Some(Err(error)) = discarded {
            log::warn!("memory {region:#x?} stays with the process: {error}");
        }
    }
}
