//! What people see: the tree, the devices, the picture, the verdict.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::process::Command;

use crate::files::TestFile;
use crate::program::{Ended, PATH, Program};
use crate::screen::{Bar, Resource, bars, picture, resources};

/// What the program prints about one file under `args`.
fn shown(args: &[&str]) -> Ended {
    let file = TestFile::random(5_000_001, 9);
    let ended = Program::reads(&file.path).args(args).finish();
    ended.expect_status(0);
    ended
}

#[test]
fn the_resource_tree_nests_without_overlaps_and_names_its_holders() {
    let ended = shown(&[]);
    let tree = resources(&ended.stdout);
    let mut parents: Vec<&Resource> = Vec::new();
    let mut before: BTreeMap<usize, u64> = BTreeMap::new();
    for resource in &tree {
        let Resource { depth, phys, name } = resource;
        parents.truncate(*depth);
        before.retain(|other, _| other <= depth);
        if let Some(parent) = parents.last() {
            let inside = parent.phys.start <= phys.start && phys.end <= parent.phys.end;
            assert!(inside, "{name} leaves {}", parent.name);
        }
        assert!(*depth == parents.len() && phys.start < phys.end, "{name}");
        let end = before.insert(*depth, phys.end).unwrap_or(0);
        assert!(end <= phys.start, "{name} overlaps what stands before it");
        parents.push(resource);
    }
    for name in [
        "System RAM",
        "PCI Bus 0000:00",
        "0000:01:00.0",
        "nvme",
        "dmar0",
        "dmar1",
    ] {
        assert!(
            tree.iter().any(|resource| resource.name == name),
            "no {name}: {ended:?}"
        );
    }
}

#[test]
fn each_bar_has_its_a_b_and_c_and_they_agree_with_the_tree() {
    let ended = shown(&[]);
    let (tree, bars) = (resources(&ended.stdout), bars(&ended.stdout));
    assert!(bars.len() >= 6, "{ended:?}");
    let mut offsets = BTreeMap::new();
    for bar in &bars {
        let Bar {
            function,
            kind,
            len_bytes,
            a,
            b,
            c,
        } = bar;
        assert!(
            a != b && a.is_multiple_of(*len_bytes) && b.is_multiple_of(*len_bytes),
            "{bar:x?}"
        );
        // One window of the host bridge for each kind of address, and one offset between A and B in each.
        let window = kind
            .trim_start_matches("32-bit ")
            .trim_start_matches("64-bit ");
        let offset = b.wrapping_sub(*a);
        assert_eq!(*offsets.entry(window).or_insert(offset), offset, "{bar:x?}");
        let held = |resource: &Resource| {
            resource.name == *function && resource.phys == (*b..b + len_bytes)
        };
        assert!(
            tree.iter().any(held),
            "{bar:x?} is not in the tree: {ended:?}"
        );
        let shares_c = |other: &&Bar| (c..&(c + len_bytes)).contains(&&other.c);
        assert_eq!(bars.iter().filter(shares_c).count(), 1, "{bar:x?}");
    }
    assert!(
        offsets.len() >= 2,
        "windows of more than one kind: {offsets:?}"
    );
}

#[test]
fn the_picture_shows_the_numbers_of_the_listing_and_a_chosen_bus_address() {
    let ended = shown(&[]);
    let numbers = picture(&ended.stdout);
    let bars = bars(&ended.stdout);
    let disk = bars
        .iter()
        .find(|bar| bar.function == "0000:01:00.0")
        .expect("the disk has a BAR");
    assert_eq!(
        (numbers[&'A'], numbers[&'B'], numbers[&'C']),
        (disk.a, disk.b, disk.c)
    );
    assert_eq!(numbers[&'X'] % 4096, numbers[&'Y'] % 4096);
    assert_eq!(numbers[&'Z'] % 4096, numbers[&'Y'] % 4096);
    assert_ne!(numbers[&'Z'], numbers[&'Y']);
    assert_ne!(numbers[&'Z'], 0);
    let tree = resources(&ended.stdout);
    let ram = tree.iter().filter(|resource| resource.name == "System RAM");
    assert!(
        ram.into_iter().any(|ram| ram.phys.contains(&numbers[&'Y'])),
        "{ended:?}"
    );
}

#[test]
fn bus_addresses_are_physical_ones_where_nothing_is_between() {
    for args in [["--policy", "identity"], ["--iommu", "none"]] {
        let numbers = picture(&shown(&args).stdout);
        assert_eq!(numbers[&'Z'], numbers[&'Y'], "{args:?}");
    }
    assert!(!shown(&["--iommu", "none"]).stdout.contains("IOMMU ─"));
}

#[test]
fn the_end_says_what_was_done_and_the_verdict() {
    let ended = shown(&[]);
    for words in [
        "5000001 in ",
        " maps, ",
        " 0 live; ",
        " invalidations",
        "faults          0",
        "0 frames",
    ] {
        assert!(ended.stdout.contains(words), "no {words:?} in {ended:?}");
    }
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("verified"), "{ended:?}");
}

#[test]
fn no_progress_bar_is_drawn_where_nobody_watches() {
    let ended = shown(&[]);
    assert_eq!(ended.stderr, "");
    assert!(!ended.stdout.contains(['\r', '\x1b']), "{ended:?}");
}

/// Where there is a `script`, which makes terminals.
#[test]
fn a_progress_bar_is_drawn_on_a_terminal() {
    let file = TestFile::sparse(200 << 20);
    let mut command = Command::new("script");
    command.args([
        "-qec",
        &format!("'{PATH}' run '{}' > /dev/null", file.path.display()),
    ]);
    command.arg("/dev/null").env("TERM", "xterm");
    if let Ok(running) = Program::started_as(command).try_start() {
        let ended = running.finish();
        ended.expect_status(0);
        assert!(ended.stdout.contains("reading [="), "{ended:?}");
    }
}

#[test]
fn a_reader_that_stops_reading_does_not_disturb_the_job() {
    let file = TestFile::random(1_000_000, 1);
    for args in [&["--json"][..], &[]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let ended = Program::reads(&file.path)
            .args(args)
            .stdout_to(writer)
            .finish();
        ended.expect_status(0);
        assert_eq!(ended.stderr, "");
    }
    let piped = "\"$0\" | head -1; \"$0\" pci | head -1; \"$0\" --help | head -1";
    let mut command = Command::new("sh");
    command.args(["-c", piped, PATH]);
    let ended = Program::started_as(command).finish();
    ended.expect_status(0);
    assert_eq!(
        (ended.stdout.lines().count(), ended.stderr.as_str()),
        (3, ""),
        "{ended:?}"
    );
}

#[test]
fn what_cannot_be_said_on_a_full_disk_is_a_failure() {
    let file = TestFile::random(1000, 1);
    let full = || {
        File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full is there")
    };
    for args in [&["--json"][..], &[]] {
        let ended = Program::reads(&file.path)
            .args(args)
            .stdout_to(full())
            .finish();
        ended.expect_failed(&["standard output"]);
    }
    Program::alone()
        .args(["iomem"])
        .stdout_to(full())
        .finish()
        .expect_failed(&["standard output"]);
}

#[test]
fn the_exit_status_stands_where_standard_error_is_lost() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    Program::reads("/no/such/file")
        .stderr_to(writer)
        .finish()
        .expect_status(2);
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let file = TestFile::random(1000, 1);
    Program::reads(&file.path)
        .args(["--write", "/dev/full"])
        .stderr_to(writer)
        .finish()
        .expect_status(1);
}
