//! Memory that devicetrees set aside for the DMA of some devices.

use dtoolkit::model::DeviceTreeNode;
use firmware::devicetree::{DeviceMemory, MemoryRange, Purpose};
use firmware::{Damage, Devices, Devicetree, TableError};

use crate::devicetree::{Properties, blob, cells, node, texts};

fn reserved(name: &str, compatible: &str, phandle: u32, more: Properties<'_>) -> DeviceTreeNode {
    let mut properties = vec![
        ("compatible", texts(&[compatible])),
        ("phandle", cells(&[phandle])),
    ];
    properties.extend_from_slice(more);
    node(name, &properties, vec![])
}

fn reg(base: u32, len_bytes: u32) -> (&'static str, Vec<u8>) {
    ("reg", cells(&[0, base, 0, len_bytes]))
}

fn user(name: &str, reg: u32, regions: &[u32]) -> DeviceTreeNode {
    let properties = [
        ("reg", cells(&[reg, 0, 0, 0, 0])),
        ("memory-region", cells(regions)),
    ];
    node(name, &properties, vec![])
}

/// 256 MiB of memory at 0x4000_0000, these nodes under `reserved-memory`, and below a host bridge with `bridge` these devices.
fn tree(
    reserved: Vec<DeviceTreeNode>,
    bridge: Properties<'_>,
    devices: Vec<DeviceTreeNode>,
) -> Vec<u8> {
    let two = || cells(&[2]);
    let memory = [
        ("device_type", texts(&["memory"])),
        ("reg", cells(&[0, 0x4000_0000, 0, 0x1000_0000])),
    ];
    let parent = [
        ("#address-cells", two()),
        ("#size-cells", two()),
        ("ranges", vec![]),
    ];
    let mut host = vec![
        ("compatible", texts(&["pci-host-ecam-generic"])),
        ("device_type", texts(&["pci"])),
        ("#address-cells", cells(&[3])),
        ("#size-cells", cells(&[2])),
        ("reg", cells(&[0x40, 0x1000_0000, 0, 0x1000_0000])),
    ];
    host.extend_from_slice(bridge);
    let platform = [("memory-region", cells(&[2]))];
    blob(vec![
        node("memory@40000000", &memory, vec![]),
        node("reserved-memory", &parent, reserved),
        node("pcie@4010000000", &host, devices),
        node("codec", &platform, vec![]),
    ])
}

fn pool() -> DeviceTreeNode {
    let more = [reg(0x4100_0000, 0x40_0000)];
    reserved("pool@41000000", "restricted-dma-pool", 1, &more)
}

fn buffers() -> DeviceTreeNode {
    let more = [reg(0x4200_0000, 0x10_0000), ("no-map", vec![])];
    reserved("buffers@42000000", "shared-dma-pool", 2, &more)
}

fn other() -> DeviceTreeNode {
    let more = [reg(0x4300_0000, 0x10_0000), ("no-map", vec![])];
    reserved("firmware@43000000", "example,firmware", 3, &more)
}

/// A tree in which everything that is read for this occurs.
pub(crate) fn rich() -> Vec<u8> {
    let contiguous = [("size", cells(&[0, 0x40_0000])), ("reusable", vec![])];
    let contiguous = reserved("cma", "shared-dma-pool", 4, &contiguous);
    let second = [reg(0x4180_0000, 0x1000)];
    let second = reserved("pool@41800000", "restricted-dma-pool", 5, &second);
    tree(
        vec![pool(), buffers(), other(), contiguous, second],
        &[("memory-region", cells(&[5]))],
        vec![
            user("wifi@1,0", 0x0800, &[3, 1, 5, 2]),
            user("modem@2,1", 0x0001_1100, &[4, 1]),
            user("plain@3,0", 0x1800, &[4]),
        ],
    )
}

fn read(blob: &[u8]) -> Result<Vec<DeviceMemory>, TableError> {
    Devicetree::parse(blob)?.device_memory()
}

fn function(requester: u16) -> Devices {
    Devices::Requesters {
        segment: 0,
        first: requester,
        last: requester,
    }
}

