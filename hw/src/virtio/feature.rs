//! Feature bits: what a device offers and its driver accepts (2.2).
//!
//! Bits 0 to 23 belong to the device type, here the IOMMU (5.13.3); the others to queues and transports (6).
//!
//! ```
//! use hw::virtio::feature::Features;
//!
//! let offered = Features::from_bits(0x3_3000_0077);
//! assert!(offered.version_1() && offered.map_unmap() && offered.bypass_config());
//! assert_eq!((offered.low(), offered.high()), (0x3000_0077, 0x3));
//! ```

use bitfield_struct::bitfield;

/// The feature bits of an IOMMU device, read and written in two halves of 32 bits.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Features {
    /// `VIRTIO_IOMMU_F_INPUT_RANGE`: the configuration says which addresses can be mapped.
    pub input_range: bool,
    /// `VIRTIO_IOMMU_F_DOMAIN_RANGE`: the configuration says which domain numbers exist.
    pub domain_range: bool,
    /// `VIRTIO_IOMMU_F_MAP_UNMAP`: MAP and UNMAP requests exist.
    pub map_unmap: bool,
    /// `VIRTIO_IOMMU_F_BYPASS`: while it was not accepted, endpoints without a domain reach nothing; when it
    /// was, they reach everything. Superseded by [`bypass_config`](Self::bypass_config).
    pub bypass: bool,
    /// `VIRTIO_IOMMU_F_PROBE`: PROBE requests exist.
    pub probe: bool,
    /// `VIRTIO_IOMMU_F_MMIO`: mappings may have the MMIO flag.
    pub mmio: bool,
    /// `VIRTIO_IOMMU_F_BYPASS_CONFIG`: the configuration's bypass field exists, and domains that bypass.
    pub bypass_config: bool,
    #[bits(17)]
    __: u32,
    #[bits(4)]
    __: u8,
    /// `VIRTIO_F_INDIRECT_DESC`: descriptors may lead to tables of descriptors.
    pub indirect_desc: bool,
    /// `VIRTIO_F_EVENT_IDX`: either side says at which entry it wants to be told.
    pub event_idx: bool,
    #[bits(2)]
    __: u8,
    /// `VIRTIO_F_VERSION_1`: the device is none of the legacy ones.
    pub version_1: bool,
    /// `VIRTIO_F_ACCESS_PLATFORM`: the platform may stand between the device and memory; here: translation.
    pub access_platform: bool,
    /// `VIRTIO_F_RING_PACKED`: packed virtqueues exist.
    pub ring_packed: bool,
    /// `VIRTIO_F_IN_ORDER`: buffers are used in the order in which they were made available.
    pub in_order: bool,
    /// `VIRTIO_F_ORDER_PLATFORM`: memory is ordered as for a device of the platform, not as between CPUs.
    pub order_platform: bool,
    /// `VIRTIO_F_SR_IOV`: virtual functions exist.
    pub sr_iov: bool,
    /// `VIRTIO_F_NOTIFICATION_DATA`: notifications say where the available ring has got to.
    pub notification_data: bool,
    /// `VIRTIO_F_NOTIF_CONFIG_DATA`: notifications carry a word that the device chose.
    pub notif_config_data: bool,
    /// `VIRTIO_F_RING_RESET`: one queue can be reset.
    pub ring_reset: bool,
    #[bits(23)]
    __: u32,
}

impl Features {
    /// Bits 31:0: selected by 0.
    pub const fn low(self) -> u32 {
        self.into_bits() as u32
    }

    /// Bits 63:32: selected by 1.
    pub const fn high(self) -> u32 {
        (self.into_bits() >> 32) as u32
    }

    /// The features whose halves are `low` and `high`.
    pub const fn from_halves(low: u32, high: u32) -> Self {
        Self::from_bits(low as u64 | (high as u64) << 32)
    }
}
