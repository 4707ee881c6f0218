//! Long campaigns: the tests that take too long for the gate, then the program over all its settings.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cargo::{capture, cargo, run, shown};
use crate::gate::{Outcome, Step};

const DEPTHS: [u32; 5] = [1, 2, 16, 64, 256];
const QUEUES: [u32; 3] = [1, 2, 4];
const TEMPERS: [&str; 3] = ["keep", "forget", "random"];
const MOODS: [&[&str]; 2] = [&[], &["--rogue"]];
const POLICIES: [&str; 3] = ["strict", "deferred", "bounce"];
const UNITS: [&str; 6] = ["vtd", "vtd-scalable", "amd", "smmu", "riscv", "virtio"];

/// Runs of one depth: all tempers in all moods.
const MOODINESS: u64 = (TEMPERS.len() * MOODS.len()) as u64;

/// What to run and for how long.
#[derive(clap::Args)]
pub(crate) struct Campaign {
    /// Seeds per combination of settings.
    #[arg(long, default_value_t = 4, env = "DMAMAP_SOAK_SEEDS")]
    seeds: u64,
    /// The first seed: where to start again after a failure.
    #[arg(long, default_value_t = 1, env = "DMAMAP_SOAK_FIRST_SEED")]
    first_seed: u64,
    /// Length of the file that is read, in bytes.
    #[arg(long, default_value_t = (64 << 20) + 1, env = "DMAMAP_SOAK_BYTES")]
    bytes: u64,
    /// Random steps compared with the oracle, on every board.
    #[arg(long, default_value_t = 1_000_000, env = "DMAMAP_SOAK_STEPS")]
    steps: u64,
    /// Turns of the churn: allocations and mappings of all sizes, taken back in random order.
    #[arg(long, default_value_t = 1_000_000_000, env = "DMAMAP_SOAK_TURNS")]
    turns: u64,
    /// Seconds after which one run counts as hanging.
    #[arg(long, default_value_t = 120, env = "DMAMAP_SOAK_TIMEOUT")]
    timeout: u64,
}

impl Campaign {
    pub(crate) fn steps(self) -> Vec<Step> {
        let (steps, turns, seed) = (self.steps, self.turns, self.first_seed);
        vec![
            Step {
                name: "ignored",
                purpose: "the tests too long for the gate",
                run: Box::new(|| {
                    run(&mut cargo(&[
                        "test",
                        "--workspace",
                        "--release",
                        "--",
                        "--ignored",
                    ]))
                }),
            },
            Step {
                name: "journeys",
                purpose: "every journey in every combination of board, way, coherence and temper",
                run: Box::new(move || journeys(&["--all"], steps / 100, seed)),
            },
            Step {
                name: "differential",
                purpose: "random steps on every board, compared with an oracle",
                run: Box::new(move || journeys(&[], steps, seed)),
            },
            Step {
                name: "churn",
                purpose: "bus addresses and tables of all sizes, taken back in random order: the end costs what the beginning did",
                run: Box::new(move || churn(turns, seed)),
            },
            Step {
                name: "settings",
                purpose: "the program over units, depths, queues, tempers and seeds, calm and rogue",
                run: Box::new(move || match self.all_settings() {
                    Ok(runs) => Outcome::Passed(format!("{runs} runs")),
                    Err(why) => Outcome::Failed(why),
                }),
            },
        ]
    }

    /// Runs every combination and counts them; the first that goes wrong ends the campaign.
    fn all_settings(&self) -> Result<u64, String> {
        let program = build_program()?;
        let file = self
            .file()
            .map_err(|error| format!("no file to read: {error}"))?;
        let mut runs = 0;
        for seed in self.first_seed..self.first_seed.saturating_add(self.seeds) {
            for (depth, queues) in DEPTHS
                .iter()
                .flat_map(|depth| QUEUES.map(|queues| (depth, queues)))
            {
                for (temper, mood) in TEMPERS
                    .iter()
                    .flat_map(|temper| MOODS.map(|mood| (temper, mood)))
                {
                    let mut command = Command::new(&program);
                    command.arg("run").arg(file.path()).arg("--json").args(mood);
                    let (unit, policy) = unit_and_policy(runs);
                    // Nothing but a strict unit would stop a rogue disk.
                    let policy = if mood.is_empty() { policy } else { POLICIES[0] };
                    command.args(["--temper", temper, "--iommu", unit, "--policy", policy]);
                    for (flag, value) in [
                        ("--queue-depth", u64::from(*depth)),
                        ("--queues", u64::from(queues)),
                        ("--seed", seed),
                    ] {
                        command.arg(flag).arg(value.to_string());
                    }
                    self.one_run(&mut command)
                        .map_err(|why| format!("{why}\n    {}", shown(&command)))?;
                    runs += 1;
                }
            }
            println!("{runs} runs up to seed {seed}");
        }
        Ok(runs)
    }

