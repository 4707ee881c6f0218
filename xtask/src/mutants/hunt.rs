//! One mutation from the source to a verdict.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use super::cargo::{Program, build};
use super::edit;
use super::mutation::{Mutation, Target, Test};
use super::report::Verdict;
use super::tree::{Changed, Tree};
use super::trial::{self, Ending};

/// A copy of the source, and what is built of it.
pub(super) struct Hunt {
    tree: Tree,
    artefacts: PathBuf,
    bound: Duration,
    /// The program that tries misuse, of the source as it is: it compiles anew what it judges.
    misuse: OnceCell<Program>,
}

impl Hunt {
    /// Copies the source; no test may take longer than `bound`.
    pub(super) fn prepare(bound: Duration) -> Result<Self, String> {
        let root = crate::cargo::root();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or("target".into(), PathBuf::from);
        let directory = root.join(target).join("mutants");
        let tree = Tree::copy(root, directory.join("tree"))?;
        Ok(Self {
            tree,
            artefacts: directory.join("target"),
            bound,
            misuse: OnceCell::new(),
        })
    }

    /// Checks that the mutation's text is where it was.
    pub(super) fn check(&self, mutation: &Mutation) -> Result<(), String> {
        let source = self.tree.read(mutation.file)?;
        edit::apply(mutation, &source).map(drop)
    }

    /// Runs every test that a mutation names on the source as it is: all must pass.
    pub(super) fn baseline(&self, mutations: &[&Mutation]) -> Result<(), String> {
        self.all_pass(mutations.iter().flat_map(|mutation| mutation.caught_by))
    }

    /// Runs these tests on the source as it is: all must pass.
    pub(super) fn all_pass<'a>(&self, named: impl Iterator<Item = &'a Test>) -> Result<(), String> {
        let mut programs: Vec<Vec<&Test>> = Vec::new();
        for test in named {
            match programs
                .iter_mut()
                .find(|tests| tests[0].shares_program(test))
            {
                Some(tests) if tests.contains(&test) => {}
                Some(tests) => tests.push(test),
                None => programs.push(vec![test]),
            }
        }
        for tests in programs {
            let program = build(self.tree.root(), &self.artefacts, tests[0])?;
            let bound = self.bound * tests.len() as u32;
            if tests[0].target == Target::CompileFail {
                self.misuse.get_or_init(|| program.clone());
            }
            match trial::run(&program, &tests, bound)? {
                Ending::Passed => {}
                Ending::Failed(why) | Ending::OtherReason(why) => {
                    return Err(format!("{} fails unmutated: {why}", tests[0]));
                }
                Ending::Hung => return Err(format!("{} hangs unmutated", tests[0])),
            }
        }
        Ok(())
    }

    /// Breaks the source, and runs the tests until one fails.
    pub(super) fn attempt(&self, mutation: &Mutation) -> Result<Verdict, String> {
        let source = self.tree.read(mutation.file)?;
        let broken = edit::apply(mutation, &source)?;
        let tests: Vec<_> = mutation.caught_by.iter().collect();
        self.attempt_text(mutation.file, &broken, &tests)
    }

    /// The text of a file of the copy.
    pub(super) fn read(&self, file: &str) -> Result<String, String> {
        self.tree.read(file)
    }

    /// Puts `text` behind a file's own until the result is dropped.
    pub(super) fn append(&self, file: &str, text: &str) -> Result<Changed, String> {
        self.tree.change(file, &(self.tree.read(file)? + text))
    }

    /// Puts `broken` in a file's place, and runs the tests until one fails.
    pub(super) fn attempt_text(
        &self,
        file: &str,
        broken: &str,
        tests: &[&'static Test],
    ) -> Result<Verdict, String> {
        let _changed = self.tree.change(file, broken)?;
        let mut hung = false;
        for &test in tests {
            let built = match (test.target, self.misuse.get()) {
                (Target::CompileFail, Some(program)) => Ok(program.clone()),
                _ => build(self.tree.root(), &self.artefacts, test),
            };
            let program = match built {
                Ok(program) => program,
                Err(errors) => return Ok(Verdict::DoesNotBuild(errors)),
            };
            match trial::run(&program, &[test], self.bound)? {
                Ending::Passed => {}
                Ending::Failed(complaint) => return Ok(Verdict::Caught(test, complaint)),
                Ending::OtherReason(said) => return Ok(Verdict::DoesNotBuild(said)),
                Ending::Hung => hung = true,
            }
        }
        Ok(if hung {
            Verdict::Hung
        } else {
            Verdict::Survived
        })
    }
}
