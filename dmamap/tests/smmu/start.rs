//! Starting: what the unit must have, what firmware may have left, and what is told when it cannot be.

use board::hardware::{Hardware, Width};
use dmamap::iommu::{UnitError, UnitStartError};
use dmamap::system::{Granule, Settings, Stage, StartError};
use hosted::Hosted;
use journeys::boot::{BootError, BootOptions};
use machine::iommu::smmu::{SmmuConfig, Stages};
use machine::{Machine, MachineConfig};

use super::{UNIT, with};
use rig::{EDU, Rig};

fn refused(config: MachineConfig, units: Settings) -> UnitStartError {
    let machine = Machine::boot(config).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let options = BootOptions {
        units,
        ..BootOptions::default()
    };
    let error = match Rig::boot_on(machine.clone(), kernel, kernel, options) {
        Err(BootError::Start(error)) => match *error {
            StartError::Prepare(error) => error,
            other => panic!("{other}"),
        },
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it booted"),
    };
    machine.shutdown();
    assert!(kernel.shutdown().is_clean());
    error
}

#[test]
fn what_the_unit_lacks_is_named() {
    let missing = |unit: SmmuConfig, units: Settings| match refused(with(unit), units) {
        UnitStartError::Missing { unit, feature, .. } => {
            assert_eq!(unit, UNIT);
            feature
        }
        other => panic!("{other}"),
    };
    let one_stage = |stages| SmmuConfig {
        stages,
        ..SmmuConfig::default()
    };
    let stage = |stage| Settings {
        stage: Some(stage),
        ..Settings::default()
    };
    assert_eq!(
        missing(one_stage(Stages::Second), stage(Stage::First)),
        "stage 1 (IDR0.S1P)"
    );
    assert_eq!(
        missing(one_stage(Stages::First), stage(Stage::Second)),
        "stage 2 (IDR0.S2P)"
    );
    let small_queue = SmmuConfig {
        command_queue_log2: 7,
        ..SmmuConfig::default()
    };
    assert_eq!(
        missing(small_queue, Settings::default()),
        "command queue of 256 entries (IDR1.CMDQS)"
    );
    let small_pages = SmmuConfig {
        granules: vec![hw::smmu::stream::Granule::Size4K],
        ..SmmuConfig::default()
    };
    let granule = Settings {
        granule: Some(Granule::SixteenKib),
        ..Settings::default()
    };
    assert_eq!(
        missing(small_pages, granule),
        "page tables of that granule (IDR5)"
    );
    let few_streams = SmmuConfig {
        stream_bits: 15,
        ..SmmuConfig::default()
    };
    assert_eq!(
        missing(few_streams, Settings::default()),
        "stream ids as great as firmware says"
    );
}

#[test]
fn a_unit_that_never_finishes_its_first_commands_is_an_error_that_names_it() {
    let machine = Machine::boot(with(SmmuConfig::default())).unwrap();
    machine.smmu_units().for_each(|unit| unit.hold_queue());
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let options = rig::impatient(150);
    let Err(BootError::Start(error)) = Rig::boot_on(machine.clone(), kernel, kernel, options)
    else {
        panic!("it booted");
    };
    let expected = UnitStartError::Unit(UnitError::TimedOut {
        unit: UNIT,
        command: "global invalidation",
        bound_ms: 150,
    });
    assert_eq!(*error, StartError::Prepare(expected));
    machine.shutdown();
    assert!(
        kernel.shutdown().is_clean(),
        "the unit was turned off again"
    );
}

/// Programs the unit as firmware might leave it: on, with a table of its own that lets nobody pass, an error pending, and
/// interrupts on.
fn leave_on(machine: &Machine) {
    let base = UNIT.as_u64();
    let write = |offset: u64, value: u64, width| machine.write(base + offset, width, value);
    let wait = |offset: u64, value: u64| {
        for _ in 0..1000 {
            if machine.read(base + offset, Width::Dword) == value {
                return;
            }
        }
        panic!("register {offset:#x} never showed {value:#x}");
    };
    // The last of firmware's memory, which its tables do not fill.
    let table = machine.reserved_ram()[1].end - 1;
    write(0x80, table & !0xfff, Width::Qword);
    write(0x88, 0, Width::Dword);
    write(0x90, table & !0xfff | 4, Width::Qword);
    write(0x20, 8, Width::Dword);
    wait(0x24, 8);
    machine
        .ram()
        .store_u64(table & !0xfff, 0xff)
        .expect("in RAM");
    write(0x98, 1, Width::Dword);
    wait(0x60, 1);
    write(0x50, 1, Width::Dword);
    wait(0x54, 1);
    write(0x20, 9, Width::Dword);
    wait(0x24, 9);
}

#[test]
fn a_unit_that_firmware_left_on_is_taken_over() {
    let machine = Machine::boot(with(SmmuConfig::default())).unwrap();
    leave_on(&machine);
    let findings = machine.findings_total();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let mut rig = Rig::boot_on(machine, kernel, kernel, BootOptions::default()).unwrap();
    drop(rig.edu());
    drop(rig.attach(EDU));
    assert_eq!(
        rig.machine.findings_total(),
        findings,
        "{:?}",
        rig.machine.findings()
    );
    // SAFETY: every device was detached, and models obey their bus-master bit.
    unsafe { rig.system().shutdown() }.expect("the unit stops");
    // Requests pass while it is off, as firmware had it.
    assert_eq!(
        rig.machine.read(UNIT.as_u64() + 0x44, Width::Dword) & 1 << 20,
        0
    );
    rig.abandon();
}

#[test]
fn a_granule_that_firmwares_region_does_not_fit_is_an_error_at_start() {
    for granule in [Granule::SixteenKib, Granule::SixtyFourKib] {
        // Firmware's memory is the last there is below 4 GiB, and begins as odd as that ends.
        let odd = with(SmmuConfig::default()).with_ram((64 << 20) + rig::PAGE);
        let machine = Machine::boot(odd).unwrap();
        let kernel = Hosted::boot(machine.clone()).unwrap();
        let units = Settings {
            granule: Some(granule),
            ..Settings::default()
        };
        let options = BootOptions {
            units,
            ..BootOptions::default()
        };
        let Err(BootError::Start(error)) = Rig::boot_on(machine.clone(), kernel, kernel, options)
        else {
            panic!("it booted");
        };
        match *error {
            StartError::Direct { device, .. } => assert_eq!(device, rig::HEARTBEAT),
            other => panic!("{other}"),
        }
        assert_eq!(machine.findings(), []);
        machine.shutdown();
        assert!(kernel.shutdown().is_clean());
    }
}
