//! Which boards there are, and what is missing for those that cannot run here.

use std::process::ExitCode;

use clap::ValueEnum;
use qemu::Installation;

use crate::args::{BoardChoice, IommuChoice};
use crate::error::Error;
use crate::notes::Notes;
use crate::output::Output;

/// A board as it is listed.
pub(crate) struct Listed {
    pub(crate) kind: BoardChoice,
    /// What it is called among boards of its kind.
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) hardware: ListedHardware,
    /// Why it cannot run here.
    pub(crate) missing: Option<String>,
}

/// What makes a listed board.
pub(crate) enum ListedHardware {
    /// Models of this process with this IOMMU.
    Machine(IommuChoice),
    /// A board of QEMU's.
    Qemu(&'static qemu::Board),
}

/// Every board, those that cannot run here too.
pub(crate) fn all() -> Vec<Listed> {
    let machines = IommuChoice::value_variants().iter().map(|&iommu| Listed {
        kind: BoardChoice::Machine,
        name: iommu.name(),
        description: iommu.description(),
        hardware: ListedHardware::Machine(iommu),
        missing: None,
    });
    let installation = Installation::find();
    let missing = |board: &qemu::Board| match &installation {
        Ok(installation) => {
            let program = board.architecture();
            let there = installation.has(program);
            (!there).then(|| format!("QEMU's program for {program} is not installed"))
        }
        Err(missing) => Some(missing.to_string()),
    };
    let qemus = qemu::Board::all().iter().map(|board| Listed {
        kind: BoardChoice::Qemu,
        name: board.name().to_owned(),
        description: board.description().to_owned(),
        hardware: ListedHardware::Qemu(board),
        missing: missing(board),
    });
    machines.chain(qemus).collect()
}

/// `dmamap boards`.
pub(crate) fn boards_command(output: &mut Output) -> Result<ExitCode, Error> {
    let mut shown = None;
    let mut notes = Notes::default();
    for board in all() {
        if shown != Some(board.kind) {
            shown = Some(board.kind);
            output.line(match board.kind {
                BoardChoice::Machine => "machine: models in this process, hostile on purpose",
                BoardChoice::Qemu => "qemu: QEMU's models, driven from this process",
            });
        }
        let state = match board.missing {
            None => "runs here".to_owned(),
            Some(why) => format!("cannot run here ({})", notes.number(why)),
        };
        output.line(format_args!(
            "  {:21}{:57} {state}",
            board.name, board.description
        ));
    }
    notes.print(output);
    Ok(ExitCode::SUCCESS)
}
