//! Memory that is one device's own: declared once, and coherent memory for it comes from there alone
//! (`dma_declare_coherent_memory`).
//!
//! Such memory lies on the device ([behind a BAR](Device::declare_coherent_bar)), or firmware
//! [set it aside](crate::system::DmaSystem::adopt_device_memory) for it (a reserved-memory node); it has a bus
//! address of its own, and no IOMMU stands before it. A device that has some is never given other coherent memory:
//! when it is used up, allocating fails.
//!
//! ```
//! # use board as _;
//! use core::ptr::NonNull;
//! use dmamap::addr::BusRange;
//! use dmamap::device::Device;
//! # use dmamap::platform::Platform;
//!
//! # fn example<P: Platform>(device: &Device<P>, start: NonNull<u8>, bus: BusRange) -> Result<(), Box<dyn std::error::Error>> {
//! // SAFETY: `start` is our mapping of the device's 64 KiB of memory, made for good, and nobody else uses it.
//! unsafe { device.declare_coherent_memory(start, bus)? };
//! let ring = device.alloc_coherent::<u64>(512)?;
//! assert!(ring.bus_addr() >= bus.start());
//! assert!(device.release_coherent_memory().is_err(), "the ring is still there");
//! drop(ring);
//! device.release_coherent_memory()?;
//! # Ok(())
//! # }
//! ```

use alloc::sync::Arc;
use core::ptr::NonNull;

use crate::addr::{BusRange, DmaMask, FRAME_BYTES, FRAME_SIZE_LOG2, PhysRange};
use crate::bitmap::{Bitmap, RunRequest};
use crate::buffer::ContiguousArea;
use crate::device::{Device, DeviceCore};
use crate::iommu::Requester;
use crate::map::uncached::Uncached;
use crate::map::window::copy_in;
use crate::mmio::Mmio;
use crate::platform::{MemoryAttribute, Platform, VirtualMapError};

/// Why memory could not be declared, or the declaration not be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeclareError {
    /// The device has declared memory already.
    #[error("{device}: coherent memory at bus {declared} is declared already")]
    AlreadyDeclared {
        /// The device.
        device: Requester,
        /// What it has.
        declared: BusRange,
    },
    /// Declared memory is whole frames, at least one, for the CPU and on the bus.
    #[error("{device}: coherent memory at bus {memory} is not whole frames")]
    NotFrames {
        /// The device.
        device: Requester,
        /// What was to be declared.
        memory: BusRange,
    },
    /// A window that is not onto memory behind one of the device's own BARs, or that parts were carved out of.
    #[error("{device}: {registers} is not memory behind a BAR of its own")]
    NotItsOwn {
        /// The device.
        device: Requester,
        /// Where the window leads.
        registers: PhysRange,
    },
    /// There is no memory to keep account of so many frames.
    #[error("{device}: no memory to keep account of bus {memory}")]
    TooLong {
        /// The device.
        device: Requester,
        /// What was to be declared.
        memory: BusRange,
    },
    /// Nothing is declared.
    #[error("{device}: no coherent memory is declared")]
    NotDeclared {
        /// The device.
        device: Requester,
    },
    /// Some of it is in use.
    #[error("{device}: {used_frames} frames of the coherent memory at bus {declared} are in use")]
    InUse {
        /// The device.
        device: Requester,
        /// The memory.
        declared: BusRange,
        /// Frames that are not freed.
        used_frames: usize,
    },
}

/// The device's own memory has no room left, or none within its mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room for {len_bytes:#x} bytes in the device's own memory at bus {declared}, of which {used_frames} frames are used"
)]
pub struct DeclaredFull {
    /// Bytes asked for.
    pub len_bytes: u64,
    /// The declared memory.
    pub declared: BusRange,
    /// Its frames that are in use.
    pub used_frames: usize,
}

/// Who keeps the CPU's way to declared memory open.
enum Kept<P: Platform> {
    /// Whoever declared it.
    ByCaller,
    /// A window onto a BAR.
    Window(#[expect(dead_code, reason = "closed when it is dropped")] Mmio<P>),
    /// A mapping of frames.
    Frames(Uncached<P>),
}

/// Memory that one device declared, or that firmware set aside for several: the CPU's side of it, and what of it is used.
pub(crate) struct Ground<P: Platform> {
    start: NonNull<u8>,
    frames: usize,
    used: lock_api::Mutex<P::Lock, Bitmap>,
    _kept: Kept<P>,
}

// SAFETY: the memory may be accessed from any CPU (promised when it was declared), and each run's handle is the only one that
// does.
unsafe impl<P: Platform> Send for Ground<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for Ground<P> {}

impl<P: Platform> Ground<P> {
    /// `None` where there is no memory to keep account of so many.
    fn new(start: NonNull<u8>, len_bytes: u64, kept: Kept<P>) -> Option<Self> {
        let frames = usize::try_from(len_bytes / FRAME_BYTES).ok()?;
        let used = Bitmap::new(frames).ok()?;
        Some(Self {
            start,
            frames,
            used: lock_api::Mutex::new(used),
            _kept: kept,
        })
    }

