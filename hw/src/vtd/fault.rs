//! What a unit records of a request that it blocked: fault records and reason codes (section 7).
//!
//! ```
//! use hw::vtd::fault::{FaultReason, FaultRecord, RequestType};
//!
//! // A read of 0x1000 by 00:03.0, blocked because its leaf grants no read.
//! let record = FaultRecord::from_words([0x1000, 0xc000_0006_0000_0018]);
//! assert!(record.f());
//! assert_eq!(record.sid(), 0x0018);
//! assert_eq!(record.fi(), 0x1000);
//! assert_eq!(record.request_type(), RequestType::Read);
//! assert_eq!(FaultReason::from_code(record.fr()), Some(FaultReason::ReadNotPermitted));
//! ```

use core::fmt;

use bitfield_struct::bitfield;

/// A fault recording register (11.4.7.6), at [`fault_record`](super::regs::fault_record).
///
/// Its upper half is read first and, to free the record, written last with only `F` set.
#[bitfield(u128)]
#[derive(PartialEq, Eq)]
pub struct FaultRecord {
    #[bits(12)]
    __: u16,
    #[bits(52)]
    fi_page: u64,
    /// Source id: the requester.
    pub sid: u16,
    #[bits(12)]
    __: u16,
    /// Bit 1 of the type of request. See [`FaultRecord::request_type`].
    pub t2: bool,
    /// `PRIV`: the request asked for supervisor privilege; valid with `PP`.
    pub privileged: bool,
    /// The request asked for execute permission; valid with `PP`.
    pub exe: bool,
    /// PASID present in the request.
    pub pp: bool,
    /// Fault reason: see [`FaultReason`].
    pub fr: u8,
    /// PASID value; valid with `PP`.
    #[bits(20)]
    pub pv: u32,
    /// Address type of the request: 0 untranslated, 1 translation request, 2 translated.
    #[bits(2)]
    pub at: u8,
    /// Bit 0 of the type of request. See [`FaultRecord::request_type`].
    pub t1: bool,
    /// Fault: the record is valid; cleared by writing 1.
    pub f: bool,
}

/// What a blocked request wanted: fields `T1` and `T2` of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestType {
    /// Write request.
    Write,
    /// Page request.
    Page,
    /// Read request.
    Read,
    /// Atomic operation.
    AtomicOp,
}

impl FaultRecord {
    /// Fault information: the bus address of the request, to 4 KiB; for an interrupt request its index is in the
    /// upper 16 bits.
    pub const fn fi(self) -> u64 {
        self.fi_page() << 12
    }

    /// With `info`, to 4 KiB (lower bits are dropped), as fault information.
    #[must_use]
    pub const fn with_fi(self, info: u64) -> Self {
        self.with_fi_page(info >> 12)
    }

    /// What the request wanted.
    pub const fn request_type(self) -> RequestType {
        match (self.t1(), self.t2()) {
            (false, false) => RequestType::Write,
            (false, true) => RequestType::Page,
            (true, false) => RequestType::Read,
            (true, true) => RequestType::AtomicOp,
        }
    }

    /// With `wanted` as what the request wanted.
    #[must_use]
    pub const fn with_request_type(self, wanted: RequestType) -> Self {
        let (t1, t2) = match wanted {
            RequestType::Write => (false, false),
            RequestType::Page => (false, true),
            RequestType::Read => (true, false),
            RequestType::AtomicOp => (true, true),
        };
        self.with_t1(t1).with_t2(t2)
    }

    /// The record as it lies in registers: the words at offsets 0 and 8.
    pub const fn to_words(self) -> [u64; 2] {
        let bits = self.into_bits();
        [bits as u64, (bits >> 64) as u64]
    }

