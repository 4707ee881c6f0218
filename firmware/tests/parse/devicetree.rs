use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use firmware::devicetree::{BusRange, DmaRange, HostBridge, MemoryRange, Space, Window};
use firmware::{
    Assignment, Damage, Devices, Devicetree, DirectAccess, ReservedKind, ReservedRegion, Signature,
    Stream, TableError, UnitKind, UnitPlace, Walks,
};

use crate::error;

pub(crate) type Properties<'a> = &'a [(&'a str, Vec<u8>)];

pub(crate) fn node(
    name: &str,
    properties: Properties<'_>,
    children: Vec<DeviceTreeNode>,
) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    for (name, value) in properties {
        node.add_property(DeviceTreeProperty::new_unchecked(*name, value.as_slice()));
    }
    for child in children {
        node.add_child(child);
    }
    node
}

pub(crate) fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

pub(crate) fn texts(texts: &[&str]) -> Vec<u8> {
    texts
        .iter()
        .flat_map(|text| text.bytes().chain([0]))
        .collect()
}

/// A blob of `children` below a root whose addresses and lengths have two cells.
pub(crate) fn blob(children: Vec<DeviceTreeNode>) -> Vec<u8> {
    let two = || cells(&[2]);
    let mut tree = DeviceTree::new();
    tree.root = node(
        "",
        &[("#address-cells", two()), ("#size-cells", two())],
        children,
    );
    tree.to_dtb()
}

/// A node of one register range.
fn device(name: &str, compatible: &str, base: u32, more: Properties<'_>) -> DeviceTreeNode {
    let mut properties = vec![
        ("compatible", texts(&[compatible])),
        ("reg", cells(&[0, base, 0, 0x2_0000])),
    ];
    properties.extend_from_slice(more);
    node(name, &properties, vec![])
}

fn smmu(name: &str, base: u32, phandle: u32) -> DeviceTreeNode {
    let more = [
        ("phandle", cells(&[phandle])),
        ("#iommu-cells", cells(&[1])),
    ];
    device(name, "arm,smmu-v3", base, &more)
}

fn host_bridge(name: &str, more: Properties<'_>, children: Vec<DeviceTreeNode>) -> DeviceTreeNode {
    let mut properties = vec![
        ("compatible", texts(&["pci-host-ecam-generic"])),
        ("device_type", texts(&["pci"])),
        ("#address-cells", cells(&[3])),
        ("#size-cells", cells(&[2])),
        ("reg", cells(&[0x40, 0x1000_0000, 0, 0x1000_0000])),
    ];
    properties.extend_from_slice(more);
    node(name, &properties, children)
}

/// Requesters of segment 0 that are behind `unit`.
fn behind(unit: usize, first: u16, last: u16, stream: Stream) -> Assignment {
    Assignment {
        devices: Devices::Requesters {
            segment: 0,
            first,
            last,
        },
        unit,
        stream,
    }
}

fn named(path: &str, unit: usize, id: u32) -> Assignment {
    Assignment {
        devices: Devices::Named(path.into()),
        unit,
        stream: Stream::One(id),
    }
}

/// A tree in which everything that is read occurs.
pub(crate) fn rich() -> Vec<u8> {
    let windows = [
        0x0100_0000,
        0,
        0,
        0,
        0x3eff_0000,
        0,
        0x1_0000, // IO
        0x4200_0000,
        0,
        0x1000_0000,
        0,
        0x1000_0000,
        0,
        0x2eff_0000, // prefetchable
        0x0300_0000,
        0x80,
        0,
        0x80,
        0,
        0x80,
        0,
    ];
    let bridge = [
        ("phandle", cells(&[9])),
        ("ranges", cells(&windows)),
        (
            "dma-ranges",
            cells(&[0x0200_0000, 0, 0, 1, 0, 0, 0x8000_0000]),
        ),
        ("bus-range", cells(&[0x10, 0x1f])),
        ("linux,pci-domain", cells(&[0])),
        (
            "iommu-map",
            cells(&[0, 1, 0x100, 0x8000, 0x8000, 2, 0x8000, 0x8000]),
        ),
        ("iommu-map-mask", cells(&[0xf0f8])),
        ("dma-coherent", vec![]),
    ];
    let function = [
        ("compatible", texts(&["pci1efd,edf1", "riscv,pci-iommu"])),
        ("reg", cells(&[0x0001_0800, 0, 0, 0, 0])),
        ("phandle", cells(&[2])),
        ("#iommu-cells", cells(&[1])),
    ];
    let soc = [
        ("#address-cells", cells(&[1])),
        ("#size-cells", cells(&[1])),
        ("ranges", cells(&[0x1000, 0, 0x8000_1000, 0x10_0000])),
    ];
    let inner = [
        ("compatible", texts(&["virtio,mmio"])),
        ("reg", cells(&[0x2000, 0x200])),
        ("phandle", cells(&[3])),
        ("#iommu-cells", cells(&[1])),
    ];
    let master = [
        ("iommus", cells(&[1, 7, 3, 8])),
        ("memory-region", cells(&[4, 5])),
        ("phandle", cells(&[6])),
    ];
    let reserved = [
        ("#address-cells", cells(&[2])),
        ("#size-cells", cells(&[2])),
        ("ranges", vec![]),
    ];
    let frame_buffer = [
        ("reg", cells(&[0, 0x4800_0000, 0, 0x10_0000])),
        ("phandle", cells(&[4])),
        ("no-map", vec![]),
        (
            "iommu-addresses",
            cells(&[6, 0, 0x4800_0000, 0, 0x10_0000, 9, 0, 0x1000, 0, 0x1000]),
        ),
    ];
    let pool = [
        ("size", cells(&[0, 0x40_0000])),
        ("phandle", cells(&[5])),
        ("reusable", vec![]),
    ];
    let memory = [
        ("device_type", texts(&["memory"])),
        ("reg", cells(&[0, 0x4000_0000, 0, 0x1000_0000, 1, 0, 1, 0])),
    ];
    blob(vec![
        node("memory@40000000", &memory, vec![]),
        node(
            "reserved-memory",
            &reserved,
            vec![
                node("buffer@48000000", &frame_buffer, vec![]),
                node("pool", &pool, vec![]),
            ],
        ),
        smmu("iommu@9050000", 0x905_0000, 1),
        node("soc", &soc, vec![node("virtio@2000", &inner, vec![])]),
        host_bridge(
            "pcie@10000000",
            &bridge,
            vec![node("iommu@1,0", &function, vec![])],
        ),
        device("display@a000000", "example,display", 0xa00_0000, &master),
    ])
}

#[test]
fn a_tree_with_everything_is_read() {
    let bytes = rich();
    let tree = Devicetree::parse(&bytes).unwrap();
    let memory = [
        MemoryRange {
            base: 0x4000_0000,
            last: 0x4fff_ffff,
        },
        MemoryRange {
            base: 0x1_0000_0000,
            last: 0x1_ffff_ffff,
        },
    ];
    assert_eq!(tree.memory(), Ok(memory.to_vec()));

    let window = |space, prefetchable, bus_base, phys, len_bytes| Window {
        space,
        prefetchable,
        bus_base,
        phys,
        len_bytes,
    };
    let bridge = HostBridge {
        path: "/pcie@10000000".into(),
        segment: 0,
        first_bus: 0x10,
        last_bus: 0x1f,
        ecam_phys: 0x40_1000_0000,
        ecam_len: 0x1000_0000,
        windows: vec![
            window(Space::Io, false, 0, 0x3eff_0000, 0x1_0000),
            window(Space::Memory32, true, 0x1000_0000, 0x1000_0000, 0x2eff_0000),
            window(Space::Memory64, false, 0x80 << 32, 0x80 << 32, 0x80 << 32),
        ],
        dma_ranges: vec![DmaRange {
            bus_base: 0,
            phys: 0x1_0000_0000,
            len_bytes: 0x8000_0000,
        }],
        dma_coherent: Some(true),
    };
    assert_eq!(tree.host_bridges(), Ok(vec![bridge]));

    let reserved = tree.reserved_memory().unwrap();
    let [buffer, pool] = reserved.as_slice() else {
        panic!()
    };
    let range = MemoryRange {
        base: 0x4800_0000,
        last: 0x480f_ffff,
    };
    assert_eq!(buffer.path, "/reserved-memory/buffer@48000000");
    assert_eq!(buffer.ranges, [range]);
    assert!(buffer.no_map && !buffer.reusable);
    assert_eq!(buffer.users, ["/display@a000000"]);
    let bus_range = |device: &str, base, last| BusRange {
        device: device.into(),
        base,
        last,
    };
    assert_eq!(
        buffer.bus_ranges,
        [
            bus_range("/display@a000000", range.base, range.last),
            bus_range("/pcie@10000000", 0x1000, 0x1fff),
        ]
    );
    assert!(pool.reusable && !pool.no_map && pool.ranges.is_empty());
    assert_eq!(pool.users, ["/display@a000000"]);

    let described = tree.iommus().unwrap();
    let units: Vec<_> = described
        .units
        .iter()
        .map(|unit| (unit.kind, unit.place, unit.walks))
        .collect();
    let registers = |phys, len_bytes| UnitPlace::Registers { phys, len_bytes };
    let function = UnitPlace::Function {
        segment: 0,
        requester: 0x0108,
    };
    assert_eq!(
        units,
        [
            (
                UnitKind::SmmuV3,
                registers(0x905_0000, 0x2_0000),
                Some(Walks::DoNotSnoop)
            ),
            (UnitKind::Virtio, registers(0x8000_2000, 0x200), None),
            (UnitKind::Riscv, function, Some(Walks::Snoop)),
        ]
    );
    // The mask takes function and three bits of the bus out: the rest is a stream for eight functions.
    assert_eq!(
        described.assignments[0],
        behind(0, 0, 7, Stream::One(0x100))
    );
    assert_eq!(
        described.assignments[1],
        behind(0, 8, 15, Stream::One(0x108))
    );
    assert_eq!(
        described.assignments[32],
        behind(0, 0x100, 0x107, Stream::One(0x100))
    );
    let last = described.assignments.len() - 2;
    assert_eq!(
        described.assignments[last - 1],
        behind(2, 0xfff8, 0xffff, Stream::One(0xf0f8))
    );
    assert_eq!(
        described.assignments[last..],
        [
            named("/display@a000000", 0, 7),
            named("/display@a000000", 1, 8)
        ]
    );
    let reserved = |devices, base, last, kind| ReservedRegion {
        devices,
        base,
        last,
        kind,
    };
    assert_eq!(
        described.reserved,
        [
            reserved(
                Devices::Named("/display@a000000".into()),
                range.base,
                range.last,
                ReservedKind::Direct(DirectAccess::ReadWrite)
            ),
            reserved(
                Devices::Segment { segment: 0 },
                0x1000,
                0x1fff,
                ReservedKind::Unmappable
            ),
        ]
    );
}

/// What is behind the units of a tree with units 1 and 2 and a host bridge of these properties.
fn mapped(properties: Properties<'_>) -> Result<Vec<Assignment>, TableError> {
    let bytes = blob(vec![
        smmu("iommu@1000000", 0x100_0000, 1),
        smmu("iommu@2000000", 0x200_0000, 2),
        device(
            "iommu@3000000",
            "example,iommu",
            0x300_0000,
            &[("phandle", cells(&[3]))],
        ),
        host_bridge("pcie@10000000", properties, vec![]),
    ]);
    let described = Devicetree::parse(&bytes)?.iommus()?;
    Ok(described.assignments)
}

#[test]
fn requesters_are_mapped_to_units_and_streams() {
    let map = [
        0, 1, 0x1_0000, 0x100, 0x200, 2, 0, 0x100, 0x300, 3, 0, 0x100, 0x400, 1, 0, 0,
    ];
    assert_eq!(
        mapped(&[("iommu-map", cells(&map))]),
        Ok(vec![
            behind(0, 0, 0xff, Stream::From(0x1_0000)),
            behind(1, 0x200, 0x2ff, Stream::From(0)),
        ])
    );
    // Longer than there are requesters.
    assert_eq!(
        mapped(&[(
            "iommu-map",
            cells(&[0x8000, 2, 0, 0x10_0000, 0x1_0000, 1, 0, 1])
        )]),
        Ok(vec![behind(1, 0x8000, 0xffff, Stream::From(0))])
    );
}

#[test]
fn a_mask_joins_requesters() {
    let masked = |mask: u32, map: &[u32]| {
        mapped(&[
            ("iommu-map", cells(map)),
            ("iommu-map-mask", cells(&[mask])),
        ])
        .unwrap()
    };
    let all = [0, 1, 0x40, 0x1_0000];
    assert_eq!(masked(0, &all), [behind(0, 0, 0xffff, Stream::One(0x40))]);
    assert_eq!(
        masked(0xffff, &all),
        [behind(0, 0, 0xffff, Stream::From(0x40))]
    );
    // One stream for each bus.
    let buses = masked(0xff00, &all);
    assert_eq!(buses.len(), 256);
    assert_eq!(buses[3], behind(0, 0x300, 0x3ff, Stream::One(0x340)));
    // The same streams on all buses.
    let devices = masked(0x00ff, &all);
    assert_eq!(devices.len(), 256);
    assert_eq!(devices[255], behind(0, 0xff00, 0xffff, Stream::From(0x40)));
    // Of entries that overlap the first counts, even if its unit is of an unknown kind.
    let overlapping = [0x10, 3, 0, 0x10, 0, 1, 0, 0x20, 0, 2, 0, 0x100];
    let first = masked(0xfff8, &overlapping);
    let expected = [
        behind(0, 0, 7, Stream::One(0)),
        behind(0, 8, 15, Stream::One(8)),
        behind(1, 0x20, 0x27, Stream::One(0x20)),
    ];
    assert_eq!(first[..3], expected);
    // The last possible stream.
    let end = masked(0xfffe, &[0, 1, u32::MAX, 1]);
    assert_eq!(end, [behind(0, 0, 1, Stream::One(u32::MAX))]);
}

#[test]
fn damaged_maps_are_told() {
    let at = |map: &[u32]| mapped(&[("iommu-map", cells(map))]).unwrap_err().damage;
    assert_eq!(at(&[0, 77, 0, 1]), Damage::BadReference { to: 77 });
    assert_eq!(
        at(&[0, 1, u32::MAX, 2]),
        Damage::BadIds {
            first: u32::MAX,
            count: 2
        }
    );
    assert_eq!(
        at(&[0, 1, 0]),
        Damage::RaggedArray {
            len_bytes: 12,
            entry_bytes: 16
        }
    );
    let many = cells(&[0, 1, 0, 1].repeat(65));
    let masked = mapped(&[("iommu-map", many), ("iommu-map-mask", cells(&[0]))]);
    assert_eq!(
        masked.unwrap_err().damage,
        Damage::TooMany {
            stated: 65,
            most: 64
        }
    );
}

#[test]
fn an_error_points_at_the_cell_that_is_wrong() {
    let map = cells(&[0, 1, 0, 1, 1, 0x1234_5678, 0, 1]);
    let bytes = blob(vec![
        smmu("iommu@1000000", 0x100_0000, 1),
        host_bridge("pcie@10000000", &[("iommu-map", map)], vec![]),
    ]);
    let tree = Devicetree::parse(&bytes).unwrap();
    let offset = bytes
        .windows(4)
        .position(|cell| cell == [0x12, 0x34, 0x56, 0x78]);
    let damage = Damage::BadReference { to: 0x1234_5678 };
    assert_eq!(
        tree.iommus(),
        error(Signature::DEVICETREE, offset.unwrap(), damage)
    );
}

#[test]
fn devices_name_units_with_as_many_cells_as_these_want() {
    let none = [("phandle", cells(&[3])), ("#iommu-cells", cells(&[0]))];
    let three = [("phandle", cells(&[4])), ("#iommu-cells", cells(&[3]))];
    let iommus = [("iommus", cells(&[4, 1, 2, 3, 3, 1, 0x55]))];
    let bytes = blob(vec![
        smmu("iommu@1000000", 0x100_0000, 1),
        device("iommu@2000000", "riscv,iommu", 0x200_0000, &none),
        device("iommu@3000000", "example,iommu", 0x300_0000, &three),
        device("dma@4000000", "example,dma", 0x400_0000, &iommus),
    ]);
    let described = Devicetree::parse(&bytes).unwrap().iommus().unwrap();
    let expected = [named("/dma@4000000", 1, 0), named("/dma@4000000", 0, 0x55)];
    assert_eq!(described.assignments, expected);
    assert_eq!(described.units[1].walks, None);
}

#[test]
fn a_host_bridge_or_function_may_be_named_as_a_whole() {
    let function = [
        ("reg", cells(&[0x0002_1100, 0, 0, 0, 0])),
        ("iommus", cells(&[1, 8])),
    ];
    let bytes = blob(vec![
        smmu("iommu@1000000", 0x100_0000, 1),
        host_bridge(
            "pcie@10000000",
            &[
                ("iommus", cells(&[1, 7])),
                ("linux,pci-domain", cells(&[3])),
            ],
            vec![node("network@2,1", &function, vec![])],
        ),
    ]);
    let described = Devicetree::parse(&bytes).unwrap().iommus().unwrap();
    assert_eq!(described.units[0].segment, 3);
    let expected = [
        Assignment {
            devices: Devices::Segment { segment: 3 },
            unit: 0,
            stream: Stream::One(7),
        },
        Assignment {
            devices: Devices::Requesters {
                segment: 3,
                first: 0x0211,
                last: 0x0211,
            },
            unit: 0,
            stream: Stream::One(8),
        },
    ];
    assert_eq!(described.assignments, expected);
}

#[test]
fn what_is_disabled_is_passed_over() {
    let disabled = || ("status", texts(&["disabled"]));
    let unit = [
        disabled(),
        ("phandle", cells(&[1])),
        ("#iommu-cells", cells(&[1])),
    ];
    let bus = [
        disabled(),
        ("ranges", vec![]),
        ("#address-cells", cells(&[2])),
        ("#size-cells", cells(&[2])),
    ];
    let memory = [
        ("device_type", texts(&["memory"])),
        ("reg", cells(&[0, 0, 0, 0x1000])),
        disabled(),
    ];
    let bytes = blob(vec![
        device("iommu@1000000", "arm,smmu-v3", 0x100_0000, &unit),
        node("soc", &bus, vec![smmu("iommu@2000000", 0x200_0000, 2)]),
        device(
            "dma@4000000",
            "example,dma",
            0x400_0000,
            &[("iommus", cells(&[1, 1, 2, 2]))],
        ),
        host_bridge("pcie@10000000", &[disabled()], vec![]),
        node("memory@0", &memory, vec![]),
    ]);
    let tree = Devicetree::parse(&bytes).unwrap();
    assert_eq!(tree.iommus(), Ok(Default::default()));
    assert_eq!(tree.host_bridges(), Ok(vec![]));
    assert_eq!(tree.memory(), Ok(vec![]));
}

#[test]
fn segments_are_numbered_around_those_that_are_stated() {
    let domain = |domain: u32| [("linux,pci-domain", cells(&[domain]))];
    let bytes = blob(vec![
        host_bridge("pcie@1", &[], vec![]),
        host_bridge("pcie@2", &domain(1), vec![]),
        host_bridge("pcie@3", &[], vec![]),
    ]);
    let bridges = Devicetree::parse(&bytes).unwrap().host_bridges().unwrap();
    let segments: Vec<u16> = bridges.iter().map(|bridge| bridge.segment).collect();
    assert_eq!(segments, [0, 1, 2]);
    assert_eq!((bridges[0].first_bus, bridges[0].last_bus), (0, 255));
    assert!(bridges[0].dma_ranges.is_empty());
    assert_eq!(bridges[0].dma_coherent, None);

    let bytes = blob(vec![host_bridge("pcie@1", &domain(0x1_0000), vec![])]);
    let error = Devicetree::parse(&bytes)
        .unwrap()
        .host_bridges()
        .unwrap_err();
    assert_eq!(error.damage, Damage::BadSegment { segment: 0x1_0000 });
    let buses = [("bus-range", cells(&[9, 8]))];
    let bytes = blob(vec![host_bridge("pcie@1", &buses, vec![])]);
    let error = Devicetree::parse(&bytes)
        .unwrap()
        .host_bridges()
        .unwrap_err();
    assert_eq!(error.damage, Damage::BadBuses { first: 9, last: 8 });
}

#[test]
fn addresses_that_no_bus_passes_on_are_told() {
    let one = || cells(&[1]);
    let nested = |ranges: Option<&[u32]>| {
        let unit = [
            ("compatible", texts(&["riscv,iommu"])),
            ("reg", cells(&[0x2000, 0x1000])),
        ];
        let mut bus = vec![("#address-cells", one()), ("#size-cells", one())];
        bus.extend(ranges.map(|ranges| ("ranges", cells(ranges))));
        let bytes = blob(vec![node(
            "bus",
            &bus,
            vec![node("iommu@2000", &unit, vec![])],
        )]);
        let described = Devicetree::parse(&bytes).unwrap().iommus();
        described
            .map(|described| described.units[0].place)
            .map_err(|error| error.damage)
    };
    let at = |phys| {
        Ok(UnitPlace::Registers {
            phys,
            len_bytes: 0x1000,
        })
    };
    let nowhere = Err(Damage::NotReachable { address: 0x2000 });
    assert_eq!(nested(Some(&[])), at(0x2000));
    assert_eq!(
        nested(Some(&[0, 0, 0x10_0000, 0x1000, 0x2000, 5, 0, 0x1000])),
        at(0x5_0000_0000)
    );
    // Half of it is not enough.
    assert_eq!(nested(Some(&[0x2000, 5, 0, 0xfff])), nowhere);
    assert_eq!(nested(Some(&[0x2001, 5, 0, 0x1000])), nowhere);
    assert_eq!(nested(None), nowhere);
    let end = Err(Damage::BadRange {
        base: 0xffff_ffff_ffff_f800,
        last: 0x7ff,
    });
    assert_eq!(nested(Some(&[0x2000, u32::MAX, 0xffff_f800, 0x1000])), end);
}

#[test]
fn coherence_is_inherited() {
    let walks = |above: &str, own: Properties<'_>| {
        let bus = [
            (above, vec![]),
            ("ranges", vec![]),
            ("#address-cells", cells(&[2])),
            ("#size-cells", cells(&[2])),
        ];
        let unit = device("iommu@1000000", "riscv,iommu", 0x100_0000, own);
        let bytes = blob(vec![node("soc", &bus, vec![unit])]);
        Devicetree::parse(&bytes).unwrap().iommus().unwrap().units[0].walks
    };
    assert_eq!(walks("dma-coherent", &[]), Some(Walks::Snoop));
    assert_eq!(walks("dma-noncoherent", &[]), Some(Walks::DoNotSnoop));
    assert_eq!(
        walks("dma-coherent", &[("dma-noncoherent", vec![])]),
        Some(Walks::DoNotSnoop)
    );
    assert_eq!(walks("other", &[]), None);
}

