//! A group shares a domain: what one maps the other reaches, and nothing comes back while one of them does.

use dmamap::device::DetachError;
use dmamap::iommu::fault::Access;
use dmamap::map::{Bidirectional, FromDevice, NotUnmanaged, UnmanagedDomain};
use dmamap::pci::PortType;
use dmamap::system::{AttachError, Protection};
use machine::bus::ConventionalIds;
use machine::fabric::Model;

use crate::computers::{
    EDU_IDS, ISOLATING, attach, boot_port, conventional, device, edu, edu_on, functions, port,
    ports, requester_of, switch, units,
};
use rig::{PAGE, Rig, buffer_of, first_fault, try_write};

/// That each of two devices writes where the other's memory is mapped.
fn both_reach(rig: &mut Rig, label: &str) {
    let found = functions(rig, EDU_IDS);
    let mut edus = [edu(rig, &found[0]), edu(rig, &found[1])];
    for at in 0..2 {
        let mapping = edus[at]
            .device()
            .map_single(buffer_of(rig.kernel, PAGE, 7), Bidirectional)
            .unwrap();
        for (other, edu) in (0..).zip(&mut edus) {
            assert!(edu.device().translate(mapping.bus_addr()).is_some());
            let half = mapping.bus_addr().checked_add(2048 * other).unwrap();
            try_write(edu, half, 16);
        }
        let buffer = mapping.unmap().unwrap();
        for half in [0, 2048] {
            assert_eq!(
                buffer.as_slice()[half..half + 16],
                [0; 16],
                "{label}: {at} {half}"
            );
        }
    }
    for edu in edus {
        edu.stop().detach().unwrap();
    }
}

#[test]
fn devices_behind_a_bridge_to_pci_share_a_domain_whatever_ids_it_uses() {
    for ids in [ConventionalIds::Bridge, ConventionalIds::Mixed] {
        for (label, iommu) in units() {
            let mut rig = boot_port(iommu, conventional(ids));
            both_reach(&mut rig, label);
            rig.finish();
        }
    }
}

#[test]
fn one_device_behind_a_bridge_reads_and_writes_in_either_name() {
    for ids in [ConventionalIds::Bridge, ConventionalIds::Mixed] {
        for (label, iommu) in units() {
            let mut rig = boot_port(iommu, conventional(ids));
            let found = functions(&rig, EDU_IDS);
            let mut edu = edu(&mut rig, &found[1]);
            let device = edu.device();
            let from = device
                .map_single(buffer_of(rig.kernel, PAGE, 9), Bidirectional)
                .unwrap();
            let into = device
                .map_single(buffer_of(rig.kernel, PAGE, 1), FromDevice)
                .unwrap();
            edu.fetch(&from, 0, 64).unwrap();
            edu.store(&into, 0, 64).unwrap();
            assert_eq!(into.unmap().unwrap().as_slice()[..64], [9; 64], "{label}");
            drop(from);
            edu.stop().detach().unwrap();
            drop(found);
            rig.finish();
        }
    }
}

#[test]
fn a_switch_whose_ports_let_requests_pass_is_one_domain_and_one_that_does_not_is_two() {
    for (label, iommu) in units() {
        let mut rig = boot_port(iommu.clone(), switch(None, Some(ISOLATING), Model::Edu));
        both_reach(&mut rig, label);
        rig.finish();

        let mut rig = boot_port(iommu, switch(Some(ISOLATING), Some(ISOLATING), Model::Edu));
        let found = functions(&rig, EDU_IDS);
        let one = edu(&mut rig, &found[0]);
        let mut other = edu(&mut rig, &found[1]);
        let mapping = one
            .device()
            .map_single(buffer_of(rig.kernel, PAGE, 7), Bidirectional)
            .unwrap();
        assert_eq!(
            other.device().translate(mapping.bus_addr()),
            None,
            "{label}"
        );
        try_write(&mut other, mapping.bus_addr(), 16);
        assert_eq!(
            mapping.unmap().unwrap().as_slice()[..16],
            [7; 16],
            "{label}"
        );
        let fault = first_fault(rig.system(), requester_of(&found[1])).expect("refused");
        assert_eq!(fault.access, Access::Write, "{label}: {fault}");
        for edu in [one, other] {
            edu.stop().detach().unwrap();
        }
        drop(found);
        rig.finish_after_faults();
    }
}

#[test]
fn functions_of_one_device_share_a_domain() {
    for (label, iommu) in units() {
        let both = port(Some(ISOLATING), device(&[Model::Edu, Model::Edu]));
        let mut rig = boot_port(iommu, both);
        both_reach(&mut rig, label);
        rig.finish();
    }
}

