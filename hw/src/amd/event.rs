//! Entries of the event log, 128 bits each: refused requests, and errors of the IOMMU's own accesses (section 2.5).
//!
//! Every event has its code in bits 63:60; what the other fields mean depends on it, and most are of use in several.
//! Software clears an entry after reading it: a code of 0 is an entry not yet written.
//!
//! ```
//! use hw::amd::event::{Event, EventCode};
//!
//! // A write of 0x1000 by 00:03.0, domain 9: the page is there and not writable.
//! let event = Event::from_words([0x2070_0009_0000_0018, 0x1000]);
//! assert_eq!(event.code(), Some(EventCode::IoPageFault));
//! assert_eq!((event.deviceid(), event.domainid(), event.address()), (0x18, 9, 0x1000));
//! assert!(event.pr() && event.rw() && event.pe());
//! ```

use core::fmt;

use bitfield_struct::bitfield;

/// One entry of the event log.
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct Event {
    /// The device that made the request.
    pub deviceid: u16,
    /// Bits 19:16 of the request's PASID.
    #[bits(4)]
    pub pasid_high: u8,
    #[bits(12)]
    __: u16,
    /// The domain of the request, or bits 15:0 of its PASID where `GN` is set.
    pub domainid: u16,
    /// The address is a guest's.
    pub gn: bool,
    /// The request asked for execute permission.
    pub nx: bool,
    /// The request asked for user privilege.
    pub us: bool,
    /// The request was an interrupt.
    pub i: bool,
    /// The page, or the interrupt's table entry, is present.
    pub pr: bool,
    /// The request was a write, or asked for write permission.
    pub rw: bool,
    /// The entries walked do not grant what was asked.
    pub pe: bool,
    /// A reserved bit is set; clear: a level is encoded that cannot be. Only where the event is about such an entry.
    pub rz: bool,
    /// The request asked for a translation.
    pub tr: bool,
    /// What went wrong with an access of the IOMMU (see [`HardwareError`]), or what an invalid request was.
    #[bits(3)]
    pub kind: u8,
    /// The code: see [`EventCode`].
    #[bits(4)]
    pub event_code: u8,
    /// A bus address, or the physical address of what could not be used.
    pub address: u64,
}

impl Event {
    /// The event as it lies in memory: the words at offsets 0 and 8.
    pub const fn to_words(self) -> [u64; 2] {
        let bits = self.into_bits();
        [bits as u64, (bits >> 64) as u64]
    }

    /// The event whose words at offsets 0 and 8 are `words`.
    pub const fn from_words([low, high]: [u64; 2]) -> Self {
        Self::from_bits(low as u128 | (high as u128) << 64)
    }

    /// What happened, or `None` for a code that has no name here.
    pub const fn code(self) -> Option<EventCode> {
        EventCode::from_code(self.event_code())
    }

    /// With `code` as what happened.
    #[must_use]
    pub const fn with_code(self, code: EventCode) -> Self {
        self.with_event_code(code as u8)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What an entry of the event log tells (2.5).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum EventCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl EventCode {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The event with this code, or `None` if none of them has it.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code as `Event::event_code` holds it.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// What it says, in words.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl fmt::Display for EventCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

codes! {
    /// ILLEGAL_DEV_TABLE_ENTRY: the device's entry has reserved bits set, or asks for what the IOMMU cannot do.
    IllegalDeviceTableEntry = 0x1, "illegal device table entry";
    /// IO_PAGE_FAULT: the page is not there, or does not grant what was asked, or its entry is malformed.
    IoPageFault = 0x2, "I/O page fault";
    /// DEV_TAB_HARDWARE_ERROR: reading the device table failed.
    DeviceTableHardwareError = 0x3, "device table hardware error";
    /// PAGE_TAB_HARDWARE_ERROR: reading a page table failed.
    PageTableHardwareError = 0x4, "page table hardware error";
    /// ILLEGAL_COMMAND_ERROR: a command has reserved bits set or is none; the command buffer stopped at it.
    IllegalCommandError = 0x5, "illegal command";
    /// COMMAND_HARDWARE_ERROR: reading a command, or the store of a completion wait, failed; the command buffer stopped.
    CommandHardwareError = 0x6, "command hardware error";
    /// IOTLB_INV_TIMEOUT: a device did not answer an invalidation of its cache.
    IotlbInvalidationTimeout = 0x7, "device cache invalidation timed out";
    /// INVALID_DEVICE_REQUEST: the device asked for what its entry does not let it ask.
    InvalidDeviceRequest = 0x8, "invalid device request";
    /// INVALID_PPR_REQUEST: a page request that makes no sense.
    InvalidPageRequest = 0x9, "invalid page request";
    /// EVENT_COUNTER_ZERO: a performance counter wrapped.
    EventCounterZero = 0xa, "event counter wrapped";
}

/// `Event::kind` of the events about failed accesses of the IOMMU (2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum HardwareError {
    /// Nobody answered.
    MasterAbort = 1,
    /// Who answered refused.
    TargetAbort = 2,
    /// The data was damaged.
    DataError = 3,
}

impl HardwareError {
    /// As `Event::kind` holds it: bits 58:57 of the entry.
    pub const fn code(self) -> u8 {
        self as u8
    }
}
