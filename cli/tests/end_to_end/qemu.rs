//! The program on QEMU's hardware. Where there is no QEMU these tests say so and end, except with `CI=true`.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::files::TestFile;
use crate::program::{PATH, Program, Running};
use crate::report::number;

/// What stands before memory, with the settings that choose it.
const UNITS: [&[&str]; 9] = [
    &["--iommu", "vtd"],
    &["--iommu", "vtd-scalable", "--stage", "first"],
    &["--iommu", "vtd-scalable", "--stage", "second"],
    &["--iommu", "amd"],
    &["--iommu", "smmu", "--stage", "first"],
    &["--iommu", "smmu", "--stage", "second"],
    &["--iommu", "riscv", "--stage", "first"],
    &["--iommu", "riscv", "--stage", "second"],
    &["--iommu", "virtio"],
];

/// After which what should have come to be long ago counts as never, however busy the host is; much less than waiting for
/// the unit would take, once for each buffer.
const NEVER: Duration = Duration::from_secs(100);

/// Whether QEMU can be every board here.
fn is_there() -> bool {
    let boards = Command::new(PATH).arg("boards").output().expect("it runs");
    let boards = String::from_utf8(boards.stdout).expect("it is text");
    let (_, of_qemu) = boards
        .split_once("qemu:")
        .expect("QEMU's boards are listed");
    if of_qemu
        .lines()
        .skip(1)
        .all(|line| line.ends_with("runs here"))
    {
        return true;
    }
    let required = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!required, "CI=true asks for QEMU:{of_qemu}");
    eprintln!("skipped:{of_qemu}");
    false
}

fn reads(file: &TestFile) -> Program {
    Program::reads(&file.path).args(["--board", "qemu", "--json"])
}

#[test]
fn behind_every_unit_a_file_arrives_and_is_copied() {
    if !is_there() {
        return;
    }
    let file = TestFile::random(700_001, 50);
    let copy = file.beside("copy");
    for (n, unit) in UNITS.iter().chain([&&["--iommu", "none"][..]]).enumerate() {
        fs::write(&copy, vec![0xff; [0, 700_002, 5][n % 3]]).expect("a file");
        let ended = reads(&file)
            .args(["--write"])
            .args([&copy])
            .args(*unit)
            .args(["--queues", ["1", "3"][n % 2]])
            .args(["--queue-depth", ["1", "32", "256"][n / 2 % 3]])
            .args(["--ram", ["8G", "64M"][n / 3 % 2]])
            .finish();
        let report = ended.expect_clean(&file);
        assert_eq!(report["copy_sha256"], file.sha256, "{ended:?}");
        let invalidates = number(&report, "invalidations") > 0;
        assert_eq!(invalidates, unit[1] != "none", "{ended:?}");
        file.expect_same(&copy);
    }
}

#[test]
fn every_unit_stops_the_rogue_beside_the_disk() {
    if !is_there() {
        return;
    }
    let files = [1, 3_000_001].map(|len_bytes| TestFile::random(len_bytes, 51));
    for (n, (unit, file)) in UNITS
        .iter()
        .flat_map(|unit| files.iter().map(move |file| (unit, file)))
        .enumerate()
    {
        let ended = reads(file)
            .args(["--rogue", "--seed", &n.to_string()])
            .args(*unit)
            .finish();
        let report = ended.expect_right(file);
        assert!(number(&report, "rogue_attempts") >= 4, "{ended:?}");
        assert!(number(&report, "faults_total") > 0, "{ended:?}");
    }
}

/// QEMU sees files in blocks of 512 bytes; the copy is as long as the file all the same, whatever it was before.
#[test]
fn the_copy_is_the_file_to_the_byte_at_any_length() {
    if !is_there() {
        return;
    }
    for len_bytes in [1, 511, 512, 513, 1_000_001] {
        let file = TestFile::random(len_bytes, 52);
        let copy = file.beside("copy");
        for before in [None, Some(0), Some(len_bytes), Some(len_bytes + 100_000)] {
            match before {
                None => drop(fs::remove_file(&copy)),
                Some(before) => fs::write(&copy, vec![0xff; before as usize]).expect("a file"),
            }
            let program = reads(&file).args(["--write"]).args([&copy]);
            program.finish().expect_clean(&file);
            file.expect_same(&copy);
        }
        file.expect_same(&file.path);
    }
}

