//! What a mutation is.

use std::fmt;

/// One way to break the source, and who must notice.
#[derive(Debug)]
pub(super) struct Mutation {
    /// Names it: what is broken, in a few words.
    pub(super) name: &'static str,
    /// Whether it is among the core ones.
    pub(super) selection: Selection,
    /// The file, from the workspace's root.
    pub(super) file: &'static str,
    /// What is taken out. Occurs exactly once in the file; layout does not matter.
    pub(super) find: &'static str,
    /// What is put in its place; it must compile.
    pub(super) replace: &'static str,
    /// Why code with the mutation is wrong.
    pub(super) why: &'static str,
    /// One of these tests must fail; the likeliest is named first.
    pub(super) caught_by: &'static [Test],
}

/// Whether a mutation is tried in the short selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// It breaks what all protection rests on.
    Core,
    /// Only the whole list tries it.
    Whole,
}

/// A test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// The package it belongs to, which is also its directory.
    pub(super) package: &'static str,
    /// Which of the package's test programs it is in.
    pub(super) target: Target,
    /// Its name in that program or module.
    pub(super) name: &'static str,
}

/// A test program of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The tests in the library's own source.
    Library,
    /// A program in the package's directory `tests`; and after a slash, one of its modules.
    Program(&'static str),
    /// The program `compile_fail`: the test's name is that of a file of `tests/compile_fail`, which must not compile.
    CompileFail,
}

impl Target {
    /// The program in the package's directory `tests`, if it is in one.
    pub(super) fn program(self) -> Option<&'static str> {
        match self {
            Self::Library => None,
            Self::Program(program) => program.split('/').next(),
            Self::CompileFail => Some("compile_fail"),
        }
    }
}

impl Test {
    /// A test in the package's directory `tests`.
    pub(super) const fn program(
        package: &'static str,
        program: &'static str,
        name: &'static str,
    ) -> Self {
        let target = Target::Program(program);
        Self {
            package,
            target,
            name,
        }
    }

    /// A test in the library's own source, with its modules.
    pub(super) const fn library(package: &'static str, name: &'static str) -> Self {
        let target = Target::Library;
        Self {
            package,
            target,
            name,
        }
    }

    /// Misuse that must not compile, by the name of its file.
    pub(super) const fn misuse(package: &'static str, name: &'static str) -> Self {
        let target = Target::CompileFail;
        Self {
            package,
            target,
            name,
        }
    }

    /// Its whole name, as the program lists it.
    pub(super) fn whole_name(&self) -> String {
        let module = match self.target {
            Target::Library => None,
            Target::Program(program) => program.split_once('/').map(|(_, module)| module),
            // One function tries all of them.
            Target::CompileFail => return "misuse_does_not_compile".to_owned(),
        };
        module.map_or_else(
            || self.name.to_owned(),
            |module| format!("{module}::{}", self.name),
        )
    }

    /// Whether both are in one program.
    pub(super) fn shares_program(&self, other: &Self) -> bool {
        (self.package, self.target.program()) == (other.package, other.target.program())
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            package,
            target,
            name,
        } = self;
        match target {
            Target::Library => write!(f, "{package} {name}"),
            Target::Program(program) => write!(f, "{package}/{program} {name}"),
            Target::CompileFail => write!(f, "{package}/compile_fail {name}"),
        }
    }
}
