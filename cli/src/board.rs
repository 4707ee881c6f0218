//! The hardware a computer is made of: models of this process, or QEMU's.

use std::fs::File;
use std::sync::Arc;

use board::hardware::Hardware;
use machine::audit::Audit;
use machine::cache::{CacheReport, Snooping};
use machine::device::nvme::{Medium, NvmeConfig, RogueReport};
use machine::iommu::amd::AmdConfig;
use machine::iommu::riscv::RiscvConfig;
use machine::iommu::smmu::SmmuConfig;
use machine::iommu::virtio::VirtioConfig;
use machine::iommu::vtd::{ScalableMode, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig, MachineError};
use qemu::Qemu;

use crate::args::{BoardChoice, IommuChoice, MachineArgs, StageChoice, TemperChoice, Walks};
use crate::error::Error;
use crate::qemu_board;

/// A disk to be put into the computer.
pub(crate) struct DiskSpec {
    /// What it holds.
    pub(crate) file: File,
    pub(crate) len_bytes: u64,
    pub(crate) medium: Medium,
    /// Address lines it drives.
    pub(crate) address_lines: u32,
    /// The seed of its attacks, if it is to attack.
    pub(crate) rogue: Option<u64>,
    /// A byte that is to arrive with a wrong bit.
    pub(crate) flip_bit_of_byte: Option<u64>,
}

impl DiskSpec {
    /// An ordinary disk that holds the first `len_bytes` of `file`.
    pub(crate) fn new(file: File, len_bytes: u64, medium: Medium) -> Self {
        Self {
            file,
            len_bytes,
            medium,
            address_lines: 64,
            rogue: None,
            flip_bit_of_byte: None,
        }
    }
}

/// The hardware.
#[derive(Clone)]
pub(crate) enum Board {
    Machine(Arc<Machine>),
    Qemu(Arc<Qemu>),
}

impl Board {
    /// The board `args` ask for, with these disks.
    pub(crate) fn build(args: &MachineArgs, disks: Vec<DiskSpec>) -> Result<Self, Error> {
        check_stage(args)?;
        check_walks(args)?;
        check_levels(args)?;
        match args.board {
            BoardChoice::Machine => machine(args, disks).map(Self::Machine),
            BoardChoice::Qemu => qemu_board::build(args, disks).map(Self::Qemu),
        }
    }

    /// As a kernel boots on it.
    pub(crate) fn hardware(&self) -> Arc<dyn Hardware> {
        match self {
            Self::Machine(machine) => machine.clone(),
            Self::Qemu(qemu) => qemu.clone(),
        }
    }

    /// What devices can still reach by the IOMMU's tables; `None` where the hardware does not tell.
    pub(crate) fn audit(&self) -> Option<Audit> {
        match self {
            Self::Machine(machine) => Some(machine.audit()),
            Self::Qemu(_) => None,
        }
    }

    /// What the CPU's caches did; `None` where nobody can tell that there are any.
    pub(crate) fn caches(&self) -> Option<CacheReport> {
        match self {
            Self::Machine(machine) => machine.caches(),
            Self::Qemu(_) => None,
        }
    }

    /// What the hardware saw that a correct kernel never causes.
    pub(crate) fn findings(&self) -> Vec<String> {
        match self {
            Self::Machine(machine) => machine.findings().iter().map(ToString::to_string).collect(),
            Self::Qemu(qemu) => {
                let failure = qemu.failure().map(|failure| failure.to_string());
                failure.into_iter().collect()
            }
        }
    }

    /// `error`, or why the hardware is not there any more, where that is what it comes from.
    pub(crate) fn explained(&self, error: Error) -> Error {
        match self {
            Self::Qemu(qemu) => match qemu.failure() {
                Some(failure) => Error::failed(format!("{failure} (then: {error})")),
                None => error,
            },
            Self::Machine(_) => error,
        }
    }

    /// What the first disk's attacks came to, where it is the disk that attacks.
    pub(crate) fn rogue_disk(&self) -> Option<RogueReport> {
        match self {
            Self::Machine(machine) => machine.disks().first().map(|disk| disk.rogue_report()),
            Self::Qemu(_) => None,
        }
    }

    /// Switches the hardware off.
    pub(crate) fn shut_down(&self) {
        match self {
            Self::Machine(machine) => machine.shutdown(),
            // It ends with its last owner.
            Self::Qemu(_) => {}
        }
    }
}

