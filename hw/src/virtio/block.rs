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

/// Feature `VIRTIO_BLK_F_RO`: the device can only be read.
pub const READ_ONLY: u64 = 1 << 5;

/// Bytes of the header that a request begins with (5.2.6): its type (32 bits), 32 bits unused, its first sector (64 bits).
pub const HEADER_BYTES: usize = 16;
/// Offset in it of the first sector.
pub const HEADER_SECTOR: usize = 8;

/// Type of a request that reads.
pub const IN: u32 = 0;
/// Type of a request that writes.
pub const OUT: u32 = 1;
/// Type of a request that flushes.
pub const FLUSH_REQUEST: u32 = 4;
/// Type of a request for the device's name, of [`ID_BYTES`].
pub const GET_ID: u32 = 8;
/// Bytes of the device's name.
pub const ID_BYTES: usize = 20;

/// Last byte of a request's answer: it was done.
pub const STATUS_OK: u8 = 0;
/// It was not done.
pub const STATUS_IO_ERROR: u8 = 1;
/// There is no such request.
pub const STATUS_UNSUPPORTED: u8 = 2;
