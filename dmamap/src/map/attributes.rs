//! What a caller may ask of one mapping beside its direction (`DMA_ATTR_…`).
//!
//! ```
//! use dmamap::map::Attributes;
//!
//! let attributes = Attributes::NONE.skip_cpu_sync().require_coherent();
//! assert_ne!(attributes, Attributes::NONE);
//! ```

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

/// What is asked of one mapping. [`NONE`](Self::NONE) asks nothing in particular.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    pub(crate) cpu_sync: CpuSync,
    pub(crate) need: Need,
    pub(crate) protection: Option<Protection>,
}

impl Attributes {
    /// Nothing in particular.
    pub const NONE: Self = Self {
        cpu_sync: CpuSync::Automatic,
        need: Need::Any,
        protection: None,
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
}
