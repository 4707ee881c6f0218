//! What one unit is built with, and the capability registers that say so.

use hw::vtd::regs::{AddressWidths, Cap, Ecap, LargePages};

use crate::cache::Snooping;

pub use crate::iommu::table_memory::WriteBuffer;

/// Whether a unit has an optional feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does not.
    No,
    /// It does.
    Yes,
}

impl Support {
    pub(super) const fn is_yes(self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// What the caches may hold (`CAP.CM`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CachingMode {
    /// Only translations that are present and well formed.
    PresentOnly,
    /// Also that there is none: a new mapping needs an invalidation too.
    NotPresentToo,
}

/// What happens to a fault of a requester of which one is already recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultCollapse {
    /// It is not recorded again: one requester cannot fill the records.
    SameRequester,
    /// It takes a record of its own.
    Never,
}

/// Everything that differs from one unit to another.
#[derive(Clone, Debug)]
pub struct VtdConfig {
    /// Physical address of the 4 KiB of registers, for the unit's findings: it is told offsets only.
    pub register_base: u64,
    /// Width of physical addresses; higher bits are reserved in every table.
    pub host_address_bits: u32,
    /// Width of bus addresses the unit translates (`CAP.MGAW` + 1).
    pub guest_address_bits: u32,
    /// Table depths it walks (`CAP.SAGAW`).
    pub address_widths: AddressWidths,
    /// Large leaves it knows (`CAP.SSLPS`).
    pub large_pages: LargePages,
    /// What may be cached (`CAP.CM`).
    pub caching_mode: CachingMode,
    /// Whether software flushes write buffers (`CAP.RWBF`).
    pub write_buffer: WriteBuffer,
    /// Snoop control: leaves may have `SNP` (`ECAP.SC`).
    pub snoop_control: Support,
    /// Context entries may say pass-through (`ECAP.PT`).
    pub pass_through: Support,
    /// Number of fault recording registers, 1 to 222 (`CAP.NFR` + 1).
    pub fault_records: u32,
    /// Whether faults of one requester share a record.
    pub fault_collapse: FaultCollapse,
    /// Width of a domain id: 4, 6, … 16 (`CAP.ND`).
    pub domain_id_bits: u32,
    /// Page-selective invalidation and its largest address mask, if the unit has it (`CAP.PSI`, `CAP.MAMV`).
    pub max_address_mask: Option<u8>,
    /// Scalable mode, beside legacy mode (`ECAP.SMTS`).
    pub scalable: Option<ScalableMode>,
}

/// What a unit's scalable mode has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalableMode {
    /// First-stage translation (`ECAP.FSTS`).
    pub first_stage: Support,
    /// Second-stage translation (`ECAP.SSTS`).
    pub second_stage: Support,
    /// First-stage tables of 5 levels (`CAP.FS5LP`).
    pub five_levels: Support,
    /// Context entries say which PASID requests without PASID have (`ECAP.RPS`); without it that is 0.
    pub rid_pasid: Support,
}

impl Default for ScalableMode {
    /// Both stages, 4 levels.
    fn default() -> Self {
        Self {
            first_stage: Support::Yes,
            second_stage: Support::Yes,
            five_levels: Support::No,
            rid_pasid: Support::Yes,
        }
    }
}

impl Default for VtdConfig {
    /// A unit as servers have it: tables of 3 and 4 levels, large pages, 16-bit domain ids.
    fn default() -> Self {
        Self {
            register_base: 0xfed9_0000,
            host_address_bits: 46,
            guest_address_bits: 48,
            address_widths: AddressWidths::new().with_bits_39(true).with_bits_48(true),
            large_pages: LargePages::new().with_size_2m(true).with_size_1g(true),
            caching_mode: CachingMode::PresentOnly,
            write_buffer: WriteBuffer::Transparent,
            snoop_control: Support::No,
            pass_through: Support::No,
            fault_records: 8,
            fault_collapse: FaultCollapse::SameRequester,
            domain_id_bits: 16,
            max_address_mask: Some(18),
            scalable: None,
        }
    }
}

