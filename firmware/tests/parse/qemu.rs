use firmware::devicetree::{MemoryRange, Space, Window};
use firmware::dmar::ScopeKind;
use firmware::iort::{NodeKind, SmmuModel};
use firmware::ivrs::{BlockType, Selected, SpecialKind};
use firmware::{
    Assignment, Devices, Devicetree, Dmar, IommuDescription, Iort, Ivrs, Mcfg, Rimt, Stream,
    UnitDescription, UnitKind, UnitPlace, Viot, Walks, rimt, viot,
};

/// The bytes of a file in tests/qemu.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/qemu/", $name)).as_slice()
    };
}

fn unit(kind: UnitKind, place: UnitPlace, walks: Option<Walks>) -> UnitDescription {
    UnitDescription {
        kind,
        place,
        segment: 0,
        walks,
    }
}

fn registers(phys: u64, len_bytes: u64) -> UnitPlace {
    UnitPlace::Registers { phys, len_bytes }
}

fn function(requester: u16) -> UnitPlace {
    UnitPlace::Function {
        segment: 0,
        requester,
    }
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

/// One unit and what is behind it.
fn one(unit: UnitDescription, assignments: &[Assignment]) -> IommuDescription {
    IommuDescription {
        units: vec![unit],
        assignments: assignments.to_vec(),
        ..IommuDescription::default()
    }
}

#[test]
fn vtd_of_q35() {
    let dmar = Dmar::parse(fixture!("q35-intel-iommu.dmar.bin")).unwrap();
    assert_eq!(dmar.host_address_bits(), 48);
    assert!(dmar.flags().interrupt_remapping());
    let [unit_of_all] = dmar.units() else {
        panic!()
    };
    assert!(!unit_of_all.include_all);
    let scopes: Vec<_> = unit_of_all
        .scopes
        .iter()
        .map(|scope| (scope.kind, scope.start_bus, scope.path[0]))
        .collect();
    let expected = [
        (ScopeKind::IoApic, 0xff, (0, 0)),
        (ScopeKind::Endpoint, 0, (0, 0)),
        (ScopeKind::SubHierarchy, 0, (3, 0)),
        (ScopeKind::Endpoint, 0, (0x1f, 0)),
        (ScopeKind::Endpoint, 0, (0x1f, 2)),
        (ScopeKind::Endpoint, 0, (0x1f, 3)),
    ];
    assert_eq!(scopes, expected);
    assert!(dmar.root_port_ats()[0].all_ports);

    let described = dmar.description();
    let place = registers(0xfed9_0000, 0x1000);
    assert_eq!(described.units, [unit(UnitKind::Vtd, place, None)]);
    assert_eq!(described.host_address_bits, Some(48));
    // The IO APIC makes no requests of memory.
    assert_eq!(described.assignments.len(), 5);
    for (assignment, scope) in described.assignments.iter().zip(&unit_of_all.scopes[1..]) {
        let scope = scope.clone();
        let expected = Assignment {
            devices: Devices::Scope { segment: 0, scope },
            unit: 0,
            stream: Stream::Requester,
        };
        assert_eq!(*assignment, expected);
    }
}

#[test]
fn amd_vi_of_q35() {
    let ivrs = Ivrs::parse(fixture!("q35-amd-iommu.ivrs.bin")).unwrap();
    assert!(ivrs.info().features_reported());
    assert_eq!(ivrs.info().physical_address_bits(), 40);
    let [richest] = ivrs.units() else { panic!() };
    assert_eq!(richest.block_type, BlockType::Type11);
    assert_eq!((richest.requester, richest.capability_offset), (8, 0x40));
    assert_eq!(richest.features, Some(0x29d3));
    assert!(richest.flags.device_caches() && !richest.flags.coherent());
    let selected: Vec<_> = richest.entries.iter().map(|entry| &entry.devices).collect();
    let select = |requester| Selected::Range {
        first: requester,
        last: requester,
    };
    let io_apic = Selected::Special {
        kind: SpecialKind::IoApic,
        handle: 0,
        requester: 0x00a0,
    };
    let expected = [0, 8, 0xf8, 0xfa, 0xfb].map(select);
    assert_eq!(
        selected,
        expected.iter().chain([&io_apic]).collect::<Vec<_>>()
    );

    let unit = unit(UnitKind::AmdVi, registers(0xfed8_0000, 0x4000), None);
    let behind = [0xfb, 0xfa, 0xf8, 8, 0].map(|id| behind(0, id, id, Stream::Requester));
    let expected = IommuDescription {
        host_address_bits: Some(40),
        ..one(unit, &behind)
    };
    assert_eq!(ivrs.description(), expected);
}

#[test]
fn amd_vi_of_q35_with_bridges() {
    let ivrs = Ivrs::parse(fixture!("q35-amd-iommu-bridges.ivrs.bin")).unwrap();
    let [richest] = ivrs.units() else { panic!() };
    assert_eq!(richest.features, Some(0x29d7));
    let behind_port = Selected::Range {
        first: 0,
        last: 0xff,
    };
    let behind_bridge = Selected::Alias {
        first: 0,
        last: 0xff,
        alias: 0,
    };
    assert_eq!(richest.entries[3].devices, behind_port);
    assert_eq!(richest.entries[5].devices, behind_bridge);
    let described = ivrs.description();
    assert_eq!(described.assignments[3], behind(0, 0, 0xff, Stream::One(0)));
    assert_eq!(
        described.assignments[5],
        behind(0, 0, 0xff, Stream::Requester)
    );
}

#[test]
fn virtio_iommu_of_q35_and_virt() {
    let tables = [
        fixture!("q35-virtio-iommu.viot.bin"),
        fixture!("virt-aarch64-virtio-iommu.viot.bin"),
    ];
    for bytes in tables {
        let viot = Viot::parse(bytes).unwrap();
        let itself = viot::Place::Function {
            segment: 0,
            requester: 8,
        };
        assert_eq!(viot.iommus(), [itself]);
        let range = viot::PciRange {
            endpoint: 0,
            first_segment: 0,
            last_segment: 0,
            first: 0,
            last: 0xff,
            iommu: 0,
        };
        assert_eq!(viot.pci_ranges(), [range]);
        assert_eq!(viot.mmio_endpoints(), []);
        let around = [
            behind(0, 0, 7, Stream::From(0)),
            behind(0, 9, 0xff, Stream::From(9)),
        ];
        let unit = unit(UnitKind::Virtio, function(8), None);
        assert_eq!(viot.description(), one(unit, &around));
    }
    // The root complex beside it is wired to nothing.
    let iort = Iort::parse(fixture!("virt-aarch64-virtio-iommu.iort.bin")).unwrap();
    assert!(
        matches!(&iort.nodes()[0].kind, NodeKind::RootComplex(root) if root.address_bits == 64)
    );
    assert_eq!(iort.description(), IommuDescription::default());
}

#[test]
fn smmuv3_of_virt() {
    let iort = Iort::parse(fixture!("virt-smmuv3.iort.bin")).unwrap();
    let [smmu, root] = iort.nodes() else { panic!() };
    let NodeKind::SmmuV3(smmu) = &smmu.kind else {
        panic!()
    };
    assert_eq!(smmu.register_base, 0x905_0000);
    assert!(smmu.coherent_override);
    assert_eq!(smmu.model, SmmuModel::Generic);
    let wired = [
        smmu.event_gsiv,
        smmu.pri_gsiv,
        smmu.error_gsiv,
        smmu.sync_gsiv,
    ];
    assert_eq!(wired, [0x6a, 0x6b, 0x6d, 0x6c]);
    assert_eq!(smmu.proximity_domain, None);
    let NodeKind::RootComplex(root) = &root.kind else {
        panic!()
    };
    assert!(root.memory.coherent && !root.ats);
    assert_eq!(
        (root.memory.flags, root.segment, root.address_bits),
        (3, 0, 64)
    );

    let place = registers(0x905_0000, 0x2_0000);
    let unit = unit(UnitKind::SmmuV3, place, Some(Walks::Snoop));
    // Buses are not numbered yet: bus 0 is all there is.
    let expected = one(unit, &[behind(0, 0, 0xff, Stream::From(0))]);
    assert_eq!(iort.description(), expected);

    let mcfg = Mcfg::parse(fixture!("virt-smmuv3.mcfg.bin")).unwrap();
    assert_eq!(mcfg.allocations()[0].phys(), 0x40_1000_0000);
}

#[test]
fn two_smmuv3_of_virt() {
    let iort = Iort::parse(fixture!("virt-two-smmuv3.iort.bin")).unwrap();
    let snoop = Some(Walks::Snoop);
    let unit = |phys| unit(UnitKind::SmmuV3, registers(phys, 0x2_0000), snoop);
    let expected = IommuDescription {
        units: vec![unit(0xc00_0000), unit(0xc02_0000)],
        assignments: vec![
            behind(0, 0, 0xff, Stream::From(0)),
            behind(1, 0x8000, 0x80ff, Stream::From(0x8000)),
        ],
        ..IommuDescription::default()
    };
    assert_eq!(iort.description(), expected);
}

#[test]
fn riscv_iommu_of_virt_beside_the_cpus() {
    let rimt = Rimt::parse(fixture!("virt-riscv-iommu-sys.rimt.bin")).unwrap();
    let [iommu] = rimt.iommus() else { panic!() };
    assert_eq!(&iommu.hardware_id, b"RSCV0004");
    assert_eq!(iommu.place, rimt::Place::Registers(0x301_0000));
    assert_eq!((iommu.proximity_domain, iommu.wires.len()), (None, 0));
    let [root] = rimt.root_complexes() else {
        panic!()
    };
    assert_eq!((root.id, root.segment, root.ats), (1, 0, false));
    let unit = unit(UnitKind::Riscv, registers(0x301_0000, 0x1000), None);
    let all = behind(0, 0, 0xffff, Stream::From(0));
    assert_eq!(rimt.description(), one(unit, &[all]));
    let mcfg = Mcfg::parse(fixture!("virt-riscv-iommu-sys.mcfg.bin")).unwrap();
    assert_eq!(mcfg.allocations()[0].phys(), 0x3000_0000);
}

#[test]
fn riscv_iommu_of_virt_on_pci() {
    let rimt = Rimt::parse(fixture!("virt-riscv-iommu-pci.rimt.bin")).unwrap();
    assert_eq!(&rimt.iommus()[0].hardware_id, b"00100014");
    let unit = unit(UnitKind::Riscv, function(8), None);
    // QEMU leaves out what comes before the unit, too.
    let after = behind(0, 9, 0xffff, Stream::From(9));
    assert_eq!(rimt.description(), one(unit, &[after]));
}

/// What a tree says in common words, and the place of its only host bridge's configuration space.
fn described(blob: &[u8]) -> (IommuDescription, u64) {
    let tree = Devicetree::parse(blob).unwrap();
    let bridges = tree.host_bridges().unwrap();
    let [bridge] = bridges.as_slice() else {
        panic!()
    };
    assert_eq!(
        (bridge.segment, bridge.first_bus, bridge.last_bus),
        (0, 0, 255)
    );
    assert_eq!(bridge.ecam_len, 0x1000_0000);
    assert!(bridge.dma_ranges.is_empty());
    assert_eq!(bridge.dma_coherent, Some(true));
    assert_eq!(tree.reserved_memory(), Ok(vec![]));
    (tree.iommus().unwrap(), bridge.ecam_phys)
}

#[test]
fn the_tree_of_virt_says_what_its_tables_say() {
    let blob = fixture!("virt-smmuv3.dtb");
    let place = registers(0x905_0000, 0x2_0000);
    let unit = unit(UnitKind::SmmuV3, place, Some(Walks::Snoop));
    let all = behind(0, 0, 0xffff, Stream::From(0));
    assert_eq!(described(blob), (one(unit, &[all]), 0x40_1000_0000));

    let tree = Devicetree::parse(blob).unwrap();
    let memory = MemoryRange {
        base: 0x4000_0000,
        last: 0x47ff_ffff,
    };
    assert_eq!(tree.memory(), Ok(vec![memory]));
    let window = |space, bus_base, phys, len_bytes| Window {
        space,
        prefetchable: false,
        bus_base,
        phys,
        len_bytes,
    };
    let windows = [
        window(Space::Io, 0, 0x3eff_0000, 0x1_0000),
        window(Space::Memory32, 0x1000_0000, 0x1000_0000, 0x2eff_0000),
        window(Space::Memory64, 0x80 << 32, 0x80 << 32, 0x80 << 32),
    ];
    assert_eq!(tree.host_bridges().unwrap()[0].windows, windows);
}

#[test]
fn trees_leave_out_the_unit_that_is_a_function() {
    let cases = [
        (
            fixture!("virt-aarch64-virtio-iommu.dtb"),
            UnitKind::Virtio,
            8,
            0x40_1000_0000,
        ),
        (
            fixture!("virt-riscv-iommu-pci.dtb"),
            UnitKind::Riscv,
            8,
            0x3000_0000,
        ),
        (
            fixture!("virt-riscv-virtio-iommu.dtb"),
            UnitKind::Virtio,
            0x18,
            0x3000_0000,
        ),
    ];
    for (blob, kind, requester, ecam) in cases {
        let walks = (kind == UnitKind::Riscv).then_some(Walks::Snoop);
        let around = [
            behind(0, 0, requester - 1, Stream::From(0)),
            behind(
                0,
                requester + 1,
                0xffff,
                Stream::From(u32::from(requester) + 1),
            ),
        ];
        let unit = unit(kind, function(requester), walks);
        assert_eq!(described(blob), (one(unit, &around), ecam));
    }
}

#[test]
fn the_tree_of_a_riscv_iommu_beside_the_cpus() {
    let blob = fixture!("virt-riscv-iommu-sys.dtb");
    let unit = unit(UnitKind::Riscv, registers(0x301_0000, 0x1000), None);
    let all = behind(0, 0, 0xffff, Stream::From(0));
    assert_eq!(described(blob), (one(unit, &[all]), 0x3000_0000));
}
