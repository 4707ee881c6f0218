//! A computer of models, and the kernel on it: built, booted, taken down, counted.

use std::sync::Arc;

use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::system::{AttachError, DmaSystem, Protection, Settings};
use hosted::{Hosted, ShutdownReport};
use journeys::Computer;
use journeys::boot::{BootOptions, IommuUse, MachineDescription};
use machine::audit::Audit;
use machine::cache::Snooping;
use machine::device::nvme::NvmeConfig;
use machine::iommu::vtd::VtdConfig;
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig, MachineError};

use crate::args::{IommuChoice, MachineArgs, TemperChoice, Walks};
use crate::error::Error;

/// A booted computer. Dropping it takes it down.
pub(crate) struct Booted {
    pub(crate) machine: Arc<Machine>,
    pub(crate) kernel: Hosted,
    pub(crate) computer: Computer<Hosted>,
    iommu: IommuChoice,
}

/// What was found when the computer was taken down.
pub(crate) struct Remains {
    /// Memory devices could still reach, by the tables the hardware's registers lead to.
    pub(crate) audit: Audit,
    /// What the kernel never got back, and what went wrong in it.
    pub(crate) kernel: ShutdownReport,
}

impl Booted {
    /// Builds the computer `args` asks for, with these disks, and boots it.
    pub(crate) fn boot(args: &MachineArgs, disks: Vec<NvmeConfig>) -> Result<Self, Error> {
        let temper = match args.temper {
            TemperChoice::Keep => Temper::Keep,
            TemperChoice::Forget => Temper::Forget,
            TemperChoice::Random => Temper::Random(args.seed),
        };
        let config = MachineConfig::default()
            .with_ram(args.ram)
            .with_iommu(iommu(args))
            .with_temper(temper)
            .with_seed(args.seed);
        let config = disks.into_iter().fold(config, MachineConfig::with_disk);
        let machine = Machine::boot(config).map_err(|error| match error {
            MachineError::RamTooSmall { .. } | MachineError::RamTooLarge { .. } => {
                Error::unusable(format!("--ram: {error}"))
            }
            error => Error::unusable(error),
        })?;
        let kernel = Hosted::boot(machine.clone()).map_err(Error::unusable)?;
        let description = describe(kernel)?;
        let options = BootOptions {
            iommu: match args.iommu {
                IommuChoice::Vtd => IommuUse::AsFirmwareSays,
                IommuChoice::None => IommuUse::Ignored,
            },
            units: Settings {
                table_levels: args.table_levels,
                ..Settings::default()
            },
        };
        // SAFETY: the description and the tables are those of a machine of models, made for this kernel alone.
        let computer = unsafe { journeys::boot::boot(kernel, &description, &kernel, options) }
            .map_err(Error::failed)?;
        Ok(Self {
            machine,
            kernel,
            computer,
            iommu: args.iommu,
        })
    }

    pub(crate) fn system(&self) -> &'static DmaSystem<Hosted> {
        self.computer.system()
    }

    /// Attaches a device as `protection` says.
    pub(crate) fn attach(
        &self,
        function: &Function<Hosted>,
        protection: Protection,
    ) -> Result<Device<Hosted>, AttachError> {
        let system = self.system();
        match (self.iommu, protection) {
            (IommuChoice::Vtd, Protection::Strict) => system.attach(function, protection),
            // SAFETY: the device is a model that accesses what its driver tells it to (`--rogue` is
            // refused here), and the driver unmaps only what the device has finished with.
            _ => unsafe { system.attach_trusted(function, protection) },
        }
    }

    /// Takes the computer down, every device being detached: what the hardware could still reach, and what
    /// the kernel misses.
    pub(crate) fn shut_down(self) -> Result<Remains, Error> {
        let Self {
            machine,
            kernel,
            computer,
            ..
        } = self;
        let audit = machine.audit();
        let system = computer.system();
        drop(computer);
        // SAFETY: every device was detached, so none is a bus master; the models obey that bit, and the one
        // firmware left at work keeps to its own memory.
        let stopped = unsafe { system.shutdown() };
        machine.shutdown();
        let kernel = kernel.shutdown();
        stopped.map_err(Error::failed)?;
        Ok(Remains { audit, kernel })
    }
}

fn iommu(args: &MachineArgs) -> Iommu {
    match args.iommu {
        IommuChoice::None => Iommu::None,
        IommuChoice::Vtd => {
            let mut unit = VtdConfig::default();
            if args.table_levels == Some(5) {
                unit.address_widths = unit.address_widths.with_bits_57(true);
                unit.guest_address_bits = 57;
            }
            let walks = match args.walks {
                Walks::Snoop => Snooping::On,
                Walks::NoSnoop => Snooping::Off,
            };
            Iommu::Vtd { unit, walks }
        }
    }
}

/// What the board tells of itself.
fn describe(kernel: Hosted) -> Result<MachineDescription, Error> {
    let rsdp = kernel
        .rsdp()
        .ok_or_else(|| Error::failed("the board has no ACPI tables"))?;
    let bridges = kernel.host_bridges().map_err(Error::failed)?;
    let host_bridge = bridges
        .into_iter()
        .next()
        .ok_or_else(|| Error::failed("the board has no PCI host bridge"))?;
    Ok(MachineDescription { rsdp, host_bridge })
}
