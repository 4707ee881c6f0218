//! One DMA-capable device, as its driver sees it: what it can reach, and the way its mappings take.
//!
//! A [`Device`] is what [`DmaSystem::attach`](crate::system::DmaSystem::attach) returns. It is moved, never
//! copied; dropping it detaches the device: its bus mastering goes off, its domain is taken away, and every
//! mapping that still lives is revoked. The mapping calls are in [`map`](crate::map).
//!
//! ```
//! # use board as _;
//! use dmamap::addr::DmaMask;
//! use dmamap::device::Device;
//! use dmamap::platform::Platform;
//!
//! fn set_up<P: Platform>(device: &Device<P>) -> Result<(), Box<dyn std::error::Error>> {
//!     assert_eq!(device.mask(), DmaMask::DEFAULT); // 32 bits until the driver says more
//!     device.set_mask_and_coherent(DmaMask::from_bits(28)?)?;
//!     assert_eq!(device.figures().live_mappings, 0);
//!     Ok(())
//! }
//! ```

mod cache;
mod counters;
mod erased;
mod held;
mod limits;
mod mask;
mod protection;
mod quarantine;
mod recovery;
mod segment_limits;
mod sizes;

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use alloc::boxed::Box;

use crate::addr::{BusAddr, FRAME_SIZE_LOG2, PhysAddr};
use crate::bounce::{Bounce, PoolFigures};
use crate::iommu::{Requester, UnitError};
use crate::map::{CoherentSources, EarlierMappings, Permission, Route};
use crate::pagetable::Privileges;
use crate::pci::Function;
use crate::platform::Platform;
use crate::system::DmaSystem;

pub(crate) use counters::Counters;
pub use counters::Figures;
pub(crate) use held::{Held, HeldBriefly};
pub use limits::LimitError;
pub(crate) use limits::{DEFAULT_SEGMENT_BOUNDARY_LOG2, Limits};
pub use mask::MaskError;
pub use protection::RelaxError;
pub(crate) use protection::{Guard, Revocation, Trust};
pub(crate) use quarantine::Quarantine;
pub use recovery::{DeviceReset, NotConfirmed, ResetError};

/// Whether a device's accesses to memory see and update the CPU's caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coherence {
    /// They do: `sync` calls only order. So it is on PCI unless firmware says otherwise.
    #[default]
    Snooped,
    /// They do not: `sync` calls maintain the caches.
    NotSnooped,
}

/// A device was detached, but not all is as if it had never been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetachError {
    /// Its unit did not confirm that it lost its translation. What it might still reach is kept: its mappings' memory,
    /// tables and addresses are not used again, and the device cannot be attached again, before
    /// [`DmaSystem::recover`] succeeded.
    #[error("{device}: detached, but not confirmed: {error}")]
    Unconfirmed {
        /// The device.
        device: Requester,
        /// What the unit did.
        error: UnitError,
    },
    /// Mappings of it still live, and another device of its [group](crate::group) goes on in the same domain: it reaches
    /// them until each is unmapped. Mappings that own their memory give it back only then; memory of the raw
    /// layer is to be kept until the last device of the group was detached.
    #[error(
        "{device}: detached, but {live_mappings} of its mappings still live, and {other} of its group reaches them"
    )]
    Shared {
        /// The device.
        device: Requester,
        /// The other.
        other: Requester,
        /// How many mappings.
        live_mappings: u64,
    },
}

impl DetachError {
    /// The device.
    pub const fn device(&self) -> Requester {
        match self {
            Self::Unconfirmed { device, .. } | Self::Shared { device, .. } => *device,
        }
    }

    /// What the unit did, where it did not confirm.
    pub const fn unit_error(&self) -> Option<UnitError> {
        match self {
            Self::Unconfirmed { error, .. } => Some(*error),
            Self::Shared { .. } => None,
        }
    }
}

/// What is known of a device beside its way to memory.
pub(crate) struct Standing<P: Platform> {
    pub(crate) coherence: Coherence,
    /// The highest address that the path to memory carries.
    pub(crate) bus_limit: BusAddr,
    pub(crate) guard: Guard,
    pub(crate) bounce: Bounce<P>,
}

