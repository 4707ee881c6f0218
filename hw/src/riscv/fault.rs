//! What a unit records of a request that it refused: records of the fault queue (3.2).
//!
//! ```
//! use hw::riscv::fault::{Cause, FaultHeader, FaultRecord, TransactionType};
//!
//! let record = FaultRecord {
//!     header: FaultHeader::new()
//!         .with_cause(Cause::WritePageFault.code())
//!         .with_ttyp(TransactionType::UntranslatedWrite)
//!         .with_did(0x0118),
//!     iotval: 0x5000,
//!     ..FaultRecord::default()
//! };
//! assert_eq!(record.to_words(), [0x0001_180c_0000_000f, 0, 0x5000, 0]);
//! assert_eq!(Cause::WritePageFault.to_string(), "write/AMO page fault");
//! ```

use core::fmt;

use bitfield_struct::{bitenum, bitfield};

/// Bytes of one fault record.
pub const RECORD_BYTES: u64 = 32;

/// `TTYP`: what a refused request wanted (3.2).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionType {
    /// The fault is not of a request.
    None = 0,
    /// Untranslated read for execute.
    UntranslatedExecute = 1,
    /// Untranslated read.
    UntranslatedRead = 2,
    /// Untranslated write or atomic operation.
    UntranslatedWrite = 3,
    /// Translated read for execute.
    TranslatedExecute = 5,
    /// Translated read.
    TranslatedRead = 6,
    /// Translated write or atomic operation.
    TranslatedWrite = 7,
    /// PCIe translation request.
    TranslationRequest = 8,
    /// PCIe message request.
    MessageRequest = 9,
    /// Reserved or for custom use.
    #[fallback]
    Reserved = 4,
}

/// The first word of a fault record.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct FaultHeader {
    /// Why: see [`Cause`].
    #[bits(12)]
    pub cause: u16,
    /// Process id of the request, if `PV` is set.
    #[bits(20)]
    pub pid: u32,
    /// The request had a process id.
    pub pv: bool,
    /// `PRIV`: the request asked for supervisor privilege.
    pub privileged: bool,
    /// What the request wanted.
    #[bits(6, default = TransactionType::None)]
    pub ttyp: TransactionType,
    /// Device id of the request.
    #[bits(24)]
    pub did: u32,
}

/// One record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRecord {
    /// Who, how and why.
    pub header: FaultHeader,
    /// Lower half for custom use, upper half reserved.
    pub custom: u64,
    /// The bus address of the request; its offset in the page may be left out.
    pub iotval: u64,
    /// For guest-page faults the guest-physical address; bit 0 says that a first-stage entry was being accessed,
    /// bit 1 that it was being written.
    pub iotval2: u64,
}

impl FaultRecord {
    /// The record as it lies in memory.
    pub const fn to_words(self) -> [u64; 4] {
        [
            self.header.into_bits(),
            self.custom,
            self.iotval,
            self.iotval2,
        ]
    }

    /// The record whose words are `words`.
    pub const fn from_words(words: [u64; 4]) -> Self {
        Self {
            header: FaultHeader::from_bits(words[0]),
            custom: words[1],
            iotval: words[2],
            iotval2: words[3],
        }
    }
}

/// Whether a fault is recorded where the device context's `DTF` is set (3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderDtf {
    /// It is.
    Recorded,
    /// It is not.
    Silent,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal, $dtf:ident;)*) => {
        /// Why a request was refused, or what else went wrong (3.2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Cause {
            $($(#[$doc])* $name = $code,)*
        }

        impl Cause {
            /// Every cause, in the order of the codes.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The cause with this code, or `None` if the code is reserved or for custom use.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The code as [`FaultHeader::cause`] holds it.
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// Whether `DTF` of the device context keeps the fault from being recorded.
            pub const fn under_dtf(self) -> UnderDtf {
                match self {
                    $(Self::$name => UnderDtf::$dtf,)*
                }
            }

            /// What the manual calls it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl fmt::Display for Cause {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

causes! {
    /// A read for execute met memory that cannot be accessed.
    InstructionAccessFault = 1, "instruction access fault", Silent;
    /// A read was not aligned.
    ReadMisaligned = 4, "read address misaligned", Silent;
    /// A read, or the walk for it, met memory that cannot be accessed.
    ReadAccessFault = 5, "read access fault", Silent;
    /// A write or atomic operation was not aligned.
    WriteMisaligned = 6, "write/AMO address misaligned", Silent;
    /// A write or atomic operation, or the walk for it, met memory that cannot be accessed.
    WriteAccessFault = 7, "write/AMO access fault", Silent;
    /// The first stage grants no read for execute.
    InstructionPageFault = 12, "instruction page fault", Silent;
    /// The first stage grants no read.
    ReadPageFault = 13, "read page fault", Silent;
    /// The first stage grants no write or atomic operation.
    WritePageFault = 15, "write/AMO page fault", Silent;
    /// The second stage grants no read for execute.
    InstructionGuestPageFault = 20, "instruction guest page fault", Silent;
    /// The second stage grants no read.
    ReadGuestPageFault = 21, "read guest-page fault", Silent;
    /// The second stage grants no write or atomic operation.
    WriteGuestPageFault = 23, "write/AMO guest-page fault", Silent;
    /// The mode is `Off`.
    InboundDisallowed = 256, "all inbound transactions disallowed", Recorded;
    /// An entry of the device directory could not be read.
    DirectoryUnreachable = 257, "DDT entry load access fault", Recorded;
    /// An entry of the device directory is not valid.
    DirectoryNotValid = 258, "DDT entry not valid", Recorded;
    /// An entry of the device directory has a reserved bit set, or asks for what the unit cannot do.
    DirectoryMisconfigured = 259, "DDT entry misconfigured", Recorded;
    /// The device id is too wide for the directory, or its context does not allow such a request.
    TransactionDisallowed = 260, "transaction type disallowed", Silent;
    /// An entry of the MSI page table could not be read.
    MsiEntryUnreachable = 261, "MSI PTE load access fault", Silent;
    /// An entry of the MSI page table is not valid.
    MsiEntryNotValid = 262, "MSI PTE not valid", Silent;
    /// An entry of the MSI page table has a reserved bit set.
    MsiEntryMisconfigured = 263, "MSI PTE misconfigured", Silent;
    /// A memory-resident interrupt file could not be accessed.
    InterruptFileUnreachable = 264, "MRIF access fault", Silent;
    /// An entry of the process directory could not be read.
    ProcessUnreachable = 265, "PDT entry load access fault", Silent;
    /// An entry of the process directory is not valid.
    ProcessNotValid = 266, "PDT entry not valid", Silent;
    /// An entry of the process directory has a reserved bit set.
    ProcessMisconfigured = 267, "PDT entry misconfigured", Silent;
    /// The device directory is corrupt in memory.
    DirectoryCorrupt = 268, "DDT data corruption", Recorded;
    /// A process directory is corrupt in memory.
    ProcessCorrupt = 269, "PDT data corruption", Silent;
    /// An MSI page table is corrupt in memory.
    MsiTableCorrupt = 270, "MSI PT data corruption", Silent;
    /// A memory-resident interrupt file is corrupt in memory.
    InterruptFileCorrupt = 271, "MSI MRIF data corruption", Silent;
    /// A data path of the unit failed.
    InternalError = 272, "internal data path error", Recorded;
    /// The unit's own message could not be written.
    MessageAccessFault = 273, "IOMMU MSI write access fault", Recorded;
    /// A page table is corrupt in memory.
    TableCorrupt = 274, "first/second-stage PT data corruption", Silent;
}