#[test]
fn ports_isolate_once_the_units_start() {
    let rig = boot_port(
        units()[0].1.clone(),
        switch(Some(ISOLATING), Some(ISOLATING), Model::Edu),
    );
    let found = functions(&rig, EDU_IDS);
    for function in &found {
        let group = rig.system().group_of(function).unwrap();
        assert_eq!(group.members().len(), 1, "{group}");
    }
    for port in ports(&rig, PortType::DownstreamPort) {
        let acs = dmamap::group::Acs::read(&port).unwrap();
        assert_eq!(acs.on, ISOLATING);
    }
    // Nothing is at a BAR of the one that the other reaches.
    drop(found);
    rig.finish();
}

#[test]
fn a_fault_in_a_bridges_name_tells_whose_it_may_be() {
    for (label, iommu) in units() {
        let mut rig = boot_port(iommu, conventional(ConventionalIds::Bridge));
        let found = functions(&rig, EDU_IDS);
        let mut edu = edu(&mut rig, &found[0]);
        try_write(&mut edu, dmamap::addr::BusAddr::new(0x12_3000), 16);
        let bus = found[0].address().bus;
        let name = dmamap::iommu::Requester {
            segment: 0,
            id: u16::from(bus) << 8,
        };
        let fault = first_fault(rig.system(), name).unwrap_or_else(|| panic!("{label}"));
        let suspects: Vec<_> = rig.system().groups().carriers_of(fault.requester).collect();
        assert_eq!(
            suspects,
            [found[0].address(), found[1].address()],
            "{label}"
        );
        edu.stop().detach().unwrap();
        drop(found);
        rig.finish_after_faults();
    }
}

#[test]
fn a_mapping_outlives_its_device_as_long_as_another_of_the_group_reaches_it() {
    for (label, iommu) in units() {
        let mut rig = boot_port(iommu, conventional(ConventionalIds::Bridge));
        let before = rig.frames_in_use();
        let found = functions(&rig, EDU_IDS);
        let one = attach(&rig, &found[0]);
        let mut other = edu(&mut rig, &found[1]);
        let mapping = one
            .map_single(buffer_of(rig.kernel, PAGE, 7), Bidirectional)
            .unwrap();
        let kept = one
            .map_single(buffer_of(rig.kernel, PAGE, 8), Bidirectional)
            .unwrap();
        let bus = mapping.bus_addr();
        assert_eq!(
            one.detach().unwrap_err(),
            DetachError::Shared {
                device: requester_of(&found[0]),
                other: requester_of(&found[1]),
                live_mappings: 2,
            },
            "{label}"
        );
        // It said so: the other still writes there.
        try_write(&mut other, bus, 16);
        let buffer = mapping.unmap().unwrap();
        assert_eq!(buffer.as_slice()[..16], [0; 16], "{label}");
        // From then on it does not, and the memory is ours.
        try_write(&mut other, bus, 32);
        assert_eq!(buffer.as_slice()[16..32], [7; 16], "{label}");
        // The first may come again, and reaches what it reached before.
        let again = attach(&rig, &found[0]);
        assert!(again.translate(kept.bus_addr()).is_some());
        again.detach().unwrap();
        // With the last all goes at once.
        let other = other.stop();
        let late = other
            .map_single(buffer_of(rig.kernel, PAGE, 9), Bidirectional)
            .unwrap();
        other.detach().unwrap();
        assert_eq!(rig.machine.audit().leaves, [], "{label}");
        drop((buffer, kept.unmap().unwrap(), late.unmap().unwrap()));
        // A unit keeps tables of the buses on which a device was.
        assert!(rig.frames_in_use() <= before + 8, "{label}");
        drop(found);
        rig.finish_after_faults();
    }
}

#[test]
fn a_domain_whose_owner_chooses_what_is_mapped_is_one_devices_alone() {
    for (label, iommu) in units() {
        let rig = boot_port(iommu, conventional(ConventionalIds::Bridge));
        let found = functions(&rig, EDU_IDS);
        let (one, other) = (requester_of(&found[0]), requester_of(&found[1]));
        let first = attach(&rig, &found[0]);
        let second = attach(&rig, &found[1]);
        let refused = UnmanagedDomain::of(first).unwrap_err();
        let shared = NotUnmanaged::Shared { device: one, other };
        assert_eq!(refused.reason, shared, "{label}");
        // What somebody left there when it was detached would be the owner's to unmap.
        let kept = second
            .map_single(buffer_of(rig.kernel, PAGE, 7), Bidirectional)
            .unwrap();
        second.detach().unwrap_err();
        let refused = UnmanagedDomain::of(refused.device).unwrap_err();
        let mapped = NotUnmanaged::Mapped {
            device: one,
            live: 1,
        };
        assert_eq!(refused.reason, mapped, "{label}");
        // A refusal keeps nobody out.
        let second = attach(&rig, &found[1]);
        drop(kept.unmap().unwrap());
        second.detach().unwrap();
        let domain = UnmanagedDomain::of(refused.device).unwrap();
        let error = rig.system().attach(&found[1], Protection::Strict);
        let expected = AttachError::GroupUnmanaged {
            device: other,
            other: one,
        };
        assert_eq!(error.unwrap_err(), expected, "{label}");
        domain.detach().unwrap();
        attach(&rig, &found[1]).detach().unwrap();
        drop(found);
        rig.finish();
    }
}

