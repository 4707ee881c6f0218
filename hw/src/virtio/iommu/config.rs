//! Configuration of the IOMMU device (5.13.4): byte offsets from where the transport has it.
//!
//! ```
//! use hw::virtio::iommu::config;
//! use hw::virtio::mmio;
//!
//! // In the memory map, the field that lets endpoints without a domain pass:
//! assert_eq!(mmio::CONFIG + config::BYPASS, 0x124);
//! ```

/// Page sizes that can be mapped, 64 bits: bit n for `2^n` bytes; the lowest is the granularity of mappings.
pub const PAGE_SIZE_MASK: u64 = 0;
/// First address that can be mapped, 64 bits; valid with `INPUT_RANGE`.
pub const INPUT_RANGE_START: u64 = 8;
/// Last address that can be mapped, 64 bits; valid with `INPUT_RANGE`.
pub const INPUT_RANGE_END: u64 = 16;
/// First domain number, 32 bits; valid with `DOMAIN_RANGE`.
pub const DOMAIN_RANGE_START: u64 = 24;
/// Last domain number, 32 bits; valid with `DOMAIN_RANGE`.
pub const DOMAIN_RANGE_END: u64 = 28;
/// Bytes of the properties of a PROBE request, 32 bits; valid with `PROBE`.
pub const PROBE_SIZE: u64 = 32;
/// 1 where endpoints without a domain reach all memory, 0 where they reach none, 8 bits, writable; valid with
/// `BYPASS_CONFIG`.
pub const BYPASS: u64 = 36;
/// Bytes of the configuration, three reserved ones at its end counted.
pub const CONFIG_BYTES: u64 = 40;
