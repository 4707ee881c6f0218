//! One measurement: a computer boots, a device is attached, threads map and unmap for it, and all is taken down.

use std::sync::{Barrier, OnceLock};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use dmamap::addr::{DmaMask, FRAME_BYTES};
use dmamap::bounce::BounceSettings;
use dmamap::device::Device;
use dmamap::iommu::DomainError;
use dmamap::iova::IovaError;
use dmamap::map::MapFailure;
use dmamap::system::Protection;
use hosted::Hosted;
use machine::device::nvme::Medium;

use super::counts::Counts;
use super::lend::{Lend, LendError, List, Single};
use super::load::{Load, Piece};
use super::worker::{Recorded, Stages, give_back, work};
use crate::args::{MachineArgs, Policy, size_text};
use crate::board::DiskSpec;
use crate::computer::{Booted, Remains, no_such_levels};
use crate::error::Error;

/// Bytes of the disk whose memory is mapped, and which is never read.
const DISK_BYTES: u64 = 1 << 20;
/// Part of the time to measure that is spent before, on getting warm.
const WARM_UP: u32 = 5;

/// Everything one measurement came to.
pub(super) struct Outcome {
    pub(super) load: Load,
    pub(super) recorded: Recorded,
    /// What was counted while it was recorded.
    pub(super) counts: Counts,
    pub(super) memory: DomainMemory,
    pub(super) end: End,
    pub(super) faults: u64,
    pub(super) remains: Remains,
    /// What the models saw that a correct kernel never causes.
    pub(super) findings: Vec<String>,
}

/// Memory of the device's domain: its tables, its allocator of addresses, and its queue of what waits for a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DomainMemory {
    /// Frames before the first mapping.
    pub(super) frames_empty: u64,
    /// Frames when the mappings stood that are kept alive.
    pub(super) frames: u64,
    /// Mappings that were alive then.
    pub(super) mappings: u64,
    /// Bytes of the device's own pool of copies, where it is given nothing else.
    pub(super) pool_bytes: Option<u64>,
}

impl DomainMemory {
    /// Bytes that each mapping costs; `None` where none was kept alive.
    pub(super) fn bytes_per_mapping(&self) -> Option<f64> {
        let grown = self.frames.saturating_sub(self.frames_empty) * FRAME_BYTES;
        (self.mappings > 0).then(|| grown as f64 / self.mappings as f64)
    }
}

/// How the device was before it was detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) live_mappings: u64,
    pub(super) quarantined_bytes: u64,
    /// Frames of its domain; as many as before the first mapping.
    pub(super) domain_frames: u64,
}

/// Measures `load` for `time` on the computer that `args` ask for.
pub(super) fn measure(args: &MachineArgs, load: Load, time: Duration) -> Result<Outcome, Error> {
    let file = tempfile::tempfile().map_err(Error::failed)?;
    file.set_len(DISK_BYTES).map_err(Error::failed)?;
    let disk = DiskSpec::new(file, DISK_BYTES, Medium::ReadOnly);
    let booted = Booted::boot(args, vec![disk])?;
    let worked = match load.piece {
        Piece::Single { .. } => drive::<Single>(args, &booted, load, time),
        Piece::List { .. } => drive::<List>(args, &booted, load, time),
    };
    let faults = booted.system().faults().total;
    let board = booted.board.clone();
    // Also after an error: the computer is taken down in order, whatever happened.
    let remains = booted.shut_down();
    let (recorded, counts, memory, end) = worked.map_err(|error| board.explained(error))?;
    let remains = remains.map_err(|error| board.explained(error))?;
    Ok(Outcome {
        load,
        recorded,
        counts,
        memory,
        end,
        faults,
        remains,
        findings: board.findings(),
    })
}

type Driven = (Recorded, Counts, DomainMemory, End);

fn drive<L: Lend>(
    args: &MachineArgs,
    booted: &Booted,
    load: Load,
    time: Duration,
) -> Result<Driven, Error> {
    booted.system().set_bounce(BounceSettings {
        copy_below_bytes: load.copy_below_bytes,
        ..BounceSettings::default()
    });
    let device = attach(booted, load.policy)?;
    let refused = |error| not_lent(args, booted.kernel, load, &error);
    let empty = device.domain_frames() as u64;
    let mut kept = Vec::new();
    for _ in 0..load.live {
        let memory = L::allocate(&device, load.piece).map_err(refused)?;
        kept.push(L::map(&device, memory, load.direction).map_err(refused)?);
    }
    let (recorded, counts, memory) =
        with_threads::<L>(booted, &device, load, time, empty)?.map_err(refused)?;
    let kept: Result<Vec<_>, _> = kept.into_iter().map(L::unmap).collect();
    let given_back = kept.and_then(|memory| give_back(&device, memory));
    given_back.map_err(refused)?;
    device.reclaim().map_err(Error::failed)?;
    let figures = device.figures();
    let end = End {
        live_mappings: figures.live_mappings,
        quarantined_bytes: figures.quarantined_bytes,
        domain_frames: device.domain_frames() as u64,
    };
    device.detach().map_err(Error::failed)?;
    Ok((recorded, counts, memory, end))
}

