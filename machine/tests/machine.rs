//! The computer as a whole: memory, firmware's promises, devices at work.

mod bench;

use std::thread;
use std::time::{Duration, Instant};

use bench::{At, MEMORY, enable, small, without_iommu, write};
use board::hardware::{Hardware, Width};
use machine::{Iommu, MIN_RAM_BYTES, Machine, MachineConfig, MachineError};

const EDU: At = At(0, 3, 0);

fn wait_until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(100);
    while !done() {
        assert!(Instant::now() < deadline, "nothing happened");
        thread::sleep(Duration::from_micros(200));
    }
}

fn edu_copy(machine: &Machine, source: u64, destination: u64, count: u64, command: u64) {
    for (register, value) in [
        (0x80, source),
        (0x88, destination),
        (0x90, count),
        (0x98, command),
    ] {
        machine.write(MEMORY.1 + register, Width::Qword, value);
    }
    wait_until(|| machine.read(MEMORY.1 + 0x98, Width::Qword) & 1 == 0);
}

#[test]
fn sixty_four_gib_are_there_and_cost_nothing() {
    let machine = Machine::boot(MachineConfig::default().with_ram(64 << 30)).unwrap();
    let ram = machine.ram();
    let last = ram.regions().last().unwrap().end - 8;
    assert_eq!(
        last + 8,
        (64 << 30) + (2 << 30),
        "as much as two GiB were moved above 4 GiB"
    );
    ram.store_u64(last, 1).unwrap();
    assert!(ram.regions().len() >= 4, "holes below and above 4 GiB");
}

#[test]
fn too_little_and_too_much_memory_are_clear_errors() {
    let refused = |ram| {
        Machine::boot(MachineConfig::default().with_ram(ram))
            .err()
            .unwrap()
    };
    assert!(matches!(
        refused(0),
        MachineError::RamTooSmall { len_bytes: 0 }
    ));
    let error = refused(MIN_RAM_BYTES - 1);
    assert_eq!(
        error.to_string(),
        "4194303 bytes of RAM are too few: this computer needs at least 4 MiB"
    );
    assert!(matches!(refused(1 << 40), MachineError::RamTooLarge { .. }));
    assert!(Machine::boot(MachineConfig::default().with_ram(MIN_RAM_BYTES)).is_ok());
}

#[test]
fn firmwares_tables_are_in_reserved_memory() {
    let machine = Machine::boot(small()).unwrap();
    let rsdp = machine.rsdp().unwrap();
    let mut signature = [0; 8];
    machine.ram().read(rsdp, &mut signature).unwrap();
    assert_eq!(&signature, b"RSD PTR ");
    assert!(
        machine
            .reserved_ram()
            .iter()
            .any(|range| range.contains(&rsdp))
    );
}

#[test]
fn the_heart_beats_from_boot_on_into_its_region() {
    let machine = Machine::boot(small()).unwrap();
    wait_until(|| machine.heartbeat().beats > 3);
    let region = machine.reserved_ram()[0].clone();
    assert!(machine.ram().load_u64(region.start).unwrap() > 3);
    assert_eq!(machine.heartbeat().missed, 0);
    write(&machine, At(0, 5, 0), 4, Width::Word, 0);
    wait_until(|| machine.heartbeat().missed > 0);
}

#[test]
fn edu_copies_between_its_buffer_and_memory() {
    let machine = without_iommu();
    write(&machine, EDU, 0x10, Width::Dword, MEMORY.0);
    enable(&machine, EDU);
    machine.ram().write(0x20_0000, b"there and back").unwrap();
    edu_copy(&machine, 0x20_0000, 0x4_0000, 14, 1);
    edu_copy(&machine, 0x4_0000, 0x30_0800, 14, 7);
    let mut back = [0; 14];
    machine.ram().read(0x30_0800, &mut back).unwrap();
    assert_eq!(&back, b"there and back");
    assert_eq!(machine.read(MEMORY.1 + 0x24, Width::Dword), 0x100);
    let edu = machine
        .requesters()
        .into_iter()
        .find(|report| report.name == "edu")
        .unwrap();
    assert_eq!(
        (edu.counters.read_bytes, edu.counters.written_bytes),
        (14, 14)
    );
    assert_eq!(machine.findings(), []);
}

#[test]
fn edu_has_28_address_lines() {
    let machine = Machine::boot(
        MachineConfig::default()
            .with_ram(1 << 30)
            .with_iommu(Iommu::None),
    )
    .unwrap();
    write(&machine, EDU, 0x10, Width::Dword, MEMORY.0);
    enable(&machine, EDU);
    machine.ram().store_u8(0x1000_0000 + 0x20_0000, 1).unwrap();
    machine.ram().store_u8(0x20_0000, 2).unwrap();
    edu_copy(&machine, 0x1000_0000 + 0x20_0000, 0x4_0000, 1, 1);
    edu_copy(&machine, 0x4_0000, 0x30_0000, 1, 3);
    assert_eq!(machine.ram().load_u8(0x30_0000).unwrap(), 2);
}

#[test]
fn edu_computes_a_factorial_on_its_own_time() {
    let machine = without_iommu();
    write(&machine, EDU, 0x10, Width::Dword, MEMORY.0);
    enable(&machine, EDU);
    assert_eq!(machine.read(MEMORY.1, Width::Dword) & 0xff, 0xed);
    machine.write(MEMORY.1 + 4, Width::Dword, 0x1234_5678);
    assert_eq!(machine.read(MEMORY.1 + 4, Width::Dword), 0xedcb_a987);
    machine.write(MEMORY.1 + 8, Width::Dword, 10);
    wait_until(|| machine.read(MEMORY.1 + 0x20, Width::Dword) & 1 == 0);
    assert_eq!(machine.read(MEMORY.1 + 8, Width::Dword), 3_628_800);
}

#[test]
fn devices_see_memory_at_an_offset_where_the_bridge_says_so() {
    let config = small()
        .with_iommu(Iommu::None)
        .with_inbound_offset(0x1000_0000);
    let machine = Machine::boot(config).unwrap();
    let inbound = machine.host_bridges().remove(0).inbound;
    assert_eq!((inbound[0].bus, inbound[0].phys), (0x1000_0000, 0));
    wait_until(|| machine.heartbeat().beats > 1);
    assert_eq!(machine.heartbeat().missed, 0);

    let overlapping = small()
        .with_iommu(Iommu::None)
        .with_inbound_offset(0x8000_0000);
    assert!(matches!(
        Machine::boot(overlapping),
        Err(MachineError::InboundOffset { .. })
    ));
    let with_iommu = small().with_inbound_offset(0x1000_0000);
    assert!(matches!(
        Machine::boot(with_iommu),
        Err(MachineError::InboundOffset { .. })
    ));
}
