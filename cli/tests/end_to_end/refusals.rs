//! What cannot be used is refused with a reason, at once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::files::TestFile;
use crate::program::{PATH, Program};

/// Nobody, on most systems; in any case not root.
const NOBODY: u32 = 65534;

fn refused(file: impl AsRef<Path>, args: &[&str], words: &[&str]) {
    for json in [&["--json"][..], &[]] {
        let ended = Program::reads(&file).args(args).args(json).finish();
        ended.expect_refused(words);
        if !json.is_empty() {
            assert_eq!(ended.stdout, "", "{ended:?}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_a_disk_is_refused() {
    let file = TestFile::random(1000, 1);
    let (empty, endless, pipe) = (
        file.beside("empty"),
        file.beside("endless"),
        file.beside("pipe"),
    );
    fs::write(&empty, "").expect("a file");
    symlink("endless", &endless).expect("a link");
    refused(file.beside("missing"), &[], &["missing", "No such file"]);
    refused(file.dir(), &[], &["is a directory"]);
    refused(&empty, &[], &["empty: is empty"]);
    refused(&endless, &[], &["endless"]);
    refused(file.path.join("x"), &[], &["Not a directory"]);
    refused("", &[], &["FILE"]);
    refused(
        "/dev/zero",
        &[],
        &["/dev/zero", "neither a regular file nor a block device"],
    );
    if Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .is_ok_and(|status| status.success())
    {
        refused(&pipe, &[], &["neither a regular file"]);
        let program = Program::reads(&file.path).args(["--write"]).args([&pipe]);
        program
            .finish()
            .expect_refused(&["is no file that could hold a copy"]);
    }
}

/// Permissions do not bind root: it becomes somebody else first.
#[test]
fn a_file_one_may_not_read_or_write_is_refused() {
    let file = TestFile::random(1000, 2);
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let secret = file.beside("secret");
    fs::write(&secret, "secret").expect("a file");
    mode(&secret, 0o000);
    mode(&file.path, 0o444);
    mode(file.dir(), 0o755);
    // Where the program was built may be closed to others.
    let program = file.beside("dmamap");
    fs::copy(PATH, &program).expect("the program is copied");
    let is_root = fs::read(&secret).is_ok();
    for (args, words) in [
        (vec![&secret], ["secret", "Permission denied"]),
        (vec![&file.path, &secret], ["secret", "Permission denied"]),
        (
            vec![&file.path, &file.beside("new")],
            ["new", "Permission denied"],
        ),
    ] {
        if !is_root && args.last() == Some(&&file.beside("new")) {
            continue;
        }
        let mut command = Command::new(&program);
        if is_root {
            command.uid(NOBODY);
        }
        command.arg("run").arg(args[0]);
        command
            .args(args.get(1).map(|_| "--write"))
            .args(args.get(1));
        if let Ok(running) = Program::started_as(command).try_start() {
            running.finish().expect_refused(&words);
        }
    }
}

#[test]
fn memory_that_cannot_be_is_refused() {
    let file = TestFile::random(1000, 3);
    for ram in ["0", "1", "4095K", "1M"] {
        refused(&file.path, &["--ram", ram], &["--ram", "too few", "4 MiB"]);
    }
    for ram in ["129G", "1000000G", "18446744073709551615"] {
        refused(
            &file.path,
            &["--ram", ram],
            &["--ram", "too many", "128 GiB"],
        );
    }
    for ram in [
        "",
        "G",
        "8T",
        "1.5G",
        "8 G",
        "-1",
        "0x1000",
        "18446744073709551616",
        "17179869184G",
    ] {
        refused(&file.path, &[&format!("--ram={ram}")], &["--ram"]);
    }
}

#[test]
fn memory_too_small_for_the_queues_is_said() {
    let file = TestFile::random(40 << 20, 4);
    for ram in ["4M", "8M"] {
        let args = ["--ram", ram, "--queue-depth", "256", "--queues", "8"];
        refused(&file.path, &args, &[&format!("--ram {ram}"), "--queues"]);
    }
}

#[test]
fn a_mask_too_small_for_the_queues_is_said() {
    let file = TestFile::random(1000, 4);
    for bits in ["13", "14", "16"] {
        let said = format!("--address-bits {bits}: ");
        let args = ["--address-bits", bits, "--queues", "8"];
        refused(&file.path, &args, &[&said, "--queue-depth"]);
    }
}

#[test]
fn a_mask_within_which_there_is_no_memory_is_refused_with_mask_and_address() {
    let file = TestFile::random(1000, 5);
    for policy in [&["--iommu", "none"][..], &["--policy", "identity"]] {
        let args = [policy, &["--address-bits", "13"]].concat();
        refused(&file.path, &args, &["--address-bits 13", "0x1fff", "IOMMU"]);
    }
}

#[test]
fn settings_that_do_not_exist_are_refused() {
    let file = TestFile::random(1000, 6);
    for args in [
        &["--iommu", "smmuv2"][..],
        &["--board", "paper"],
        &["--stage", "third"],
        &["--iommu", ""],
        &["--policy", "lax"],
        &["--temper", "mild"],
        &["--walks", "run"],
        &["--completion", "never"],
        &["--seed=-1"],
        &["--seed", "18446744073709551616"],
        &["--queue-depth", "0"],
        &["--queue-depth", "257"],
        &["--queue-depth", "many"],
        &["--queues", "0"],
        &["--queues", "9"],
        &["--address-bits", "12"],
        &["--address-bits", "65"],
        &["--table-levels", "2"],
        &["--table-levels", "6"],
        &["--table-levels", "7"],
        &["--stage", "first"],
        &["--iommu", "amd", "--stage", "second"],
        &["--iommu", "virtio", "--stage", "first"],
        &["--iommu", "none", "--stage", "first"],
        &["--ram"],
        &["--write"],
        &["--no-such-flag"],
        &["another file"],
    ] {
        let flag = args[0].split('=').next().expect("a word");
        refused(&file.path, args, &[flag]);
    }
    for (iommu, levels) in [
        ("vtd-scalable", "3"),
        ("amd", "2"),
        ("smmu", "5"),
        ("riscv", "6"),
        ("virtio", "5"),
        ("none", "4"),
    ] {
        let args = ["--iommu", iommu, "--table-levels", levels];
        refused(&file.path, &args, &[&format!("--table-levels {levels}")]);
    }
    for iommu in ["riscv", "virtio", "none"] {
        let args = ["--iommu", iommu, "--walks", "no-snoop"];
        refused(&file.path, &args, &["--walks no-snoop", iommu]);
    }
    Program::alone()
        .args(["walk"])
        .finish()
        .expect_refused(&["walk", "dmamap run FILE"]);
    Program::alone()
        .args([&file.path])
        .finish()
        .expect_refused(&[&format!("dmamap run {}", file.path.display())]);
}
