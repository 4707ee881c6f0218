//! What came of the mutations.

use std::fmt;
use std::time::Duration;

use super::mutation::{Mutation, Selection, Test};

/// What came of one mutation.
#[derive(Debug)]
pub(super) enum Verdict {
    /// This test failed, and said this.
    Caught(&'static Test, String),
    /// Every named test passed: nothing guards the rule it breaks.
    Survived,
    /// No test failed, and one had to be killed: whoever runs it learns nothing.
    Hung,
    /// It does not compile, so that nothing was shown.
    DoesNotBuild(String),
    /// No test failed, as is said for this reason.
    NoOp(String),
    /// This test failed, and it is said that none does.
    NoNoOp(&'static Test),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(test, complaint) => write!(f, "caught by {test}: {complaint}"),
            Self::Survived => f.write_str("SURVIVED: no named test noticed"),
            Self::Hung => f.write_str("HUNG: no named test failed, and one had to be killed"),
            Self::DoesNotBuild(errors) => write!(f, "DOES NOT BUILD:\n{errors}"),
            Self::NoOp(reason) => write!(f, "changes nothing: {reason}"),
            Self::NoNoOp(test) => write!(f, "CAUGHT by {test}, and said to change nothing"),
        }
    }
}

/// One line of the table.
struct Line {
    name: String,
    verdict: Verdict,
    took: Duration,
}

/// What came of all of them.
#[derive(Default)]
pub(super) struct Report {
    lines: Vec<Line>,
}

impl Report {
    pub(super) fn add(&mut self, mutation: &Mutation, verdict: Verdict, took: Duration) {
        self.add_named(mutation.name.into(), verdict, took);
    }

    /// As [`add`](Self::add), for what is in no catalogue.
    pub(super) fn add_named(&mut self, name: String, verdict: Verdict, took: Duration) {
        self.lines.push(Line {
            name,
            verdict,
            took,
        });
    }

    /// Whether no mutation survived, hung or failed to build, but where that is said of it.
    pub(super) fn all_caught(&self) -> bool {
        let caught = |line: &Line| matches!(line.verdict, Verdict::Caught(..) | Verdict::NoOp(_));
        self.lines.iter().all(caught)
    }
}

impl fmt::Display for Report {
    /// A line per mutation, and the counts alone on the last line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n==== summary")?;
        let width = self
            .lines
            .iter()
            .map(|line| line.name.len())
            .max()
            .unwrap_or(0);
        let (mut caught, mut no_ops, mut others) = (0, 0, 0);
        for Line {
            name,
            verdict,
            took,
        } in &self.lines
        {
            let (count, short) = match verdict {
                Verdict::Caught(test, _) => (&mut caught, test.to_string()),
                Verdict::Survived => (&mut others, "SURVIVED".into()),
                Verdict::Hung => (&mut others, "HUNG".into()),
                Verdict::DoesNotBuild(_) => (&mut others, "DOES NOT BUILD".into()),
                Verdict::NoOp(_) => (&mut no_ops, "no-op, as documented".into()),
                Verdict::NoNoOp(test) => (&mut others, format!("NO NO-OP: {test}")),
            };
            *count += 1;
            writeln!(f, "{name:width$} {:6.1} s  {short}", took.as_secs_f32())?;
        }
        if no_ops > 0 {
            writeln!(f, "\n{no_ops} change nothing, as documented")?;
        }
        writeln!(f, "\n{caught} caught, {others} not caught")
    }
}

/// Prints what a mutation is.
pub(super) fn describe(mutation: &Mutation) {
    let core = if mutation.selection == Selection::Core {
        " (core)"
    } else {
        ""
    };
    println!(
        "{}{core}\n    {}\n    {}",
        mutation.name, mutation.file, mutation.why
    );
    for test in mutation.caught_by {
        println!("    caught by {test}");
    }
}
