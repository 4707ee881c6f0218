//! What boards there are, and every journey on each.

use std::process::Command;

use crate::program::{PATH, Program};

/// A line of either table is read on a terminal of so many columns.
const COLUMNS: usize = 100;

/// Where there is surely no QEMU.
const NOWHERE: &str = "/nonexistent";

/// How many boards of QEMU's there are.
const OF_QEMU: usize = 14;

/// Journeys that need an IOMMU: of the isolation of devices, of units, of addresses that somebody chooses, and the
/// differential run.
const NEED_TRANSLATION: usize = 11;
/// Journeys that need no IOMMU, but memory that the educational device reaches.
const NEED_NEAR_MEMORY: usize = 9;

const MODELS: [&str; 7] = [
    "vtd",
    "vtd-scalable",
    "amd",
    "smmu",
    "riscv",
    "virtio",
    "none",
];

fn says(program: Program) -> String {
    let ended = program.finish();
    ended.expect_status(0);
    assert_eq!(ended.stderr, "");
    for line in ended.stdout.lines() {
        assert!(line.chars().count() <= COLUMNS, "{line}");
    }
    ended.stdout
}

fn without_qemu() -> Program {
    let mut command = Command::new(PATH);
    command.env("DMAMAP_QEMU_DIR", NOWHERE);
    Program::started_as(command)
}

#[test]
fn every_board_is_listed_and_why_some_cannot_run_once() {
    let boards = says(Program::alone().args(["boards"]));
    let line = |start: &str| {
        boards
            .lines()
            .find(|line| line.trim_start().starts_with(start))
    };
    for model in MODELS {
        let line = line(&format!("{model} ")).unwrap_or_else(|| panic!("no {model}: {boards}"));
        assert!(line.ends_with("runs here"), "{line}");
    }
    for board in [
        "q35-vtd ",
        "q35-amd ",
        "arm-smmu-stage1 ",
        "riscv-pci ",
        "arm-virtio ",
    ] {
        assert!(line(board).is_some(), "no {board}: {boards}");
    }
    let boards = says(without_qemu().args(["boards"]));
    let cannot = boards
        .lines()
        .filter(|line| line.ends_with("cannot run here (1)"));
    assert_eq!(cannot.count(), OF_QEMU, "{boards}");
    assert_eq!(boards.matches(NOWHERE).count(), 1, "{boards}");
}

#[test]
fn every_journey_is_made_on_every_model_that_can() {
    let table = says(Program::alone().args(["journeys", "--board", "machine", "--steps", "40"]));
    let journeys = table
        .lines()
        .take_while(|line| !line.trim_start().starts_with("seed"))
        .count();
    assert!(journeys > 8, "{table}");
    for model in MODELS {
        let mut lines = table.lines();
        let is_it = |line: &&str| line.split_whitespace().eq(["machine", model]);
        assert!(lines.any(|line| is_it(&line)), "no {model}: {table}");
        let mut rows: Vec<String> = Vec::new();
        for line in lines.take_while(|line| line.starts_with("  ")) {
            // What does not fit on a line goes on on the next.
            match (rows.last_mut(), line.starts_with("     ")) {
                (Some(row), true) => row.push_str(line),
                _ => rows.push(line.to_owned()),
            }
        }
        // Without an IOMMU those are left that need translation; and where no memory lies within the educational device's
        // address lines, those that drive it.
        let ways: &[&str] = match model {
            "none" => &["direct", "offset", "bounced", "few"],
            _ => &["strict", "deferred", "bounce"],
        };
        let named = rows.iter().map(|row| row.split_whitespace().next());
        let twice = ways.iter().flat_map(|way| [Some(*way); 2]);
        assert!(named.eq(twice), "{model}: {rows:#?}");
        for (n, row) in rows.iter().enumerate() {
            assert_eq!(row.contains("non-coherent"), n % 2 == 1, "{row}");
            let passes = match (model, ways[n / 2]) {
                ("none", "offset") => journeys - NEED_TRANSLATION - NEED_NEAR_MEMORY,
                ("none", _) => journeys - NEED_TRANSLATION,
                _ => journeys,
            };
            assert_eq!(row.matches(" ok").count(), passes, "{model}: {row}");
        }
    }
    assert!(table.contains(") this computer lacks an IOMMU"), "{table}");
}

#[test]
fn a_board_that_cannot_run_says_why_once() {
    let table = says(without_qemu().args(["journeys", "--board", "qemu", "--steps", "1"]));
    let cannot = table
        .lines()
        .filter(|line| line.ends_with("(1) cannot run here"));
    assert_eq!(cannot.count(), OF_QEMU, "{table}");
    assert_eq!(table.matches(NOWHERE).count(), 1, "{table}");
}

#[test]
fn journeys_of_one_board_are_of_that_board_and_a_wrong_name_is_refused() {
    let table =
        says(Program::alone().args(["journeys", "scalable", "--board", "machine", "--steps", "1"]));
    let boards = table.lines().filter(|line| line.starts_with("machine "));
    assert_eq!(boards.count(), 1, "{table}");
    let table =
        says(Program::alone().args(["journeys", "vtd", "--policy", "bounce", "--steps", "1"]));
    let rows = table.lines().filter(|line| line.starts_with("  bounce "));
    assert!(rows.count() >= 4, "{table}");
    assert!(!table.contains("  strict "), "{table}");
    let ended = Program::alone()
        .args(["journeys", "no-such-board"])
        .finish();
    ended.expect_refused(&["no board", "dmamap boards"]);
}