#[test]
fn names_longer_than_the_specification_allows_are_read() {
    let long = ("snps,dis-u2-freeclk-exists-quirk", vec![]);
    let bytes = blob(vec![
        smmu("iommu@1000000", 0x100_0000, 1),
        node("usb", &[long], vec![]),
    ]);
    assert!(dtoolkit::fdt::Fdt::new(&bytes).is_err());
    let tree = Devicetree::parse(&bytes).unwrap();
    assert_eq!(tree.iommus().unwrap().units.len(), 1);
}

#[test]
fn reservations_of_the_blob_are_read() {
    let mut tree = DeviceTree::new();
    tree.memory_reservations = vec![MemoryReservation::new(0x8000_0000, 0x1000)];
    let bytes = tree.to_dtb();
    let tree = Devicetree::parse(&bytes).unwrap();
    let range = MemoryRange {
        base: 0x8000_0000,
        last: 0x8000_0fff,
    };
    assert_eq!(tree.reservations(), [range]);
}

#[test]
fn the_header_is_checked() {
    let edited = |at: usize, value: u32| {
        let mut bytes = rich();
        bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
        Devicetree::parse(&bytes).map(drop)
    };
    let told = |offset, damage| error(Signature::DEVICETREE, offset, damage);
    let len = rich().len();
    assert_eq!(
        edited(0, 0xd00d_feee),
        told(0, Damage::BadToken { token: 0xd00d_feee })
    );
    assert_eq!(
        edited(4, 39),
        told(
            4,
            Damage::LengthTooSmall {
                stated: 39,
                least: 40
            }
        )
    );
    let (stated, most) = ((2 << 20) + 1, 2 << 20);
    assert_eq!(
        edited(4, stated as u32),
        told(4, Damage::LengthTooLarge { stated, most })
    );
    let damage = Damage::Truncated {
        needed: len + 1,
        available: len,
    };
    assert_eq!(edited(4, len as u32 + 1), told(0, damage));
    assert_eq!(edited(20, 16), told(20, Damage::BadVersion { version: 16 }));
    assert_eq!(edited(24, 18), told(20, Damage::BadVersion { version: 17 }));
    // Structure, strings and reservations past the end.
    for at in [8, 12, 16] {
        let error = edited(at, len as u32 + 4).unwrap_err();
        assert!(matches!(error.damage, Damage::Truncated { .. }), "{error}");
    }
}

