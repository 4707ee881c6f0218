//! Units started by tables of other firmware than the machine's: what is true is used, what cannot be is refused
//! whole, and what is not there is left out.

use std::sync::Arc;

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::iommu::{Requester, UnitStartError};
use dmamap::map::ToDevice;
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use dmamap::system::{AttachError, Protection, Settings, StartError};
use firmware::Dmar;
use hosted::Hosted;
use journeys::boot::{BootOptions, IommuUse};
use machine::Machine;
use machine::bus::Access;
use machine::iommu::translator::Translator;
use machine::iommu::vtd::VtdConfig;
use rig::{EDU, HEARTBEAT, PAGE, Rig, UNITS, buffer_of, share_a_page, small};

/// A scope of one endpoint on bus 0, or of a bridge with all below it.
enum Scope {
    Endpoint(u8),
    SubHierarchy(u8),
    /// By way of a bridge.
    Behind(u8, u8),
    /// A device that only ACPI knows, by its requester id.
    Namespace(u8),
}

impl Scope {
    fn bytes(&self) -> Vec<u8> {
        let (kind, path): (u8, &[u8]) = match *self {
            Self::Endpoint(device) => (1, &[device, 0]),
            Self::SubHierarchy(device) => (2, &[device, 0]),
            Self::Behind(bridge, device) => (1, &[bridge, 0, device, 0]),
            Self::Namespace(device) => (5, &[device, 0]),
        };
        let mut bytes = vec![kind, 6 + path.len() as u8, 0, 0, 0, 0];
        bytes.extend(path);
        bytes
    }
}

/// A unit with its scopes; none means all devices that no other unit lists.
fn unit(registers: u64, scopes: &[Scope]) -> Vec<u8> {
    let mut body = vec![u8::from(scopes.is_empty()), 0, 0, 0];
    body.extend(registers.to_le_bytes());
    body.extend(scopes.iter().flat_map(Scope::bytes));
    structure(0, body)
}

/// Memory that firmware reserved for devices, `last` being its last byte.
fn reserved(base: u64, last: u64, scopes: &[Scope]) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(base.to_le_bytes());
    body.extend(last.to_le_bytes());
    body.extend(scopes.iter().flat_map(Scope::bytes));
    structure(1, body)
}

fn structure(kind: u16, body: Vec<u8>) -> Vec<u8> {
    let len = (body.len() + 4) as u16;
    [&kind.to_le_bytes()[..], &len.to_le_bytes(), &body].concat()
}

fn dmar(structures: &[Vec<u8>]) -> Dmar {
    let mut table = b"DMAR\0\0\0\0\x01\0DMAMAPDMAMAP  \0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    table.truncate(36);
    table.push(45);
    table.extend([0; 11]);
    table.extend(structures.iter().flatten());
    let len = table.len() as u32;
    table[4..8].copy_from_slice(&len.to_le_bytes());
    table[9] = table
        .iter()
        .fold(0, |sum: u8, &byte| sum.wrapping_sub(byte));
    Dmar::parse(&table).expect("the table is well formed")
}

/// The machine's units, the second for all that the first does not list.
fn both_units() -> [Vec<u8>; 2] {
    let listed = [Scope::SubHierarchy(1), Scope::Endpoint(3)];
    [
        unit(UNITS[0].as_u64(), &listed),
        unit(UNITS[1].as_u64(), &[]),
    ]
}

/// The machine's units, and other structures.
fn with(others: impl IntoIterator<Item = Vec<u8>>) -> Dmar {
    let structures: Vec<_> = both_units().into_iter().chain(others).collect();
    dmar(&structures)
}

fn boot() -> Rig {
    Rig::boot_without_iommu(small())
}

fn start(rig: &Rig, dmar: &Dmar) -> Result<(), StartError> {
    let mut tree = ResourceTree::of(rig.kernel.machine());
    // SAFETY: where a table of these tests names no registers of the machine, nothing answers, or memory that the
    // platform refuses to map as registers.
    unsafe {
        rig.system().start_units(
            &dmar.description(),
            rig.computer.topology(),
            &mut tree,
            Settings::default(),
        )
    }
}

/// A start that fails leaves nothing, and the machine's own table works afterwards.
fn refuse(dmar: &Dmar) -> StartError {
    let rig = boot();
    let before = rig.kernel.report();
    let error = start(&rig, dmar).expect_err("this cannot be started");
    assert_eq!(rig.system().unit_count(), 0);
    let after = rig.kernel.report();
    assert_eq!(
        (
            after.frames.in_use,
            after.register_windows,
            after.interrupts
        ),
        (
            before.frames.in_use,
            before.register_windows,
            before.interrupts
        ),
        "{error}"
    );
    rig.assert_no_findings();
    start(&rig, &with([])).unwrap();
    let device = rig.attach(EDU);
    drop(
        device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap(),
    );
    drop(device);
    rig.finish();
    error
}

