use super::*;
use crate::addr::PhysAddr;

fn range(start: u64, len_bytes: u64) -> PhysRange {
    PhysRange::new(PhysAddr::new(start), len_bytes).unwrap()
}

/// A tree with RAM and one window of registers; nothing answers there and nothing is accessed.
fn tree() -> ResourceTree {
    let mut tree = ResourceTree::new();
    tree.insert("System RAM", range(0, 0xa_0000)).unwrap();
    // SAFETY: no test maps these addresses.
    unsafe { tree.insert_registers("PCI Bus 0000:00", range(0xc000_0000, 0x1000_0000)) }.unwrap();
    tree
}

#[test]
fn prints_as_proc_iomem_does() {
    let mut tree = tree();
    tree.insert("System RAM", range(0x1_0000_0000, 0x1_0000_0000))
        .unwrap();
    tree.insert("PCI Bus 0000:01", range(0xc000_0000, 0x20_0000))
        .unwrap();
    tree.insert("0000:01:00.0", range(0xc000_0000, 0x4000))
        .unwrap();
    let _claim = tree.request("nvme", range(0xc000_0000, 0x4000)).unwrap();
    let expected = "\
00000000-0009ffff : System RAM
c0000000-cfffffff : PCI Bus 0000:00
  c0000000-c01fffff : PCI Bus 0000:01
    c0000000-c0003fff : 0000:01:00.0
      c0000000-c0003fff : nvme
100000000-1ffffffff : System RAM
";
    assert_eq!(tree.to_string(), expected);
}

#[test]
fn a_conflict_names_who_holds_it_and_where() {
    let mut tree = tree();
    let _claim = tree.request("nvme", range(0xc000_1000, 0x1000)).unwrap();
    for overlapping in [
        range(0xc000_1000, 0x1000),
        range(0xc000_1fff, 2),
        range(0xc000_0000, 0x8000),
    ] {
        let error = tree.request("edu", overlapping).unwrap_err();
        assert_eq!(
            error,
            ResourceError::Conflict {
                wanted: "edu".into(),
                range: overlapping,
                holder: "nvme".into(),
                held: range(0xc000_1000, 0x1000),
            }
        );
    }
    assert!(tree.request("edu", range(0xc000_2000, 0x1000)).is_ok());
}

#[test]
fn a_released_or_dropped_claim_is_free_again() {
    let mut tree = tree();
    let wanted = range(0xc000_0000, 0x1000);
    let claim = tree.request("first", wanted).unwrap();
    assert_eq!(tree.holder(wanted).unwrap().name, "first");
    tree.release(claim);
    assert_eq!(tree.holder(wanted), None);
    drop(tree.request("second", wanted).unwrap());
    assert_eq!(tree.holder(wanted), None);
    assert!(!tree.to_string().contains("second"));
    let _third = tree.request("third", wanted).unwrap();
}

#[test]
fn a_leaked_claim_holds_for_ever() {
    let mut tree = tree();
    let wanted = range(0xc000_0000, 0x1000);
    core::mem::forget(tree.request("leaky", wanted).unwrap());
    assert!(matches!(
        tree.request("other", wanted),
        Err(ResourceError::Conflict { .. })
    ));
}

#[test]
fn memory_and_unknown_addresses_cannot_be_claimed() {
    let mut tree = tree();
    for wanted in [
        range(0x1000, 0x1000),
        range(0xf000_0000, 0x1000),
        range(0xcfff_f000, 0x2000),
    ] {
        let error = tree.request("driver", wanted).unwrap_err();
        assert!(
            matches!(
                error,
                ResourceError::NotRegisters { .. } | ResourceError::Conflict { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_region_inserted_late_adopts_what_it_covers() {
    let mut tree = tree();
    tree.insert("0000:01:00.0", range(0xc000_0000, 0x4000))
        .unwrap();
    tree.insert("PCI Bus 0000:01", range(0xc000_0000, 0x10_0000))
        .unwrap();
    let depths: Vec<_> = tree
        .entries()
        .map(|entry| (entry.depth, entry.name))
        .collect();
    assert_eq!(
        depths,
        [
            (0, "System RAM"),
            (0, "PCI Bus 0000:00"),
            (1, "PCI Bus 0000:01"),
            (2, "0000:01:00.0")
        ]
    );
}

#[test]
fn a_region_astride_another_or_within_a_claim_is_refused() {
    let mut tree = tree();
    assert!(matches!(
        tree.insert("astride", range(0x9_f000, 0x2000)),
        Err(ResourceError::Conflict { holder, .. }) if holder == "System RAM"
    ));
    let _claim = tree.request("nvme", range(0xc000_0000, 0x4000)).unwrap();
    assert!(matches!(
        tree.insert("inside", range(0xc000_1000, 0x1000)),
        Err(ResourceError::Conflict { holder, .. }) if holder == "nvme"
    ));
}

#[test]
fn empty_ranges_are_refused() {
    let mut tree = tree();
    assert!(matches!(
        tree.insert("nothing", range(5, 0)),
        Err(ResourceError::Empty { .. })
    ));
    assert!(matches!(
        tree.request("nothing", range(0xc000_0000, 0)),
        Err(ResourceError::Empty { .. })
    ));
}
