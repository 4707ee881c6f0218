//! `dmamap bench`: what mapping and unmapping cost, for threads, sizes, lists, rings, protections and units.
//!
//! A computer boots, a disk is attached that nobody sets to work, and threads map and unmap memory for it by the calls
//! that drivers make. Every latency is recorded.
//!
//! | part | what it is |
//! |---|---|
//! | `args`, `load` | what was asked for, what that needs, what cannot be |
//! | `lend` | the calls that are measured |
//! | `worker`, `latency` | one thread's work, and how long it took |
//! | `counts` | commands, waits and copies meanwhile |
//! | `measure` | one measurement, from boot to what is left behind |
//! | `report` | what it came to, for people and as JSON |
//! | `series`, `plot`, `drawing` | `--plot`: several measurements, drawn, in a file |

mod args;
mod counts;
mod drawing;
mod latency;
mod lend;
mod load;
mod measure;
mod plot;
mod report;
mod series;
mod worker;

use std::process::ExitCode;

pub(crate) use args::BenchArgs;

use crate::error::Error;
use crate::output::Output;
use drawing::{Drawing, Point};
use load::Load;
use measure::measure;
use report::Report;

/// `dmamap bench`.
pub(crate) fn bench(args: &BenchArgs, output: &mut Output) -> Result<ExitCode, Error> {
    let load = Load::of(args).map_err(Error::unusable)?;
    let mut quiet = Output::silent();
    let shown = if args.json { &mut quiet } else { &mut *output };
    // What would refuse the drawing does so before anything is measured.
    let mut drawing = match &args.plot {
        Some(path) => Some(Drawing::plan(path, &load, &args.machine)?),
        None => None,
    };
    let outcome = measure(&args.machine, load, args.seconds)?;
    let mut complaints = report::complaints(&outcome);
    if let Some(drawing) = &mut drawing {
        for (series, loads) in drawing.missing() {
            shown.line(format_args!("{}", series.heading()));
            for load in loads {
                let outcome = measure(&args.machine, load, args.seconds)?;
                complaints.extend(report::complaints(&outcome));
                let point = Point::of(series.position(&load), &outcome.recorded.pair.summary());
                shown.line(point);
                drawing.add(series, point);
            }
        }
        drawing.write(args, &load)?;
    }
    let report = Report {
        args,
        outcome: &outcome,
        clock_ns: latency::clock_ns(),
        drawing: drawing.as_ref(),
        complaints: &complaints,
    };
    if args.json {
        output.line(report.json());
    } else {
        report.print(output);
    }
    Ok(match complaints.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
