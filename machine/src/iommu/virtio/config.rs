//! What a unit can do: its configuration.

use std::ops::RangeInclusive;

use hw::virtio::feature::Features;
use hw::virtio::queue::SIZE_MAX;

use crate::interrupts::MESSAGE_WINDOW;

/// What a virtio-iommu can do. The default is much as QEMU has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtioConfig {
    /// Physical address of its registers, for its findings: it is told offsets only.
    pub register_base: u64,
    /// The features it offers.
    pub features: Features,
    /// Page sizes that can be mapped (`page_size_mask`): bit n for `2^n` bytes.
    pub page_size_mask: u64,
    /// Addresses that can be mapped.
    pub input_range: RangeInclusive<u64>,
    /// Numbers a domain can have.
    pub domain_range: RangeInclusive<u32>,
    /// The endpoint id of requester 0; each other requester's is as much greater as its id.
    pub first_endpoint: u32,
    /// Most entries of a queue: a power of 2.
    pub queue_size_max: u16,
    /// Bytes of the properties in a PROBE request.
    pub probe_size: u32,
    /// What endpoints without a domain reach after a reset of the machine (`bypass`).
    pub at_boot: Unattached,
    /// Mappings it has room for, in all domains together.
    pub mappings_max: usize,
    /// Addresses that it keeps for itself.
    pub reserved: Vec<Reserved>,
}

/// What endpoints without a domain reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unattached {
    /// Nothing.
    Blocked,
    /// All memory.
    Passes,
}

/// Addresses for which no mapping counts (5.13.6.8.1): requests to them pass untranslated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Whose requests; of every endpoint if `None`.
    pub requester: Option<u16>,
    /// Which addresses.
    pub addresses: RangeInclusive<u64>,
    /// Why.
    pub kind: ReservedKind,
}

/// Why addresses are reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedKind {
    /// The platform has a use for them.
    Platform,
    /// Writes to them are interrupts.
    Messages,
}

impl Default for VirtioConfig {
    fn default() -> Self {
        let features = Features::new()
            .with_input_range(true)
            .with_domain_range(true)
            .with_map_unmap(true)
            .with_probe(true)
            .with_mmio(true)
            .with_bypass_config(true)
            .with_indirect_desc(true)
            .with_event_idx(true)
            .with_version_1(true)
            .with_access_platform(true);
        Self {
            register_base: 0xfe80_0000,
            features,
            page_size_mask: !0xfff,
            input_range: 0..=0xffff_ffff_ffff,
            domain_range: 1..=0xffff,
            first_endpoint: 0,
            queue_size_max: 256,
            probe_size: 512,
            at_boot: Unattached::Passes,
            mappings_max: 1 << 20,
            reserved: vec![Reserved {
                requester: None,
                addresses: MESSAGE_WINDOW.start..=MESSAGE_WINDOW.end - 1,
                kind: ReservedKind::Messages,
            }],
        }
    }
}

/// A unit that cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VirtioConfigError {
    /// There is no page size.
    #[error("a unit maps pages of at least one size")]
    PageSizes,
    /// A queue cannot be so long.
    #[error("a queue has a power of 2 of entries, {SIZE_MAX} at most, not {0}")]
    QueueSize(u16),
    /// The reserved regions of an endpoint do not fit.
    #[error("{len_bytes} bytes of properties do not fit in {probe_size}")]
    ProbeSize {
        /// What they need.
        len_bytes: u64,
        /// What there is.
        probe_size: u32,
    },
    /// The host did not lend its memory a second time.
    #[error("memory cannot be mapped for the queues: {0}")]
    Memory(String),
    /// The host gave no thread for the unit.
    #[error("no thread for the unit: {0}")]
    NoThread(std::io::ErrorKind),
}

impl VirtioConfig {
    /// # Errors
    /// [`VirtioConfigError`] names the first value that no unit has.
    pub(super) fn check(&self) -> Result<(), VirtioConfigError> {
        if self.page_size_mask == 0 {
            return Err(VirtioConfigError::PageSizes);
        }
        let size = self.queue_size_max;
        if !size.is_power_of_two() || size > SIZE_MAX {
            return Err(VirtioConfigError::QueueSize(size));
        }
        let len_bytes = 24 * self.reserved.len() as u64;
        if len_bytes > self.probe_size.into() {
            return Err(VirtioConfigError::ProbeSize {
                len_bytes,
                probe_size: self.probe_size,
            });
        }
        Ok(())
    }

    /// The smallest page: every mapping is made of such.
    pub(super) fn granule(&self) -> u64 {
        1 << self.page_size_mask.trailing_zeros()
    }

    /// What is reserved for `requester`.
    pub(super) fn reserved_for(&self, requester: u16) -> impl Iterator<Item = &Reserved> {
        self.reserved
            .iter()
            .filter(move |reserved| reserved.requester.is_none_or(|only| only == requester))
    }
}
