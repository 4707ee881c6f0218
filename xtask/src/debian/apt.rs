//! `apt-get` for any user, beside the machine's own: fetched is not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::files::{make, remove, write};
use super::run::run;
use super::sources::Source;

/// Debian's keys, for a source that names none.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How long all packages may take to come, some hundred megabytes.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// An `apt-get` that knows nothing of what is installed, and touches none of it.
pub(crate) struct Apt {
    state: PathBuf,
}

impl Apt {
    /// With a state of its own below `folder`, and the suites `suites` of `source`.
    pub(crate) fn prepare(folder: &Path, source: &Source, suites: &[&str]) -> Result<Self, String> {
        let state = folder.join("apt");
        for part in ["lists/partial", "archives/partial"] {
            make(&state.join(part))?;
        }
        let keys = source
            .signed_by
            .as_deref()
            .or_else(|| Path::new(KEYS).is_file().then_some(KEYS));
        let options = keys
            .map(|keys| format!("[signed-by={keys}] "))
            .unwrap_or_default();
        let line = |suite| format!("deb {options}{} {suite} main\n", source.uri);
        let lines: String = suites.iter().map(line).collect();
        write(&state.join("sources.list"), &lines)?;
        write(&state.join("status"), "")?;
        Ok(Self { state })
    }

    /// Removes its state, and the packages that arrived.
    pub(crate) fn remove(self) -> Result<(), String> {
        remove(&self.state)
    }

    /// Fetches packages and what they need, of `release` where one is named; returns all that are here.
    pub(crate) fn download(
        &self,
        release: Option<&str>,
        packages: &[&str],
    ) -> Result<Vec<PathBuf>, String> {
        self.run(&["update"])?;
        let mut arguments = vec![
            "install",
            "--yes",
            "--download-only",
            "--no-install-recommends",
        ];
        if let Some(release) = release {
            arguments.extend(["--target-release", release]);
        }
        arguments.extend(packages);
        self.run(&arguments)?;
        packages_in(&self.archives())
    }

    /// Where packages arrive.
    fn archives(&self) -> PathBuf {
        self.state.join("archives")
    }

    /// Runs `apt-get`.
    fn run(&self, arguments: &[&str]) -> Result<(), String> {
        let at = |name: &str| self.state.join(name).display().to_string();
        let settings = [
            format!("Dir::State={}", self.state.display()),
            format!("Dir::State::lists={}", at("lists")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", self.state.display()),
            format!("Dir::Cache::archives={}", at("archives")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            // The machine's own hooks are for its own packages.
            "DPkg::Post-Invoke=".into(),
            "APT::Update::Post-Invoke=".into(),
            "APT::Update::Post-Invoke-Success=".into(),
            "APT::Keep-Downloaded-Packages=true".into(),
            "APT::Sandbox::User=".into(),
            "Acquire::Retries=3".into(),
            "Acquire::http::Timeout=60".into(),
            "Acquire::https::Timeout=60".into(),
        ];
        let mut command = Command::new("apt-get");
        command.arg("--quiet=2");
        for setting in &settings {
            command.args(["--option", setting]);
        }
        run(command.args(arguments), FETCH_TIMEOUT)
    }
}

/// The packages in a folder; an error if there are none.
fn packages_in(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut packages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.sort();
    match packages.is_empty() {
        true => Err(format!("apt-get left no package in {}", folder.display())),
        false => Ok(packages),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_told_the_machines_mirror_and_keys() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source {
            uri: "http://m.example/debian".into(),
            signed_by: Some("/k.gpg".into()),
        };
        let apt = Apt::prepare(folder.path(), &source, &["trixie", "trixie-updates"]).unwrap();
        let lines = fs::read_to_string(apt.state.join("sources.list")).unwrap();
        let first = "deb [signed-by=/k.gpg] http://m.example/debian trixie main";
        assert_eq!(
            (lines.lines().next(), lines.lines().count()),
            (Some(first), 2)
        );
        assert!(packages_in(&apt.archives()).is_err());
    }
}