    /// The record whose words at offsets 0 and 8 are `words`.
    pub const fn from_words([low, high]: [u64; 2]) -> Self {
        Self::from_bits(low as u128 | (high as u128) << 64)
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $qualified:ident;)*) => {
        /// Why a request was blocked (7.1.3): the codes of address translation, of legacy mode and of scalable
        /// mode (from 0x30 on), for requests without PASID and without device-TLB.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FaultReason {
            $($(#[$doc])* $name = $code,)*
        }

        impl FaultReason {
            /// Every reason, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The reason with this code, or `None` if address translation of such requests has none.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code as `FaultRecord::fr` holds it.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// Whether `FPD` of the requester's context entry keeps the fault from being recorded.
            pub const fn qualification(self) -> Qualification {
                match self {
                    $(Self::$name => Qualification::$qualified,)*
                }
            }
        }

        impl FaultReason {
            /// What the manual calls it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl fmt::Display for FaultReason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

/// Whether a fault is recorded where the context entry's `FPD` is set (7.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Qualification {
    /// Not recorded where `FPD` is set.
    Qualified,
    /// Always recorded.
    Unqualified,
}

reasons! {
    /// LRT.2: the present bit of the requester's root entry is clear.
    RootNotPresent = 0x1, "root entry not present", Unqualified;
    /// LCT.2: the present bit of the requester's context entry is clear.
    ContextNotPresent = 0x2, "context entry not present", Qualified;
    /// LCT.4: the context entry asks for something the unit cannot do, or its table's root cannot be read.
    ContextInvalid = 0x3, "context entry invalid", Qualified;
    /// LGN.1: the address lies above the width of the domain or of the unit.
    AddressBeyondWidth = 0x4, "address beyond the guest address width", Qualified;
    /// LGN.2: a write, or atomic operation, and an entry on the walk grants no write.
    WriteNotPermitted = 0x5, "write not permitted", Qualified;
    /// LGN.3: a read, or atomic operation, and an entry on the walk grants no read.
    ReadNotPermitted = 0x6, "read not permitted", Qualified;
    /// LSL.1: reading a page-table entry failed.
    PageTableUnreachable = 0x7, "page table unreachable", Qualified;
    /// LRT.1: reading the root entry failed.
    RootTableUnreachable = 0x8, "root table unreachable", Unqualified;
    /// LCT.1: reading the context entry failed.
    ContextTableUnreachable = 0x9, "context table unreachable", Unqualified;
    /// LRT.3: a reserved field of a present root entry is not zero.
    RootReserved = 0xa, "reserved field of root entry not zero", Unqualified;
    /// LCT.3: a reserved field of a present context entry is not zero.
    ContextReserved = 0xb, "reserved field of context entry not zero", Qualified;
    /// LSL.2: a reserved field of a present page-table entry is not zero.
    PageTableReserved = 0xc, "reserved field of page-table entry not zero", Qualified;
    /// LCT.5: a translation or translated request, and the context entry's translation type blocks it.
    TranslationTypeBlocks = 0xd, "translation type blocks the request", Qualified;
    /// LGN.4: the translation leads into the interrupt address range.
    OutputIsInterruptRange = 0xe, "translated into the interrupt address range", Qualified;
    /// RTA.1: `RTADDR_REG` has a reserved bit set, or names a mode the unit does not have.
    RootAddressInvalid = 0x30, "root table address invalid", Unqualified;
    /// SRT.1: reading the scalable-mode root entry failed.
    ScalableRootTableUnreachable = 0x38, "scalable mode: root table unreachable", Unqualified;
    /// SRT.2: the present bit of the requester's half of the root entry is clear.
    ScalableRootNotPresent = 0x39, "scalable mode: root entry not present", Unqualified;
    /// SRT.3: a reserved field of a present root entry is not zero.
    ScalableRootReserved = 0x3a, "scalable mode: reserved field of root entry not zero", Unqualified;
    /// SCT.1: reading the scalable-mode context entry failed.
    ScalableContextTableUnreachable = 0x40, "scalable mode: context table unreachable", Unqualified;
    /// SCT.2: the present bit of the context entry is clear.
    ScalableContextNotPresent = 0x41, "scalable mode: context entry not present", Qualified;
    /// SCT.3: a reserved field of a present context entry is not zero.
    ScalableContextReserved = 0x42, "scalable mode: reserved field of context entry not zero", Qualified;
    /// SCT.4: the context entry asks for something the unit cannot do.
    ScalableContextInvalid = 0x43, "scalable mode: context entry invalid", Qualified;
    /// SCT.9: the `RID_PASID` of the context entry is larger than its directory.
    RidPasidBeyondDirectory = 0x48, "scalable mode: RID_PASID beyond the PASID directory", Qualified;
    /// SPD.1: reading the PASID-directory entry failed.
    PasidDirectoryUnreachable = 0x50, "PASID directory unreachable", Unqualified;
    /// SPD.2: the present bit of the PASID-directory entry is clear.
    PasidDirectoryNotPresent = 0x51, "PASID-directory entry not present", Qualified;
    /// SPD.3: a reserved field of a present PASID-directory entry is not zero.
    PasidDirectoryReserved = 0x52, "reserved field of PASID-directory entry not zero", Qualified;
    /// SPT.1: reading the PASID-table entry failed.
    PasidTableUnreachable = 0x58, "PASID table unreachable", Unqualified;
    /// SPT.2: the present bit of the PASID-table entry is clear.
    PasidNotPresent = 0x59, "PASID-table entry not present", Qualified;
    /// SPT.3: a reserved field of a present PASID-table entry is not zero.
    PasidReserved = 0x5a, "reserved field of PASID-table entry not zero", Qualified;
    /// SPT.4: the PASID-table entry asks for something the unit cannot do.
    PasidInvalid = 0x5b, "PASID-table entry invalid", Qualified;
    /// SFS.1: reading a first-stage entry failed.
    FirstStageUnreachable = 0x70, "first-stage table unreachable", Qualified;
    /// SFS.2: the present bit of a first-stage entry is clear.
    FirstStageNotPresent = 0x71, "first-stage entry not present", Qualified;
    /// SFS.3: a reserved field of a present first-stage entry is not zero.
    FirstStageReserved = 0x72, "reserved field of first-stage entry not zero", Qualified;
    /// SFS.4: reading an entry of the top first-stage table failed.
    FirstStageTopUnreachable = 0x73, "first-stage top table unreachable", Qualified;
    /// SSS.1: reading a second-stage entry failed.
    SecondStageUnreachable = 0x78, "second-stage table unreachable", Qualified;
    /// SSS.2: a second-stage entry grants neither reading nor writing.
    SecondStageNotPresent = 0x79, "second-stage entry grants nothing", Qualified;
    /// SSS.3: a reserved field of a present second-stage entry is not zero.
    SecondStageReserved = 0x7a, "reserved field of second-stage entry not zero", Qualified;
    /// SSS.4: reading an entry of the top second-stage table failed.
    SecondStageTopUnreachable = 0x7b, "second-stage top table unreachable", Qualified;
    /// SGN.1: the address is not canonical in the first-stage paging mode.
    NotCanonical = 0x80, "address not canonical", Qualified;
    /// SGN.2: a user request, and an entry of the first stage has `U/S` clear.
    SupervisorOnly = 0x81, "first-stage entry is the supervisor's", Qualified;
    /// SGN.5: the address lies above the width of the second-stage table or of the unit.
    ScalableAddressBeyondWidth = 0x84, "address beyond the second-stage address width", Qualified;
    /// SGN.6: a write, and an entry on the walk grants no write.
    ScalableWriteNotPermitted = 0x85, "scalable mode: write not permitted", Qualified;
    /// SGN.7: a read, and an entry on the walk grants no read.
    ScalableReadNotPermitted = 0x86, "scalable mode: read not permitted", Qualified;
    /// SGN.8: the translation leads into the interrupt address range.
    ScalableOutputIsInterruptRange = 0x87, "scalable mode: translated into the interrupt address range", Qualified;
    /// SFS.9: an accessed or dirty flag of a first-stage entry could not be set: the walk does not snoop.
    AccessedFlagNoSnoop = 0x90, "accessed or dirty flag needs a snooping walk", Qualified;
    /// SFS.10: setting an accessed or dirty flag of a first-stage entry failed.
    AccessedFlagUnwritable = 0x91, "accessed or dirty flag could not be set", Qualified;
}
