//! Entropy devices (5.4).
//!
//! ```
//! assert_eq!(hw::virtio::entropy::DEVICE_TYPE, 4);
//! ```

/// Device type of an entropy device (5).
pub const DEVICE_TYPE: u32 = 4;
