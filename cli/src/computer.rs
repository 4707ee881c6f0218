//! A computer of models, and the kernel on it: built, booted, taken down, counted.

use dmamap::device::Device;
use dmamap::pci::Function;
use dmamap::system::{AttachError, DmaSystem, Protection, Settings, Stage, StartError};
use hosted::{Hosted, ShutdownReport};
use journeys::Computer;
use journeys::boot::{BootError, BootOptions, IommuUse, MachineDescription};
use machine::audit::Audit;

use crate::args::{IommuChoice, MachineArgs, StageChoice};
use crate::board::{Board, DiskSpec};
use crate::error::Error;

/// A booted computer. Dropping it takes it down.
pub(crate) struct Booted {
    pub(crate) board: Board,
    pub(crate) kernel: Hosted,
    pub(crate) computer: Computer<Hosted>,
    iommu: IommuChoice,
}

/// What was found when the computer was taken down.
pub(crate) struct Remains {
    /// Memory devices could still reach, by the tables the hardware's registers lead to; `None` where it
    /// does not tell.
    pub(crate) audit: Option<Audit>,
    /// What the kernel never got back, and what went wrong in it.
    pub(crate) kernel: ShutdownReport,
}

impl Booted {
    /// Builds the computer `args` asks for, with these disks, and boots it.
    pub(crate) fn boot(args: &MachineArgs, disks: Vec<DiskSpec>) -> Result<Self, Error> {
        let board = Board::build(args, disks)?;
        let kernel = Hosted::boot(board.hardware()).map_err(Error::unusable)?;
        let description = describe(kernel)?;
        let options = BootOptions {
            iommu: match args.iommu {
                IommuChoice::None => IommuUse::Ignored,
                _ => IommuUse::AsFirmwareSays,
            },
            units: Settings {
                table_levels: args.table_levels,
                stage: args.stage.map(|stage| match stage {
                    StageChoice::First => Stage::First,
                    StageChoice::Second => Stage::Second,
                }),
                ..Settings::default()
            },
            ..BootOptions::default()
        };
        // SAFETY: the description and the tables are those of hardware made for this kernel alone.
        let computer = unsafe { journeys::boot::boot(kernel, &description, &kernel, options) }
            .map_err(|error| board.explained(not_booted(error)))?;
        Ok(Self {
            board,
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
            (iommu, Protection::Strict | Protection::Deferred | Protection::Bounce)
                if iommu != IommuChoice::None =>
            {
                system.attach(function, protection)
            }
            // SAFETY: the device is a model that accesses what its driver tells it to (`--rogue` is
            // refused here), and the driver unmaps only what the device has finished with.
            _ => unsafe { system.attach_trusted(function, protection) },
        }
    }

    /// Attaches a device that nobody sets to work: its driver tells it of no memory. So it can be vouched for, and what
    /// is unmapped under [`Protection::Deferred`] comes back at once.
    pub(crate) fn attach_idle(
        &self,
        function: &Function<Hosted>,
        protection: Protection,
    ) -> Result<Device<Hosted>, AttachError> {
        // SAFETY: the device is a model that accesses what its driver tells it to, which is nothing.
        unsafe { self.system().attach_trusted(function, protection) }
    }

    /// Takes the computer down, every device being detached: what the hardware could still reach, and what
    /// the kernel misses.
    pub(crate) fn shut_down(self) -> Result<Remains, Error> {
        let Self {
            board,
            kernel,
            computer,
            ..
        } = self;
        let audit = board.audit();
        let system = computer.system();
        let silenced = system.quiesce(computer.topology());
        drop(computer);
        let stopped = silenced.map_err(Error::failed).and_then(|()| {
            // SAFETY: every device was detached and silenced, so none is a bus master; the models obey that bit, and the
            // one firmware left at work keeps to its own memory.
            unsafe { system.shutdown() }.map_err(Error::failed)
        });
        board.shut_down();
        let kernel = kernel.shutdown();
        stopped?;
        Ok(Remains { audit, kernel })
    }
}

/// Why there is no computer: what was asked for cannot be, or a failure.
fn not_booted(error: BootError) -> Error {
    if let BootError::Start(start) = &error
        && let StartError::Direct { error: why, .. } = &**start
        && let Some(refusal) = no_such_levels(why)
    {
        return refusal;
    }
    Error::failed(error)
}

/// The refusal of a number of table levels that the IOMMU does not have.
pub(crate) fn no_such_levels(error: &AttachError) -> Option<Error> {
    match error {
        AttachError::NoSuchLevels { levels, .. } => {
            Some(Error::unusable(format!("--table-levels {levels}: {error}")))
        }
        _ => None,
    }
}

/// What the board tells of itself.
pub(crate) fn describe(kernel: Hosted) -> Result<MachineDescription, Error> {
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