/// Attaches the disk, and lets it be told any address. It is never told one: nobody starts it.
fn attach(booted: &Booted, policy: Policy) -> Result<Device<Hosted>, Error> {
    let mut disks = booted.computer.disks();
    let disk = disks
        .next()
        .ok_or_else(|| Error::failed("the computer found no disk"))?;
    let attached = match policy {
        Policy::Strict => booted.attach(disk, Protection::Strict),
        Policy::Bounce => booted.attach(disk, Protection::Bounce),
        Policy::Identity => booted.attach_idle(disk, Protection::Identity),
        Policy::Deferred => booted.attach_idle(disk, Protection::Deferred),
    };
    let device =
        attached.map_err(|error| no_such_levels(&error).unwrap_or_else(|| Error::failed(error)))?;
    device.set_mask(DmaMask::ALL).map_err(Error::failed)?;
    Ok(device)
}

/// What threads do that were started.
enum Start {
    /// All are there.
    Together,
    /// One is missing, for whom the others would wait.
    Never,
}

type Measured = Result<(Recorded, Counts, DomainMemory), LendError>;

fn with_threads<L: Lend>(
    booted: &Booted,
    device: &Device<Hosted>,
    load: Load,
    time: Duration,
    frames_empty: u64,
) -> Result<Measured, Error> {
    let threads = usize::from(load.threads);
    let nothing = || Recorded::nothing().map_err(Error::failed);
    let mut all = nothing()?;
    let mut sheets = Vec::with_capacity(threads);
    for _ in 0..threads {
        sheets.push(nothing()?);
    }
    let barrier = Barrier::new(threads + 1);
    let stages = Stages {
        all: &barrier,
        warm_up: time / WARM_UP,
        measure: time,
    };
    let start = OnceLock::new();
    thread::scope(|scope| {
        let mut workers = Vec::with_capacity(threads);
        for recorded in sheets {
            let (stages, start) = (&stages, &start);
            let worker = move || match start.wait() {
                Start::Together => Some(work::<L>(device, load, stages, recorded)),
                Start::Never => None,
            };
            match thread::Builder::new().spawn_scoped(scope, worker) {
                Ok(worker) => workers.push(worker),
                Err(error) => {
                    // None waits for one that is not there.
                    start.get_or_init(|| Start::Never);
                    return Err(Error::unusable(format!(
                        "--threads {threads}: this host starts {} ({error}): make it smaller",
                        workers.len()
                    )));
                }
            }
        }
        start.get_or_init(|| Start::Together);
        let mut memory = DomainMemory {
            frames_empty,
            frames: frames_empty,
            mappings: 0,
            pool_bytes: None,
        };
        let mut before = Counts::default();
        let mut after = Counts::default();
        stages.pause(|| {
            memory = DomainMemory {
                frames_empty,
                frames: device.domain_frames() as u64,
                mappings: device.figures().live_mappings,
                pool_bytes: load.is_pooled().then(|| device.bounce_figures().bytes),
            };
        });
        stages.pause(|| before = Counts::read(booted, device));
        stages.pause(|| after = Counts::read(booted, device));
        // The first that failed tells why; all have ended before anything is taken down.
        let ended: Vec<_> = workers.into_iter().map(ScopedJoinHandle::join).collect();
        for one in ended {
            match one.map_err(|_| Error::failed("a thread panicked"))? {
                Some(Ok(recorded)) => all.merge(&recorded),
                Some(Err(error)) => return Ok(Err(error)),
                None => {}
            }
        }
        Ok(Ok((all, after - before, memory)))
    })
}

/// What it comes from that memory could not be lent: a setting that is too large, or a failure.
fn not_lent(args: &MachineArgs, kernel: Hosted, load: Load, error: &LendError) -> Error {
    let smaller = "make --size, --list, --ring, --threads or --live smaller";
    let mappings = load.mappings();
    if kernel.frames().refused > 0 {
        return Error::unusable(format!(
            "--ram {}: too little memory, or none in one piece, for {mappings} mappings of {} bytes ({error}): give \
             more, or {smaller}",
            size_text(args.ram),
            load.piece.len_bytes(),
        ));
    }
    if let LendError::Map(refused) = error {
        let what = match refused.failure {
            MapFailure::Domain(DomainError::Iova(IovaError::IovaExhausted { .. })) => {
                Some("bus addresses")
            }
            MapFailure::Bounce(_) => Some("memory for copies"),
            _ => None,
        };
        if let Some(what) = what {
            return Error::unusable(format!(
                "no {what} for {mappings} mappings of {} bytes ({error}): {smaller}",
                load.piece.len_bytes(),
            ));
        }
    }
    Error::failed(error)
}
