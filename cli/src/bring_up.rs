//! A disk attached and brought up; and which setting is too small, where that is why it cannot be.

use std::fmt::Display;

use dmamap::addr::PhysAddr;
use dmamap::bounce::BounceError;
use dmamap::buffer::BufferError;
use dmamap::device::MaskError;
use dmamap::iommu::DomainError;
use dmamap::iova::IovaError;
use dmamap::map::{CoherentFailure, MapError, MapFailure};
use dmamap::pci::Function;
use dmamap::platform::OutOfFrames;
use dmamap::system::{AttachError, Protection};
use drivers::nvme::{CommandError, Completion, Settings, StartError};
use hosted::Hosted;
use journeys::disk::{Disk, DiskError};

use crate::args::{CompletionChoice, Policy, RunArgs, size_text};
use crate::computer::{Booted, no_such_levels};
use crate::error::Error;
use crate::input::Input;

/// Attaches a disk and brings it up.
pub(crate) fn start(
    args: &RunArgs,
    booted: &mut Booted,
    function: &Function<Hosted>,
) -> Result<Disk<Hosted>, Error> {
    let protection = match args.policy {
        Policy::Strict => Protection::Strict,
        Policy::Deferred => Protection::Deferred,
        Policy::Identity => Protection::Identity,
        Policy::Bounce => Protection::Bounce,
    };
    let kernel = booted.kernel;
    let device = booted
        .attach(function, protection)
        .map_err(|error| no_such_levels(&error).unwrap_or_else(|| refused(args, kernel, &error)))?;
    let settings = Settings {
        queues: args.queues.into(),
        queue_depth: args.queue_depth.into(),
        completion: match args.completion {
            CompletionChoice::Interrupt => Completion::Interrupt,
            CompletionChoice::Polling => Completion::Polling,
        },
        ..Settings::default()
    };
    let started = Disk::start(device, function, booted.computer.resources_mut(), settings);
    started.map_err(|failed| match refused(args, kernel, &failed.error) {
        Error::Failed(reason) => Error::failed(format!("disk {}: {reason}", function.address())),
        unusable => unusable,
    })
}

/// What a refusal before any data moved comes from: a setting that is too small, or a failure.
pub(crate) fn refused(args: &RunArgs, kernel: Hosted, error: &impl Refusal) -> Error {
    let bits = args.address_bits;
    if let Some(reason) = error.mask_too_small() {
        return Error::unusable(format!("--address-bits {bits}: {reason}"));
    }
    if kernel.frames().refused > 0 {
        return Error::unusable(format!(
            "--ram {}: too little memory for --queues {} --queue-depth {}: give more, or make those smaller",
            size_text(args.machine.ram),
            args.queues,
            args.queue_depth,
        ));
    }
    Error::failed(error)
}

/// What a disk's failure while `input` is read comes from. Where its buffers find no place, nothing is wrong but
/// the size of something.
pub(crate) fn read_failed(
    args: &RunArgs,
    kernel: Hosted,
    input: &Input,
    error: &DiskError,
) -> Error {
    match refused(args, kernel, error) {
        unusable @ Error::Unusable(_) if is_about_buffers(error) => unusable,
        _ => input.failed(error),
    }
}

fn is_about_buffers(error: &DiskError) -> bool {
    matches!(
        error,
        DiskError::Buffers { .. }
            | DiskError::Command {
                error: CommandError::Map(_),
                ..
            }
    )
}

/// An error that may come from the number of the disk's address lines.
pub(crate) trait Refusal: Display {
    /// Why they are too few, if that is what it comes from.
    fn mask_too_small(&self) -> Option<String>;
}

fn exhausted(error: &DomainError) -> Option<String> {
    matches!(error, DomainError::Iova(IovaError::IovaExhausted { .. })).then(|| {
        "the queues and buffers of the disk do not fit into the bus addresses it reaches: give more bits, or \
         make --queues or --queue-depth smaller"
            .into()
    })
}

impl Refusal for BufferError {
    fn mask_too_small(&self) -> Option<String> {
        match self {
            // Memory was asked for within a mask.
            Self::OutOfFrames(OutOfFrames(request)) if request.last.as_u64() != u64::MAX => {
                Some(out_of_reach(request.last))
            }
            _ => None,
        }
    }
}

fn out_of_reach(last: PhysAddr) -> String {
    format!(
        "too little memory lies at or below {last}, the last that the disk reaches, for its queues and for copies of \
         its buffers: use an IOMMU (--iommu vtd --policy strict), give more bits, or make --queues or --queue-depth \
         smaller"
    )
}

impl Refusal for MapError {
    fn mask_too_small(&self) -> Option<String> {
        self.failure.mask_too_small()
    }
}

impl Refusal for MapFailure {
    fn mask_too_small(&self) -> Option<String> {
        match self {
            Self::Domain(error) => exhausted(error),
            Self::Bounce(BounceError::Exhausted { last, .. }) if last.as_u64() != u64::MAX => {
                Some(out_of_reach(*last))
            }
            _ => None,
        }
    }
}

impl Refusal for AttachError {
    fn mask_too_small(&self) -> Option<String> {
        match self {
            Self::Domain { error, .. } => exhausted(error),
            _ => None,
        }
    }
}

impl Refusal for StartError {
    fn mask_too_small(&self) -> Option<String> {
        match self {
            Self::Mask(MaskError::CannotReachMemory {
                mask, memory, bus, ..
            }) => Some(format!(
                "a mask of {mask} does not even reach the lowest memory, at {memory} (bus {bus}), and nothing \
                 translates for the disk: use an IOMMU (--iommu vtd --policy strict) or more bits"
            )),
            Self::Mask(MaskError::NoRoom { mask, .. }) => Some(format!(
                "a mask of {mask} leaves no bus address to map at: give more bits"
            )),
            Self::Coherent(error) => match &error.failure {
                CoherentFailure::Map(failure) => failure.mask_too_small(),
                CoherentFailure::Buffer(error) => error.mask_too_small(),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Refusal for DiskError {
    fn mask_too_small(&self) -> Option<String> {
        match self {
            Self::Command {
                error: CommandError::Map(error),
                ..
            } => error.mask_too_small(),
            _ => None,
        }
    }
}
