//! QEMU out of Debian's packages, by any user: fetched with an own state of `apt-get`, unpacked and not installed.
//!
//! The packages come with all they need, the C library and its loader included, so it does not matter which release the
//! machine itself runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::sources::Source;
use crate::cargo::shown;

/// The release, its corrections, and what newer packages are built for it: there QEMU is new enough.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-backports"];

const PACKAGES: [&str; 4] = [
    "qemu-system-x86",
    "qemu-system-arm",
    "qemu-system-riscv",
    "qemu-system-misc",
];

/// Debian's keys, for a source that names none.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How long all packages may take to come, some 100 MB.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How long one package may take to be unpacked.
const UNPACK_TIMEOUT: Duration = Duration::from_secs(120);

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Fetches the packages and unpacks them into `folder`. What was fetched before a failure is not fetched again.
pub(super) fn get(folder: &Path, source: &Source) -> Result<(), String> {
    let apt = Apt::prepare(folder, source)?;
    println!(
        "fetching QEMU's packages from {} (about 100 MB)",
        source.uri
    );
    apt.run(&["update"])?;
    let mut arguments = vec![
        "install",
        "--yes",
        "--download-only",
        "--no-install-recommends",
    ];
    arguments.extend(["--target-release", SUITES[2]]);
    arguments.extend(PACKAGES);
    apt.run(&arguments)?;

    // Renamed when it is whole: a folder by that name is.
    let (partial, root) = (folder.join("root.partial"), folder.join("root"));
    remove(&partial)?;
    make(&partial)?;
    let packages = packages_in(&apt.archives())?;
    println!("unpacking {} packages", packages.len());
    for package in packages {
        let mut command = Command::new("dpkg");
        run(
            command.arg("--extract").arg(package).arg(&partial),
            UNPACK_TIMEOUT,
        )?;
    }
    remove(&root)?;
    fs::rename(&partial, &root).map_err(|error| format!("{}: {error}", root.display()))?;
    remove(&apt.state)
}

/// An `apt-get` that knows nothing of what is installed, and touches none of it.
struct Apt {
    state: PathBuf,
}

impl Apt {
    fn prepare(folder: &Path, source: &Source) -> Result<Self, String> {
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
        let lines = SUITES.map(|suite| format!("deb {options}{} {suite} main\n", source.uri));
        write(&state.join("sources.list"), &lines.concat())?;
        write(&state.join("status"), "")?;
        Ok(Self { state })
    }

    fn archives(&self) -> PathBuf {
        self.state.join("archives")
    }

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

/// Runs a command to its end, or until `timeout` has passed; then it is killed.
fn run(command: &mut Command, timeout: Duration) -> Result<(), String> {
    let words = shown(command);
    let name = words
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned();
    // Its output stays on the terminal.
    let child = command.stdin(Stdio::null()).spawn();
    let mut child = child.map_err(|error| format!("{name} cannot be run: {error}"))?;
    match wait(&mut child, timeout) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("`{words}`: {status}")),
        None => Err(format!(
            "`{words}` did not end within {} s",
            timeout.as_secs()
        )),
    }
}

fn wait(child: &mut Child, timeout: Duration) -> Option<std::process::ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(LOOK),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_or_is_ended() {
        let shell = |script: &str, timeout| run(Command::new("sh").args(["-c", script]), timeout);
        assert_eq!(shell("true", LOOK * 500), Ok(()));
        assert!(shell("exit 3", LOOK * 500).is_err_and(|why| why.contains("exit status: 3")));
        let start = Instant::now();
        assert!(shell("exec sleep 100", LOOK).is_err_and(|why| why.contains("did not end")));
        assert!(start.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn apt_is_told_the_machines_mirror_and_keys() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source {
            uri: "http://m.example/debian".into(),
            signed_by: Some("/k.gpg".into()),
        };
        let apt = Apt::prepare(folder.path(), &source).unwrap();
        let lines = fs::read_to_string(apt.state.join("sources.list")).unwrap();
        let first = "deb [signed-by=/k.gpg] http://m.example/debian trixie main";
        assert_eq!(
            (lines.lines().next(), lines.lines().count()),
            (Some(first), 3)
        );
        assert!(packages_in(&apt.archives()).is_err());
    }
}
