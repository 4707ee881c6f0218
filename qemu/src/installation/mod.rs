//! Which QEMU is used: where it is, and whether it is new enough.
//!
//! Looked for, in this order: the folder that `DMAMAP_QEMU_DIR` names, `target/qemu` of the workspace (where
//! `cargo xtask qemu` puts one), and the search path.

mod tree;
mod version;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::Architecture;
use tree::Tree;

pub use version::Version;

/// The environment variable that names a folder with QEMU: one `cargo xtask qemu` made, or a prefix it was installed
/// to.
pub const FOLDER_VARIABLE: &str = "DMAMAP_QEMU_DIR";

/// A QEMU that serves.
///
/// ```
/// match qemu::Installation::find() {
///     Ok(qemu) => println!("QEMU {} in {}", qemu.version(), qemu.place()),
///     Err(missing) => println!("{missing}"),
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Installation {
    tree: Tree,
    place: String,
    version: Version,
}

/// There is no QEMU that serves; how to get one is in its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// None was found at all.
    #[error("no QEMU is there; get one with: cargo xtask qemu")]
    Nowhere,
    /// The variable names a folder without one.
    #[error("{FOLDER_VARIABLE} names {0:?}, where no QEMU is")]
    NotInFolder(
        /// The folder.
        PathBuf,
    ),
    /// What was found does not serve.
    #[error("the QEMU in {place} does not serve: {reason}; get another with: cargo xtask qemu")]
    Unfit {
        /// Where it is.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Installation {
    /// The QEMU this process uses. Looked for once, all callers get the same answer.
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn find() -> Result<Self, NotFound> {
        static FOUND: OnceLock<Result<Installation, NotFound>> = OnceLock::new();
        FOUND.get_or_init(look).clone()
    }

    /// The QEMU in `folder`, which `cargo xtask qemu` made, or which is a prefix it was installed to.
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn in_folder(folder: &Path) -> Result<Self, NotFound> {
        match Tree::at(folder) {
            Some(tree) => Self::new(tree, folder.display().to_string()),
            None => Err(NotFound::NotInFolder(folder.to_owned())),
        }
    }

    /// The QEMU on the search path.
    ///
    /// # Errors
    /// [`NotFound`].
    pub fn on_path() -> Result<Self, NotFound> {
        match Tree::OnPath.has(Architecture::X86_64) {
            true => Self::new(Tree::OnPath, "the search path".into()),
            false => Err(NotFound::Nowhere),
        }
    }

    fn new(tree: Tree, place: String) -> Result<Self, NotFound> {
        match fitness(&tree) {
            Ok(version) => Ok(Self {
                tree,
                place,
                version,
            }),
            Err(reason) => Err(NotFound::Unfit { place, reason }),
        }
    }

    /// Its version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where it was found, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether it has machines of `architecture`.
    pub fn has(&self, architecture: Architecture) -> bool {
        self.tree.has(architecture)
    }

    /// A command that runs its program for `architecture`, without arguments of a machine.
    pub fn command(&self, architecture: Architecture) -> Command {
        self.tree.command(architecture)
    }
}

fn look() -> Result<Installation, NotFound> {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return Installation::in_folder(Path::new(&folder));
    }
    let unpacked = workspace_folders()
        .into_iter()
        .find(|folder| Tree::at(folder).is_some());
    match unpacked {
        Some(folder) => Installation::in_folder(&folder),
        None => Installation::on_path(),
    }
}

/// `target/qemu` of each folder this program, or the package that runs it, lies in.
fn workspace_folders() -> Vec<PathBuf> {
    let starts = [
        std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from),
        std::env::current_exe().ok(),
    ];
    let starts = starts.iter().flatten();
    starts
        .flat_map(|start| start.ancestors())
        .map(|folder| folder.join("target").join("qemu"))
        .filter(|folder| folder.is_dir())
        .collect()
}

/// The version of the QEMU in `tree` if it serves, or what is wrong with it.
fn fitness(tree: &Tree) -> Result<Version, String> {
    let said = ask(tree, &["--version"], "")?;
    let version = Version::parse(&said).ok_or("it does not tell its version")?;
    if version < Version::OLDEST {
        return Err(format!(
            "it is version {version}, {} is needed",
            Version::OLDEST
        ));
    }
    if !ask(tree, &["-device", "help"], "")?.contains("iommu-testdev") {
        return Err("it was built without iommu-testdev".into());
    }
    // No list names this accelerator, so it is used.
    let idle = [
        "-accel",
        "qtest",
        "-machine",
        "none",
        "-nodefaults",
        "-display",
        "none",
        "-monitor",
        "stdio",
    ];
    ask(tree, &idle, "quit\n")?;
    Ok(version)
}

/// What QEMU prints when it is run with `arguments` and told `input`.
fn ask(tree: &Tree, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut command = tree.command(Architecture::X86_64);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = command.spawn().and_then(|mut child| {
        if let Some(mut stdin) = child.stdin.take() {
            // It may have ended already; then its status says so.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    });
    let output = output.map_err(|error| format!("it cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said
        .lines()
        .next()
        .unwrap_or("it ends with an error")
        .to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A prefix with a program that answers as `script` says.
    fn prefix(script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let program = folder
            .path()
            .join("bin")
            .join(Architecture::X86_64.program());
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        folder
    }

    fn check(script: &str, expected: Result<Version, &str>) {
        let folder = prefix(script);
        match (Installation::in_folder(folder.path()), expected) {
            (Ok(found), Ok(version)) => assert_eq!(found.version(), version),
            (Err(NotFound::Unfit { reason, .. }), Err(expected)) => assert_eq!(reason, expected),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn only_a_qemu_that_serves_is_found() {
        let version = Version {
            major: 11,
            minor: 2,
            patch: 1,
        };
        let answers = |devices: &str| {
            format!(
                "case $1 in --version) echo QEMU emulator version 11.2.1;;
                 -device) echo {devices};; esac"
            )
        };
        check(&answers("edu iommu-testdev"), Ok(version));
        let no_qtest = "echo invalid accelerator qtest >&2; exit 1";
        check(
            &format!(
                "case $1 in -accel) {no_qtest};; esac; {}",
                answers("iommu-testdev")
            ),
            Err("invalid accelerator qtest"),
        );
        check(&answers("edu"), Err("it was built without iommu-testdev"));
        check(
            "echo QEMU emulator version 10.0.2",
            Err("it is version 10.0.2, 11.1.0 is needed"),
        );
        check("echo hello", Err("it does not tell its version"));
        check("echo no such library >&2; exit 127", Err("no such library"));
    }

    #[test]
    fn a_folder_without_qemu_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Installation::in_folder(folder.path()).unwrap_err();
        assert_eq!(missing, NotFound::NotInFolder(folder.path().to_owned()));
    }
}
