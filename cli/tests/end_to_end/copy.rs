//! The second disk: `--write COPY`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::files::TestFile;
use crate::program::Program;

fn copies(file: &TestFile, copy: impl AsRef<Path>) -> Program {
    Program::reads(&file.path)
        .args(["--json", "--write"])
        .args([copy.as_ref()])
}

#[test]
fn the_copy_is_the_file_to_the_byte_at_any_length() {
    for len_bytes in [1, 511, 512, 513, 4095, 4096, 4097, 262_145, 5_000_011] {
        let file = TestFile::random(len_bytes, 2);
        let copy = file.beside("copy");
        let ended = copies(&file, &copy).finish();
        let report = ended.expect_clean(&file);
        assert_eq!(report["copy_sha256"], file.sha256);
        file.expect_same(&copy);
        file.expect_same(&file.path);
    }
}

#[test]
fn the_copy_is_right_whatever_the_settings() {
    let file = TestFile::random(3_000_001, 3);
    let copy = file.beside("copy");
    for settings in [
        &["--iommu", "none"][..],
        &["--policy", "identity", "--queues", "4"],
        &["--walks", "no-snoop", "--temper", "random", "--seed", "9"],
        &[
            "--temper",
            "forget",
            "--queue-depth",
            "1",
            "--completion",
            "polling",
        ],
        &[
            "--queue-depth",
            "256",
            "--queues",
            "4",
            "--table-levels",
            "5",
        ],
        &["--address-bits", "28", "--queue-depth", "2"],
    ] {
        let _ = fs::remove_file(&copy);
        copies(&file, &copy)
            .args(settings)
            .finish()
            .expect_clean(&file);
        file.expect_same(&copy);
    }
}

#[test]
fn what_a_copy_held_before_is_gone() {
    let file = TestFile::random(700, 4);
    let copy = file.beside("copy");
    for before in [0, 1, 700, 701, 1024, 3_000_000] {
        fs::write(&copy, vec![0xff; before]).expect("a file");
        copies(&file, &copy).finish().expect_clean(&file);
        file.expect_same(&copy);
    }
}

#[test]
fn a_copy_can_be_made_through_a_link_that_leads_nowhere_yet() {
    let file = TestFile::random(700, 5);
    let link = file.beside("link");
    symlink("copy", &link).expect("a link");
    copies(&file, &link).finish().expect_clean(&file);
    file.expect_same(&file.beside("copy"));
}

#[test]
fn people_are_told_the_hash_of_the_copy() {
    let file = TestFile::random(10_000, 6);
    let ended = Program::reads(&file.path)
        .args(["--write"])
        .args([file.beside("copy")])
        .finish();
    ended.expect_status(0);
    let line = format!("SHA-256 of copy {}", file.sha256);
    assert!(ended.stdout.contains(&line), "{ended:?}");
    assert!(
        ended.stdout.contains("0000:02:00.0"),
        "the second disk is listed: {ended:?}"
    );
}

#[test]
fn a_file_is_not_copied_onto_itself_by_any_name() {
    let file = TestFile::random(10_001, 7);
    let (by_symlink, by_hard_link) = (file.beside("symlink"), file.beside("hard-link"));
    symlink(&file.path, &by_symlink).expect("a link");
    fs::hard_link(&file.path, &by_hard_link).expect("a link");
    let roundabout = file
        .dir()
        .join("../")
        .join(file.dir().file_name().expect("a name"))
        .join("file");
    for copy in [&file.path, &by_symlink, &by_hard_link, &roundabout] {
        copies(&file, copy)
            .finish()
            .expect_refused(&["is the file that is read"]);
        file.expect_same(&file.path);
    }
}

#[test]
fn a_copy_that_is_no_file_is_refused() {
    let file = TestFile::random(1000, 8);
    copies(&file, file.dir())
        .finish()
        .expect_refused(&["is a directory"]);
    copies(&file, file.beside("no/such/directory"))
        .finish()
        .expect_refused(&["No such file"]);
    copies(&file, file.path.join("x"))
        .finish()
        .expect_refused(&["Not a directory"]);
}

#[test]
fn a_job_that_is_refused_leaves_an_old_copy_alone() {
    let file = TestFile::random(1000, 9);
    let copy = file.beside("copy");
    fs::write(&copy, "precious").expect("a file");
    let new = file.beside("new");
    for unusable in [
        &["--ram", "1M"][..],
        &["--ram", "9999G"],
        &["--ram", "8M", "--queues", "8", "--queue-depth", "256"],
        &["--queues", "0"],
        &["--address-bits", "14", "--queues", "8"],
        &["--address-bits", "13", "--iommu", "none"],
        &["--address-bits", "13", "--policy", "identity"],
        &["--rogue", "--iommu", "none"],
        &["--iommu", "amd", "--table-levels", "2"],
        &["--iommu", "riscv", "--walks", "no-snoop"],
        &["--iommu", "virtio", "--stage", "first"],
    ] {
        for path in [&copy, &new] {
            copies(&file, path).args(unusable).finish().expect_status(2);
        }
        assert_eq!(fs::read(&copy).expect("it is there"), b"precious");
        assert!(!new.exists(), "{unusable:?}");
    }
}