#[test]
fn a_group_is_protected_in_one_way() {
    let rig = boot_port(units()[0].1.clone(), conventional(ConventionalIds::Bridge));
    let found = functions(&rig, EDU_IDS);
    let (one, other) = (requester_of(&found[0]), requester_of(&found[1]));
    let first = attach(&rig, &found[0]);
    let refused = |protection| {
        // SAFETY: the models do what they are told, and these are told nothing.
        unsafe { rig.system().attach_trusted(&found[1], protection) }.unwrap_err()
    };
    let strict = AttachError::GroupProtection {
        device: other,
        other: one,
        protection: Protection::Strict,
    };
    assert_eq!(refused(Protection::Identity), strict);
    assert_eq!(refused(Protection::Blocked), strict);
    assert!(strict.to_string().contains("Strict"), "{strict}");
    drop(first);
    // Nobody is confined beside one that reaches all memory.
    // SAFETY: as above.
    let trusted = unsafe { rig.system().attach_trusted(&found[1], Protection::Identity) }.unwrap();
    let error = rig
        .system()
        .attach(&found[0], Protection::Strict)
        .unwrap_err();
    let identity = AttachError::GroupProtection {
        device: one,
        other,
        protection: Protection::Identity,
    };
    assert_eq!(error, identity);
    drop(trusted);
    drop(attach(&rig, &found[0]));
    drop(found);
    rig.finish();
}

#[test]
fn members_come_and_go_at_once() {
    for (_, iommu) in units() {
        let rig = boot_port(iommu, switch(None, None, Model::Edu));
        let group = functions(&rig, EDU_IDS);
        std::thread::scope(|scope| {
            for function in &group {
                let (system, kernel) = (rig.system(), rig.kernel);
                scope.spawn(move || {
                    for round in 0..40 {
                        let device = system.attach(function, Protection::Strict);
                        let device = device.unwrap_or_else(|error| panic!("{error}"));
                        let buffer = buffer_of(kernel, PAGE, 1);
                        let mapping = device.map_single(buffer, Bidirectional).unwrap();
                        assert!(device.translate(mapping.bus_addr()).is_some());
                        if round % 2 == 0 {
                            match device.detach() {
                                Ok(()) | Err(DetachError::Shared { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        drop(mapping.unmap().unwrap());
                    }
                });
            }
        });
        drop(group);
        rig.finish();
    }
}

#[test]
fn a_device_that_was_not_confirmed_to_leave_keeps_its_groups_memory() {
    let options = rig::impatient(150);
    let config = rig::small().with_port(conventional(ConventionalIds::Bridge));
    let mut rig = Rig::boot_with(config, options);
    let found = functions(&rig, EDU_IDS);
    let one = attach(&rig, &found[0]);
    let other = edu(&mut rig, &found[1]);
    let other = edu_on_again(&mut rig, other, &found[1]);
    let mapping = other
        .map_single(buffer_of(rig.kernel, PAGE, 7), Bidirectional)
        .unwrap();
    let unit = rig.unit(1).clone();
    unit.hold_queue();
    let error = one.detach().unwrap_err();
    assert!(matches!(error, DetachError::Unconfirmed { .. }), "{error}");
    unit.release_queue();
    // It may be in its unit's caches for ever: its domain cannot end.
    let error = other.detach().unwrap_err();
    assert!(matches!(error, DetachError::Unconfirmed { .. }), "{error}");
    assert!(mapping.unmap().is_err());
    for function in &found {
        let error = rig
            .system()
            .attach(function, Protection::Strict)
            .unwrap_err();
        assert!(
            matches!(error, AttachError::AlreadyAttached { .. }),
            "{error}"
        );
    }
    drop(found);
    rig.abandon();
}

/// Ends a driver and gives its device.
fn edu_on_again(
    rig: &mut Rig,
    edu: drivers::edu::Edu<hosted::Hosted>,
    function: &dmamap::pci::Function<hosted::Hosted>,
) -> dmamap::device::Device<hosted::Hosted> {
    let device = edu.stop();
    edu_on(rig, function, device).stop()
}