#[test]
fn units_are_started_once() {
    let rig = boot();
    assert_eq!(start(&rig, &with([])), Ok(()));
    assert_eq!(start(&rig, &with([])), Err(StartError::AlreadyStarted));
    assert_eq!(rig.system().unit_count(), 2);
    // SAFETY: no device has anything to do.
    unsafe { rig.system().shutdown() }.unwrap();
    assert_eq!(start(&rig, &with([])), Ok(()));
    rig.finish();
}

#[test]
fn a_table_must_name_a_unit_and_not_too_many() {
    assert_eq!(refuse(&dmar(&[])), StartError::UnitCount { count: 0 });
    let many: Vec<_> = (0..65)
        .map(|n| unit(0xfed0_0000 + n * PAGE, &[Scope::Endpoint(n as u8 % 32)]))
        .collect();
    assert_eq!(refuse(&dmar(&many)), StartError::UnitCount { count: 65 });
}

#[test]
fn a_unit_that_does_not_answer_is_an_error_and_the_others_are_stopped() {
    let nowhere = unit(0xfed9_8000, &[Scope::Endpoint(3)]);
    let [first, second] = both_units();
    for structures in [
        vec![nowhere.clone()],
        vec![nowhere.clone(), second.clone()],
        vec![second, nowhere],
    ] {
        let error = refuse(&dmar(&structures));
        let nowhere = StartError::Prepare(UnitStartError::NotThere {
            kind: "VT-d",
            unit: PhysAddr::new(0xfed9_8000),
        });
        assert_eq!(error, nowhere);
    }
    let in_memory = unit(0x10_0000, &[]);
    let error = refuse(&dmar(&[first, in_memory]));
    assert!(matches!(error, StartError::Mmio(_)), "{error}");
}

#[test]
fn one_unit_for_all_stands_before_devices_wired_to_it() {
    // The other unit exists but is not named: what is wired to it is not to be confined.
    let listed = [Scope::Endpoint(3), Scope::SubHierarchy(1)];
    let rig = boot();
    start(&rig, &dmar(&[unit(UNITS[0].as_u64(), &listed)])).unwrap();
    assert!(rig.system().is_translated(EDU));
    assert!(!rig.system().is_translated(HEARTBEAT));
    drop(rig.attach(EDU));
    let refused = rig
        .system()
        .attach(&rig.function(HEARTBEAT), Protection::Strict);
    assert!(
        matches!(refused, Err(AttachError::NotRevocable { .. })),
        "{refused:?}"
    );
    rig.finish();
}

#[test]
fn scopes_that_lead_nowhere_name_no_device() {
    let scopes = [
        Scope::Endpoint(29),
        Scope::SubHierarchy(30),
        Scope::Behind(3, 0),
        Scope::Behind(1, 7),
        Scope::Endpoint(3),
    ];
    let rig = boot();
    let structures = [
        unit(UNITS[0].as_u64(), &scopes),
        unit(UNITS[1].as_u64(), &[]),
    ];
    start(&rig, &dmar(&structures)).unwrap();
    let device = rig.attach(EDU);
    let mapping = device
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap();
    assert_eq!(rig.machine.audit().leaves[0].unit, "dmar0");
    drop((mapping, device));
    rig.finish();
}

fn reaches(rig: &Rig, requester: Requester, bus: u64) -> bool {
    let unit = if requester == EDU { 0 } else { 1 };
    rig.unit(unit)
        .translate(requester.id, bus, Access::Write)
        .is_ok()
}

#[test]
fn reserved_memory_may_overlap_itself_and_be_anywhere() {
    let base = 0x10_0000;
    let edu = || [Scope::Endpoint(3)];
    let regions = [
        reserved(base, base + 3 * PAGE - 1, &edu()),
        // Overlapping, the same again, inside, next to it, and far away, where no memory is.
        reserved(base + 2 * PAGE, base + 5 * PAGE - 1, &edu()),
        reserved(base, base + 3 * PAGE - 1, &edu()),
        reserved(base + PAGE, base + 2 * PAGE - 1, &edu()),
        reserved(base + 5 * PAGE, base + 6 * PAGE - 1, &edu()),
        reserved(
            0xa_0000,
            0xb_ffff,
            &[Scope::Endpoint(3), Scope::Endpoint(5)],
        ),
        // For nobody who is there.
        reserved(0x20_0000, 0x20_0fff, &[Scope::Endpoint(29)]),
    ];
    let rig = boot();
    start(&rig, &with(regions)).unwrap();
    let inside = [0, 2, 3, 5].map(|page| base + page * PAGE);
    let check = |when: &str| {
        for bus in inside {
            assert!(reaches(&rig, EDU, bus), "{bus:#x} {when}");
            assert!(!reaches(&rig, HEARTBEAT, bus), "{bus:#x} {when}");
        }
        for requester in [EDU, HEARTBEAT] {
            assert!(reaches(&rig, requester, 0xa_1000), "{requester} {when}");
            assert!(
                !reaches(&rig, requester, base + 6 * PAGE),
                "{requester} {when}"
            );
            assert!(!reaches(&rig, requester, 0x20_0000), "{requester} {when}");
        }
    };
    check("from the start");
    for protection in [Protection::Strict, Protection::Identity] {
        let device = rig.attach_trusted(EDU, protection);
        for bus in inside {
            assert!(reaches(&rig, EDU, bus));
            let phys = device.translate(BusAddr::new(bus)).unwrap();
            assert_eq!(phys.as_u64(), bus);
        }
        device.detach().unwrap();
        check("after detach");
    }
    let device = rig.attach(EDU);
    let mut mappings = Vec::new();
    for _ in 0..300 {
        let mapping = device
            .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
            .unwrap();
        for bus in inside {
            let page = dmamap::addr::BusRange::new(BusAddr::new(bus), PAGE).unwrap();
            assert!(!share_a_page(mapping.range(), page));
        }
        mappings.push(mapping);
    }
    drop((mappings, device));
    check("at the end");
    rig.assert_no_findings();
    // SAFETY: no device has anything to do.
    unsafe { rig.system().shutdown() }.unwrap();
    assert_eq!(rig.kernel.frames().in_use, 0);
    rig.abandon();
}

