//! The job's beginning on a computer that cannot write: what would refuse it shows before COPY is touched.

use hosted::Hosted;
use journeys::disk::{Disk, DiskOptions, ReadDiskError, read_disk};
use machine::device::nvme::Medium;

use crate::args::RunArgs;
use crate::board::DiskSpec;
use crate::bring_up::{read_failed, start};
use crate::computer::Booted;
use crate::error::Error;
use crate::input::Input;
use crate::report::Totals;
use crate::run::finish;

/// The first piece of a disk has arrived: that is enough.
struct Enough;

/// Boots the computer the job needs, with the file in the place of the copy too, brings both disks up, fills
/// their queues, and takes all of it down.
pub(crate) fn rehearse(args: &RunArgs, input: &Input) -> Result<(), Error> {
    let disk = || -> Result<DiskSpec, Error> {
        let file = input.reopen()?;
        Ok(DiskSpec {
            address_lines: args.address_bits,
            ..DiskSpec::new(file, input.len_bytes, Medium::ReadOnly)
        })
    };
    let first = DiskSpec {
        rogue: args.rogue.then_some(args.machine.seed),
        flip_bit_of_byte: args.flip_bit_of_byte,
        ..disk()?
    };
    let disks = vec![first, disk()?];
    let mut booted = Booted::boot(&args.machine, disks)?;
    let outcome = begin(args, input, &mut booted);
    let board = booted.board.clone();
    let remains = booted.shut_down();
    outcome
        .and(remains.map(drop))
        .map_err(|error| board.explained(error))
}

fn begin(args: &RunArgs, input: &Input, booted: &mut Booted) -> Result<(), Error> {
    let functions: Vec<_> = booted.computer.disks().cloned().collect();
    let mut disks = functions
        .iter()
        .map(|function| start(args, booted, function))
        .collect::<Result<Vec<Disk<Hosted>>, Error>>()?;
    let options = DiskOptions {
        len_bytes: Some(input.len_bytes),
        ..DiskOptions::default()
    };
    for disk in &mut disks {
        if let Err(ReadDiskError::Disk(error)) = read_disk(disk, &options, |_| Err(Enough)) {
            return Err(read_failed(args, booted.kernel, input, &error));
        }
    }
    let mut totals = Totals::default();
    disks
        .into_iter()
        .try_for_each(|disk| finish(disk, &mut totals))
}
