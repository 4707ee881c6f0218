//! The main job: a whole disk by DMA, verified, nothing left behind.

use std::process::ExitCode;
use std::time::Instant;

use dmamap::pci::Function;
use hosted::Hosted;
use journeys::disk::{Disk, DiskOptions, ReadDiskError, read_disk};
use machine::device::nvme::{Medium, RogueReport};
use sha2::{Digest, Sha256};

use crate::args::{BoardChoice, IommuChoice, Policy, RunArgs};
use crate::board::DiskSpec;
use crate::bring_up::{read_failed, start};
use crate::computer::Booted;
use crate::copy::copy;
use crate::error::Error;
use crate::hash::{FileHash, Sha};
use crate::input::{Input, about};
use crate::listing;
use crate::output::Output;
use crate::picture::Picture;
use crate::progress::Progress;
use crate::qemu_board::WholeBlocks;
use crate::rehearsal::rehearse;
use crate::report::{CopyReport, Report, Totals};
use crate::rogue::Rogue;

/// `dmamap run`.
pub(crate) fn run(args: &RunArgs, output: &mut Output) -> Result<ExitCode, Error> {
    if args.rogue && (args.machine.iommu == IommuChoice::None || args.policy != Policy::Strict) {
        return Err(Error::unusable(
            "--rogue needs an IOMMU that is strict (--iommu vtd --policy strict): nothing else would stop the disk",
        ));
    }
    let input = Input::open(args.file.as_deref())?;
    // What cannot be used is refused before COPY is created or changed.
    let copy_file = match args.write.as_deref() {
        Some(path) => {
            input.check_copy(path)?;
            rehearse(args, &input)?;
            Some((path, input.open_copy(path)?))
        }
        None => None,
    };
    let mut quiet = Output::silent();
    let shown = if args.json { &mut quiet } else { &mut *output };

    let mut disks = vec![DiskSpec {
        address_lines: args.address_bits,
        rogue: args.rogue.then_some(args.machine.seed),
        flip_bit_of_byte: args.flip_bit_of_byte,
        ..DiskSpec::new(input.reopen()?, input.len_bytes, Medium::ReadOnly)
    }];
    // Declared before the computer: on an error below, the file gets its length when QEMU is gone.
    let mut whole_blocks = None;
    if let Some((path, file)) = copy_file {
        if args.machine.board == BoardChoice::Qemu {
            let whole = WholeBlocks::of(&file, input.len_bytes);
            whole_blocks = whole.map_err(|error| about(path, &error))?;
        }
        disks.push(DiskSpec {
            address_lines: args.address_bits,
            ..DiskSpec::new(file, input.len_bytes, Medium::ReadWrite)
        });
    }
    let mut booted = Booted::boot(&args.machine, disks)?;
    let started = Instant::now();
    let outcome = work(args, &input, &mut booted, shown);
    let ran_out_of_memory = booted.kernel.frames().refused > 0;
    let system = booted.system();
    let (faults, invalidations) = (system.faults(), system.invalidations());
    let board = booted.board.clone();
    // Also after an error: the computer is taken down in order, whatever happened.
    let remains = booted.shut_down();
    let done = outcome.map_err(|error| match ran_out_of_memory {
        true => error.with_hint("the computer ran out of memory: --ram gives it more"),
        false => error,
    });
    let done = done.map_err(|error| board.explained(error))?;
    let remains = remains.map_err(|error| board.explained(error))?;
    let report = Report {
        bytes: input.len_bytes,
        sha256: done.sha256,
        file_sha256: done.file_sha256,
        copy: done.copy,
        elapsed: started.elapsed(),
        totals: done.totals,
        invalidations,
        faults,
        rogue: args
            .rogue
            .then(|| done.rogue.or_else(|| board.rogue_disk()))
            .flatten(),
        attacker: match args.machine.board {
            BoardChoice::Machine => "disk",
            BoardChoice::Qemu => "device",
        },
        remains,
        findings: board.findings(),
        completion: done.completion,
        caches: board.caches(),
    };
    drop(board);
    if let (Some(whole), Some(path)) = (whole_blocks, &args.write) {
        whole.cut().map_err(|error| about(path, &error))?;
    }
    if args.json {
        output.line(report.json());
    } else {
        report.print(output);
    }
    Ok(report.exit_code())
}

