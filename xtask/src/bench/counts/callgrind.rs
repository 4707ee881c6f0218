//! Valgrind's Callgrind over the program `counts`: how it is told what to count, and what it wrote.
//!
//! Callgrind writes one profile for each loop: it begins at 0 when the loop's function is entered, and is written when that
//! returns. Register accesses are left out of it wherever they are made, by their function's name, and so are other threads.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::Count;
use crate::valgrind::Valgrind;

/// The function around a loop.
const LOOP: &str = "counts::counted::counted";

/// The functions that a register access goes through, and behind them the unit's model.
const REGISTERS: &str = "*board::mmio::operations::Routed*";

/// Runs `program` with `arguments`, keeps profiles in `folder`, and returns what each path takes.
///
/// # Errors
/// What went wrong, in words.
pub(super) fn count(
    valgrind: &Valgrind,
    program: &Path,
    arguments: &[&str],
    folder: &Path,
) -> Result<Vec<Count>, String> {
    let mut command = valgrind.command();
    told(&mut command, &folder.join(PROFILE));
    command.arg(program).args(arguments);
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!("counts under valgrind: {}\n{why}", output.status));
    }
    let loops = loops(&said)?;
    let mut costs = Vec::with_capacity(loops.len());
    for n in 1..=loops.len() {
        let path = folder.join(format!("{PROFILE}.{n}-01"));
        let text =
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        costs.push(cost(&text).ok_or_else(|| format!("{}: no profile of a loop", path.display()))?);
    }
    per_round(&loops, &costs)
}

const PROFILE: &str = "callgrind.out";

fn told(command: &mut Command, profile: &Path) {
    command
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg("--separate-threads=yes")
        .arg(format!("--zero-before={LOOP}"))
        .arg(format!("--dump-after={LOOP}"))
        .arg(format!("--toggle-collect={REGISTERS}"))
        // Behind the last: what toggles would else begin with nothing being collected.
        .arg("--collect-atstart=yes");
}

/// A loop that was run.
#[derive(Debug, PartialEq, Eq)]
struct Loop {
    path: String,
    rounds: u64,
}

/// The loops that the program says it ran, in order.
fn loops(said: &str) -> Result<Vec<Loop>, String> {
    let one = |line: &str| {
        let (rounds, path) = line.split_once('\t')?;
        Some(Loop {
            path: path.to_owned(),
            rounds: rounds.parse().ok()?,
        })
    };
    let all = said
        .lines()
        .map(|line| one(line).ok_or_else(|| format!("what loop is {line:?}?")));
    all.collect()
}

/// The instructions in a profile that was written when a loop ended.
fn cost(profile: &str) -> Option<u64> {
    let field = |name: &str| profile.lines().find_map(|line| line.strip_prefix(name));
    let is_of_a_loop = field("desc: Trigger: ")?.trim() == format!("--dump-after={LOOP}");
    let counts_instructions = field("events: ")?.trim() == "Ir";
    let total = field("totals: ")?.trim().parse().ok()?;
    (is_of_a_loop && counts_instructions).then_some(total)
}

/// What a round of each path takes: two loops of each, of which the difference is rounds alone.
fn per_round(loops: &[Loop], costs: &[u64]) -> Result<Vec<Count>, String> {
    let pairs = loops.chunks(2).zip(costs.chunks(2));
    let one = |(loops, costs): (&[Loop], &[u64])| match (loops, costs) {
        ([short, long], [less, more])
            if short.path == long.path && short.rounds < long.rounds && less <= more =>
        {
            Ok(Count {
                path: short.path.clone(),
                instructions: (more - less) as f64 / (long.rounds - short.rounds) as f64,
            })
        }
        _ => Err(format!(
            "no two loops of different lengths: {loops:?}, {costs:?}"
        )),
    };
    pairs.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Callgrind 3.19 writes it, cut to some functions.
    const RECORDED: &str = include_str!("recorded.callgrind");

    #[test]
    fn a_recorded_profile_is_read() {
        assert_eq!(cost(RECORDED), Some(251_405));
    }

    #[test]
    fn a_profile_of_the_programs_end_or_of_other_events_is_none_of_a_loop() {
        let trigger = format!("--dump-after={LOOP}");
        assert_eq!(
            cost(&RECORDED.replace(&trigger, "Program termination")),
            None
        );
        assert_eq!(cost(&RECORDED.replace("events: Ir", "events: Dr")), None);
        assert_eq!(cost(&RECORDED.replace("totals: ", "total: ")), None);
        assert_eq!(cost(""), None);
    }

    fn run(path: &str, rounds: u64) -> Loop {
        let path = path.into();
        Loop { path, rounds }
    }

    #[test]
    fn a_round_is_the_difference_of_two_loops() {
        let said = "10\ta pair\n30\ta pair\n";
        let loops = loops(said).unwrap();
        assert_eq!(loops, [run("a pair", 10), run("a pair", 30)]);
        let counts = per_round(&loops, &[700, 1750]).unwrap();
        assert_eq!(
            (counts[0].path.as_str(), counts[0].instructions),
            ("a pair", 52.5)
        );
    }

    #[test]
    fn loops_that_are_no_pair_are_refused() {
        let costs = [1, 2];
        assert!(per_round(&[run("a", 1), run("b", 2)], &costs).is_err());
        assert!(per_round(&[run("a", 2), run("a", 2)], &costs).is_err());
        assert!(per_round(&[run("a", 1)], &costs[..1]).is_err());
        assert!(per_round(&[run("a", 1), run("a", 2)], &[2, 1]).is_err());
        assert!(loops("a pair").is_err());
        assert!(loops("x\ta pair").is_err());
    }

    #[test]
    fn callgrind_is_told_to_collect_from_the_start_last() {
        let mut command = Command::new("valgrind");
        told(&mut command, Path::new("p"));
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        assert_eq!(
            words.last().map(AsRef::as_ref),
            Some("--collect-atstart=yes")
        );
        assert!(words.contains(&"--callgrind-out-file=p".into()));
    }
}
