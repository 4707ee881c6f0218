//! The status of a completion (Base 3.3.3.2.1, figures "Status Code").
//!
//! ```
//! use hw::nvme::{Status, StatusField};
//!
//! let field = StatusField::from_bits(0x0281);
//! assert_eq!(field.status(), Some(Status::UnrecoveredReadError));
//! assert_eq!(StatusField::from(Status::LbaOutOfRange).into_bits(), 0x0080);
//! ```

use core::fmt;

use bitfield_struct::bitfield;

/// Status field: bits 31:17 of a completion's dword 3.
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct StatusField {
    /// Status code, in its type.
    pub sc: u8,
    /// Status code type: one of [`code_type`].
    #[bits(3)]
    pub sct: u8,
    /// Command retry delay.
    #[bits(2)]
    pub crd: u8,
    /// More information is in the error log.
    pub m: bool,
    /// Do not retry: the command would fail again.
    pub dnr: bool,
    __: bool,
}

/// Values of [`StatusField::sct`].
pub mod code_type {
    /// Generic command status.
    pub const GENERIC: u8 = 0;
    /// Command specific status.
    pub const COMMAND_SPECIFIC: u8 = 1;
    /// Media and data integrity errors.
    pub const MEDIA: u8 = 2;
    /// Path related status.
    pub const PATH: u8 = 3;
    /// Vendor specific.
    pub const VENDOR: u8 = 7;
}

impl StatusField {
    /// Whether the command succeeded.
    pub const fn is_success(self) -> bool {
        self.sc() == 0 && self.sct() == code_type::GENERIC
    }

    /// The named status, or `None` for one not listed in [`Status`].
    pub const fn status(self) -> Option<Status> {
        Status::from_code(self.sct(), self.sc())
    }
}

impl From<Status> for StatusField {
    /// The field with this status and nothing else.
    fn from(status: Status) -> Self {
        Self::new()
            .with_sct(status.code_type())
            .with_sc(status.code())
    }
}

impl fmt::Display for StatusField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status() {
            Some(status) => status.fmt(f)?,
            None => f.write_str("unknown status")?,
        }
        write!(f, " (type {:#x} code {:#04x})", self.sct(), self.sc())
    }
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = ($sct:literal, $sc:literal), $text:literal;)*) => {
        /// A status by its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Status {
            $($(#[$doc])* $name = $sct << 8 | $sc,)*
        }

        impl Status {
            /// Every named status, in the order of types and codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The status of this type and code, or `None` if it has no name here.
            pub const fn from_code(code_type: u8, code: u8) -> Option<Self> {
                match (code_type, code) {
                    $(($sct, $sc) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for Status {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

impl Status {
    /// Status code type: one of [`code_type`].
    pub const fn code_type(self) -> u8 {
        (self as u16 >> 8) as u8
    }

    /// Status code, in its type.
    pub const fn code(self) -> u8 {
        self as u16 as u8
    }
}

statuses! {
    /// The command completed without error.
    Success = (0, 0x00), "successful completion";
    /// The opcode is not supported.
    InvalidOpcode = (0, 0x01), "invalid command opcode";
    /// A field has a reserved or unsupported value.
    InvalidField = (0, 0x02), "invalid field in command";
    /// The command id is in use.
    CommandIdConflict = (0, 0x03), "command id conflict";
    /// Moving data or metadata failed.
    DataTransferError = (0, 0x04), "data transfer error";
    /// Aborted because power is about to be lost.
    AbortedPowerLoss = (0, 0x05), "aborted due to power loss notification";
    /// An internal error of the controller.
    InternalError = (0, 0x06), "internal error";
    /// An abort command named this one.
    AbortRequested = (0, 0x07), "command abort requested";
    /// The submission queue was deleted.
    AbortedQueueDeletion = (0, 0x08), "aborted due to submission queue deletion";
    /// The namespace or its format is invalid.
    InvalidNamespace = (0, 0x0b), "invalid namespace or format";
    /// The commands came in a wrong order.
    CommandSequenceError = (0, 0x0c), "command sequence error";
    /// The offset of a PRP entry is invalid.
    PrpOffsetInvalid = (0, 0x13), "PRP offset invalid";
    /// The blocks pass the end of the namespace.
    LbaOutOfRange = (0, 0x80), "LBA out of range";
    /// The namespace's capacity would be exceeded.
    CapacityExceeded = (0, 0x81), "capacity exceeded";
    /// The namespace is not ready.
    NamespaceNotReady = (0, 0x82), "namespace not ready";
    /// The completion queue named by a submission queue does not exist.
    CompletionQueueInvalid = (1, 0x00), "completion queue invalid";
    /// The queue id is out of range or in use.
    InvalidQueueId = (1, 0x01), "invalid queue identifier";
    /// The number of entries is out of range.
    InvalidQueueSize = (1, 0x02), "invalid queue size";
    /// The interrupt vector is out of range.
    InvalidInterruptVector = (1, 0x08), "invalid interrupt vector";
    /// The queue is still in use.
    InvalidQueueDeletion = (1, 0x0c), "invalid queue deletion";
    /// The feature cannot be saved.
    FeatureNotSaveable = (1, 0x0d), "feature identifier not saveable";
    /// The feature cannot be changed.
    FeatureNotChangeable = (1, 0x0e), "feature not changeable";
    /// Data could not be committed to the media.
    WriteFault = (2, 0x80), "write fault";
    /// Data could not be read from the media.
    UnrecoveredReadError = (2, 0x81), "unrecovered read error";
    /// Access to the namespace or blocks is denied.
    AccessDenied = (2, 0x86), "access denied";
}