/// A blob of these tokens and the strings `x\0`.
fn tokens(tokens: &[u32]) -> Vec<u8> {
    let structure = cells(tokens);
    let strings_at = 56 + structure.len() as u32;
    let mut bytes = cells(&[
        0xd00d_feed,
        strings_at + 2,
        56,
        strings_at,
        40,
        17,
        16,
        0,
        2,
        structure.len() as u32,
        0, // The empty reservation.
        0,
        0,
        0,
    ]);
    bytes.extend(structure);
    bytes.extend(b"x\0");
    bytes
}

#[test]
fn tokens_out_of_place_are_told() {
    const BEGIN: [u32; 2] = [1, 0];
    const PROPERTY: [u32; 3] = [3, 0, 0];
    let check = |list: &[u32], offset: usize, damage| {
        let bytes = tokens(list);
        assert_eq!(
            Devicetree::parse(&bytes).map(drop),
            error(Signature::DEVICETREE, 56 + offset, damage),
            "{list:?}"
        );
    };
    assert!(Devicetree::parse(&tokens(&[4, 1, 0, 4, 3, 0, 0, 4, 2, 4, 9])).is_ok());
    check(&[9], 0, Damage::BadToken { token: 9 });
    check(&[2], 0, Damage::BadToken { token: 2 });
    check(&PROPERTY, 0, Damage::BadToken { token: 3 });
    check(&[5], 0, Damage::BadToken { token: 5 });
    check(&[1, 0, 9], 8, Damage::BadToken { token: 9 });
    // A second root.
    check(&[1, 0, 2, 1, 0, 2, 9], 12, Damage::BadToken { token: 1 });
    // A property behind a child.
    check(
        &[1, 0, 1, 0, 2, 3, 0, 0, 2, 9],
        20,
        Damage::BadToken { token: 3 },
    );
    check(
        &[1, 0, 2],
        12,
        Damage::Truncated {
            needed: 4,
            available: 0,
        },
    );
    check(
        &[1, 0, 3, 5, 0, 0],
        20,
        Damage::Truncated {
            needed: 5,
            available: 4,
        },
    );
    check(&[1, u32::MAX], 4, Damage::BadName);
    let deep = BEGIN.repeat(25);
    let damage = Damage::TooMany {
        stated: 25,
        most: 24,
    };
    check(&deep, 24 * 8 + 4, damage);
}

#[test]
fn streams_of_masked_maps_do_not_count_as_devices() {
    let bridge = |name: &str| {
        let map = [
            ("iommu-map", cells(&[0, 1, 0, 0x1_0000])),
            ("iommu-map-mask", cells(&[0xfffe])),
        ];
        host_bridge(name, &map, vec![])
    };
    let master = [("iommus", cells(&[1, 7]))];
    let bytes = blob(vec![
        smmu("iommu@1000000", 0x100_0000, 1),
        bridge("pcie@1"),
        device("dma@4000000", "example,dma", 0x400_0000, &master),
    ]);
    let described = Devicetree::parse(&bytes).unwrap().iommus().unwrap();
    assert_eq!(described.assignments.len(), 0x8000 + 1);
}
