//! Every journey on every board, by every way that its devices have to memory: a table of what passed, and why the rest
//! did not.

use std::process::ExitCode;

use hosted::Hosted;
use journeys::catalogue::{Journey, journeys, virtio_journeys};
use machine::temper::Temper;

use crate::args::{BoardChoice, JourneysArgs};
use crate::boards::{Listed, all};
use crate::error::Error;
use crate::notes::Notes;
use crate::output::Output;

mod rig;
mod row;

use rig::Rig;
use row::{HEAD_COLUMNS, Row, rows, temper_name};

/// Columns of an outcome.
const OUTCOME_COLUMNS: usize = 4;
/// Outcomes on one line of the terminal; a row goes on on the next.
const OUTCOMES_PER_LINE: usize = 18;

/// `head`, and beside it the outcomes.
fn row_text(head: &str, outcomes: &[String]) -> String {
    let lines = outcomes.chunks(OUTCOMES_PER_LINE).map(|line| {
        let cells = line.iter().map(|told| format!("{told:>OUTCOME_COLUMNS$}"));
        cells.collect::<String>()
    });
    let lines: Vec<String> = lines.collect();
    let further = format!("\n{:HEAD_COLUMNS$}", "");
    format!("{head}{}", lines.join(&further))
}

/// What became of one journey on one board.
enum Outcome {
    Passed,
    /// It cannot be made there.
    Cannot(String),
    Failed(String),
}

impl Outcome {
    /// The worse of two: what failed first, then what cannot be.
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (failed @ Self::Failed(_), _) | (_, failed @ Self::Failed(_)) => failed,
            (cannot @ Self::Cannot(_), _) | (_, cannot @ Self::Cannot(_)) => cannot,
            _ => Self::Passed,
        }
    }
}

drivers::virtio_slot! {
    /// Where the virtio device of a journey stands.
    struct VirtioSlot(Hosted);
}

/// A journey with its own disks, or one of the catalogue.
enum Made {
    ReadDisk,
    WriteDisk,
    Listed(Journey<Hosted>),
    Differential { seed: u64 },
}

/// `dmamap journeys`.
pub(crate) fn journeys_command(
    args: &JourneysArgs,
    output: &mut Output,
) -> Result<ExitCode, Error> {
    let journeys = all_journeys(args);
    for (n, (name, shows, _)) in journeys.iter().enumerate() {
        output.line(format_args!("{:2} {name:20} {shows}", n + 1));
    }
    let numbers: Vec<String> = (1..=journeys.len()).map(|n| n.to_string()).collect();
    let numbers = row_text(&" ".repeat(HEAD_COLUMNS), &numbers);
    output.line(format_args!("   seed {}", args.seed));
    output.line(format_args!("\n{numbers}"));
    let mut notes = Notes::default();
    let mut failed = false;
    let wanted = |board: &Listed| {
        args.board.is_none_or(|kind| board.kind == kind)
            && args
                .name
                .as_ref()
                .is_none_or(|name| board.name.contains(name))
    };
    let boards: Vec<Listed> = all().into_iter().filter(wanted).collect();
    if boards.is_empty() {
        return Err(Error::unusable(
            "no board is called so: `dmamap boards` lists all",
        ));
    }
    let rows = rows(&boards, args);
    if rows.is_empty() {
        return Err(Error::unusable(
            "no row is left: `dmamap journeys` alone makes all",
        ));
    }
    let mut shown = None;
    for row in &rows {
        let board = format!("{:8}{}", row.board.kind.name(), row.board.name);
        let is_next = shown.replace(board.clone()).as_ref() != Some(&board);
        if let Some(missing) = &row.board.missing {
            if is_next {
                let note = notes.number(missing.clone());
                output.line(format_args!("{board:30} ({note}) cannot run here"));
            }
            continue;
        }
        if is_next {
            output.line(board);
        }
        let head = row.head();
        if let Some(why) = row.refusal {
            let note = notes.number(why.to_owned());
            output.line(format_args!("{head} ({note}) cannot be made"));
            continue;
        }
        let mut tell = |outcome| match outcome {
            Outcome::Passed => "ok".to_owned(),
            Outcome::Cannot(why) => format!("({})", notes.number(why)),
            Outcome::Failed(why) => {
                failed = true;
                format!("!{}", notes.number(format!("FAILED: {why}")))
            }
        };
        let told: Vec<String> = make_all(row, &journeys)
            .into_iter()
            .map(&mut tell)
            .collect();
        output.line(row_text(&head, &told));
    }
    notes.print(output);
    Ok(match failed {
        false => ExitCode::SUCCESS,
        true => ExitCode::FAILURE,
    })
}

fn all_journeys(args: &JourneysArgs) -> Vec<(&'static str, &'static str, Made)> {
    let mut all = vec![
        (
            "read_disk",
            "a whole disk is read by DMA, every byte as it should be",
            Made::ReadDisk,
        ),
        (
            "write_disk",
            "a whole disk is written by DMA, and read back",
            Made::WriteDisk,
        ),
    ];
    let listed = journeys::<Hosted>().into_iter();
    let listed = listed.chain(virtio_journeys::<VirtioSlot>());
    all.extend(listed.map(|journey| (journey.name, journey.shows, Made::Listed(journey))));
    all.push((
        "differential",
        "random steps, each compared with an oracle",
        Made::Differential { seed: args.seed },
    ));
    all
}

type Journeys = [(&'static str, &'static str, Made)];

/// Makes all of them, in every temper of the row.
fn make_all(row: &Row<'_>, journeys: &Journeys) -> Vec<Outcome> {
    let mut worst: Vec<Outcome> = journeys.iter().map(|_| Outcome::Passed).collect();
    for &temper in &row.tempers {
        let outcomes = make_in(temper, row, journeys).into_iter();
        let told = outcomes.map(|outcome| match outcome {
            Outcome::Failed(why) if row.board.kind == BoardChoice::Machine => {
                Outcome::Failed(format!("temper {}: {why}", temper_name(temper)))
            }
            other => other,
        });
        worst = worst
            .into_iter()
            .zip(told)
            .map(|(worst, told)| worst.worse(told))
            .collect();
    }
    worst
}

fn make_in(temper: Temper, row: &Row<'_>, journeys: &Journeys) -> Vec<Outcome> {
    let mut rig = None;
    let mut outcomes = Vec::new();
    for (_, _, journey) in journeys {
        // After a failure on a computer of its own: what failed may have left something.
        let mut on = match rig.take().map_or_else(|| Rig::boot(row, temper), Ok) {
            Ok(on) => on,
            Err(error) => {
                // Nor would it for the next journey.
                let failed = || Outcome::Failed(format!("boot: {error}"));
                outcomes.resize_with(journeys.len(), failed);
                return outcomes;
            }
        };
        let outcome = on.make(journey);
        let outcome = match on.complaint() {
            Some(complaint) => Outcome::Failed(complaint),
            None => outcome,
        };
        match outcome {
            Outcome::Failed(_) => on.abandon(),
            _ => rig = Some(on),
        }
        outcomes.push(outcome);
    }
    if let Some(Err(error)) = rig.map(Rig::shut_down)
        && let Some(last) = outcomes.last_mut()
    {
        *last = Outcome::Failed(format!("shutting down: {error}"));
    }
    outcomes
}