#[test]
fn memory_that_is_set_aside_for_devices_is_told_with_its_users() {
    let range = |base: u64, len: u64| MemoryRange {
        base,
        last: base + len - 1,
    };
    let expected = [
        DeviceMemory {
            path: "/reserved-memory/pool@41000000".into(),
            purpose: Purpose::Restricted,
            memory: range(0x4100_0000, 0x40_0000),
            users: vec![function(0x0008), function(0x0111)],
        },
        DeviceMemory {
            path: "/reserved-memory/buffers@42000000".into(),
            purpose: Purpose::Coherent,
            memory: range(0x4200_0000, 0x10_0000),
            users: vec![function(0x0008), Devices::Named("/codec".into())],
        },
        DeviceMemory {
            path: "/reserved-memory/pool@41800000".into(),
            purpose: Purpose::Restricted,
            memory: range(0x4180_0000, 0x1000),
            // The first device names it too, after another for the same purpose.
            users: vec![Devices::Segment { segment: 0 }],
        },
    ];
    assert_eq!(read(&rich()), Ok(expected.into()));
}

fn damage(reserved: Vec<DeviceTreeNode>) -> Damage {
    let blob = tree(reserved, &[], vec![user("wifi@1,0", 0x0800, &[1])]);
    read(&blob).expect_err("it is damaged").damage
}

#[test]
fn memory_that_cannot_be_set_aside_is_told() {
    let restricted = |more: Properties<'_>| {
        damage(vec![
            reserved("pool", "restricted-dma-pool", 1, more),
            buffers(),
            other(),
        ])
    };
    let name = "reg";
    for nowhere in [
        vec![("size", cells(&[0, 0x40_0000]))],
        vec![],
        vec![reg(0x4100_0000, 0)],
    ] {
        assert_eq!(restricted(&nowhere), Damage::MissingProperty { name });
    }
    for name in ["reusable", "no-map"] {
        let more = [reg(0x4100_0000, 0x1000), (name, vec![])];
        assert_eq!(restricted(&more), Damage::UnfitProperty { name });
    }
    // Longer than memory, in front of it, past it, and past the end of all addresses.
    for (base, len_bytes) in [
        (0x4100_0000, 0x1000_0000),
        (0x3fff_f000, 0x2000),
        (0x5000_0000, 0x1000),
        (0, 0x1000),
    ] {
        let (first, last) = (u64::from(base), u64::from(base) + u64::from(len_bytes) - 1);
        let expected = Damage::NotMemory { base: first, last };
        assert_eq!(restricted(&[reg(base, len_bytes)]), expected);
    }
    let endless = ("reg", cells(&[u32::MAX, 0xffff_f000, 0, 0x2000]));
    assert!(matches!(restricted(&[endless]), Damage::BadRange { .. }));
}

#[test]
fn memory_that_is_reserved_twice_is_told() {
    // With other memory for devices, with memory that is none, from either side, and within.
    for (base, len_bytes, shared) in [
        (0x41f0_0000, 0x10_1000, (0x4200_0000, 0x4200_0fff)),
        (0x420f_f000, 0x2000, (0x420f_f000, 0x420f_ffff)),
        (0x4200_1000, 0x1000, (0x4200_1000, 0x4200_1fff)),
        (0x41f0_0000, 0x100_0000, (0x4200_0000, 0x420f_ffff)),
        (0x430f_f000, 0x2000, (0x430f_f000, 0x430f_ffff)),
        (0x42ff_f000, 0x2000, (0x4300_0000, 0x4300_0fff)),
    ] {
        let pool = reserved("pool", "restricted-dma-pool", 1, &[reg(base, len_bytes)]);
        let expected = Damage::MemoryShared {
            base: shared.0,
            last: shared.1,
        };
        assert_eq!(damage(vec![pool, buffers(), other()]), expected);
    }
    // What is for no device is nobody's business here.
    let twice = reserved("again", "example,firmware", 7, &[reg(0x4300_0000, 0x1000)]);
    let blob = tree(vec![pool(), buffers(), other(), twice], &[], vec![]);
    assert!(read(&blob).is_ok());
}

#[test]
fn a_region_that_is_not_there_is_told() {
    let lost = tree(
        vec![pool(), buffers()],
        &[],
        vec![user("wifi@1,0", 0x0800, &[1, 9])],
    );
    let error = read(&lost).expect_err("it leads nowhere");
    assert_eq!(error.damage, Damage::BadReference { to: 9 });
    let torn = [("memory-region", vec![0, 0, 0])];
    let torn = tree(vec![pool(), buffers()], &torn, vec![]);
    assert!(read(&torn).is_err());
    // Regions that are not in use are nobody's.
    let disabled = [reg(0x4100_0000, 0x1000), ("status", texts(&["disabled"]))];
    let disabled = reserved("pool", "restricted-dma-pool", 1, &disabled);
    let blob = tree(
        vec![disabled, buffers()],
        &[],
        vec![user("wifi@1,0", 0x0800, &[1])],
    );
    let all = read(&blob).unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].purpose, Purpose::Coherent);
}
