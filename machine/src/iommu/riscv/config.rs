//! What one unit is built with, and the capability register that says so.

use hw::riscv::directory::ContextFormat;
use hw::riscv::regs::{Capabilities, InterruptGeneration};

/// Whether a unit has an optional function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// It has not.
    Absent,
    /// It has.
    Present,
}

impl Extension {
    const fn is_present(self) -> bool {
        matches!(self, Self::Present)
    }
}

/// What happens to requests after reset (5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtReset {
    /// All are refused.
    Off,
    /// All pass.
    Bare,
}

/// Everything that differs from one unit to another.
#[derive(Clone, Debug)]
pub struct RiscvConfig {
    /// Physical address of the 4 KiB of registers, for the unit's findings: it is told offsets only.
    pub register_base: u64,
    /// Width of physical addresses (`capabilities.PAS`).
    pub physical_address_bits: u32,
    /// Levels of the deepest first-stage table it walks, and with it all from 3 levels on; 0 for no first stage.
    pub first_stage_levels: u32,
    /// Levels of the deepest second-stage table it walks, and with it all from 3 levels on; 0 for no second stage.
    pub second_stage_levels: u32,
    /// The form of device contexts: extended with `capabilities.MSI_FLAT`.
    pub context_format: ContextFormat,
    /// Depths of the device directory that it knows, each 1 to 3; others are not taken by `ddtp`.
    pub directory_levels: Vec<u32>,
    /// How it signals its own interrupts (`capabilities.IGS`).
    pub interrupts: InterruptGeneration,
    /// Base-2 logarithm of the number of interrupt vectors, at most 4.
    pub vectors_log2: u32,
    /// Invalidations of an address may name the tables on the way to it too (`capabilities.NL`).
    pub non_leaf_invalidation: Extension,
    /// Invalidations of an address may name a range (`capabilities.S`).
    pub range_invalidation: Extension,
    /// What happens to requests after reset.
    pub at_reset: AtReset,
}

impl Default for RiscvConfig {
    /// A unit as QEMU has it: both stages, extended contexts, every directory, no extension.
    fn default() -> Self {
        Self {
            register_base: 0xfe90_0000,
            physical_address_bits: 46,
            first_stage_levels: 5,
            second_stage_levels: 5,
            context_format: ContextFormat::Extended,
            directory_levels: vec![1, 2, 3],
            interrupts: InterruptGeneration::Both,
            vectors_log2: 2,
            non_leaf_invalidation: Extension::Absent,
            range_invalidation: Extension::Absent,
            at_reset: AtReset::Off,
        }
    }
}

/// A unit that cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RiscvConfigError {
    /// The privileged specification knows tables of 3 to 5 levels.
    #[error("page tables have 3 to 5 levels, or there are none: not {0}")]
    TableLevels(u32),
    /// A unit that translates nothing is none.
    #[error("a unit has a first stage or a second stage")]
    NoStage,
    /// `ddtp.iommu_mode` says 1 to 3, and a unit has one of them at least.
    #[error("a device directory has 1 to 3 levels, and a unit knows at least one depth")]
    DirectoryLevels,
    /// Entries hold address bits 55:12.
    #[error("physical addresses have 32 to 56 bits, not {0}")]
    PhysicalAddressBits(u32),
    /// `icvec` has 4 bits for each vector.
    #[error("a unit has at most 2^4 interrupt vectors, not 2^{0}")]
    Vectors(u32),
    /// Value 3 of `capabilities.IGS`.
    #[error("a unit signals by messages, by wires or by both")]
    Interrupts,
    /// The host gave no thread for the unit.
    #[error("no thread for the unit: {0}")]
    NoThread(std::io::ErrorKind),
}

impl RiscvConfig {
    /// The capability register of such a unit.
    ///
    /// # Errors
    /// [`RiscvConfigError`] names the first value that no unit has.
    pub fn capabilities(&self) -> Result<Capabilities, RiscvConfigError> {
        for levels in [self.first_stage_levels, self.second_stage_levels] {
            if !matches!(levels, 0 | 3..=5) {
                return Err(RiscvConfigError::TableLevels(levels));
            }
        }
        if self.first_stage_levels == 0 && self.second_stage_levels == 0 {
            return Err(RiscvConfigError::NoStage);
        }
        if self.directory_levels.is_empty()
            || self
                .directory_levels
                .iter()
                .any(|levels| !(1..=3).contains(levels))
        {
            return Err(RiscvConfigError::DirectoryLevels);
        }
        if !(32..=56).contains(&self.physical_address_bits) {
            return Err(RiscvConfigError::PhysicalAddressBits(
                self.physical_address_bits,
            ));
        }
        if self.vectors_log2 > 4 {
            return Err(RiscvConfigError::Vectors(self.vectors_log2));
        }
        if self.interrupts == InterruptGeneration::Reserved {
            return Err(RiscvConfigError::Interrupts);
        }
        Ok(Capabilities::new()
            .with_version(0x10)
            .with_sv39(self.first_stage_levels >= 3)
            .with_sv48(self.first_stage_levels >= 4)
            .with_sv57(self.first_stage_levels >= 5)
            .with_sv39x4(self.second_stage_levels >= 3)
            .with_sv48x4(self.second_stage_levels >= 4)
            .with_sv57x4(self.second_stage_levels >= 5)
            .with_msi_flat(self.context_format == ContextFormat::Extended)
            .with_igs(self.interrupts)
            .with_pas(self.physical_address_bits as u8)
            .with_nl(self.non_leaf_invalidation.is_present())
            .with_s(self.range_invalidation.is_present()))
    }
}