    /// Whole frames of RAM that the platform does not lend, seen past the caches; `None` where there is no memory to keep
    /// account of so many.
    ///
    /// # Safety
    /// They are RAM, and nobody else uses them as long as this lives.
    pub(crate) unsafe fn of_frames(
        platform: P,
        frames: PhysRange,
    ) -> Result<Option<Self>, VirtualMapError> {
        // SAFETY: the caller's promise. Nobody accessed the frames since firmware left them.
        let mapped = unsafe { Uncached::of_frames(platform, frames, MemoryAttribute::Uncached) }?;
        let start = mapped.pointer();
        Ok(Self::new(start, frames.len_bytes(), Kept::Frames(mapped)))
    }
}

/// A device's own memory, as it has it.
struct Declared<P: Platform> {
    ground: Arc<Ground<P>>,
    bus: BusRange,
}

/// Where a device's coherent memory comes from, if not from the platform.
pub(crate) struct CoherentSources<P: Platform> {
    declared: lock_api::Mutex<P::Lock, Option<Arc<Declared<P>>>>,
    area: lock_api::Mutex<P::Lock, Option<ContiguousArea<P>>>,
}

impl<P: Platform> CoherentSources<P> {
    pub(crate) fn new() -> Self {
        Self {
            declared: lock_api::Mutex::new(None),
            area: lock_api::Mutex::new(None),
        }
    }

    /// The device goes: what it declared lives only as long as runs of it do.
    pub(crate) fn forget_declared(&self) {
        let declared = self.declared.lock().take();
        drop(declared);
    }

    /// A run of the device's own memory; `None` where it has none.
    pub(super) fn declared_run(
        &self,
        len_bytes: u64,
        mask: DmaMask,
    ) -> Option<Result<DeclaredRun<P>, DeclaredFull>> {
        let declared = Arc::clone(self.declared.lock().as_ref()?);
        Some(DeclaredRun::take(declared, len_bytes, mask))
    }
}

impl<P: Platform> DeviceCore<P> {
    /// Has the device's coherent memory come from `ground` alone, which it reaches at `bus`.
    pub(crate) fn declare_ground(
        &self,
        ground: &Arc<Ground<P>>,
        bus: BusRange,
    ) -> Result<(), DeclareError> {
        let ground = Arc::clone(ground);
        debug_assert_eq!(bus.len_bytes() / FRAME_BYTES, ground.frames as u64);
        let declared = Arc::new(Declared { ground, bus });
        let mut place = self.coherent.declared.lock();
        match place.as_ref() {
            Some(other) => Err(DeclareError::AlreadyDeclared {
                device: self.requester,
                declared: other.bus,
            }),
            None => {
                *place = Some(declared);
                Ok(())
            }
        }
    }

    /// The area that serves the device.
    pub(super) fn contiguous_area(&self) -> Option<ContiguousArea<P>> {
        let own = self.coherent.area.lock().clone();
        own.or_else(|| self.system.contiguous_area())
    }
}

impl<P: Platform> Device<P> {
    /// Has the device's coherent memory come from its own memory at `bus` alone, which the CPU has at `start`
    /// (`dma_declare_coherent_memory`). Allocations are whole frames of it, zeroed.
    ///
    /// # Errors
    /// [`DeclareError`]; nothing is declared then.
    ///
    /// # Safety
    /// - As many bytes from `start` on as `bus` has are readable and writable by plain loads and stores of any CPU, and stay
    ///   so until [`release_coherent_memory`](Self::release_coherent_memory) returned `Ok`, or the device and all
    ///   coherent memory of it are gone.
    /// - They are the memory that the device reaches at `bus`, seen without cache maintenance, and nobody else accesses
    ///   them as long, other devices included.
    pub unsafe fn declare_coherent_memory(
        &self,
        start: NonNull<u8>,
        bus: BusRange,
    ) -> Result<(), DeclareError> {
        self.declare(bus, start, Kept::ByCaller)
    }

    /// The same for memory behind a BAR of the device's own, or part of it, which the CPU has in `window`: best mapped
    /// [write-combined](crate::pci::Function::claim_bar_as). The device reaches it at the BAR's bus addresses (A): what it asks of
    /// itself does not leave it, so no IOMMU has a say. The window is closed, and its claim released, when the declaration
    /// is taken back or fails.
    ///
    /// # Errors
    /// [`DeclareError`]; nothing is declared then.
    ///
    /// # Safety
    /// - What is behind the window is memory, not registers; [`Platform::ioremap`] let plain loads and stores of
    ///   any CPU reach it, as it does on real machines; and the device reaches it at the BAR's bus addresses.
    /// - Nobody else accesses it, other devices included, as long as it is declared and coherent memory of it lives; and the
    ///   BAR stays where it is and decodes.
    pub unsafe fn declare_coherent_bar(&self, window: Mmio<P>) -> Result<(), DeclareError> {
        let (device, registers) = (self.requester(), window.phys());
        let bars = self.core().function.bars().iter().flatten();
        let mut memory = bars
            .filter(|bar| !bar.kind.is_io())
            .filter_map(|bar| bar.phys);
        let not_its_own = DeclareError::NotItsOwn { device, registers };
        if !self.is_whole_and_ours(&window) || !memory.any(|bar| bar.covers(registers)) {
            return Err(not_its_own);
        }
        let bus = self.on_bus(registers).map_err(|_| not_its_own)?;
        let start = window.pointer();
        self.declare(bus, start, Kept::Window(window))
    }

