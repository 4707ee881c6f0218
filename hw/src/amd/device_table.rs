//! Device table entries: from a requester's device id to its domain's page table (section 2.2.2).
//!
//! The device table is one run of memory with 32 bytes per device id, at most 65536 of them. An entry is four
//! words of 64 bits: [`TranslationWord`], [`DomainWord`], [`InterruptWord`], [`AttributeWord`].
//!
//! **Absent means open**: requests of a device whose entry has `V` clear pass as they are. To block a device, its
//! entry is valid and grants nothing.
//!
//! ```
//! use hw::amd::device_table::{self, DomainWord, TranslationWord};
//!
//! let blocked = TranslationWord::new().with_v(true).with_tv(true);
//! assert_eq!(blocked.into_bits(), 3);
//! let open = blocked.with_mode(4).with_root(0x7000).with_ir(true).with_iw(true);
//! assert_eq!(open.into_bits(), 0x6000_0000_0000_7803);
//! assert_eq!(DomainWord::new().with_domainid(9).into_bits(), 9);
//! assert_eq!(device_table::entry_offset(0x0018), 0x300);
//! ```

use bitfield_struct::{bitenum, bitfield};

/// Bytes of one entry.
pub const ENTRY_BYTES: u64 = 32;
/// Words of 64 bits of one entry.
pub const ENTRY_WORDS: usize = 4;
/// Entries of a table for every device id.
pub const MAX_ENTRIES: u64 = 0x1_0000;
/// The greatest [`TranslationWord::mode`] that is not reserved.
pub const MAX_MODE: u8 = 6;

/// Byte offset of the entry of `device_id` in the table.
pub const fn entry_offset(device_id: u16) -> u64 {
    device_id as u64 * ENTRY_BYTES
}

/// Bits 63:0 of an entry: whether it says anything, and the page table.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct TranslationWord {
    /// Valid. While clear, the device's requests pass as they are.
    pub v: bool,
    /// The translation fields are valid.
    pub tv: bool,
    #[bits(5)]
    __: u8,
    /// Host access and dirty flags are kept; reserved where the IOMMU keeps none.
    #[bits(2)]
    pub had: u8,
    /// Levels of the page table, 1 to 6; 0 for none: requests pass as they are, as far as `IR` and `IW` let them.
    #[bits(3)]
    pub mode: u8,
    #[bits(40)]
    root_frame: u64,
    /// Page requests.
    pub ppr: bool,
    /// Page responses to guests have a PASID.
    pub gprp: bool,
    /// Guest I/O protection.
    pub giov: bool,
    /// Guest translation is valid.
    pub gv: bool,
    /// Levels of the guest CR3 table.
    #[bits(2)]
    pub glx: u8,
    /// Bits 14:12 of the address of the guest CR3 table.
    #[bits(3)]
    pub gcr3trp_low: u8,
    /// Reads may pass.
    pub ir: bool,
    /// Writes may pass.
    pub iw: bool,
    __: bool,
}

impl TranslationWord {
    /// Bits that must be zero whatever the IOMMU can do.
    pub const RESERVED: u64 = 0x8000_0000_0000_007c;
    /// Bits that must be zero unless the IOMMU has flags of accesses, page requests or guest translation.
    pub const OPTIONAL: u64 = 0x1ff0_0000_0000_0180;

    /// Physical address of the page table's root.
    pub const fn root(self) -> u64 {
        self.root_frame() << 12
    }

    /// With the root at physical address `phys`, a multiple of 4 KiB below 2^52 (other bits are dropped).
    #[must_use]
    pub const fn with_root(self, phys: u64) -> Self {
        self.with_root_frame(phys >> 12 & ((1 << 40) - 1))
    }
}

/// Bits 127:64 of an entry: the domain, and how requests are treated besides.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct DomainWord {
    /// Domain id.
    pub domainid: u16,
    /// Bits 30:15 of the address of the guest CR3 table.
    pub gcr3trp_middle: u16,
    /// `I`: the device may ask for translations and keep them.
    pub iotlb: bool,
    /// `SE`: of page faults of the device only the first is logged.
    pub se: bool,
    /// `SA`: no page fault of the device is logged.
    pub sa: bool,
    /// What becomes of port I/O requests.
    #[bits(2)]
    pub ioctl: u8,
    /// Translations the device asked for need not be cached.
    pub cache: bool,
    /// `SD`: the page-table walks of this device do not snoop the CPU's caches.
    pub sd: bool,
    /// The exclusion range holds for this device.
    pub ex: bool,
    /// What becomes of system management messages.
    #[bits(2)]
    pub sysmgt: u8,
    /// Secure translation services.
    pub sats: bool,
    /// Bits 51:31 of the address of the guest CR3 table.
    #[bits(21)]
    pub gcr3trp_high: u32,
}

impl DomainWord {
    /// Bits that must be zero unless the IOMMU has device translation caches or guest translation.
    pub const OPTIONAL: u64 = 0xffff_fc01_ffff_0000;
}

/// `InterruptWord::intctl`: what becomes of fixed and arbitrated interrupts.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterruptControl {
    /// They are refused.
    Abort = 0,
    /// They pass as they are.
    Forward = 1,
    /// They are remapped.
    Remap = 2,
    /// Reserved.
    #[fallback]
    Reserved = 3,
}

/// Bits 191:128 of an entry: interrupts.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct InterruptWord {
    /// The interrupt fields are valid. While clear, interrupts pass as they are.
    pub iv: bool,
    /// Entries of the interrupt table, as a power of two.
    #[bits(4)]
    pub inttablen: u8,
    /// Interrupts without an entry are not logged.
    pub ig: bool,
    #[bits(46)]
    table_line: u64,
    #[bits(2)]
    __: u8,
    /// Mode of guest paging.
    #[bits(2)]
    pub gpm: u8,
    /// INIT passes.
    pub initpass: bool,
    /// External interrupts pass.
    pub eintpass: bool,
    /// NMI passes.
    pub nmipass: bool,
    /// Mode of host page tables.
    pub hptmode: bool,
    /// Fixed and arbitrated interrupts.
    #[bits(2)]
    pub intctl: InterruptControl,
    /// Legacy interrupt 0 passes.
    pub lint0pass: bool,
    /// Legacy interrupt 1 passes.
    pub lint1pass: bool,
}

impl InterruptWord {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0x0030_0000_0000_0000;

    /// Physical address of the interrupt remapping table.
    pub const fn table(self) -> u64 {
        self.table_line() << 6
    }

    /// With the table at physical address `phys`, a multiple of 64 below 2^52 (other bits are dropped).
    #[must_use]
    pub const fn with_table(self, phys: u64) -> Self {
        self.with_table_line(phys >> 6 & ((1 << 46) - 1))
    }
}

/// Bits 255:192 of an entry: memory attributes, and what belongs to guests.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct AttributeWord {
    #[bits(15)]
    __: u16,
    /// The device belongs to a guest's IOMMU.
    pub vimuen: bool,
    /// Device id in the guest.
    pub gdeviceid: u16,
    /// The guest.
    pub guestid: u16,
    #[bits(6)]
    __: u8,
    /// The two fields below are valid.
    pub attrv: bool,
    /// Coherence of requests that pass with mode 0.
    pub mode0fc: bool,
    /// Attributes of requests.
    pub snoopattribute: u8,
}

impl AttributeWord {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0x003f_0000_0000_7fff;
}
