//! What a caller may ask of coherent memory beside its size (`DMA_ATTR_…` of `dma_alloc_attrs`).
//!
//! ```
//! use dmamap::map::CoherentOptions;
//!
//! let options = CoherentOptions::NONE.force_contiguous().no_warn();
//! assert_ne!(options, CoherentOptions::NONE);
//! ```

use crate::map::Attributes;
use crate::pagetable::Privilege;

/// Where the memory may lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Placement {
    /// In a row if it can be had, else in frames from anywhere where an IOMMU joins them.
    #[default]
    Any,
    Contiguous,
}

/// How the CPU's stores reach the memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum CpuStores {
    /// In program order as far as the architecture's memory is.
    #[default]
    Ordered,
    /// Merged, in any order, until a full barrier.
    Combined,
}

/// Who is told of a failure beside the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Report {
    #[default]
    Logged,
    Quiet,
}

/// Options of one allocation. [`NONE`](Self::NONE) asks nothing in particular.
///
/// Memory that no CPU reaches (`DMA_ATTR_NO_KERNEL_MAPPING`) is not an option but a type:
/// [`alloc_opaque`](crate::device::Device::alloc_opaque).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoherentOptions {
    pub(super) placement: Placement,
    pub(super) stores: CpuStores,
    pub(super) report: Report,
    pub(super) privilege: Privilege,
}

impl CoherentOptions {
    /// Nothing in particular.
    pub const NONE: Self = Self {
        placement: Placement::Any,
        stores: CpuStores::Ordered,
        report: Report::Logged,
        privilege: Privilege::Any,
    };

    /// The memory is physically contiguous too (`DMA_ATTR_FORCE_CONTIGUOUS`), as memory is anyway that reaches the device
    /// without translation. Otherwise, behind an IOMMU, the memory may be frames from anywhere where no run of
    /// them is left.
    #[must_use]
    pub const fn force_contiguous(mut self) -> Self {
        self.placement = Placement::Contiguous;
        self
    }

    /// The CPU writes past its caches, several stores at a time (`DMA_ATTR_WRITE_COMBINE`): fast for long streams of stores, slow
    /// for loads. [`Descriptors`](super::Descriptors) then use a full barrier, and so must whoever writes by other means. The memory
    /// is physically contiguous.
    #[must_use]
    pub const fn write_combine(mut self) -> Self {
        self.stores = CpuStores::Combined;
        self
    }

    /// The memory is for a privileged user of the device, like its firmware (`DMA_ATTR_PRIVILEGED`).
    ///
    /// Kept, and all other requests of the device shut out, where mappings' attribute of the same name is
    /// ([`Attributes::privileged`](crate::map::Attributes::privileged)); elsewhere it changes nothing, and nothing for memory
    /// that is not mapped for the occasion: a device's [own](crate::device::Device::declare_coherent_memory).
    #[must_use]
    pub const fn privileged(mut self) -> Self {
        self.privilege = Privilege::PrivilegedOnly;
        self
    }

    /// What the mapping of the memory is to be.
    pub(super) fn attributes(self) -> Attributes {
        Attributes {
            privilege: self.privilege,
            ..Attributes::NONE
        }
    }

    /// A failure is the caller's to report: nothing is logged (`DMA_ATTR_NO_WARN`).
    #[must_use]
    pub const fn no_warn(mut self) -> Self {
        self.report = Report::Quiet;
        self
    }
}
