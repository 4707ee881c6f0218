//! Unmanaged domains: the caller chooses Z, as a hypervisor does that shows a guest's memory to a device at the guest's
//! own addresses (`IOMMU_DOMAIN_UNMANAGED`).
//!
//! ```
//! # use board as _;
//! use dmamap::addr::{BusAddr, PhysRange};
//! use dmamap::device::Device;
//! use dmamap::map::{Permission, UnmanagedDomain};
//! use dmamap::platform::Platform;
//!
//! /// # Safety
//! /// `memory` is the guest's, and stays so until the domain is gone.
//! unsafe fn show<P: Platform>(
//!     device: Device<P>,
//!     guest_addr: u64,
//!     memory: PhysRange,
//! ) -> Result<UnmanagedDomain<P>, Box<dyn std::error::Error>> {
//!     let domain = UnmanagedDomain::of(device).map_err(|refused| refused.reason.to_string())?;
//!     // SAFETY: the memory is the guest's for as long as it is mapped.
//!     unsafe { domain.map(BusAddr::new(guest_addr), memory, Permission::ReadWrite) }?;
//!     assert!(domain.lookup(BusAddr::new(guest_addr)).is_some());
//!     Ok(domain)
//! }
//! ```

use core::fmt;

use crate::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use crate::device::{DetachError, Device};
use crate::iommu::{Domain, DomainError, Requester};
use crate::map::{Permission, Route};
use crate::pagetable::Replay;
use crate::platform::Platform;

/// Why a device's domain cannot be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnmanaged {
    /// No unit translates for the device.
    #[error("{device}: no IOMMU translates for it, so nobody can choose its bus addresses")]
    NotTranslated {
        /// The device.
        device: Requester,
    },
    /// Mappings live in the domain whose addresses were not chosen by the caller.
    #[error("{device}: {live} mappings live in its domain: unmap them first")]
    Mapped {
        /// The device.
        device: Requester,
        /// How many.
        live: u64,
    },
    /// An IOMMU cannot keep the device apart from another one that is attached: they have one domain.
    #[error("{device} shares its domain with {other}, which would reach all that is mapped there")]
    Shared {
        /// The device.
        device: Requester,
        /// The other.
        other: Requester,
    },
}

/// Addresses of an [`UnmanagedDomain`] that were not mapped, or not unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device}, {len_bytes:#x} bytes from bus {bus} on: {error}")]
pub struct UnmanagedError {
    /// The device whose domain it is.
    pub device: Requester,
    /// The first address.
    pub bus: BusAddr,
    /// How many bytes.
    pub len_bytes: u64,
    /// Why.
    pub error: DomainError,
}

/// A device whose domain was not handed over, and why.
#[derive(Debug)]
pub struct Refused<P: Platform> {
    /// Why.
    pub reason: NotUnmanaged,
    /// The device, as it was.
    pub device: Device<P>,
}

/// A device's domain, in which the caller chooses bus addresses. Dropping it detaches the device.
///
/// It is one device's: none of its [group](crate::group) is attached meanwhile, as it would reach what is mapped here, and
/// still after [`detach`](Self::detach).
///
/// Reserved addresses cannot be mapped: interrupt messages, bridge windows, memory of firmware, and the page at 0.
pub struct UnmanagedDomain<P: Platform> {
    device: Device<P>,
}

impl<P: Platform> UnmanagedDomain<P> {
    /// Takes over the domain of `device`, in which nothing is mapped.
    ///
    /// # Errors
    /// [`Refused`] with the device.
    pub fn of(device: Device<P>) -> Result<Self, Refused<P>> {
        match Self::hand_over(&device) {
            Ok(()) => Ok(Self { device }),
            Err(reason) => Err(Refused { reason, device }),
        }
    }

    fn hand_over(device: &Device<P>) -> Result<(), NotUnmanaged> {
        let (core, device) = (device.core(), device.requester());
        let Route::Translated(domain) = &core.route else {
            return Err(NotUnmanaged::NotTranslated { device });
        };
        core.system
            .keep_alone(device)
            .map_err(|other| NotUnmanaged::Shared { device, other })?;
        // What was unmapped and waits is not mapped any more. Where that is not confirmed it goes on to count.
        domain.settle();
        // Those of others count as well, of who left the group before: `unmap` is safe to call. From here on memory that was
        // retired is not mapped again either, whoever still has it.
        domain.hand_over().map_err(|live| {
            core.system.let_others_in(device);
            NotUnmanaged::Mapped { device, live }
        })
    }

    fn domain(&self) -> Result<&Domain<P>, DomainError> {
        match &self.device.core().route {
            Route::Translated(domain) => Ok(domain),
            _ => Err(DomainError::Revoked),
        }
    }

    /// The device.
    pub fn device(&self) -> Requester {
        self.device.requester()
    }

    /// Bytes of the smallest page: what is mapped consists of such pages, on the bus and in memory.
    pub fn page_bytes(&self) -> u64 {
        self.device.page_bytes()
    }

    /// Lets the device reach `memory` at the bus addresses from `bus` on (`iommu_map`).
    ///
    /// # Errors
    /// [`UnmanagedError`]: [`Iova`](DomainError::Iova) where any of the addresses is mapped already or reserved, or not made
    /// of whole pages. Nothing is mapped then, but for [`Unconfirmed`](DomainError::Unconfirmed).
    ///
    /// # Safety
    /// `memory` is RAM that stays allocated until [`unmap`](Self::unmap) of it returned `Ok`, or
    /// [`detach`](Self::detach) did; until then nobody holds a reference to it that the device's accesses would break.
    pub unsafe fn map(
        &self,
        bus: BusAddr,
        memory: PhysRange,
        permission: Permission,
    ) -> Result<(), UnmanagedError> {
        let mut list = Replay::new(core::iter::once(memory));
        let len_bytes = memory.len_bytes();
        self.domain()
            .and_then(|domain| domain.map_at(bus, len_bytes, &mut list, permission))
            .map_err(|error| self.error(bus, len_bytes, error))
    }

    /// Takes back what one [`map`](Self::map) mapped at `range`, whole. When this returns `Ok` the device reaches nothing
    /// there (`iommu_unmap`).
    ///
    /// # Errors
    /// [`DomainError::Iova`] where `range` is not of one `map`; nothing has changed then. [`DomainError::Revoke`] when the
    /// IOMMU did not confirm: the memory must be kept.
    pub fn unmap(&self, range: BusRange) -> Result<(), UnmanagedError> {
        self.domain()
            .and_then(|domain| domain.unmap_at(range))
            .map_err(|error| self.error(range.start(), range.len_bytes(), error))
    }

    fn error(&self, bus: BusAddr, len_bytes: u64, error: DomainError) -> UnmanagedError {
        UnmanagedError {
            device: self.device(),
            bus,
            len_bytes,
            error,
        }
    }

    /// Z → Y, and what the device may do there (`iommu_iova_to_phys`).
    pub fn lookup(&self, bus: BusAddr) -> Option<(PhysAddr, Permission)> {
        self.domain().ok()?.lookup(bus)
    }

    /// Detaches the device: it reaches nothing any more.
    ///
    /// # Errors
    /// [`DetachError`] when the IOMMU did not confirm: memory that is mapped must be kept.
    pub fn detach(self) -> Result<(), DetachError> {
        self.device.detach()
    }
}

impl<P: Platform> fmt::Debug for UnmanagedDomain<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnmanagedDomain({})", self.device())
    }
}