/// A unit that cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VtdConfigError {
    /// The records and the other registers share one page of 4 KiB.
    #[error("a unit has 1 to 222 fault recording registers, not {0}")]
    FaultRecords(u32),
    /// `CAP.ND` cannot say this width.
    #[error("a domain id has 4, 6, 8, 10, 12, 14 or 16 bits, not {0}")]
    DomainIdBits(u32),
    /// No table could be walked, or none could hold such an address.
    #[error("a unit translates 39 to 57 address bits, not {0}, and walks at least one table depth")]
    GuestAddressBits(u32),
    /// Entries hold address bits 51:12.
    #[error("physical addresses have 32 to 52 bits, not {0}")]
    HostAddressBits(u32),
    /// `CAP.MAMV` has 6 bits.
    #[error("an address mask is at most 63, not {0}")]
    AddressMask(u8),
    /// The host gave no thread for the unit.
    #[error("no thread for the unit: {0}")]
    NoThread(std::io::ErrorKind),
}

/// Offset of the invalidation address register, in 16 bytes (`ECAP.IRO`).
const IOTLB_REGISTERS: u16 = 0x10;
/// Offset of the fault recording registers, in 16 bytes (`CAP.FRO`).
const FAULT_RECORDS: u16 = 0x22;
/// Records that fit between there and the end of the page.
const MAX_FAULT_RECORDS: u32 = 222;

impl VtdConfig {
    /// The capability registers of such a unit, whose walks see memory through a `snooping` view (`ECAP.C`).
    ///
    /// # Errors
    /// [`VtdConfigError`] names the first value that no unit has.
    pub fn capabilities(&self, walks: Snooping) -> Result<(Cap, Ecap), VtdConfigError> {
        if !(1..=MAX_FAULT_RECORDS).contains(&self.fault_records) {
            return Err(VtdConfigError::FaultRecords(self.fault_records));
        }
        if !(4..=16).contains(&self.domain_id_bits) || !self.domain_id_bits.is_multiple_of(2) {
            return Err(VtdConfigError::DomainIdBits(self.domain_id_bits));
        }
        if !(39..=57).contains(&self.guest_address_bits) || self.address_widths.into_bits() == 0 {
            return Err(VtdConfigError::GuestAddressBits(self.guest_address_bits));
        }
        if !(32..=52).contains(&self.host_address_bits) {
            return Err(VtdConfigError::HostAddressBits(self.host_address_bits));
        }
        if let Some(mask) = self.max_address_mask.filter(|mask| *mask > 63) {
            return Err(VtdConfigError::AddressMask(mask));
        }
        let scalable = self.scalable.unwrap_or(ScalableMode {
            first_stage: Support::No,
            second_stage: Support::No,
            five_levels: Support::No,
            rid_pasid: Support::No,
        });
        let cap = Cap::new()
            .with_nd(((self.domain_id_bits - 4) / 2) as u8)
            .with_rwbf(self.write_buffer == WriteBuffer::NeedsFlush)
            .with_cm(self.caching_mode == CachingMode::NotPresentToo)
            .with_sagaw(self.address_widths)
            .with_mgaw((self.guest_address_bits - 1) as u8)
            .with_zlr(true)
            .with_fro(FAULT_RECORDS)
            .with_sslps(self.large_pages)
            .with_psi(self.max_address_mask.is_some())
            .with_nfr((self.fault_records - 1) as u8)
            .with_mamv(self.max_address_mask.unwrap_or(0))
            .with_dwd(true)
            .with_drd(true)
            .with_fs1gp(scalable.first_stage.is_yes() && self.large_pages.size_1g())
            .with_fs5lp(scalable.five_levels.is_yes());
        let ecap = Ecap::new()
            .with_c(walks == Snooping::On)
            .with_qi(true)
            .with_pt(self.pass_through.is_yes())
            .with_sc(self.snoop_control.is_yes())
            .with_iro(IOTLB_REGISTERS)
            .with_smts(self.scalable.is_some())
            .with_ssts(scalable.second_stage.is_yes())
            .with_fsts(scalable.first_stage.is_yes())
            .with_smpwc(self.scalable.is_some() && walks == Snooping::On)
            .with_rps(scalable.rid_pasid.is_yes());
        Ok((cap, ecap))
    }
}
