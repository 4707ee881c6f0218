//! Network devices (5.1).
//!
//! ```
//! use hw::virtio::net;
//!
//! assert_eq!((net::DEVICE_TYPE, net::MAC), (1, 0x20));
//! ```

/// Device type of a network device (5).
pub const DEVICE_TYPE: u32 = 1;

/// Queue in which frames are received (5.1.2).
pub const RECEIVE_QUEUE: u16 = 0;
/// Queue in which frames are sent.
pub const TRANSMIT_QUEUE: u16 = 1;

/// Feature `VIRTIO_NET_F_MAC`: the configuration begins with the device's address (5.1.3).
pub const MAC: u64 = 1 << 5;
/// Feature `VIRTIO_NET_F_STATUS`: the configuration has a status.
pub const STATUS: u64 = 1 << 16;

/// Bytes of the header before each frame (5.1.6).
pub const HEADER_BYTES: usize = 12;
/// Offset in it of the number of buffers that a frame takes, 16 bits: 1, unless buffers are merged.
pub const HEADER_NUM_BUFFERS: usize = 10;

/// Offset in the configuration of the device's address, 6 bytes (5.1.4).
pub const CONFIG_MAC: usize = 0;
/// Offset of the status, 16 bits.
pub const CONFIG_STATUS: usize = 6;
/// In the status: the link is up.
pub const LINK_UP: u16 = 1;
