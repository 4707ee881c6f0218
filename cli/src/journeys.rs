//! Every journey on every board: a table of what passed, and why the rest did not. On a board of models each is made
//! once for every temper of their caches.

use std::process::ExitCode;

use hosted::Hosted;
use journeys::catalogue::{Journey, journeys, virtio_journeys};
use machine::cache::Snooping;
use machine::temper::Temper;

use crate::args::JourneysArgs;
use crate::board::devices;
use crate::boards::{Listed, ListedHardware, all};
use crate::error::Error;
use crate::notes::Notes;
use crate::output::Output;

mod rig;

use rig::Rig;

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
    Differential { seed: u64, steps: u64 },
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
    let numbers: String = (1..=journeys.len()).map(|n| format!("{n:>6}")).collect();
    output.line(format_args!("   seed {}", args.seed));
    output.line(format_args!("\n{:30}{numbers}", ""));
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
    for board in boards {
        let mut line = format!("{:8}{:22}", board.kind.name(), board.name);
        if let Some(missing) = &board.missing {
            let note = notes.number(missing.clone());
            output.line(line + &format!("{:>6} cannot run here", format!("({note})")));
            continue;
        }
        for outcome in make_all(&board, &journeys, args) {
            line += &match outcome {
                Outcome::Passed => format!("{:>6}", "pass"),
                Outcome::Cannot(why) => format!("{:>6}", format!("({})", notes.number(why))),
                Outcome::Failed(why) => {
                    failed = true;
                    format!("{:>6}", format!("FAIL{}", notes.number(why)))
                }
            };
        }
        output.line(line);
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
        Made::Differential {
            seed: args.seed,
            steps: args.steps,
        },
    ));
    all
}

type Journeys = [(&'static str, &'static str, Made)];

/// Makes all of them, in every temper that the board's hardware can be given.
fn make_all(board: &Listed, journeys: &Journeys, args: &JourneysArgs) -> Vec<Outcome> {
    let devices = devices(args.non_coherent);
    let ListedHardware::Machine(_) = board.hardware else {
        return make_in(Temper::Keep, devices, board, journeys);
    };
    let mut worst: Vec<Outcome> = journeys.iter().map(|_| Outcome::Passed).collect();
    for (name, temper) in [
        ("keep", Temper::Keep),
        ("forget", Temper::Forget),
        ("random", Temper::Random(args.seed)),
    ] {
        let outcomes = make_in(temper, devices, board, journeys).into_iter();
        let told = outcomes.map(|outcome| match outcome {
            Outcome::Failed(why) => Outcome::Failed(format!("temper {name}: {why}")),
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

fn make_in(temper: Temper, devices: Snooping, board: &Listed, journeys: &Journeys) -> Vec<Outcome> {
    let mut rig = None;
    let mut outcomes = Vec::new();
    for (_, _, journey) in journeys {
        // After a failure on a computer of its own: what failed may have left something.
        let mut on = match rig
            .take()
            .map_or_else(|| Rig::boot(board, temper, devices), Ok)
        {
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
