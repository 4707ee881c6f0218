//! Enumeration and register routing, as a kernel meets them.

mod bench;

use bench::{
    At, IO_PHYS, MEMORY, PREFETCHABLE, Windows, enable, program_bridge, read, without_iommu, write,
};
use board::hardware::{Hardware, Width};
use machine::findings::FindingKind;
use machine::{Machine, MachineConfig};

const EDU: At = At(0, 3, 0);
const LEGACY_PORT: At = At(0, 4, 0);
const PCI_BRIDGE: At = At(4, 0, 0);
const LEGACY: At = At(5, 0, 0);

fn id(machine: &Machine, at: At) -> u64 {
    read(machine, at, 0, Width::Dword)
}

/// The legacy device's way down: windows of 1 MiB and 4 KiB.
fn windows() -> Windows {
    Windows {
        memory: (MEMORY.0 + 0x10_0000, MEMORY.0 + 0x1f_ffff),
        prefetchable: (PREFETCHABLE.0, PREFETCHABLE.0 + 0xf_ffff),
        io: (0x3000, 0x3fff),
    }
}

fn open_way_to_legacy(machine: &Machine) {
    program_bridge(machine, LEGACY_PORT, (4, 5), &windows());
    program_bridge(machine, PCI_BRIDGE, (5, 5), &windows());
    write(machine, LEGACY, 0x10, Width::Dword, 0x3040);
    write(machine, LEGACY, 0x14, Width::Dword, MEMORY.0 + 0x10_2000);
    write(
        machine,
        LEGACY,
        0x18,
        Width::Dword,
        PREFETCHABLE.0 & 0xffff_ffff,
    );
    write(machine, LEGACY, 0x1c, Width::Dword, PREFETCHABLE.0 >> 32);
    enable(machine, LEGACY);
}

#[test]
fn functions_answer_where_the_topology_says_and_nowhere_else() {
    let machine = without_iommu();
    let present: Vec<u8> = (0..32)
        .filter(|device| id(&machine, At(0, *device, 0)) != 0xffff_ffff)
        .collect();
    assert_eq!(present, [0, 1, 3, 4, 5]);
    assert_eq!(id(&machine, At(0, 3, 1)), 0xffff_ffff);
    assert_eq!(
        id(&machine, At(1, 0, 0)),
        0xffff_ffff,
        "no bus number is programmed"
    );
    assert_eq!(
        read(&machine, EDU, 0x100, Width::Dword),
        0xffff_ffff,
        "a conventional function"
    );
    assert_eq!(
        read(&machine, At(0, 1, 0), 0x100, Width::Dword),
        0x0001_0001,
        "advanced error reporting and nothing behind it"
    );
}

#[test]
fn configuration_follows_the_bus_numbers_as_programmed() {
    let machine = without_iommu();
    program_bridge(&machine, LEGACY_PORT, (4, 5), &windows());
    assert_eq!(read(&machine, PCI_BRIDGE, 0x0e, Width::Byte), 1);
    assert_eq!(id(&machine, LEGACY), 0xffff_ffff);
    program_bridge(&machine, PCI_BRIDGE, (5, 5), &windows());
    assert_eq!(id(&machine, LEGACY) & 0xffff, 0x1b36);
    // Renumbered, the same function answers elsewhere.
    write(&machine, PCI_BRIDGE, 0x19, Width::Byte, 9);
    write(&machine, PCI_BRIDGE, 0x1a, Width::Byte, 9);
    write(&machine, LEGACY_PORT, 0x1a, Width::Byte, 9);
    assert_eq!(id(&machine, LEGACY), 0xffff_ffff);
    assert_eq!(id(&machine, At(9, 0, 0)) & 0xffff, 0x1b36);
}

#[test]
fn a_requester_learns_its_bus_from_configuration_writes() {
    let machine = without_iommu();
    open_way_to_legacy(&machine);
    let legacy = machine
        .requesters()
        .into_iter()
        .find(|report| report.name == "legacy")
        .unwrap();
    assert_eq!(legacy.requester, 0x0500);
}

