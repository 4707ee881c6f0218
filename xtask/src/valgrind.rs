//! Valgrind, whose tool Callgrind counts instructions: found, or fetched from Debian's packages into `target/valgrind`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cargo::root;
use crate::debian::{self, Apt, Source, is_on_path, make, remove, run};

/// Debian's release, and its corrections. Valgrind's tools need nothing of the machine's own.
const SUITES: [&str; 2] = ["trixie", "trixie-updates"];

const PACKAGE: &str = "valgrind";

/// How long the package may take to be unpacked.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(120);

/// Whether the network may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Allowed,
    Unused,
}

/// A Valgrind that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Valgrind {
    /// On the search path.
    Installed,
    /// Unpacked in that folder.
    Unpacked(PathBuf),
}

impl Valgrind {
    /// One that is on the search path or was fetched before, or else is fetched now.
    ///
    /// # Errors
    /// Why there is none, and what one can do.
    pub(crate) fn find_or_get(network: Network) -> Result<Self, String> {
        if is_on_path(PACKAGE) {
            return Ok(Self::Installed);
        }
        Self::in_folder(&root().join("target").join("valgrind"), network)
            .map_err(|why| format!("{why}\nInstall Valgrind by the system's packages (valgrind)."))
    }

    fn in_folder(folder: &Path, network: Network) -> Result<Self, String> {
        let unpacked = folder.join("root");
        if unpacked.is_dir() {
            return Ok(Self::Unpacked(unpacked));
        }
        if network == Network::Unused {
            return Err("no valgrind is in target/valgrind or on the search path".into());
        }
        // One at a time. Whoever waited may find that the other one got it.
        let _lock = debian::lock(&folder.with_extension("lock"), "cargo xtask bench --counts")?;
        if !unpacked.is_dir() {
            fetch(folder, &debian::source(&["apt-get", "dpkg"])?)?;
        }
        Ok(Self::Unpacked(unpacked))
    }

    /// The command that starts it.
    pub(crate) fn command(&self) -> Command {
        match self {
            Self::Installed => Command::new(PACKAGE),
            Self::Unpacked(root) => {
                let mut command = Command::new(root.join("usr/bin/valgrind"));
                // It looks for its tools where it was built for.
                command.env("VALGRIND_LIB", root.join("usr/libexec/valgrind"));
                command
            }
        }
    }
}

fn fetch(folder: &Path, source: &Source) -> Result<(), String> {
    let apt = Apt::prepare(folder, source, &SUITES)?;
    eprintln!("fetching {PACKAGE} from {} (20 MB)", source.uri);
    let packages = apt.download(None, &[PACKAGE])?;
    let is_it = |path: &&PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("valgrind_"))
    };
    let package = packages.iter().find(is_it);
    let package = package.ok_or_else(|| format!("apt-get did not fetch {PACKAGE}"))?;
    // Renamed when it is whole: a folder by that name is.
    let partial = folder.join("root.partial");
    remove(&partial)?;
    make(&partial)?;
    let mut command = Command::new("dpkg");
    command.arg("--extract").arg(package).arg(&partial);
    run(&mut command, UNPACK_TIMEOUT)?;
    std::fs::rename(&partial, folder.join("root"))
        .map_err(|error| format!("{}: {error}", partial.display()))?;
    apt.remove()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_network_one_that_was_unpacked_is_found_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let why = Valgrind::in_folder(folder.path(), Network::Unused).unwrap_err();
        assert!(why.contains("no valgrind"), "{why}");
        let unpacked = folder.path().join("root");
        make(&unpacked).unwrap();
        let found = Valgrind::in_folder(folder.path(), Network::Unused).unwrap();
        let command = found.command();
        assert!(
            command
                .get_program()
                .to_string_lossy()
                .ends_with("root/usr/bin/valgrind")
        );
        assert!(
            command
                .get_envs()
                .any(|(name, value)| name == "VALGRIND_LIB" && value.is_some())
        );
    }
}
