//! Threaded tests under the compiler's sanitizers.
//!
//! For the thread sanitizer the standard library is built anew with it, so that it sees how threads hand things to
//! each other inside of that too: no report is left out. What orders accesses there are locks and atomics of the
//! program under test, a model's as well as a driver's.

use clap::{Args, ValueEnum};

use crate::cargo::{root, run};
use crate::gate::{Outcome, Step};
use crate::nightly;

/// Which sanitizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sanitizer {
    /// Accesses of two threads that nothing orders.
    Thread,
    /// Accesses outside of what was allocated, or after it was freed.
    Address,
}

/// Programs whose tests have several threads, or free what others may still use. Beside the tests' own threads each has
/// those of the models, which walk tables while the driver changes them. Journeys' `conformance` is not among them: a lock of its
/// keeps nobody out, on purpose.
const PROGRAMS: &[&str] = &[
    "mapping",
    "streaming",
    "coherent",
    "bounce",
    "deferred",
    "groups",
    "life",
    "system",
    "vtd",
    "amd",
    "smmu",
    "riscv",
    "virtio",
    "under_locks",
    // Journeys' alone; those of the names above that are both packages' run in both.
    "caches",
    "virtio_devices",
];

/// Runs the threaded tests under sanitizers.
#[derive(Args)]
pub(crate) struct Sanitize {
    /// Only this one.
    #[arg(value_enum)]
    only: Option<Sanitizer>,
}

impl Sanitize {
    pub(crate) fn steps(&self) -> Vec<Step> {
        let all = [Sanitizer::Thread, Sanitizer::Address];
        let wanted = all
            .into_iter()
            .filter(|sanitizer| self.only.is_none_or(|only| only == *sanitizer));
        wanted
            .map(|sanitizer| Step {
                name: sanitizer.name(),
                purpose: sanitizer.purpose(),
                run: Box::new(move || check(sanitizer)),
            })
            .collect()
    }
}

impl Sanitizer {
    fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread",
            Self::Address => "address",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Thread => "no two threads touch memory unordered",
            Self::Address => "threaded tests touch only memory that is theirs",
        }
    }

    fn flags(self) -> &'static str {
        match self {
            Self::Thread => "-Zsanitizer=thread",
            Self::Address => "-Zsanitizer=address",
        }
    }

    /// Arguments of each `cargo test`.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Thread => &["-Zbuild-std"],
            // It watches allocations, and those of the library are made by the same allocator.
            Self::Address => &[],
        }
    }

    fn prerequisite(self) -> Result<(), String> {
        match self {
            Self::Thread => nightly::has_library(),
            Self::Address => nightly::has_built_library(),
        }
    }
}

/// Runs the threaded tests under `sanitizer`.
pub(crate) fn check(sanitizer: Sanitizer) -> Outcome {
    if let Err(how_to_get_it) = sanitizer.prerequisite() {
        return Outcome::Absent(how_to_get_it);
    }
    let Some(host) = nightly::host() else {
        return Outcome::Failed("rustc does not say what it compiles for".into());
    };
    let target = root().join("target/sanitizers").join(sanitizer.name());
    let mut command = nightly::cargo(&["test", "--target", &host]);
    command.args(["--package", "dmamap", "--package", "journeys"]);
    command.args(sanitizer.arguments());
    for program in PROGRAMS {
        command.args(["--test", program]);
    }
    command
        .env("RUSTFLAGS", sanitizer.flags())
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_INCREMENTAL", "0")
        .env("TSAN_OPTIONS", "halt_on_error=1")
        // Forgotten handles leak on purpose.
        .env("ASAN_OPTIONS", "detect_leaks=0");
    run(&mut command)
}