#[test]
fn bars_are_sized_by_all_ones() {
    let machine = without_iommu();
    open_way_to_legacy(&machine);
    write(&machine, LEGACY, 4, Width::Word, 0);
    let sizes: Vec<u64> = (0..4)
        .map(|bar| {
            write(&machine, LEGACY, 0x10 + 4 * bar, Width::Dword, 0xffff_ffff);
            read(&machine, LEGACY, 0x10 + 4 * bar, Width::Dword)
        })
        .collect();
    assert_eq!(sizes, [0xffff_ffe1, 0xffff_f000, 0xfff0_000c, 0xffff_ffff]);
}

#[test]
fn registers_are_reached_through_every_window_on_the_way() {
    let machine = without_iommu();
    open_way_to_legacy(&machine);
    let memory = MEMORY.1 + 0x10_2000;
    let (io, prefetchable) = (IO_PHYS + 0x3040, PREFETCHABLE.1);
    machine.write(memory + 8, Width::Dword, 0x1111_2222);
    machine.write(io + 4, Width::Word, 0x3333);
    machine.write(prefetchable + 0xf_fff8, Width::Qword, 0x4444_5555_6666_7777);
    assert_eq!(machine.read(memory + 8, Width::Qword), 0x1111_2222);
    assert_eq!(machine.read(io + 4, Width::Dword), 0x3333);
    assert_eq!(
        machine.read(prefetchable + 0xf_fff8, Width::Qword),
        0x4444_5555_6666_7777
    );

    assert_eq!(
        machine.read(memory + 0xffc, Width::Qword),
        u64::MAX,
        "it runs over the BAR's end"
    );
    assert_eq!(
        machine.read(MEMORY.0 + 0x10_2008, Width::Dword),
        0xffff_ffff,
        "A is not B"
    );
    assert_eq!(machine.findings(), []);
}

#[test]
fn each_switch_on_the_way_closes_it() {
    let machine = without_iommu();
    open_way_to_legacy(&machine);
    let memory = MEMORY.1 + 0x10_2000;
    machine.write(memory, Width::Dword, 1);
    let closed = |at, register, width, value| {
        let before = read(&machine, at, register, width);
        write(&machine, at, register, width, value);
        let seen = machine.read(memory, Width::Dword);
        write(&machine, at, register, width, before);
        assert_eq!(machine.read(memory, Width::Dword), 1, "open again");
        seen == 0xffff_ffff
    };
    assert!(
        closed(LEGACY, 4, Width::Word, 5),
        "memory decode of the function"
    );
    assert!(
        closed(PCI_BRIDGE, 4, Width::Word, 5),
        "memory decode of the near bridge"
    );
    assert!(
        closed(LEGACY_PORT, 4, Width::Word, 5),
        "memory decode of the port"
    );
    assert!(
        closed(LEGACY_PORT, 0x22, Width::Word, 0),
        "limit below base"
    );
    assert!(
        closed(PCI_BRIDGE, 0x20, Width::Word, 0x8020),
        "base above the BAR"
    );
}

#[test]
fn two_functions_at_one_address_are_a_finding() {
    let config = MachineConfig::default()
        .with_ram(16 << 20)
        .with_greedy_device();
    let machine = Machine::boot(config).unwrap();
    write(&machine, EDU, 0x10, Width::Dword, MEMORY.0);
    write(&machine, At(0, 6, 0), 0x14, Width::Dword, MEMORY.0);
    enable(&machine, EDU);
    enable(&machine, At(0, 6, 0));
    machine.read(MEMORY.1, Width::Dword);
    assert_eq!(machine.findings()[0].kind, FindingKind::RoutingConflict);
}

#[test]
fn address_lines_are_told_in_a_capability() {
    let machine = without_iommu();
    // A vendor's own capability, one of a chain.
    let mut pointer = read(&machine, EDU, 0x34, Width::Byte);
    while pointer != 0 && read(&machine, EDU, pointer, Width::Byte) != 0x09 {
        pointer = read(&machine, EDU, pointer + 1, Width::Byte);
    }
    let capability = read(&machine, EDU, pointer, Width::Dword);
    assert_eq!(capability & 0xffff_00ff, 0x1c04_0009);
}
