//! The vendors' folders mirror each other: who has seen one finds their way in the others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The parts that every unit has, under the same names.
const OF_ALL: [&str; 5] = ["device_table", "fault", "mod", "queue", "start"];

/// The parts that every unit has whose registers and tables are a manual's. A virtio device has a transport for the
/// ones, and no tables whose changes it must be made to forget.
const OF_HARDWARE: [&str; 2] = ["invalidation", "registers"];

/// Folders of what all units share.
const SHARED: [&str; 3] = ["command_ring", "domain", "flush_queue"];

const HARDWARE: [&str; 4] = ["amd", "riscv", "smmu", "vtd"];

fn modules(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let names = entries.map(|entry| entry.expect("a folder is readable").path());
    names
        .map(|path| {
            path.file_stem()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

fn iommu() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../dmamap/src/iommu"))
}

fn vendors() -> Vec<String> {
    let entries = fs::read_dir(iommu()).expect("the folder is there");
    let folders = entries.map(|entry| entry.expect("a folder is readable").path());
    let folders = folders.filter(|path| path.is_dir());
    folders
        .map(|path| {
            path.file_name()
                .expect("it has a name")
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| !SHARED.contains(&name.as_str()))
        .collect()
}

#[test]
fn every_vendors_folder_has_the_same_files_for_the_same_parts() {
    let vendors = vendors();
    assert_eq!(vendors.len(), HARDWARE.len() + 1, "{vendors:?}");
    for vendor in &vendors {
        let modules = modules(&iommu().join(vendor));
        let mut expected: Vec<&str> = OF_ALL.into();
        if HARDWARE.contains(&vendor.as_str()) {
            expected.extend(OF_HARDWARE);
        }
        for part in expected {
            assert!(
                modules.contains(part),
                "iommu/{vendor} has no {part}.rs: {modules:?}"
            );
        }
    }
}

#[test]
fn every_vendors_page_says_where_its_parts_are() {
    for vendor in vendors() {
        let page = fs::read_to_string(iommu().join(&vendor).join("mod.rs")).expect("it is there");
        let head: Vec<&str> = page
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        for part in modules(&iommu().join(&vendor)) {
            let named = head.iter().any(|line| line.contains(&format!("`{part}`")));
            assert!(
                part == "mod" || named,
                "iommu/{vendor}/mod.rs does not name {part}"
            );
        }
    }
}

#[test]
fn every_vendor_is_modelled_has_its_words_and_is_judged_by_qemu() {
    let root = iommu().join("../../..");
    for vendor in vendors() {
        for folder in ["machine/src/iommu", "hw/src"] {
            assert!(
                root.join(folder).join(&vendor).is_dir(),
                "{folder}/{vendor}"
            );
        }
        let judged = root.join("qemu/tests").join(format!("{vendor}.rs"));
        assert!(judged.is_file(), "{judged:?}");
    }
}
