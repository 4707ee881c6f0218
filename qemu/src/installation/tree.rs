//! A folder that holds QEMU: where its programs, libraries and data are, and how a program is run from there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Architecture;

/// Where QEMU's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    /// Installed: found by name, everything else is where the program expects it.
    OnPath,
    /// Installed below a prefix of its own.
    Prefix(PathBuf),
    /// Packages of a distribution, unpacked into a folder and not installed.
    Unpacked(Unpacked),
}

/// Packages unpacked into a folder: programs there expect a loader, libraries and data elsewhere, so all are named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    root: PathBuf,
    /// The folder's own dynamic loader: the libraries beside it may need another than the host's.
    loader: PathBuf,
    libraries: Vec<PathBuf>,
    modules: Option<PathBuf>,
}

/// Folders of data a program looks for its firmware in.
const DATA: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];

impl Tree {
    /// What `folder` is: the result of unpacking (in its `root`), or a prefix. `None` if there is no QEMU in it.
    pub(super) fn at(folder: &Path) -> Option<Self> {
        let program = Architecture::X86_64.program();
        let roots = [folder.join("root"), folder.to_owned()];
        let root = roots
            .into_iter()
            .find(|root| root.join("usr/bin").join(program).is_file());
        if let Some(unpacked) = root.and_then(Unpacked::at) {
            return Some(Self::Unpacked(unpacked));
        }
        let installed = folder.join("bin").join(program).is_file();
        installed.then(|| Self::Prefix(folder.to_owned()))
    }

    /// A command that runs QEMU's program for `architecture`.
    pub(super) fn command(&self, architecture: Architecture) -> Command {
        let program = architecture.program();
        match self {
            Self::OnPath => Command::new(program),
            Self::Prefix(prefix) => Command::new(prefix.join("bin").join(program)),
            Self::Unpacked(unpacked) => unpacked.command(program),
        }
    }

    /// Whether there is a program for `architecture`.
    pub(super) fn has(&self, architecture: Architecture) -> bool {
        let program = architecture.program();
        match self {
            Self::OnPath => std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
            }),
            Self::Prefix(prefix) => prefix.join("bin").join(program).is_file(),
            Self::Unpacked(unpacked) => unpacked.root.join("usr/bin").join(program).is_file(),
        }
    }
}

impl Unpacked {
    /// `None` if the folder has no loader or no libraries of its own: then it is no such folder.
    fn at(root: PathBuf) -> Option<Self> {
        let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
        let folders = ["usr/lib64", "lib64", "usr/lib", "lib"].map(|folder| root.join(folder));
        let libraries: Vec<PathBuf> = ["usr/lib", "lib"]
            .map(|folder| root.join(folder).join(&triplet))
            .into_iter()
            // Some libraries keep a private folder.
            .flat_map(|folder| [folder.clone(), folder.join("pulseaudio")])
            .filter(|folder| folder.is_dir())
            .collect();
        let loader = folders
            .iter()
            .chain(&libraries)
            .find_map(|folder| loader_in(folder))?;
        let modules = libraries.iter().map(|folder| folder.join("qemu"));
        let modules = modules.into_iter().find(|folder| folder.is_dir());
        Some(Self {
            root,
            loader,
            libraries,
            modules,
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut paths = OsString::new();
        for (index, folder) in self.libraries.iter().enumerate() {
            if index > 0 {
                paths.push(":");
            }
            paths.push(folder);
        }
        let mut command = Command::new(&self.loader);
        command.arg("--library-path").arg(paths);
        command.arg(self.root.join("usr/bin").join(program));
        if let Some(modules) = &self.modules {
            command.env("QEMU_MODULE_DIR", modules);
        }
        for data in DATA.map(|data| self.root.join(data)) {
            if data.is_dir() {
                command.arg("-L").arg(data);
            }
        }
        command
    }
}

/// The dynamic loader in `folder`: `ld-linux-x86-64.so.2` and its like. A link that leads out of an unpacked folder
/// (`/lib64` of a distribution that merged it into `/usr`) is not one.
fn loader_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("ld-linux")) && path.is_file()
    });
    found.sort();
    found.into_iter().next()
}