/// What the work on the disks came to.
struct Done {
    sha256: Sha,
    file_sha256: Sha,
    copy: Option<CopyReport>,
    totals: Totals,
    completion: String,
    /// What another device than the disk tried.
    rogue: Option<RogueReport>,
}

fn work(
    args: &RunArgs,
    input: &Input,
    booted: &mut Booted,
    output: &mut Output,
) -> Result<Done, Error> {
    let functions: Vec<Function<Hosted>> = booted.computer.disks().cloned().collect();
    let Some(first) = functions.first() else {
        return Err(Error::failed("the computer found no disk"));
    };
    output.line(format_args!(
        "{}: {} bytes, as the disk {}",
        input.path.display(),
        input.len_bytes,
        first.address()
    ));
    let mut disk = start(args, booted, first)?;
    output.line("\nphysical addresses and who holds them");
    listing::iomem(booted, output);
    output.line("\ndevices: bus (A), CPU physical (B) and CPU virtual (C) address of each BAR");
    listing::pci(booted, output);
    output.line(format_args!("\n{}\n", Picture::take(args, &disk, first)?));

    // On an error below, dropping the disk stops it, takes its memory back and detaches it.
    let mut rogue = match (args.rogue, args.machine.board) {
        (true, BoardChoice::Qemu) => Some(Rogue::start(booted, args.machine.seed)?),
        _ => None,
    };
    let (sha256, file_sha256) = read(args, booted.kernel, input, &mut disk, rogue.as_mut())?;
    let rogue = rogue.map(Rogue::stop).transpose()?;
    let completion = disk.completion_mode().to_string();
    let mut totals = Totals::default();
    let copied = match (&args.write, functions.get(1)) {
        (Some(path), Some(second)) => {
            let mut target = start(args, booted, second)?;
            let copied = copy(input, &mut disk, path, &mut target)?;
            finish(target, &mut totals)?;
            Some(copied)
        }
        _ => None,
    };
    finish(disk, &mut totals)?;
    Ok(Done {
        sha256,
        file_sha256,
        copy: copied,
        totals,
        completion,
        rogue,
    })
}

/// Reads the whole disk, hashing what arrives, and beside it the file.
fn read(
    args: &RunArgs,
    kernel: Hosted,
    input: &Input,
    disk: &mut Disk<Hosted>,
    mut rogue: Option<&mut Rogue>,
) -> Result<(Sha, Sha), Error> {
    let file_hash =
        FileHash::start(input.reopen()?, input.len_bytes).map_err(|error| input.failed(&error))?;
    let options = DiskOptions {
        len_bytes: Some(input.len_bytes),
        ..DiskOptions::default()
    };
    let progress = Progress::new("reading", input.len_bytes);
    let mut hasher = Sha256::new();
    read_disk(disk, &options, |piece| {
        hasher.update(piece);
        progress.advance(piece.len());
        match &mut rogue {
            Some(rogue) => rogue.strike(),
            None => Ok(()),
        }
    })
    .map_err(|error| match error {
        ReadDiskError::Disk(error) => read_failed(args, kernel, input, &error),
        ReadDiskError::Sink(error) => error,
    })?;
    drop(progress);
    let file = file_hash.finish().map_err(|error| input.failed(&error))?;
    Ok((Sha::finish(hasher), file))
}

/// Shuts a disk down, adds its figures up, and detaches it.
pub(crate) fn finish(disk: Disk<Hosted>, totals: &mut Totals) -> Result<(), Error> {
    let device = disk
        .shutdown()
        .map_err(|failed| Error::failed(failed.error))?;
    let (figures, flushed) = (device.figures(), device.flush_figures());
    totals.maps += figures.maps;
    totals.unmaps += figures.unmaps;
    totals.live_mappings += figures.live_mappings;
    totals.quarantined_bytes += figures.quarantined_bytes;
    totals.cleaned_bytes += figures.cleaned_bytes;
    totals.invalidated_bytes += figures.invalidated_bytes;
    let flushes = &mut totals.flushes;
    flushes.flushes += flushed.flushes;
    flushes.retired += flushed.retired;
    flushes.waiting += flushed.waiting;
    flushes.largest_flush = flushes.largest_flush.max(flushed.largest_flush);
    flushes.longest_window_ns = flushes.longest_window_ns.max(flushed.longest_window_ns);
    totals.bounced_maps += figures.bounced_maps;
    totals.bounced_bytes += figures.bounced_bytes;
    device.detach().map_err(Error::failed)
}
