//! QEMU's educational DMA device, as its specification (`docs/specs/edu`) lists it.
//!
//! BAR 0 holds 1 MiB of registers. Those below `0x80` are accessed in 4 bytes, the others in 4 or 8. The device has an
//! internal buffer that its DMA engine copies to or from memory, and 28 address lines by default.
//!
//! ```
//! use hw::edu::{BUFFER, DmaCommand};
//!
//! // From the device's buffer to memory, with an interrupt at the end.
//! let command = DmaCommand::new().with_run(true).with_to_memory(true).with_interrupt(true);
//! assert_eq!(command.into_bits(), 0x7);
//! # let _ = BUFFER;
//! ```

use bitfield_struct::bitfield;

/// PCI vendor id.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device id.
pub const DEVICE_ID: u16 = 0x11e8;
/// Bytes of BAR 0.
pub const BAR_BYTES: u64 = 1 << 20;

/// Identification, read only: [`Identification`].
pub const ID: u64 = 0x00;
/// Liveness check: reads give the inversion of what was written.
pub const LIVENESS: u64 = 0x04;
/// Factorial: a number is written, its factorial is read once [`Status::computing`] is clear.
pub const FACTORIAL: u64 = 0x08;
/// Status: [`Status`].
pub const STATUS: u64 = 0x20;
/// Interrupt status, read only: the bits raised and not yet acknowledged.
pub const INTERRUPT_STATUS: u64 = 0x24;
/// Interrupt raise, write only: bits to add to the interrupt status.
pub const INTERRUPT_RAISE: u64 = 0x60;
/// Interrupt acknowledge, write only: bits to clear from the interrupt status.
pub const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
/// DMA source: a bus address, or an address of the internal buffer.
pub const DMA_SOURCE: u64 = 0x80;
/// DMA destination: a bus address, or an address of the internal buffer.
pub const DMA_DESTINATION: u64 = 0x88;
/// DMA transfer count in bytes.
pub const DMA_COUNT: u64 = 0x90;
/// DMA command: [`DmaCommand`].
pub const DMA_COMMAND: u64 = 0x98;

/// Address of the internal buffer, as the DMA engine sees it.
pub const BUFFER: u64 = 0x4_0000;
/// Bytes of the internal buffer.
pub const BUFFER_BYTES: u64 = 4096;
/// Address lines of the DMA engine.
pub const DMA_ADDRESS_BITS: u32 = 28;
/// The bit of the interrupt status that the end of a DMA transfer raises.
pub const INTERRUPT_DMA: u32 = 0x100;
/// The bit of the interrupt status that the end of a factorial raises.
pub const INTERRUPT_FACTORIAL: u32 = 0x001;

/// The word at [`ID`]: `0xRRrr00ed`.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Identification {
    /// [`Identification::MAGIC`].
    #[bits(8, default = Identification::MAGIC)]
    pub magic: u8,
    __: u8,
    /// Minor version.
    pub minor: u8,
    /// Major version.
    #[bits(8, default = 1)]
    pub major: u8,
}

impl Identification {
    /// What tells this device.
    pub const MAGIC: u8 = 0xed;
}

/// The word at [`STATUS`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Status {
    /// A factorial is being computed; read only.
    pub computing: bool,
    #[bits(6)]
    __: u8,
    /// Raise an interrupt when a factorial is computed.
    pub interrupt_enable: bool,
    #[bits(24)]
    __: u32,
}

/// The word at [`DMA_COMMAND`].
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DmaCommand {
    /// Set to start the transfer, clear when it ended.
    pub run: bool,
    /// Direction: set from the internal buffer to memory, clear from memory to the internal buffer.
    pub to_memory: bool,
    /// Raise [`INTERRUPT_DMA`] at the end.
    pub interrupt: bool,
    #[bits(61)]
    __: u64,
}