    /// Runs the program once: it must end in time, and verify, and leak nothing.
    fn one_run(&self, command: &mut Command) -> Result<(), String> {
        // To files: a pipe that nobody empties would stop a talkative program.
        let files = tempfile::tempfile().and_then(|out| Ok((out, tempfile::tempfile()?)));
        let (mut out, mut err) = files.map_err(|error| error.to_string())?;
        let status = self
            .wait(command, &out, &err)
            .map_err(|error| error.to_string())?;
        let Some(status) = status else {
            return Err(format!("it did not end within {} s", self.timeout));
        };
        let (said, complained) = (text_of(&mut out), text_of(&mut err));
        if !status.success() {
            return Err(format!("it ended with {status}:\n{complained}{said}"));
        }
        let report: Value = serde_json::from_str(&said)
            .map_err(|error| format!("its output is not JSON ({error}):\n{said}"))?;
        let clean = report["verified"] == true
            && report["frames_leaked"] == 0
            && report["live_mappings"] == 0;
        if clean {
            Ok(())
        } else {
            Err(format!("its report is not clean:\n{said}"))
        }
    }

    /// The program's exit status, or `None` if it had to be killed.
    fn wait(
        &self,
        command: &mut Command,
        out: &File,
        err: &File,
    ) -> io::Result<Option<ExitStatus>> {
        let mut child = command
            .stdout(out.try_clone()?)
            .stderr(err.try_clone()?)
            .spawn()?;
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// A file of random bytes, gone when dropped.
    fn file(&self) -> io::Result<tempfile::NamedTempFile> {
        let mut file = tempfile::NamedTempFile::new()?;
        io::copy(&mut File::open("/dev/urandom")?.take(self.bytes), &mut file)?;
        Ok(file)
    }
}

/// Of a run: Latin squares, so that each temper and mood meets each unit at some depth, and each of these pairs each policy
/// at some seed.
fn unit_and_policy(run: u64) -> (&'static str, &'static str) {
    let (block, units) = (run / MOODINESS, UNITS.len() as u64);
    let unit = (block + run) % units;
    let policy = (block / units + block) % POLICIES.len() as u64;
    (UNITS[unit as usize], POLICIES[policy as usize])
}

/// Makes every journey, with so many random steps.
fn journeys(flags: &[&str], steps: u64, seed: u64) -> Outcome {
    let (steps, seed) = (steps.to_string(), seed.to_string());
    let program = ["run", "--quiet", "--release", "--package", "cli", "--"];
    let mut command = cargo(&program);
    command.arg("journeys").args(flags);
    run(command.args(["--steps", &steps, "--seed", &seed]))
}

/// Makes so many turns of the churn; what it prints says whether they became dearer.
fn churn(turns: u64, seed: u64) -> Outcome {
    let test = [
        "test",
        "--release",
        "--package",
        "dmamap",
        "--test",
        "metadata",
    ];
    let mut command = cargo(&test);
    command.env("DMAMAP_SOAK_TURNS", turns.to_string());
    command.env("SEED", seed.to_string());
    run(command.args(["--", "--ignored", "--nocapture", "a_long_churn"]))
}

/// Builds the program for release and says where it is.
fn build_program() -> Result<PathBuf, String> {
    let output = capture(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "cli",
        "--message-format",
        "json",
    ]))?;
    if !output.status.success() {
        return Err(format!(
            "the program does not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let named = message["target"]["name"] == "dmamap" && message["target"]["kind"][0] == "bin";
        named
            .then(|| message["executable"].as_str().map(PathBuf::from))
            .flatten()
    });
    executables
        .next_back()
        .ok_or_else(|| "Cargo named no program called dmamap".into())
}

fn text_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    match file.rewind().and_then(|()| file.read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("(output lost: {error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_temper_and_mood_meets_every_unit_with_every_policy() {
        let of_a_seed = (DEPTHS.len() * QUEUES.len()) as u64 * MOODINESS;
        // As many seeds as there are by default.
        let runs = 0..4 * of_a_seed;
        let met: HashSet<_> = runs
            .map(|run| (run % MOODINESS, unit_and_policy(run)))
            .collect();
        let all = MOODINESS as usize * UNITS.len() * POLICIES.len();
        assert_eq!(met.len(), all);
    }
}
