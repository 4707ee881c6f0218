//! Registers that switch a unit's functions: global command and status, root table, protected memory.

use bitfield_struct::{bitenum, bitfield};

/// `GCMD_REG`: the functions asked for (11.4.4.1).
///
/// One command is written at a time, together with the state of those already enabled. `TE`, `EAFL`, `QIE`,
/// `IRE` and `CFI` are states; `SRTP`, `SFL`, `WBF` and `SIRTP` are one-shot commands.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GlobalCommand {
    #[bits(23)]
    __: u32,
    /// Compatibility-format interrupts pass.
    pub cfi: bool,
    /// Take the interrupt remapping table pointer from `IRTA_REG`.
    pub sirtp: bool,
    /// Interrupt remapping enable.
    pub ire: bool,
    /// Queued invalidation enable.
    pub qie: bool,
    /// Flush the unit's write buffers; only where [`Cap::rwbf`](super::Cap::rwbf) is set.
    pub wbf: bool,
    /// Enable advanced fault logging.
    pub eafl: bool,
    /// Take the fault log pointer from `AFLOG_REG`.
    pub sfl: bool,
    /// Take the root table pointer from `RTADDR_REG`.
    pub srtp: bool,
    /// Translation enable.
    pub te: bool,
}

/// `GSTS_REG`: the state reached (11.4.4.2).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GlobalStatus {
    #[bits(23)]
    __: u32,
    /// Compatibility-format interrupts pass.
    pub cfis: bool,
    /// The interrupt remapping table pointer was taken.
    pub irtps: bool,
    /// Interrupt remapping is enabled.
    pub ires: bool,
    /// Queued invalidation is enabled.
    pub qies: bool,
    /// A write-buffer flush is in progress; hardware clears it at its end.
    pub wbfs: bool,
    /// Advanced fault logging is enabled.
    pub afls: bool,
    /// The fault log pointer was taken.
    pub fls: bool,
    /// The root table pointer was taken.
    pub rtps: bool,
    /// Translation is enabled.
    pub tes: bool,
}

impl GlobalStatus {
    /// The enabled states as the command bits that keep them: the value a new command is added to.
    ///
    /// The status of the one-shot commands is dropped (11.4.4.1, programming steps).
    pub const fn to_command(self) -> GlobalCommand {
        GlobalCommand::new()
            .with_te(self.tes())
            .with_eafl(self.afls())
            .with_qie(self.qies())
            .with_ire(self.ires())
            .with_cfi(self.cfis())
    }
}

/// `RTADDR_REG.TTM`: the kind of table `RTADDR_REG` points at (11.4.5).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationTableMode {
    /// Root and context tables of legacy mode.
    Legacy = 0,
    /// Scalable-mode tables.
    Scalable = 1,
    /// Reserved.
    #[fallback]
    Reserved = 2,
    /// All requests are blocked; only where [`Ecap::adms`](super::Ecap::adms) is set.
    AbortDma = 3,
}

/// `RTADDR_REG`: where the root table lies (11.4.5).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct RootTableAddress {
    #[bits(10)]
    __: u16,
    /// Translation table mode.
    #[bits(2, default = TranslationTableMode::Legacy)]
    pub ttm: TranslationTableMode,
    #[bits(52)]
    rta_frame: u64,
}

impl RootTableAddress {
    /// Physical address of the root table.
    pub const fn rta(self) -> u64 {
        self.rta_frame() << 12
    }

    /// With the root table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_rta(self, phys: u64) -> Self {
        self.with_rta_frame(phys >> 12)
    }
}

/// `PMEN_REG`: protected memory regions on or off (11.4.8.1).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ProtectedMemoryEnable {
    /// Protected region status, read only: the regions are enabled.
    pub prs: bool,
    #[bits(30)]
    __: u32,
    /// Enable the protected regions.
    pub epm: bool,
}
