//! Graphics adapters (5.7), in two dimensions.
//!
//! Requests and responses begin with a header of [`HEADER_BYTES`], its type at [`HEADER_TYPE`]; all offsets below count
//! from the header's first byte.
//!
//! ```
//! use hw::virtio::gpu;
//!
//! assert_eq!(gpu::DEVICE_TYPE, 16);
//! assert_eq!(gpu::command::RESOURCE_FLUSH, 0x104);
//! ```

/// Device type of a graphics adapter (5).
pub const DEVICE_TYPE: u32 = 16;

/// Queue of commands (5.7.2).
pub const CONTROL_QUEUE: u16 = 0;
/// Queue of cursor commands.
pub const CURSOR_QUEUE: u16 = 1;

/// Feature `VIRTIO_GPU_F_EDID`: displays describe themselves (5.7.3).
pub const EDID: u64 = 1 << 1;

/// Offset in the configuration of the number of screens, 32 bits (5.7.4).
pub const CONFIG_NUM_SCANOUTS: usize = 8;
/// Bytes of the configuration.
pub const CONFIG_BYTES: usize = 16;

/// Bytes of the header (5.7.6.7).
pub const HEADER_BYTES: usize = 24;
/// Offset of its type, 32 bits: one of [`command`] or [`response`].
pub const HEADER_TYPE: usize = 0;
/// Most screens, each with a [`DISPLAY_BYTES`] in the answer to [`command::GET_DISPLAY_INFO`].
pub const MAX_SCANOUTS: usize = 16;
/// Bytes of a screen: a rectangle, whether it is enabled, flags.
pub const DISPLAY_BYTES: usize = 24;
/// The format of pixels of blue, green, red and one byte unused; called `B8G8R8A8_UNORM` and, without that byte,
/// `B8G8R8X8_UNORM`.
pub const FORMATS_BGR: [u32; 2] = [1, 2];

/// Types of requests (5.7.6.7).
pub mod command {
    /// Which screens there are.
    pub const GET_DISPLAY_INFO: u32 = 0x100;
    /// Makes a picture: its id, format, width and height, 32 bits each.
    pub const RESOURCE_CREATE_2D: u32 = 0x101;
    /// Forgets a picture: its id.
    pub const RESOURCE_UNREF: u32 = 0x102;
    /// Shows a picture: the rectangle, the screen, the id; none with id 0.
    pub const SET_SCANOUT: u32 = 0x103;
    /// Shows what changed: the rectangle, the id.
    pub const RESOURCE_FLUSH: u32 = 0x104;
    /// Reads memory into a picture: the rectangle, the offset in memory (64 bits), the id.
    pub const TRANSFER_TO_HOST_2D: u32 = 0x105;
    /// Says where a picture's memory is: the id, the number of runs, and each run: address (64 bits), length, padding.
    pub const RESOURCE_ATTACH_BACKING: u32 = 0x106;
    /// Takes a picture's memory away: its id.
    pub const RESOURCE_DETACH_BACKING: u32 = 0x107;
    /// Shows a cursor: screen, x, y, padding, the picture's id, and where in it the point is.
    pub const UPDATE_CURSOR: u32 = 0x300;
    /// Moves it.
    pub const MOVE_CURSOR: u32 = 0x301;
}

/// Types of responses (5.7.6.7).
pub mod response {
    /// Done.
    pub const OK_NODATA: u32 = 0x1100;
    /// Done; the screens follow.
    pub const OK_DISPLAY_INFO: u32 = 0x1101;
    /// Not done.
    pub const ERR_UNSPEC: u32 = 0x1200;
    /// There is no such screen.
    pub const ERR_INVALID_SCANOUT_ID: u32 = 0x1202;
    /// There is no such picture, or there is already.
    pub const ERR_INVALID_RESOURCE_ID: u32 = 0x1203;
    /// A number is out of range.
    pub const ERR_INVALID_PARAMETER: u32 = 0x1205;
}
