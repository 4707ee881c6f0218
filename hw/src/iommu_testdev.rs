//! QEMU's IOMMU test device (`docs/specs/iommu-testdev`): one write by DMA on command, checked by the device itself.
//!
//! BAR 0 holds 4 KiB of registers, each accessed in 4 bytes. The device writes [`PATTERN`] at a bus address, then reads
//! memory at a physical address, past every IOMMU, and says whether the pattern arrived there.
//!
//! ```
//! use hw::iommu_testdev::{Attributes, Outcome};
//!
//! assert_eq!(Outcome::from_code(0xdead_0002), Some(Outcome::WriteFailed));
//! // No security state asked for: the ordinary one of the bus.
//! assert_eq!(Attributes::new().into_bits(), 0);
//! ```

use bitfield_struct::bitfield;

/// PCI vendor id.
pub const VENDOR_ID: u16 = 0x1b36;
/// PCI device id.
pub const DEVICE_ID: u16 = 0x0005;
/// Bytes of BAR 0.
pub const BAR_BYTES: u64 = 0x1000;

/// Trigger: a read carries out the request that is armed. It reads as 0.
pub const TRIGGER: u64 = 0x00;
/// Bus address to write at, bits 31:0.
pub const BUS_LOW: u64 = 0x04;
/// Bus address to write at, bits 63:32.
pub const BUS_HIGH: u64 = 0x08;
/// Bytes to write.
pub const LENGTH: u64 = 0x0c;
/// Result, read only: an [`Outcome`]'s code.
pub const RESULT: u64 = 0x10;
/// Doorbell: [`Doorbell`].
pub const DOORBELL: u64 = 0x14;
/// Attributes of the request: [`Attributes`].
pub const ATTRIBUTES: u64 = 0x18;
/// Physical address to look at afterwards, bits 31:0.
pub const PHYS_LOW: u64 = 0x1c;
/// Physical address to look at afterwards, bits 63:32.
pub const PHYS_HIGH: u64 = 0x20;

/// What is written, over and over, least significant byte first.
pub const PATTERN: u32 = 0x1234_5678;

/// The word at [`DOORBELL`].
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Doorbell {
    /// Set to arm a request, clear to give it up.
    pub arm: bool,
    #[bits(31)]
    __: u32,
}

/// The word at [`ATTRIBUTES`]: the security state a request claims, which matters on Arm alone.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Attributes {
    /// Secure; as [`space`](Self::space) says, if that is valid.
    pub secure: bool,
    /// Arm security space: 0 secure, 1 non-secure, 2 root, 3 realm.
    #[bits(2)]
    pub space: u8,
    /// The space counts; otherwise the request is non-secure.
    pub space_valid: bool,
    #[bits(28)]
    __: u32,
}

/// The word at [`RESULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pattern was written and found.
    Passed,
    /// No request was made since reset, or the last one was given up.
    Idle,
    /// A request is armed.
    Armed,
    /// The length was 0.
    BadLength,
    /// The write was refused.
    WriteFailed,
    /// There is no memory at the physical address.
    ReadFailed,
    /// The write was accepted, but memory at the physical address is something else.
    Mismatch,
    /// The trigger was read and nothing was armed.
    NotArmed,
    /// The attributes contradict each other.
    BadAttributes,
}

impl Outcome {
    /// The word's value.
    pub const fn code(self) -> u32 {
        match self {
            Self::Passed => 0,
            Self::Idle => 0xffff_ffff,
            Self::Armed => 0xffff_fffe,
            Self::BadLength => 0xdead_0001,
            Self::WriteFailed => 0xdead_0002,
            Self::ReadFailed => 0xdead_0003,
            Self::Mismatch => 0xdead_0004,
            Self::NotArmed => 0xdead_0005,
            Self::BadAttributes => 0xdead_0006,
        }
    }

    /// What a value of the word means.
    pub const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::Passed,
            0xffff_ffff => Self::Idle,
            0xffff_fffe => Self::Armed,
            0xdead_0001 => Self::BadLength,
            0xdead_0002 => Self::WriteFailed,
            0xdead_0003 => Self::ReadFailed,
            0xdead_0004 => Self::Mismatch,
            0xdead_0005 => Self::NotArmed,
            0xdead_0006 => Self::BadAttributes,
            _ => return None,
        })
    }
}
