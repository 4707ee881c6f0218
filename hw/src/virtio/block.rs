//! Block devices (5.2).
//!
//! ```
//! use hw::virtio::block;
//!
//! assert_eq!(block::FLUSH, 0x200);
//! ```

/// Device type of a block device (5).
pub const DEVICE_TYPE: u32 = 2;

/// Bytes of the sectors in which a block device counts, whatever its own blocks are (5.2.4).
pub const SECTOR_BYTES: u64 = 512;

/// Feature `VIRTIO_BLK_F_FLUSH`: the device takes flush requests (5.2.3).
pub const FLUSH: u64 = 1 << 9;