    fn declare(
        &self,
        bus: BusRange,
        start: NonNull<u8>,
        kept: Kept<P>,
    ) -> Result<(), DeclareError> {
        let device = self.requester();
        let bits = bus.start().as_u64() | bus.len_bytes() | start.addr().get() as u64;
        if bits.trailing_zeros() < FRAME_SIZE_LOG2 || bus.is_empty() {
            return Err(DeclareError::NotFrames {
                device,
                memory: bus,
            });
        }
        let too_long = DeclareError::TooLong {
            device,
            memory: bus,
        };
        let ground = Ground::new(start, bus.len_bytes(), kept).ok_or(too_long)?;
        self.core().declare_ground(&Arc::new(ground), bus)
    }

    /// Has the device's coherent memory come from the platform again (`dma_release_coherent_memory`). From then on the
    /// memory that was declared is its owner's.
    ///
    /// # Errors
    /// [`DeclareError::InUse`] while some is not freed, and [`DeclareError::NotDeclared`].
    pub fn release_coherent_memory(&self) -> Result<(), DeclareError> {
        let device = self.requester();
        let mut place = self.core().coherent.declared.lock();
        let declared = place.as_ref().ok_or(DeclareError::NotDeclared { device })?;
        // Each run holds its device's declaration, and so does whoever is about to take one; others may use the same memory.
        if Arc::strong_count(declared) > 1 {
            let used_frames = declared.ground.used.lock().taken();
            return Err(DeclareError::InUse {
                device,
                declared: declared.bus,
                used_frames,
            });
        }
        let released = place.take();
        drop(place);
        // Unmaps, where the mapping is ours.
        drop(released);
        Ok(())
    }

    /// Has coherent memory longer than a frame come from `area` as long as there is room, or, with `None`, as it does for
    /// every device: from the [system's area](crate::system::DmaSystem::set_contiguous_area) first.
    pub fn set_contiguous_area(&self, area: Option<ContiguousArea<P>>) {
        let before = core::mem::replace(&mut *self.core().coherent.area.lock(), area);
        drop(before);
    }
}

/// Whole frames of a device's own memory, taken until dropped.
pub(super) struct DeclaredRun<P: Platform> {
    declared: Arc<Declared<P>>,
    first: usize,
    frames: usize,
}

impl<P: Platform> DeclaredRun<P> {
    fn take(
        declared: Arc<Declared<P>>,
        len_bytes: u64,
        mask: DmaMask,
    ) -> Result<Self, DeclaredFull> {
        let bus = declared.bus;
        let full = |used_frames| DeclaredFull {
            len_bytes,
            declared: bus,
            used_frames,
        };
        let mut used = declared.ground.used.lock();
        let first_number = bus.start().as_u64() >> FRAME_SIZE_LOG2;
        let end_number = (mask.last().as_u64() >> FRAME_SIZE_LOG2)
            + u64::from(mask.last().as_u64() % FRAME_BYTES == FRAME_BYTES - 1);
        let frames = usize::try_from(len_bytes.div_ceil(FRAME_BYTES)).ok();
        let align = frames.and_then(usize::checked_next_power_of_two);
        let (Some(frames), Some(align)) = (frames, align) else {
            return Err(full(used.taken()));
        };
        let first = used.take(RunRequest {
            units: frames,
            align,
            // The numbers of frames on the bus count, as far as they matter for the alignment.
            phase: (first_number & (align as u64 - 1)) as usize,
            end: usize::try_from(end_number.saturating_sub(first_number)).unwrap_or(usize::MAX),
        });
        let Some(first) = first else {
            return Err(full(used.taken()));
        };
        drop(used);
        let run = Self {
            declared,
            first,
            frames,
        };
        run.zero();
        Ok(run)
    }

    fn zero(&self) {
        for frame in 0..self.frames {
            for chunk in (0..FRAME_BYTES as usize).step_by(64) {
                let offset = frame * FRAME_BYTES as usize + chunk;
                // SAFETY: inside the run, which is this value's alone; no reference to it exists.
                unsafe { copy_in(&[0; 64], self.pointer().add(offset)) };
            }
        }
    }

    pub(super) fn bus(&self) -> BusRange {
        let offset = self.first as u64 * FRAME_BYTES;
        (self.declared.bus)
            .slice(offset, self.frames as u64 * FRAME_BYTES)
            .expect("a run that was found lies inside the declared memory")
    }

    pub(super) fn pointer(&self) -> NonNull<u8> {
        // SAFETY: the offset is inside the declared memory.
        unsafe {
            self.declared
                .ground
                .start
                .add(self.first * FRAME_BYTES as usize)
        }
    }
}

impl<P: Platform> Drop for DeclaredRun<P> {
    fn drop(&mut self) {
        self.declared
            .ground
            .used
            .lock()
            .give(self.first, self.frames);
    }
}
