//! Where the device directory lies, and whether requests pass, are translated or are refused.

use bitfield_struct::{bitenum, bitfield};

/// `ddtp.iommu_mode` (5.5).
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuMode {
    /// Every request is refused.
    Off = 0,
    /// Every request passes as it is.
    Bare = 1,
    /// Device directory of one level.
    OneLevel = 2,
    /// Device directory of two levels.
    TwoLevel = 3,
    /// Device directory of three levels.
    ThreeLevel = 4,
    /// Reserved or for custom use.
    #[fallback]
    Reserved = 15,
}

impl IommuMode {
    /// Levels of the device directory, or `None` without one.
    pub const fn levels(self) -> Option<u32> {
        match self {
            Self::OneLevel => Some(1),
            Self::TwoLevel => Some(2),
            Self::ThreeLevel => Some(3),
            Self::Off | Self::Bare | Self::Reserved => None,
        }
    }

    /// The mode with a device directory of `levels` levels, or `None` unless that is 1 to 3.
    pub const fn from_levels(levels: u32) -> Option<Self> {
        match levels {
            1 => Some(Self::OneLevel),
            2 => Some(Self::TwoLevel),
            3 => Some(Self::ThreeLevel),
            _ => None,
        }
    }
}

/// `ddtp` (5.5).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Ddtp {
    /// What happens to requests; a unit may have some of the modes only.
    #[bits(4, default = IommuMode::Off)]
    pub iommu_mode: IommuMode,
    /// The last write of the mode is not yet carried out; read only.
    pub busy: bool,
    #[bits(5)]
    __: u8,
    /// Physical page number of the directory's root table.
    #[bits(44)]
    pub ppn: u64,
    #[bits(10)]
    __: u16,
}

impl Ddtp {
    /// Physical address of the directory's root table.
    pub const fn root(self) -> u64 {
        self.ppn() << 12
    }

    /// With the directory's root table at physical address `phys`, a multiple of 4 KiB (lower bits are dropped).
    #[must_use]
    pub const fn with_root(self, phys: u64) -> Self {
        self.with_ppn(phys >> 12)
    }
}
