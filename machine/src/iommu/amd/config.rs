//! What one unit is built with, and the feature register that says so.

use hw::amd::regs::{ExtendedFeatures, HostLevels};

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

/// How software tells the unit where its interrupt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventInterrupt {
    /// By the mirror of its MSI capability (`MsiCapMmioSup`).
    MsiRegisters,
    /// By the x2APIC interrupt registers (`XTSup`, `IntCapXTEn`).
    IntCapXt,
    /// Only in the configuration space of its PCI function, which the machine does not have: there is no interrupt.
    ConfigurationSpaceOnly,
}

/// Everything that differs from one unit to another.
#[derive(Clone, Debug)]
pub struct AmdConfig {
    /// Physical address of the 16 KiB of registers, for the unit's findings: it is told offsets only.
    pub register_base: u64,
    /// Width of physical addresses; higher bits are reserved in every table.
    pub host_address_bits: u32,
    /// The deepest page table it walks (`HATS`).
    pub host_levels: HostLevels,
    /// Whether it has INVALIDATE_IOMMU_ALL (`IASup`).
    pub invalidate_all: Support,
    /// How its interrupt is set up.
    pub event_interrupt: EventInterrupt,
}

impl Default for AmdConfig {
    /// A unit as servers have it.
    fn default() -> Self {
        Self {
            register_base: 0xfeb8_0000,
            host_address_bits: 46,
            host_levels: HostLevels::Six,
            invalidate_all: Support::Yes,
            event_interrupt: EventInterrupt::MsiRegisters,
        }
    }
}

/// A unit that cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmdConfigError {
    /// Entries hold address bits 51:12.
    #[error("physical addresses have 32 to 52 bits, not {0}")]
    HostAddressBits(u32),
    /// `HATS` has a reserved value.
    #[error("page tables have 4 to 6 levels at most")]
    HostLevels,
    /// The host gave no thread for the unit.
    #[error("no thread for the unit: {0}")]
    NoThread(std::io::ErrorKind),
}

impl AmdConfig {
    /// The feature register of such a unit.
    ///
    /// # Errors
    /// [`AmdConfigError`] names the first value that no unit has.
    pub fn features(&self) -> Result<ExtendedFeatures, AmdConfigError> {
        if !(32..=52).contains(&self.host_address_bits) {
            return Err(AmdConfigError::HostAddressBits(self.host_address_bits));
        }
        if self.host_levels == HostLevels::Reserved {
            return Err(AmdConfigError::HostLevels);
        }
        Ok(ExtendedFeatures::new()
            .with_iasup(self.invalidate_all.is_yes())
            .with_hats(self.host_levels)
            .with_msicapmmiosup(self.event_interrupt == EventInterrupt::MsiRegisters)
            .with_xtsup(self.event_interrupt == EventInterrupt::IntCapXt))
    }
}
