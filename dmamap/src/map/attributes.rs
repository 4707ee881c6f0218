//! What a caller may ask of one mapping beside its direction (`DMA_ATTR_…`).
//!
//! ```
//! use dmamap::map::Attributes;
//!
//! let attributes = Attributes::NONE.skip_cpu_sync().require_coherent();
//! assert_ne!(attributes, Attributes::NONE);
//! ```

use crate::pagetable::Privilege;
use crate::system::Protection;

/// Whether a mapping maintains the CPU's caches by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CpuSync {
    #[default]
    Automatic,
    Skipped,
}

/// Whether a mapping may be served by a copy, or by memory the device does not snoop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Need {
    #[default]
    Any,
    Coherent,
}

/// Whether the device's accesses through a mapping may pass each other beyond what the device itself says of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ordering {
    #[default]
    AsRequested,
    Weak,
}

/// What is asked of one mapping. [`NONE`](Self::NONE) asks nothing in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub(crate) cpu_sync: CpuSync,
    pub(crate) need: Need,
    pub(crate) protection: Option<Protection>,
    pub(crate) privilege: Privilege,
    pub(crate) ordering: Ordering,
}

impl Attributes {
    /// Nothing in particular.
    pub const NONE: Self = Self {
        cpu_sync: CpuSync::Automatic,
        need: Need::Any,
        protection: None,
        privilege: Privilege::Any,
        ordering: Ordering::AsRequested,
    };

    /// Mapping and unmapping leave caches and bounce buffers as they are (`DMA_ATTR_SKIP_CPU_SYNC`): what the CPU and the
    /// device see of each other's writes is up to explicit syncs.
    #[must_use]
    pub const fn skip_cpu_sync(mut self) -> Self {
        self.cpu_sync = CpuSync::Skipped;
        self
    }

    /// The mapping fails rather than be served by a copy or on a device that does not snoop
    /// (`DMA_ATTR_REQUIRE_COHERENT`).
    #[must_use]
    pub const fn require_coherent(mut self) -> Self {
        self.need = Need::Coherent;
        self
    }

    /// The mapping is protected by `protection` if that is stronger than what the device's domain gives every mapping.
    #[must_use]
    pub const fn at_least(mut self, protection: Protection) -> Self {
        self.protection = Some(protection);
        self
    }

    /// The mapping is for the device's privileged requests only, as those of an engine that fetches its own program may be
    /// (`DMA_ATTR_PRIVILEGED`).
    ///
    /// Kept where [`Device::keeps_privilege`](crate::device::Device::keeps_privilege) says so: by stage 1 of an SMMUv3. All
    /// other requests of the device fault there, and those of PCI functions without a process address space id are all
    /// others (PCIe Base 6.0, 6.20.2.2). Elsewhere the attribute changes nothing:
    ///
    /// - Second-stage tables, AMD's and virtio-iommu's have no such bit.
    /// - VT-d's and RISC-V's first stages have one, but every request without a process address space id is a user's there (VT-d
    ///   specification, 9.4, `RID_PRIV`, which stays clear; RISC-V IOMMU 1.0, 2.3), and this crate attaches devices by no such id.
    ///   Pages without user's access would be out of everybody's reach.
    /// - Without an IOMMU nothing is kept from anybody.
    #[must_use]
    pub const fn privileged(mut self) -> Self {
        self.privilege = Privilege::PrivilegedOnly;
        self
    }

    /// The device's reads and writes of the mapping may pass each other (`DMA_ATTR_WEAK_ORDERING`): what the device finishes last
    /// need not be seen last.
    ///
    /// A permission, not a demand, and one that nothing here makes use of: none of the tables of this crate's units
    /// has an ordering for memory. On PCI Express the device says by each request whether it may pass others
    /// (Relaxed Ordering, PCIe Base 6.0, 2.2.6.4), so the mapping is ordered as that says, with or without this attribute. It is
    /// here so that drivers need not ask where they run; and it must be told again at the unmap of a raw mapping as
    /// every attribute.
    #[must_use]
    pub const fn weak_ordering(mut self) -> Self {
        self.ordering = Ordering::Weak;
        self
    }
}
