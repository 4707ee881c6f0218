//! Linux's code, compiled into a library that the benchmark loads.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::linux::FILES;
use crate::cargo::root;
use crate::debian::{make, run, write};

/// Headers of the kernel that Linux's files include and of which `shim.h` has all they use.
const HEADERS: [&str; 20] = [
    "asm/barrier.h",
    "iommu-pages.h",
    "linux/atomic.h",
    "linux/bitops.h",
    "linux/compiler.h",
    "linux/container_of.h",
    "linux/cpu.h",
    "linux/dma-mapping.h",
    "linux/export.h",
    "linux/iommu.h",
    "linux/kernel.h",
    "linux/kmemleak.h",
    "linux/module.h",
    "linux/rcupdate.h",
    "linux/sizes.h",
    "linux/slab.h",
    "linux/smp.h",
    "linux/stddef.h",
    "linux/types.h",
    "linux/workqueue.h",
];

/// What stands for the rest of the kernel, and what is called.
const OURS: [&str; 2] = ["shim.c", "peers.c"];

/// As a kernel is compiled, where it matters for speed and for what C leaves open.
const OPTIONS: [&str; 8] = [
    "-std=gnu11",
    "-O2",
    "-fno-strict-aliasing",
    "-fno-strict-overflow",
    "-fno-delete-null-pointer-checks",
    "-fPIC",
    "-fvisibility=hidden",
    "-shared",
];

const TIMEOUT: Duration = Duration::from_secs(120);

/// Compiles the library from the sources in `tree`; returns where it is. It takes a second, so it is done each time.
pub(super) fn build(folder: &Path, tree: &Path) -> Result<PathBuf, String> {
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let headers = folder.join("include");
    for header in HEADERS {
        let path = headers.join(header);
        make(path.parent().unwrap_or(&headers))?;
        write(&path, "#include \"shim.h\"\n")?;
    }
    let (ours, library) = (
        root().join("peers").join("linux"),
        folder.join("libpeers.so"),
    );
    let mut command = Command::new(compiler);
    command.args(OPTIONS);
    for include in [&headers, &ours, &tree.join("include")] {
        command.arg("-I").arg(include);
    }
    let sources = FILES.iter().filter(|file| file.ends_with(".c"));
    command.args(sources.map(|file| tree.join(file)));
    command.args(OURS.map(|file| ours.join(file)));
    run(command.arg("-o").arg(&library), TIMEOUT)?;
    Ok(library)
}