/// What a device's handle and its mappings share. Freed by the system when the handle and the last
/// mapping are gone.
pub(crate) struct DeviceCore<P: Platform> {
    pub(crate) platform: P,
    pub(crate) system: &'static DmaSystem<P>,
    pub(crate) function: Function<P>,
    pub(crate) requester: Requester,
    pub(crate) route: Route<P>,
    pub(crate) coherence: Coherence,
    pub(crate) bounce: Bounce<P>,
    pub(crate) counters: Counters<P>,
    pub(crate) quarantine: Quarantine<P>,
    pub(crate) limits: Limits,
    /// Memory of as many bytes, or more, is given as it is, and in pages of one frame, without anything done to caches: settled when
    /// the device is attached. No memory is where it is more than any has.
    pub(crate) plain_from_bytes: u64,
    pub(crate) guard: Guard,
    pub(crate) coherent: CoherentSources<P>,
    /// What its mappings owe to earlier ones of their memory.
    pub(crate) earlier: EarlierMappings<P>,
    /// [Lanes](crate::map::Lane) there are.
    pub(crate) lanes: AtomicUsize,
    /// No [`Device`] refers to this any more; only mappings and lanes may.
    handle_gone: AtomicBool,
    /// The device is being detached, or was: it does not become a bus master again.
    pub(crate) leaving: AtomicBool,
    /// The device was detached, and its unit did not confirm it: what it may reach hangs on this.
    pub(crate) detach_unconfirmed: AtomicBool,
}

impl<P: Platform> DeviceCore<P> {
    pub(crate) fn new(
        system: &'static DmaSystem<P>,
        function: Function<P>,
        requester: Requester,
        route: Route<P>,
        standing: Standing<P>,
    ) -> Self {
        let platform = system.platform();
        let Standing {
            coherence,
            bus_limit,
            guard,
            bounce,
        } = standing;
        let plain_from_bytes = match (&route, coherence) {
            (Route::Translated(domain), Coherence::Snooped)
                if domain.page_size_log2() == FRAME_SIZE_LOG2 =>
            {
                bounce.own_below_bytes().max(1)
            }
            _ => u64::MAX,
        };
        Self {
            platform,
            system,
            function,
            requester,
            route,
            coherence,
            bounce,
            counters: Counters::new(platform),
            quarantine: Quarantine::new(platform),
            limits: Limits::new(bus_limit),
            plain_from_bytes,
            guard,
            coherent: CoherentSources::new(),
            earlier: EarlierMappings::new(platform),
            lanes: AtomicUsize::new(0),
            handle_gone: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            detach_unconfirmed: AtomicBool::new(false),
        }
    }

    /// Whether neither a handle, nor a lane, nor a mapping refers to this, and nothing waits here for units' word; once true it stays so.
    pub(crate) fn is_unreferenced(&self) -> bool {
        self.handle_gone.load(Ordering::Acquire)
            && !self.detach_unconfirmed.load(Ordering::Acquire)
            && self.lanes.load(Ordering::Acquire) == 0
            && self.counters.live() == 0
            // Others of the group may reach what is in quarantine. Last: mappings that end fill it before they are counted.
            && (self.quarantine.is_empty() || self.route.is_revoked())
    }
}

impl<P: Platform> Drop for DeviceCore<P> {
    fn drop(&mut self) {
        // Mappings may have failed to end while the device was being detached, after its quarantine was released.
        if self.route.is_revoked() {
            // SAFETY: every unit confirmed that no device reaches anything through the domain.
            unsafe { self.release_quarantined(self.quarantine.take()) };
        }
    }
}

/// One DMA-capable device.
pub struct Device<P: Platform> {
    core: NonNull<DeviceCore<P>>,
}

// SAFETY: the core is `Sync` (its own fields are) and is reached only through shared references.
unsafe impl<P: Platform> Send for Device<P> {}
// SAFETY: as above.
unsafe impl<P: Platform> Sync for Device<P> {}

impl<P: Platform> Device<P> {
    /// Takes over a core that the system has just made and will not free while `handle_gone` is unset.
    pub(crate) fn new(core: NonNull<DeviceCore<P>>) -> Self {
        Self { core }
    }

    #[inline]
    pub(crate) fn core(&self) -> &DeviceCore<P> {
        // SAFETY: the system frees a core only once `handle_gone` is set, which `drop` alone does.
        unsafe { self.core.as_ref() }
    }

