//! Every vendor's unit.

use dmamap::system::{Settings, Stage, TableMode};
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, MachineConfig};

use rig::kinds::{go_on, hang};
use rig::{self, Rig, amd, small};

/// Every temper of the models' caches.
pub(crate) const TEMPERS: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(7)];

/// A machine with one vendor's units, and how they are used.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    iommu: Iommu,
    pub(crate) options: BootOptions,
}

impl Kind {
    fn new(name: &'static str, iommu: Iommu, stage: Option<Stage>) -> Self {
        let mode = (name == "vtd-scalable").then_some(TableMode::Scalable);
        let units = Settings {
            stage,
            mode,
            ..Settings::default()
        };
        Self {
            name,
            iommu,
            options: BootOptions {
                units,
                ..BootOptions::default()
            },
        }
    }

    /// Boots it with caches of `temper`.
    pub(crate) fn boot(&self, temper: Temper, entries: u32, window_ms: u64) -> Rig {
        let options = super::flushing(self.options, entries, window_ms);
        Rig::boot_with(self.config(temper), options)
    }

    /// The machine, with caches of `temper`.
    pub(crate) fn config(&self, temper: Temper) -> MachineConfig {
        let config = small().with_iommu(self.iommu.clone());
        config.with_temper(temper)
    }

    /// Whether a unit with caches of `temper` goes on using what was cleared: virtio's has no tables, so nothing is
    /// cleared before it is told.
    pub(crate) fn remembers(&self, temper: Temper) -> bool {
        temper == Temper::Keep || self.name == "virtio"
    }
}

/// All of them.
pub(crate) fn kinds() -> Vec<Kind> {
    let walks = Snooping::On;
    let smmu = || Iommu::Smmu {
        unit: SmmuConfig::default(),
        walks,
    };
    let riscv = || Iommu::Riscv {
        unit: RiscvConfig::default(),
        walks,
    };
    let scalable = VtdConfig {
        scalable: Some(ScalableMode::default()),
        ..VtdConfig::default()
    };
    let virtio = Iommu::Virtio {
        unit: VirtioConfig::default(),
    };
    vec![
        Kind::new("vtd", rig::vtd(VtdConfig::default()), None),
        Kind::new("vtd-scalable", rig::vtd(scalable), Some(Stage::First)),
        Kind::new("amd", amd(AmdConfig::default()), None),
        Kind::new("smmu", smmu(), Some(Stage::First)),
        Kind::new("smmu", smmu(), Some(Stage::Second)),
        Kind::new("riscv", riscv(), Some(Stage::First)),
        Kind::new("riscv", riscv(), Some(Stage::Second)),
        Kind::new("virtio", virtio, None),
    ]
}

/// Lets the units do no command any more, until [`release`].
pub(crate) fn hold(rig: &Rig) {
    hang(&rig.machine);
}

/// Ends [`hold`].
pub(crate) fn release(rig: &Rig) {
    go_on(&rig.machine);
}
