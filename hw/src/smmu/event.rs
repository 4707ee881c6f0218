//! What a unit records of a request that it terminated: records of the event queue (7.3).
//!
//! ```
//! use hw::smmu::event::{EventKind, EventRecord};
//!
//! // A read of 0x1234 by stream 0x18, for which there is no translation.
//! let record = EventRecord::from_words([0x0000_0018_0000_0010, 0x0000_0208_0000_0000, 0x1234, 0]);
//! assert_eq!((record.word0.stream(), record.input_address), (0x18, 0x1234));
//! assert!(record.word1.rnw());
//! assert_eq!(EventKind::from_code(record.word0.kind()), Some(EventKind::Translation));
//! ```

use core::fmt;

use bitfield_struct::{bitenum, bitfield};

/// Bytes of one record.
pub const RECORD_BYTES: u64 = 32;
/// 64-bit words of one record.
pub const RECORD_WORDS: usize = 4;

/// Bits 63:0 of a record: what and whose.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Event0 {
    /// What happened: see [`EventKind`].
    pub kind: u8,
    #[bits(3)]
    __: u8,
    /// Substream id valid.
    pub ssv: bool,
    /// Substream id.
    #[bits(20)]
    pub substream: u32,
    /// Stream id.
    pub stream: u32,
}

/// `CLASS`: what the unit was about when a request faulted (7.3).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Stage 2, for the address of a context descriptor.
    ContextDescriptor = 0,
    /// A walk: stage 2, for the address of a stage 1 table.
    Walk = 1,
    /// The request's own address.
    Input = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// Bits 127:64 of a record: how.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Event1 {
    /// Tag of a stalled request.
    pub stag: u16,
    #[bits(15)]
    __: u16,
    /// The request is stalled.
    pub stall: bool,
    __: bool,
    /// The request was privileged.
    pub pnu: bool,
    /// The request was an instruction fetch.
    pub ind: bool,
    /// The request was a read.
    pub rnw: bool,
    #[bits(2)]
    __: u8,
    /// The intermediate address is non-secure.
    pub nsipa: bool,
    /// Stage 2 faulted.
    pub s2: bool,
    /// What the unit was about.
    #[bits(2)]
    pub class: Class,
    #[bits(22)]
    __: u32,
}

/// One record of the event queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventRecord {
    /// Bits 63:0.
    pub word0: Event0,
    /// Bits 127:64.
    pub word1: Event1,
    /// Bits 191:128: the address of the request.
    pub input_address: u64,
    /// Bits 255:192: the address of what could not be fetched, or the intermediate address that stage 2 refused.
    pub fetch_address: u64,
}

impl EventRecord {
    /// The record as it lies in memory.
    pub const fn to_words(self) -> [u64; RECORD_WORDS] {
        [
            self.word0.into_bits(),
            self.word1.into_bits(),
            self.input_address,
            self.fetch_address,
        ]
    }

    /// The record that lies in memory as `words`.
    pub const fn from_words(words: [u64; RECORD_WORDS]) -> Self {
        Self {
            word0: Event0::from_bits(words[0]),
            word1: Event1::from_bits(words[1]),
            input_address: words[2],
            fetch_address: words[3],
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What happened (7.3).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum EventKind {
            $($(#[$doc])* $name = $code,)*
        }

        impl EventKind {
            /// Every kind, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The kind with this code, or `None` if the manual has none.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code as `Event0::kind` holds it.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// What it means, in few words.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl fmt::Display for EventKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

kinds! {
    /// `F_UUT`: the upstream transaction is not supported.
    Unsupported = 0x01, "unsupported upstream transaction";
    /// `C_BAD_STREAMID`: the stream id is outside the stream table.
    BadStreamId = 0x02, "stream id outside the stream table";
    /// `F_STE_FETCH`: reading the stream table failed.
    SteFetch = 0x03, "stream table entry unreachable";
    /// `C_BAD_STE`: the stream table entry is not valid.
    BadSte = 0x04, "stream table entry invalid";
    /// `F_BAD_ATS_TREQ`: the translation request is not allowed.
    BadAtsRequest = 0x05, "translation request not allowed";
    /// `F_STREAM_DISABLED`: the request has no substream, and the stream does not serve such.
    StreamDisabled = 0x06, "stream disabled without substream";
    /// `F_TRANSL_FORBIDDEN`: the translated request is not allowed.
    TranslatedForbidden = 0x07, "translated request forbidden";
    /// `C_BAD_SUBSTREAMID`: the substream id is outside the table of context descriptors.
    BadSubstreamId = 0x08, "substream id outside the context table";
    /// `F_CD_FETCH`: reading the context descriptor failed.
    CdFetch = 0x09, "context descriptor unreachable";
    /// `C_BAD_CD`: the context descriptor is not valid.
    BadCd = 0x0a, "context descriptor invalid";
    /// `F_WALK_EABT`: reading a page table failed.
    WalkAbort = 0x0b, "page table unreachable";
    /// `F_TRANSLATION`: there is no translation.
    Translation = 0x10, "no translation";
    /// `F_ADDR_SIZE`: an address of the walk, or its result, is too large.
    AddressSize = 0x11, "address too large";
    /// `F_ACCESS`: the access flag of the leaf is clear.
    Access = 0x12, "access flag clear";
    /// `F_PERMISSION`: the leaf does not permit the access.
    Permission = 0x13, "not permitted";
    /// `F_TLB_CONFLICT`: cached translations contradict each other.
    TlbConflict = 0x20, "cached translations conflict";
    /// `F_CFG_CONFLICT`: cached configurations contradict each other.
    ConfigConflict = 0x21, "cached configurations conflict";
    /// `E_PAGE_REQUEST`: a hint that pages are wanted.
    PageRequest = 0x24, "page request hint";
    /// `F_VMS_FETCH`: reading the structure of a virtual machine failed.
    VmsFetch = 0x25, "virtual machine structure unreachable";
}
