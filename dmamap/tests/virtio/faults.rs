//! What a virtio-iommu reports of blocked requests, and memory that firmware reserved for devices behind it.

use dmamap::addr::BusAddr;
use dmamap::iommu::Requester;
use dmamap::iommu::fault::{Access, FIRST_FAULTS};
use dmamap::map::{FromDevice, ToDevice};
use dmamap::platform::Platform;
use dmamap::resource::ResourceTree;
use dmamap::system::Settings;
use firmware::{
    Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, ReservedRegion, Stream,
    UnitDescription, UnitKind, UnitPlace,
};
use machine::bus::Access as BusAccess;
use machine::iommu::translator::Translator;
use machine::iommu::virtio::VirtioConfig;
use rig::virtio::{TEMPERS, UNIT, behind, unit};
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, first_fault, try_read, try_write};

#[test]
fn a_fault_says_who_where_how_and_why() {
    for first_endpoint in [0, 0x1_0000] {
        for access in [Access::Write, Access::Read] {
            let mut rig = Rig::boot(behind(VirtioConfig {
                first_endpoint,
                ..VirtioConfig::default()
            }));
            let mut edu = rig.edu();
            let bus = BusAddr::new(0x0123_4000);
            match access {
                Access::Write => try_write(&mut edu, bus, 16),
                _ => try_read(&mut edu, bus, 16),
            }
            let fault = first_fault(rig.system(), EDU).expect("it was refused");
            assert_eq!((fault.unit, fault.requester), (UNIT, EDU));
            assert_eq!((fault.address, fault.access), (bus, access));
            let text = fault.to_string();
            for part in ["0000:00:03.0", "0x1234000", "no mapping", "(reason 0x2)"] {
                assert!(text.contains(part), "{text}");
            }
            drop(edu);
            rig.finish_after_faults();
        }
    }
}

#[test]
fn faults_are_reported_again_once_they_were_read() {
    let rig = Rig::boot(behind(VirtioConfig::default()));
    let refuse = |requester| {
        let refused = unit(&rig).translate(requester, PAGE, BusAccess::Write);
        assert!(refused.is_err());
    };
    let mut total = 0;
    for round in 0..5_u64 {
        // More than there are buffers: what does not fit is lost.
        for n in 0..100 {
            refuse(0x100 + n);
        }
        let before = unit(&rig).statistics().faults_lost;
        let faults = rig.system().faults().total;
        assert_eq!(faults - total, 64, "{round}");
        total = faults;
        assert_eq!(before, 36 * (round + 1));
    }
    // One by one, around the ring many times.
    for n in 0..1000 {
        refuse(0x200 + n % 7);
        total += 1;
        assert_eq!(rig.system().faults().total, total);
    }
    let first = rig.system().faults().first_per_requester;
    assert_eq!(first.len(), FIRST_FAULTS);
    rig.finish_after_faults();
}

/// The whole machine behind its unit, and memory reserved for one device.
fn description(first_endpoint: u32) -> IommuDescription {
    let all = Devices::Requesters {
        segment: 0,
        first: 0,
        last: u16::MAX,
    };
    IommuDescription {
        units: vec![UnitDescription {
            kind: UnitKind::Virtio,
            place: UnitPlace::Registers {
                phys: UNIT.as_u64(),
                len_bytes: 0x200,
            },
            segment: 0,
            walks: None,
        }],
        assignments: vec![Assignment {
            devices: all,
            unit: 0,
            stream: Stream::From(first_endpoint),
        }],
        reserved: vec![ReservedRegion {
            devices: Devices::Requesters {
                segment: 0,
                first: HEARTBEAT.id,
                last: HEARTBEAT.id,
            },
            base: DIRECT.0,
            last: DIRECT.1 - 1,
            kind: ReservedKind::Direct(DirectAccess::Read),
        }],
        host_address_bits: None,
    }
}

/// Memory that firmware keeps for a device.
const DIRECT: (u64, u64) = (0x7ffe_0000, 0x7fff_0000);

#[test]
fn reserved_memory_is_told_whenever_its_device_is_attached() {
    for temper in TEMPERS {
        let rig = Rig::boot_without_iommu(
            behind(VirtioConfig {
                first_endpoint: 0x700,
                ..VirtioConfig::default()
            })
            .with_temper(temper),
        );
        let mut tree = ResourceTree::of(rig.kernel.machine());
        // SAFETY: the description is the machine's.
        unsafe {
            rig.system().start_units(
                &description(0x700),
                rig.computer.topology(),
                &mut tree,
                Settings::default(),
            )
        }
        .unwrap();
        let reaches = |who: Requester, bus, access| {
            let passed = unit(&rig).translate(who.id, bus, access);
            passed.is_ok()
        };
        let reserved_only = || {
            assert!(reaches(HEARTBEAT, DIRECT.0, BusAccess::Read));
            assert!(reaches(HEARTBEAT, DIRECT.1 - 1, BusAccess::Read));
            assert!(!reaches(HEARTBEAT, DIRECT.0, BusAccess::Write));
            assert!(!reaches(HEARTBEAT, DIRECT.1, BusAccess::Read));
            assert!(!reaches(EDU, DIRECT.0, BusAccess::Read));
        };
        reserved_only();
        for _ in 0..3 {
            let device = rig.attach(HEARTBEAT);
            reserved_only();
            let mapping = device
                .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
                .unwrap();
            let bus = mapping.bus_addr().as_u64();
            assert!(reaches(HEARTBEAT, bus, BusAccess::Read));
            // SAFETY: no device makes requests.
            unsafe { rig.system().restart_units() }.unwrap();
            assert!(reaches(HEARTBEAT, bus, BusAccess::Read));
            reserved_only();
            drop((mapping, device));
            assert!(!reaches(HEARTBEAT, bus, BusAccess::Read));
            reserved_only();
        }
        // Another device's domain is its own.
        let device = rig.attach(EDU);
        drop(
            device
                .map_single(buffer_of(rig.kernel, PAGE, 1), FromDevice)
                .unwrap(),
        );
        drop(device);
        rig.finish_after_faults();
    }
}
