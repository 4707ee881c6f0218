//! The program `dmamap`: a computer boots in the process, finds its devices, and an NVMe driver reads a whole
//! disk (the user's file) by DMA, every mapping living only while it is used.
//!
//! | step | file |
//! |---|---|
//! | what was asked | `args` |
//! | the files given, and what cannot be used | `input` |
//! | hardware: models of ours, or QEMU's | `board`, `qemu_board` |
//! | a computer booted and taken down | `computer` |
//! | a disk brought up, or which setting is too small for it | `bring_up` |
//! | what would refuse the job, before COPY is touched | `rehearsal` |
//! | who attacks where the disk cannot | `rogue` |
//! | the main job | `run`, `copy` |
//! | what it shows on the way | `listing`, `picture`, `progress` |
//! | what it says at the end | `report` |
//! | what mapping costs: settings and what they need, the measurement, what it comes to | `bench` |
//! | which boards there are, and every journey on each | `boards`, `journeys`, `notes` |
//!
//! Exit status: 0 when the data was verified and nothing leaked, 1 when something failed, 2 when the input cannot
//! be used.

mod args;
mod bench;
mod board;
mod boards;
mod bring_up;
mod computer;
mod copy;
mod error;
mod hash;
mod input;
mod journeys;
mod listing;
mod notes;
mod output;
mod picture;
mod progress;
mod qemu_board;
mod rehearsal;
mod report;
mod rogue;
mod run;
mod signals;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Command, RunArgs};
use error::Error;
use output::Output;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::new().filter("DMAMAP_LOG")).init();
    signals::file_size_limit_is_an_error();
    match execute(Args::read()) {
        Ok(code) => code,
        Err(error) => {
            // Where nobody listens, the exit status says it alone.
            let _ = writeln!(io::stderr(), "dmamap: {error}");
            error.exit_code()
        }
    }
}

fn execute(args: Args) -> Result<ExitCode, Error> {
    let mut output = Output::stdout();
    let command = args
        .command
        .unwrap_or_else(|| Command::Run(Box::new(RunArgs::without_file())));
    let code = match command {
        Command::Run(args) => run::run(&args, &mut output),
        Command::Iomem(args) => listing::iomem_command(&args, &mut output),
        Command::Pci(args) => listing::pci_command(&args, &mut output),
        Command::Bench(args) => bench::bench(&args, &mut output),
        Command::Boards => boards::boards_command(&mut output),
        Command::Journeys(args) => journeys::journeys_command(&args, &mut output),
    }?;
    output.finish()?;
    Ok(code)
}