#[test]
fn reserved_memory_that_no_table_can_map_is_refused() {
    let edu = || [Scope::Endpoint(3)];
    for (base, last) in [
        (1 << 60, (1 << 60) + PAGE - 1),
        (1 << 50, (1 << 50) + PAGE - 1),
        (0, u64::MAX),
        (u64::MAX - PAGE + 1, u64::MAX),
    ] {
        let error = refuse(&with([reserved(base, last, &edu())]));
        match error {
            StartError::Direct { device, .. } => assert_eq!(device, EDU),
            StartError::Range(_) => {}
            other => panic!("{other}"),
        }
    }
}

#[test]
fn when_domain_ids_run_out_attaching_says_so() {
    let unit = VtdConfig {
        domain_id_bits: 4,
        ..VtdConfig::default()
    };
    let boot = || Rig::boot_without_iommu(small().with_iommu(rig::vtd(unit.clone())));
    // Of 16 ids none has the first; devices with reserved memory keep theirs.
    let keep = |count: u8| {
        let each = |n| reserved(0x10_0000, 0x10_0fff, &[Scope::Namespace(n)]);
        with((8..8 + count).map(each))
    };
    let rig = boot();
    start(&rig, &keep(14)).unwrap();
    for _ in 0..3 {
        // The last id.
        let device = rig.attach(EDU);
        let none_left = rig
            .system()
            .attach(&rig.function(HEARTBEAT), Protection::Strict);
        let out = matches!(
            none_left,
            Err(AttachError::OutOfDomains { device: HEARTBEAT })
        );
        assert!(out, "{none_left:?}");
        device.detach().unwrap();
        drop(rig.attach(HEARTBEAT));
    }
    // What firmware reserved stays reachable to the end, which the usual end would not accept.
    // SAFETY: the devices are given nothing to do.
    unsafe { rig.system().shutdown() }.unwrap();
    rig.assert_no_findings();
    rig.abandon();

    let rig = boot();
    let error = start(&rig, &keep(16)).unwrap_err();
    assert!(matches!(error, StartError::Direct { .. }), "{error}");
    assert_eq!(rig.frames_in_use(), 0);
    start(&rig, &keep(15)).unwrap();
    // What firmware reserved stays reachable to the end, which the usual end would not accept.
    // SAFETY: the devices are given nothing to do.
    unsafe { rig.system().shutdown() }.unwrap();
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn a_device_with_reserved_memory_stays_at_work_when_its_driver_leaves() {
    let rig = boot();
    start(
        &rig,
        &with([reserved(0x10_0000, 0x10_0fff, &[Scope::Endpoint(3)])]),
    )
    .unwrap();
    let function = rig.function(EDU);
    // SAFETY: the device is confined to what firmware reserved for it.
    unsafe { function.enable_bus_master() };
    drop(rig.attach(EDU));
    assert_eq!(function.read_bus_master(), dmamap::pci::BusMaster::On);
    drop(function);
    // SAFETY: the device is given nothing to do.
    unsafe { rig.system().shutdown() }.unwrap();
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn the_machines_own_table_is_read_the_same() {
    let machine: Arc<Machine> = Machine::boot(small()).unwrap();
    let kernel = Hosted::boot(machine.clone()).unwrap();
    let tables = firmware::Tables::find(kernel.rsdp().unwrap().as_u64(), &kernel).unwrap();
    let own = tables.dmar().unwrap().unwrap();
    let ours = with([]);
    let places = |dmar: &Dmar| -> Vec<_> {
        dmar.units()
            .iter()
            .map(|unit| (unit.register_base, unit.include_all))
            .collect()
    };
    assert_eq!(places(&own), places(&ours));
    let options = BootOptions {
        iommu: IommuUse::Ignored,
        ..BootOptions::default()
    };
    let rig = Rig::boot_on(machine, kernel, kernel, options).unwrap();
    start(&rig, &own).unwrap();
    drop(rig.attach(HEARTBEAT));
    rig.finish();
}