    /// Who the device is on the bus.
    pub fn requester(&self) -> Requester {
        self.core().requester
    }

    /// The platform the device lives on.
    pub fn platform(&self) -> P {
        self.core().platform
    }

    /// What the device's mappings add up to.
    pub fn figures(&self) -> Figures {
        let core = self.core();
        core.counters
            .figures(core.quarantine.bytes(), core.quarantine.lost_bytes())
    }

    /// What the pools hold and lend that the device's copies come from: its own under
    /// [`Protection::Bounce`](crate::system::Protection::Bounce), else the one it is restricted to, else the machine's.
    pub fn bounce_figures(&self) -> PoolFigures {
        self.core().bounce.figures()
    }

    /// Z → Y: the memory the device reaches at `bus`, if any (`iommu_iova_to_phys`).
    pub fn translate(&self, bus: BusAddr) -> Option<PhysAddr> {
        Some(self.core().route.translate(bus)?.0)
    }

    /// What the device may do with the memory it reaches at `bus`. Where the unit's tables know no pages that are only
    /// written, memory mapped [`FromDevice`](crate::map::FromDevice) can be read by the device too.
    pub fn permission(&self, bus: BusAddr) -> Option<Permission> {
        Some(self.core().route.translate(bus)?.1)
    }

    /// Whether mappings [for privileged requests](crate::map::Attributes::privileged) are kept from the device's other
    /// requests: where an SMMUv3 translates for it by stage 1.
    pub fn keeps_privilege(&self) -> bool {
        match &self.core().route {
            Route::Translated(domain) => domain.privileges() == Privileges::Told,
            Route::Direct(_) | Route::Blocked => false,
        }
    }

    /// Bytes of the smallest page that the device can be lent: all of each page a mapping touches becomes reachable, and
    /// memory must begin at a page's beginning to be mapped. [`FRAME_BYTES`](crate::addr::FRAME_BYTES) but for
    /// units that were told to use a larger [`Granule`](crate::system::Granule).
    pub fn page_bytes(&self) -> u64 {
        self.core().route.page_bytes()
    }

    /// Frames the device's domain holds, for its tables and for choosing addresses; 0 where it has none.
    pub fn domain_frames(&self) -> usize {
        match &self.core().route {
            Route::Translated(domain) => domain.frames(),
            _ => 0,
        }
    }

    /// Gives back frames of the domain that hold nothing and are kept to serve the next mapping faster. After
    /// the last unmap the domain then holds as many as when it was made.
    ///
    /// # Errors
    /// [`UnitError`] when the unit did not confirm that it let go of them; they are kept then.
    pub fn reclaim(&self) -> Result<(), UnitError> {
        self.core().earlier.reclaim();
        match &self.core().route {
            Route::Translated(domain) => domain.reclaim(),
            _ => Ok(()),
        }
    }

    /// Takes the device's way to memory away. Mappings that still live are revoked: unmapping them later
    /// gives their memory back. Dropping the device does the same.
    ///
    /// # Errors
    /// [`DetachError::Unconfirmed`] when the IOMMU did not confirm; [`DetachError::Shared`] when mappings still live that
    /// another device of the same group reaches until they are unmapped: so unmap before detaching.
    pub fn detach(self) -> Result<(), DetachError> {
        let this = core::mem::ManuallyDrop::new(self);
        this.end()
    }

    fn end(&self) -> Result<(), DetachError> {
        let core = self.core();
        let system = core.system;
        core.coherent.forget_declared();
        let outcome = system.detach(core);
        // The last touch: from here on the system may free the core.
        core.handle_gone.store(true, Ordering::Release);
        system.sweep();
        outcome
    }
}

impl<P: Platform> Drop for Device<P> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            log::error!("{error}");
        }
    }
}

impl<P: Platform> fmt::Debug for Device<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.requester())
    }
}

/// Frees a core that nothing refers to.
///
/// # Safety
/// `core` came from a leaked box, is [unreferenced](DeviceCore::is_unreferenced), and is freed once.
pub(crate) unsafe fn free_core<P: Platform>(core: NonNull<DeviceCore<P>>) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(core.as_ptr()) });
}
