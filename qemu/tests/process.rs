//! QEMU as a process: what happens when it ends, and that it ends.

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use board::hardware::{Hardware, Width};
use qemu::{Board, Qemu, QemuConfig, QemuError, QtestError};
use support::{installation, start};

/// Set in a process that is to start a QEMU and end without a farewell.
const ORPHAN: &str = "DMAMAP_TEST_ORPHAN";

/// What that process says before the number of its QEMU.
const SAID: &str = "QEMU:";

/// After which what should have come to be long ago counts as never, however busy the host is.
const NEVER: Duration = Duration::from_secs(100);

fn is_running(id: u32) -> bool {
    PathBuf::from(format!("/proc/{id}")).exists()
}

fn kill(id: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &id.to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
}

#[test]
fn a_dropped_computer_leaves_no_process() {
    let Some(qemu) = start("q35", |config| config) else {
        return;
    };
    let id = qemu.process_id();
    assert!(is_running(id));
    drop(qemu);
    assert!(!is_running(id));
}

#[test]
fn registers_of_a_qemu_that_died_read_all_ones_and_the_reason_is_kept() {
    let Some(qemu) = start("q35-vtd", |config| config) else {
        return;
    };
    assert_ne!(qemu.read(0xfed9_0008, Width::Qword), u64::MAX);
    kill(qemu.process_id());
    let start = Instant::now();
    assert_eq!(qemu.read(0xfed9_0008, Width::Qword), u64::MAX);
    assert_eq!(qemu.read(0xfed9_0008, Width::Word), 0xffff);
    qemu.write(0xfed9_0018, Width::Dword, 0);
    qemu.idle();
    let failure = qemu.failure().expect("it is noticed");
    let asked = |request: &str| request == "readq 0xfed90008";
    assert!(
        matches!(&failure.error, QtestError::Closed { request } if asked(request)),
        "{failure}"
    );
    assert!(start.elapsed() < NEVER);
}

#[test]
fn what_qemu_said_is_in_the_error_when_it_does_not_start() {
    let Some(installation) = installation() else {
        return;
    };
    let board = Board::named("q35").expect("a board of the list");
    let crowded = (0..40).fold(QemuConfig::new(board), |config, _| config.with_edu());
    match Qemu::boot(&installation, crowded) {
        Err(QemuError::Ended { said, .. }) => assert!(said.contains("no slot"), "{said}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn memory_that_cannot_be_is_refused_before_qemu_is_asked() {
    let Some(installation) = installation() else {
        return;
    };
    let board = Board::named("q35").expect("a board of the list");
    for len_bytes in [0, 1 << 20, (64 << 20) + 4096, 1 << 40] {
        let refused = Qemu::boot(&installation, QemuConfig::new(board).with_ram(len_bytes));
        assert!(
            matches!(refused, Err(QemuError::RamSize { .. })),
            "{len_bytes}: {refused:?}"
        );
    }
}

#[test]
fn time_passes_for_devices_only_while_somebody_waits() {
    let Some(qemu) = start("q35", |config| config.with_edu()) else {
        return;
    };
    // The first function of the root bus behind the bridge: its BAR put into the memory window, memory and DMA on.
    let (config, bar) = (0xb000_8000, 0xc000_0000);
    assert_eq!(qemu.read(config, Width::Dword), 0x11e8_1234);
    qemu.write(config + 0x10, Width::Dword, bar);
    qemu.write(config + 4, Width::Word, 0x6);
    let (phys, buffer) = (0x20_0000, 0x4_0000);
    qemu.ram().fill(phys, 64, 0x5a).unwrap();
    for (register, value) in [(0x80, phys), (0x88, buffer), (0x90, 64), (0x98, 1)] {
        qemu.write(bar + register, Width::Qword, value);
    }
    let is_running = || qemu.read(bar + 0x98, Width::Qword) & 1 == 1;
    thread::sleep(Duration::from_millis(150));
    assert!(is_running(), "100 ms of the device's time have not passed");
    let mut steps = 0;
    while is_running() {
        qemu.idle();
        steps += 1;
        assert!(steps <= 10, "the longer the wait, the longer the steps");
    }
    assert!(steps >= 5, "{steps} steps are no 100 ms");
}

/// Runs in the process that the next test starts, and is nothing otherwise.
#[test]
fn orphan() {
    if std::env::var_os(ORPHAN).is_none() {
        return;
    }
    let qemu = start("q35", |config| config).expect("whoever started this has found QEMU");
    // On one CPU the name of the test stands before this on the same line.
    println!("{SAID}{}", qemu.process_id());
    std::process::abort();
}

#[test]
fn qemu_ends_with_a_process_that_is_killed() {
    let Some(_) = installation() else { return };
    let exe = std::env::current_exe().expect("a test has a program");
    let output = Command::new(exe)
        .args(["--exact", "orphan", "--nocapture"])
        .env(ORPHAN, "1")
        .stderr(Stdio::null())
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    let mut words = said.split_whitespace();
    let id: u32 = words
        .find_map(|word| word.strip_prefix(SAID)?.parse().ok())
        .unwrap_or_else(|| panic!("{said}"));
    let start = Instant::now();
    while is_running(id) {
        assert!(start.elapsed() < NEVER, "QEMU {id} outlives its owner");
        thread::sleep(Duration::from_millis(10));
    }
}
