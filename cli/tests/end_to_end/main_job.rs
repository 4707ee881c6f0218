//! Every file is read whole and right, whatever the settings.

use std::collections::BTreeMap;
use std::path::Path;

use crate::files::{TestFile, sha256_of};
use crate::pairs::pairwise;
use crate::program::{PATH, Program};
use crate::report::number;

/// A large file with a part of a block at its end.
const LARGE: u64 = if cfg!(debug_assertions) {
    (4 << 20) + 1
} else {
    (64 << 20) + 1
};

const LENGTHS: [u64; 8] = [1, 511, 512, 513, 4095, 4096, 4097, LARGE];

/// The settings, each with its values, each of those as arguments.
const SETTINGS: [&[&[&str]]; 9] = [
    DEPTHS,
    QUEUES,
    TEMPERS,
    &[&["--walks", "snoop"], &["--walks", "no-snoop"]],
    LEVELS,
    ROUTES,
    &[&["--completion", "interrupt"], &["--completion", "polling"]],
    ADDRESS_BITS,
    RAM,
];

const DEPTHS: &[&[&str]] = &[
    &["--queue-depth", "1"],
    &["--queue-depth", "2"],
    &["--queue-depth", "32"],
    &["--queue-depth", "256"],
];

const QUEUES: &[&[&str]] = &[
    &["--queues", "1"],
    &["--queues", "2"],
    &["--queues", "3"],
    &["--queues", "4"],
];

const TEMPERS: &[&[&str]] = &[
    &["--temper", "keep"],
    &["--temper", "forget", "--seed", "2"],
    &["--temper", "random", "--seed", "3"],
    &["--temper", "random", "--seed", "4000000000"],
    &["--temper", "random", "--seed", "18446744073709551615"],
];

const LEVELS: &[&[&str]] = &[
    &[],
    &["--table-levels", "3"],
    &["--table-levels", "4"],
    &["--table-levels", "5"],
];

const ROUTES: &[&[&str]] = &[
    &[],
    &["--iommu", "vtd", "--policy", "identity"],
    &["--iommu", "none"],
];

const ADDRESS_BITS: &[&[&str]] = &[
    &[],
    &["--address-bits", "40"],
    &["--address-bits", "32"],
    &["--address-bits", "28"],
];

const RAM: &[&[&str]] = &[&[], &["--ram", "64M"], &["--ram", "2G"], &["--ram", "64g"]];

/// Bits of the highest address of memory, for each of [`RAM`].
const MEMORY_BITS: [u32; 4] = [34, 26, 31, 37];
/// Address lines of the disk, for each of [`ADDRESS_BITS`].
const LINES: [u32; 4] = [64, 40, 32, 28];

/// Whether the disk reaches all memory, or what it reaches is chosen for it; and whether something walks tables where it is
/// said how. `run` starts with the file's length, then follows [`SETTINGS`].
fn possible(run: &[usize]) -> bool {
    let [walks, levels, route, bits, ram] = [run[4], run[5], run[6], run[8], run[9]];
    let reaches_all = ROUTES[route].is_empty() || MEMORY_BITS[ram] <= LINES[bits];
    let is_walked = !ROUTES[route].contains(&"none");
    reaches_all && (is_walked || (walks, levels) == (0, 0))
}

#[test]
fn every_length_arrives_whole_under_every_pair_of_settings() {
    let mut counts = vec![LENGTHS.len()];
    counts.extend(SETTINGS.iter().map(|values| values.len()));
    let mut files = BTreeMap::new();
    let runs = pairwise(&counts, possible);
    assert!(runs.len() > LENGTHS.len() * TEMPERS.len() / 2);
    for run in runs {
        let len_bytes = LENGTHS[run[0]];
        let file = files
            .entry(len_bytes)
            .or_insert_with(|| TestFile::random(len_bytes, len_bytes));
        let mut program = Program::reads(&file.path).args(["--json"]);
        for (values, &value) in SETTINGS.iter().zip(&run[1..]) {
            program = program.args(values[value]);
        }
        program.finish().expect_clean(file);
    }
}

#[test]
fn no_arguments_read_the_programs_own_executable() {
    let ended = Program::alone().finish();
    ended.expect_status(0);
    let sha256 = sha256_of(Path::new(PATH));
    for line in [
        format!("SHA-256 by DMA  {sha256}"),
        format!("SHA-256 of file {sha256}"),
    ] {
        assert!(ended.stdout.lines().any(|said| said == line), "{ended:?}");
    }
    let report = Program::alone().args(["run", "--json"]).finish().report();
    assert_eq!(report["sha256"], sha256);
    let len_bytes = std::fs::metadata(PATH).expect("it was run").len();
    assert_eq!(number(&report, "bytes"), len_bytes);
}

/// A range of one address that all bits of a mask reach: only an IOMMU can do this with so much memory.
#[test]
fn a_disk_of_28_address_lines_reads_all_of_a_large_file_behind_an_iommu() {
    let file = TestFile::random(LARGE, 28);
    let ended = Program::reads(&file.path)
        .args(["--address-bits", "28", "--ram", "64G", "--json"])
        .finish();
    let report = ended.expect_clean(&file);
    assert!(number(&report, "invalidations") > 0);
}

#[test]
fn the_disk_has_as_many_queues_and_commands_as_the_program_offers() {
    let file = TestFile::random(3_000_001, 8);
    for completion in ["interrupt", "polling"] {
        Program::reads(&file.path)
            .args(["--queues", "8", "--queue-depth", "256", "--json"])
            .args(["--completion", completion])
            .finish()
            .expect_clean(&file);
    }
}

#[test]
fn a_file_larger_than_memory_is_read_whole() {
    let file = TestFile::random(20_000_003, 16);
    Program::reads(&file.path)
        .args(["--ram", "16M", "--queue-depth", "2", "--json"])
        .finish()
        .expect_clean(&file);
}

#[test]
fn memory_of_any_size_will_do() {
    let file = TestFile::random(10_000, 5);
    for ram in ["4M", "5000001", "1G", "3G", "4097M", "5g", "128G"] {
        for iommu in ["vtd", "none"] {
            Program::reads(&file.path)
                .args(["--ram", ram, "--iommu", iommu, "--json"])
                .finish()
                .expect_clean(&file);
        }
    }
}
