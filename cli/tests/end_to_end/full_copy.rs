//! A second disk whose file has no room.

use std::fs;
use std::process::Command;

use crate::files::TestFile;
use crate::program::{PATH, Program};

#[test]
fn a_device_that_is_always_full_ends_the_job_with_a_reason() {
    let file = TestFile::random(1_000_000, 1);
    for depth in ["1", "256"] {
        let ended = Program::reads(&file.path)
            .args(["--json", "--write", "/dev/full", "--queue-depth", depth])
            .finish();
        ended.expect_failed(&["/dev/full", "writing the copy", "capacity exceeded"]);
        assert_eq!(ended.stdout, "");
    }
}

/// Where this test may mount a file system of its own: as root, or where anybody is root in a namespace.
#[test]
fn a_full_file_system_ends_the_job_with_a_reason() {
    let file = TestFile::random(3_000_000, 2);
    let (mounted, copy) = (file.beside("small"), file.beside("small/copy"));
    fs::create_dir(&mounted).expect("a directory");
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" || exit 77; shift; exec \"$@\"";
    for namespaces in [&["--mount"][..], &["--mount", "--user", "--map-root-user"]] {
        let mut command = Command::new("unshare");
        command
            .args(namespaces)
            .args(["sh", "-c", script, "sh"])
            .arg(&mounted);
        command
            .args([PATH, "run", "--write"])
            .args([&copy, &file.path]);
        let Ok(running) = Program::started_as(command).try_start() else {
            continue;
        };
        let ended = running.finish();
        if ended.stderr.contains("unshare") || ended.stderr.contains("mount:") {
            continue;
        }
        ended.expect_failed(&["small/copy", "writing the copy", "capacity exceeded"]);
        return;
    }
}
