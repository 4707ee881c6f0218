//! What needs no board, in Miri: undefined behaviour of the parts that are pointers and arithmetic alone.
//!
//! A board is memory that several programs map, which Miri cannot do; what stands on one is watched by the
//! [sanitizers](crate::sanitizers) instead.

use crate::cargo::run;
use crate::gate::Outcome;
use crate::nightly;

/// Frames have addresses that devices are told of, so pointers are made of integers on purpose; arenas of tests live
/// until the process ends.
const FLAGS: &str = "-Zmiri-permissive-provenance -Zmiri-disable-isolation -Zmiri-ignore-leaks";

/// Runs them where Miri is installed.
pub(crate) fn check() -> Outcome {
    let ready = nightly::has("miri", "miri").and_then(|()| nightly::has_library());
    if let Err(how_to_get_it) = ready {
        return Outcome::Absent(how_to_get_it);
    }
    for (arguments, tests) in RUNS {
        let mut command = nightly::cargo(&["miri", "test", "--package", "dmamap"]);
        command
            .args(*arguments)
            .arg("--")
            .args(*tests)
            .env("MIRIFLAGS", FLAGS);
        match run(&mut command) {
            Outcome::Passed(_) => {}
            other => return other,
        }
    }
    Outcome::Passed(String::new())
}

/// Arguments that choose a program, and what the program is told: loops that take minutes there are left out.
const RUNS: &[(&[&str], &[&str])] = &[
    (
        &["--lib"],
        &[
            "map::window",
            "map::segments",
            "flush_queue",
            "record_format",
        ],
    ),
    (
        &["--test", "slab"],
        &["--skip", "no_number_reaches", "--skip", "random_use_agrees"],
    ),
];