#[test]
fn trust_is_possible_too() {
    if !is_there() {
        return;
    }
    let file = TestFile::random(300_001, 53);
    for unit in UNITS {
        let ended = reads(&file)
            .args(unit)
            .args(["--policy", "identity"])
            .finish();
        ended.expect_clean(&file);
    }
}

#[test]
fn what_qemu_cannot_be_told_is_refused_and_leaves_an_old_copy_alone() {
    let file = TestFile::random(1000, 54);
    let copy = file.beside("copy");
    fs::write(&copy, "precious").expect("a file");
    for (unusable, words) in [
        (&["--temper", "forget"][..], "--temper"),
        (&["--walks", "no-snoop"], "--walks"),
        (&["--non-coherent"], "--non-coherent"),
        (&["--address-bits", "40"], "--address-bits"),
        (&["--flip-bit-of-byte", "1"], "--flip-bit-of-byte"),
    ] {
        let program = reads(&file).args(unusable).args(["--write"]).args([&copy]);
        program.finish().expect_refused(&[words, "--board machine"]);
    }
    if !is_there() {
        return;
    }
    for (unusable, words) in [
        (&["--ram", "4M"][..], "--ram"),
        (&["--ram", "65537K"], "--ram"),
        (&["--ram", "129G"], "--ram"),
        (
            &["--iommu", "amd", "--table-levels", "2"],
            "--table-levels 2",
        ),
    ] {
        let program = reads(&file).args(unusable).args(["--write"]).args([&copy]);
        program.finish().expect_refused(&[words]);
    }
    assert_eq!(fs::read(&copy).expect("it is there"), b"precious");
    let device = reads(&file).args(["--write", "/dev/full"]).finish();
    device.expect_refused(&["--write", "character device"]);
}

#[test]
fn a_qemu_that_is_not_there_is_said() {
    let file = TestFile::random(1000, 55);
    let mut command = Command::new(PATH);
    command.env("DMAMAP_QEMU_DIR", file.dir());
    let program = Program::started_as(command).args(["run", "--board", "qemu"]);
    let name = file.dir().display().to_string();
    let ended = program.args([&file.path]).finish();
    ended.expect_refused(&["DMAMAP_QEMU_DIR", &name]);
}

/// QEMU's process, once it works for `running`.
fn qemu_of(running: &mut Running) -> Option<u32> {
    let deadline = Instant::now() + NEVER;
    loop {
        assert!(Instant::now() < deadline, "no QEMU was started");
        let threads = fs::read_dir(running.proc_dir().join("task")).ok()?;
        // The children of whichever thread started it.
        let children = threads.flatten().find_map(|thread| {
            let children = fs::read_to_string(thread.path().join("children")).ok()?;
            children.split_whitespace().next()?.parse().ok()
        });
        match (children, running.poll()) {
            (Some(child), _) => return Some(child),
            (None, Some(_)) => return None,
            (None, None) => {}
        }
    }
}

#[test]
fn the_end_of_qemu_ends_the_job_with_a_reason_and_soon() {
    if !is_there() {
        return;
    }
    let file = TestFile::sparse(64 << 30);
    let copy = file.beside("copy");
    for (n, unit) in UNITS.iter().chain([&&["--iommu", "none"][..]]).enumerate() {
        let mut program = Program::reads(&file.path)
            .args(["--board", "qemu"])
            .args(*unit);
        if n % 2 == 1 && unit[1] != "none" {
            program = program.args(["--rogue"]);
        }
        if n % 3 == 1 {
            program = program.args(["--write"]).args([&copy]);
        }
        let mut running = program.start();
        running.wait_for("a buffer, while mapped");
        let qemu = qemu_of(&mut running).expect("QEMU runs");
        let started = Instant::now();
        let mut kill = Command::new("kill");
        kill.args(["-KILL", &qemu.to_string()]);
        assert!(kill.status().expect("`kill` runs").success());
        let ended = running.finish();
        assert!(
            started.elapsed() < NEVER,
            "{:?}: {ended:?}",
            started.elapsed()
        );
        ended.expect_status(1);
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("dmamap: QEMU ended"), "{ended:?}");
        assert!(!ended.stdout.contains("verified"), "{ended:?}");
    }
}
