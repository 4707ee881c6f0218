//! What one unit can do: version, capability and extended capability registers.

use bitfield_struct::bitfield;

/// `VER_REG`: version of the architecture that the unit implements (11.4.1).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Version {
    /// Minor version.
    #[bits(4)]
    pub min: u8,
    /// Major version.
    #[bits(4)]
    pub max: u8,
    #[bits(24)]
    __: u32,
}

/// `CAP_REG`: capabilities of the unit (11.4.2).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Cap {
    /// Number of domains, encoded: the unit has `4 + 2 * nd` domain-id bits. See [`Cap::domain_id_bits`].
    #[bits(3)]
    pub nd: u8,
    /// Advanced fault logging is supported.
    pub afl: bool,
    /// Required write-buffer flushing: after tables change, `GCMD.WBF` must be used before hardware sees it.
    pub rwbf: bool,
    /// Protected low memory region is supported.
    pub plmr: bool,
    /// Protected high memory region is supported.
    pub phmr: bool,
    /// Caching mode: entries that are not present may be cached too, so that mapping needs invalidation (6.1).
    pub cm: bool,
    /// Supported adjusted guest address widths: the depths of second-stage tables the unit walks.
    #[bits(5)]
    pub sagaw: AddressWidths,
    #[bits(3)]
    __: u8,
    /// Maximum guest address width, encoded as one less than the number of address bits.
    /// See [`Cap::guest_address_bits`].
    #[bits(6)]
    pub mgaw: u8,
    /// Zero-length reads to write-only pages are supported.
    pub zlr: bool,
    __: bool,
    /// Fault recording register offset in units of 16 bytes. See [`fault_record`](super::fault_record).
    #[bits(10)]
    pub fro: u16,
    /// Large pages that second-stage tables may hold.
    #[bits(4)]
    pub sslps: LargePages,
    __: bool,
    /// Page-selective invalidation is supported.
    pub psi: bool,
    /// Number of fault recording registers, encoded as one less. See [`Cap::fault_records`].
    #[bits(8)]
    pub nfr: u8,
    /// Maximum address mask value of a page-selective invalidation: it covers at most `2^mamv` 4 KiB pages.
    #[bits(6)]
    pub mamv: u8,
    /// Write draining is supported.
    pub dwd: bool,
    /// Read draining is supported.
    pub drd: bool,
    /// First-stage tables may hold 1 GiB pages.
    pub fs1gp: bool,
    #[bits(2)]
    __: u8,
    /// Posted interrupts are supported.
    pub pi: bool,
    /// First-stage tables may have 5 levels.
    pub fs5lp: bool,
    /// Enhanced commands are supported.
    pub ecmds: bool,
    /// Setting the interrupt-table pointer invalidates the interrupt-entry cache by itself.
    pub esirtps: bool,
    /// Setting the root-table pointer invalidates context cache and IOTLB by itself.
    pub esrtps: bool,
}

impl Cap {
    /// Width of a domain id in bits: 4 to 16.
    pub const fn domain_id_bits(self) -> u32 {
        4 + 2 * self.nd() as u32
    }

    /// Width of the largest bus address the unit translates.
    pub const fn guest_address_bits(self) -> u32 {
        self.mgaw() as u32 + 1
    }

    /// Number of fault recording registers: 1 to 256.
    pub const fn fault_records(self) -> u64 {
        self.nfr() as u64 + 1
    }
}

/// `CAP_REG.SAGAW`: which depths of second-stage tables a unit walks.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct AddressWidths {
    __: bool,
    /// 39-bit guest addresses, 3 levels.
    pub bits_39: bool,
    /// 48-bit guest addresses, 4 levels.
    pub bits_48: bool,
    /// 57-bit guest addresses, 5 levels.
    pub bits_57: bool,
    #[bits(4)]
    __: u8,
}

/// `CAP_REG.SSLPS`: which large leaves second-stage tables may hold.
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct LargePages {
    /// 2 MiB leaves.
    pub size_2m: bool,
    /// 1 GiB leaves.
    pub size_1g: bool,
    #[bits(6)]
    __: u8,
}

/// `ECAP_REG`: extended capabilities of the unit (11.4.3).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Ecap {
    /// Page-walk coherency: the unit's reads of root, context and page tables snoop the CPU's caches.
    pub c: bool,
    /// Queued invalidation is supported.
    pub qi: bool,
    /// Device-TLBs are supported.
    pub dt: bool,
    /// Interrupt remapping is supported.
    pub ir: bool,
    /// Extended interrupt mode (x2APIC) is supported.
    pub eim: bool,
    __: bool,
    /// Pass-through is supported as a context entry's translation type.
    pub pt: bool,
    /// Snoop control: the SNP bit of second-stage leaves is supported.
    pub sc: bool,
    /// IOTLB register offset in units of 16 bytes. See [`iotlb`](super::iotlb).
    #[bits(10)]
    pub iro: u16,
    #[bits(2)]
    __: u8,
    /// Maximum handle mask value of interrupt-entry invalidations.
    #[bits(4)]
    pub mhmv: u8,
    __: bool,
    /// Memory types are supported.
    pub mts: bool,
    /// Nested translation is supported.
    pub nest: bool,
    #[bits(2)]
    __: u8,
    /// Page requests are supported.
    pub prs: bool,
    /// Execute requests are supported.
    pub ers: bool,
    /// Supervisor requests are supported.
    pub srs: bool,
    __: bool,
    /// No-write flag of translation requests is supported.
    pub nwfs: bool,
    /// Extended accessed flag is supported.
    pub eafs: bool,
    /// PASID width, encoded as one less.
    #[bits(5)]
    pub pss: u8,
    /// PASIDs are supported.
    pub pasid: bool,
    /// Device-TLB invalidation throttling is asked for.
    pub dit: bool,
    /// Page-request draining is supported.
    pub pds: bool,
    /// Scalable mode is supported.
    pub smts: bool,
    /// Virtual command interface is supported.
    pub vcs: bool,
    /// Accessed and dirty flags of second-stage entries are supported.
    pub ssads: bool,
    /// Second-stage translation is supported in scalable mode.
    pub ssts: bool,
    /// First-stage translation is supported in scalable mode.
    pub fsts: bool,
    /// Scalable-mode page-walk coherency.
    pub smpwc: bool,
    /// RID-PASID is supported.
    pub rps: bool,
    __: bool,
    /// Performance monitoring is supported.
    pub pms: bool,
    /// Abort-DMA mode is supported as a translation table mode.
    pub adms: bool,
    /// RID-PRIV is supported.
    pub rprivs: bool,
    #[bits(10)]
    __: u16,
}