/// Refuses a stage that the IOMMU has no tables of.
fn check_stage(args: &MachineArgs) -> Result<(), Error> {
    let Some(stage) = args.stage else {
        return Ok(());
    };
    let has_it = match args.iommu {
        IommuChoice::VtdScalable | IommuChoice::Smmu | IommuChoice::Riscv => true,
        IommuChoice::Vtd => stage == StageChoice::Second,
        IommuChoice::Amd | IommuChoice::Virtio | IommuChoice::None => false,
    };
    match has_it {
        true => Ok(()),
        false => Err(Error::unusable(format!(
            "--stage {}: --iommu {} has no such tables",
            stage.name(),
            args.iommu.name()
        ))),
    }
}

/// Refuses walks that no table of firmware's could tell a kernel of: it would take them for others.
fn check_walks(args: &MachineArgs) -> Result<(), Error> {
    let why = match (args.walks, args.iommu) {
        (Walks::NoSnoop, IommuChoice::Riscv) => "firmware's RIMT has no word for it",
        (Walks::NoSnoop, IommuChoice::Virtio) => "it walks no tables",
        (Walks::NoSnoop, IommuChoice::None) => "nothing walks tables",
        _ => return Ok(()),
    };
    let iommu = args.iommu.name();
    Err(Error::unusable(format!(
        "--walks no-snoop: not with --iommu {iommu}: {why}"
    )))
}

/// Refuses levels of tables that are not there. Which numbers of levels an IOMMU has its driver knows.
fn check_levels(args: &MachineArgs) -> Result<(), Error> {
    match (args.table_levels, args.iommu) {
        (Some(levels), IommuChoice::None) => Err(Error::unusable(format!(
            "--table-levels {levels}: --iommu {} has no tables",
            args.iommu.name()
        ))),
        _ => Ok(()),
    }
}

fn machine(args: &MachineArgs, disks: Vec<DiskSpec>) -> Result<Arc<Machine>, Error> {
    let temper = match args.temper {
        TemperChoice::Keep => Temper::Keep,
        TemperChoice::Forget => Temper::Forget,
        TemperChoice::Random => Temper::Random(args.seed),
    };
    let config = MachineConfig::default()
        .with_ram(args.ram)
        .with_iommu(iommu(args))
        .with_temper(temper)
        .with_seed(args.seed)
        .with_devices(devices(args.non_coherent));
    let disks = disks.into_iter().map(|disk| {
        let mut config = NvmeConfig {
            address_lines: disk.address_lines,
            rogue: disk.rogue,
            ..NvmeConfig::new(disk.file, disk.len_bytes, disk.medium)
        };
        config.misbehaviour.flip_bit_of_byte = disk.flip_bit_of_byte;
        config
    });
    let config = disks.fold(config, MachineConfig::with_disk);
    Machine::boot(config).map_err(|error| match error {
        MachineError::RamTooSmall { .. } | MachineError::RamTooLarge { .. } => {
            Error::unusable(format!("--ram: {error}"))
        }
        error => Error::unusable(error),
    })
}

/// Whether the devices of a machine of ours see the CPU's caches.
pub(crate) fn devices(non_coherent: bool) -> Snooping {
    match non_coherent {
        true => Snooping::Off,
        false => Snooping::On,
    }
}

/// The IOMMU of a machine of ours.
pub(crate) fn iommu(args: &MachineArgs) -> Iommu {
    let walks = match args.walks {
        Walks::Snoop => Snooping::On,
        Walks::NoSnoop => Snooping::Off,
    };
    match args.iommu {
        IommuChoice::None => Iommu::None,
        IommuChoice::Vtd | IommuChoice::VtdScalable => {
            let mut unit = VtdConfig::default();
            if args.iommu == IommuChoice::VtdScalable {
                unit.scalable = Some(ScalableMode::default());
            }
            if args.table_levels == Some(5) {
                unit.address_widths = unit.address_widths.with_bits_57(true);
                unit.guest_address_bits = 57;
            }
            Iommu::Vtd { unit, walks }
        }
        IommuChoice::Virtio => Iommu::Virtio {
            unit: VirtioConfig::default(),
        },
        IommuChoice::Amd => Iommu::Amd {
            unit: AmdConfig::default(),
            walks,
        },
        IommuChoice::Riscv => Iommu::Riscv {
            unit: RiscvConfig::default(),
            walks,
        },
        IommuChoice::Smmu => Iommu::Smmu {
            unit: SmmuConfig::default(),
            walks,
        },
    }
}
