//! Consoles (5.3).
//!
//! ```
//! use hw::virtio::console;
//!
//! assert_eq!((console::DEVICE_TYPE, console::SIZE), (3, 1));
//! ```

/// Device type of a console (5).
pub const DEVICE_TYPE: u32 = 3;

/// Queue in which the first port receives (5.3.2).
pub const RECEIVE_QUEUE: u16 = 0;
/// Queue in which it sends.
pub const TRANSMIT_QUEUE: u16 = 1;

/// Feature `VIRTIO_CONSOLE_F_SIZE`: the configuration says how many characters are shown (5.3.3).
pub const SIZE: u64 = 1 << 0;

/// Offset in the configuration of the columns, 16 bits (5.3.4).
pub const CONFIG_COLUMNS: usize = 0;
/// Offset of the rows, 16 bits.
pub const CONFIG_ROWS: usize = 2;
