//! The ways in which a VT-d unit can be told to translate.

use dmamap::iommu::fault::Access;
use dmamap::system::{Settings, Stage, TableMode};
use hw::vtd::fault::FaultReason;
use journeys::boot::BootOptions;
use machine::iommu::vtd::{ScalableMode, VtdConfig};

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Without PASIDs: a context entry leads to tables of the second stage.
    Legacy,
    /// Scalable mode, tables of the first stage.
    FirstStage,
    /// Scalable mode, tables of the second stage.
    SecondStage,
}

/// All of them.
pub const WAYS: [Way; 3] = [Way::Legacy, Way::FirstStage, Way::SecondStage];
/// Those with entries for PASIDs.
pub const SCALABLE: [Way; 2] = [Way::FirstStage, Way::SecondStage];

impl Way {
    /// `unit`, with what this way needs.
    pub fn unit(self, unit: VtdConfig) -> VtdConfig {
        let scalable = (self != Self::Legacy).then(ScalableMode::default);
        VtdConfig { scalable, ..unit }
    }

    /// Settings that ask for it.
    pub fn settings(self) -> Settings {
        let (mode, stage) = match self {
            Self::Legacy => (TableMode::Legacy, None),
            Self::FirstStage => (TableMode::Scalable, Some(Stage::First)),
            Self::SecondStage => (TableMode::Scalable, Some(Stage::Second)),
        };
        Settings {
            mode: Some(mode),
            stage,
            ..Settings::default()
        }
    }

    /// Options that ask for it.
    pub fn options(self) -> BootOptions {
        BootOptions {
            units: self.settings(),
            ..BootOptions::default()
        }
    }

    /// Why a device is refused where nothing is mapped.
    pub fn unmapped(self, access: Access) -> FaultReason {
        match (self, access) {
            (Self::Legacy, Access::Read) => FaultReason::ReadNotPermitted,
            (Self::Legacy, _) => FaultReason::WriteNotPermitted,
            (Self::FirstStage, _) => FaultReason::FirstStageNotPresent,
            (Self::SecondStage, _) => FaultReason::SecondStageNotPresent,
        }
    }

    /// Why a device may not write what it may read.
    pub fn read_only(self) -> FaultReason {
        match self {
            Self::Legacy => FaultReason::WriteNotPermitted,
            Self::FirstStage | Self::SecondStage => FaultReason::ScalableWriteNotPermitted,
        }
    }

    /// Why a device is refused whose entries are written this very moment, or not yet.
    pub fn not_yet(self) -> &'static [FaultReason] {
        match self {
            Self::Legacy => &[
                FaultReason::RootNotPresent,
                FaultReason::ContextNotPresent,
                FaultReason::ReadNotPermitted,
            ],
            Self::FirstStage => &[
                FaultReason::ScalableRootNotPresent,
                FaultReason::ScalableContextNotPresent,
                FaultReason::PasidNotPresent,
                FaultReason::FirstStageNotPresent,
            ],
            Self::SecondStage => &[
                FaultReason::ScalableRootNotPresent,
                FaultReason::ScalableContextNotPresent,
                FaultReason::PasidNotPresent,
                FaultReason::SecondStageNotPresent,
            ],
        }
    }
}
