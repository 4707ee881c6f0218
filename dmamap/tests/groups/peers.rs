//! A device that uses another's registers: the verdict, and that the wires do as it says.

use dmamap::addr::{BusAddr, PhysAddr, PhysRange};
use dmamap::bridge::PeerForwarding;
use dmamap::device::Device;
use dmamap::map::{AnyDirection, Bidirectional, MapFailure};
use dmamap::mmio::Mmio;
use dmamap::pci::Function;
use dmamap::system::{PeerRefusal, PeerVerdict, Protection};
use drivers::edu::Edu;
use hosted::Hosted;
use journeys::boot::{BootOptions, IommuUse};
use machine::bus::ConventionalIds;
use machine::fabric::{Below, Model, PeerForwarding as Forwarding, PortConfig};
use machine::iommu::vtd::VtdConfig;
use machine::{Iommu, MachineConfig};

use crate::computers::{
    EDU_IDS, ISOLATING, MEMORY_IDS, attach, device, edu_on, functions, port, switch, units,
};
use rig::{PAGE, Rig, buffer_of, small, try_write, vtd};

const UNKNOWN: PeerVerdict = PeerVerdict::Refused(PeerRefusal::HostBridgeUnknown);

/// What the kernel knows of its host bridge, and what that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    Silent,
    Forwards,
}

fn boot(config: MachineConfig, host: Host, iommu: IommuUse) -> Rig {
    let (does, known) = match host {
        Host::Silent => (Forwarding::Refused, PeerForwarding::Unknown),
        Host::Forwards => (Forwarding::Forwarded, PeerForwarding::Forwarded),
    };
    let options = BootOptions {
        iommu,
        ..BootOptions::default()
    };
    Rig::boot_knowing(config.with_peer_forwarding(does), options, known)
}

/// The peer's memory, which answers from now on.
fn window(rig: &mut Rig, peer: &Function<Hosted>) -> Mmio<Hosted> {
    peer.enable_memory().unwrap();
    peer.claim_bar(0, "peer", rig.computer.resources_mut())
        .unwrap()
}

/// Has the device write 16 bytes of 9 to `bus`.
fn write_pattern(rig: &Rig, edu: &mut Edu<Hosted>, bus: BusAddr) {
    let pattern = buffer_of(rig.kernel, PAGE, 9);
    let pattern = edu.device().map_single(pattern, Bidirectional).unwrap();
    edu.fetch(&pattern, 0, 16).unwrap();
    drop(pattern.unmap().unwrap());
    try_write(edu, bus, 16);
}

/// Maps the peer's memory for the device and has it written: what the verdict is, and that it is so.
fn check(
    rig: &mut Rig,
    from: Device<Hosted>,
    functions: (&Function<Hosted>, &Function<Hosted>),
    expected: PeerVerdict,
) {
    let (function, peer) = functions;
    assert_eq!(rig.system().peer_to_peer(function, peer), expected);
    let mut edu = edu_on(rig, function, from);
    let window = window(rig, peer);
    let first = window.register::<u64>(0).unwrap();
    let on_bus = peer.bar(0).unwrap().bus.start();
    assert_eq!(first.read(), 0);
    match edu.device().map_resource(peer, window, Bidirectional) {
        Ok(mapping) => {
            assert!(!matches!(expected, PeerVerdict::Refused(_)));
            if expected == PeerVerdict::Direct {
                assert_eq!(mapping.bus_addr(), on_bus);
            }
            let bus = mapping.bus_addr();
            assert_eq!(mapping.range().len_bytes(), 0x1_0000);
            write_pattern(rig, &mut edu, bus);
            assert_eq!(first.read(), 0x0909_0909_0909_0909);
            assert_eq!(edu.device().figures().live_mappings, 1);
            drop(mapping.unmap().unwrap());
            first.write(0);
            write_pattern(rig, &mut edu, bus);
            // Only an IOMMU takes anything back.
            let is_lost = bus != on_bus;
            assert_eq!(first.read() == 0, is_lost);
        }
        Err(rejected) => {
            let PeerVerdict::Refused(why) = expected else {
                panic!("{}", rejected.error)
            };
            assert_eq!(rejected.error.failure, MapFailure::PeerRefused(why));
            assert!(rejected.buffer.is_some());
            write_pattern(rig, &mut edu, on_bus);
            assert_eq!(
                first.read(),
                0,
                "the wires deliver what the verdict refuses"
            );
        }
    }
    assert_eq!(edu.device().figures().live_mappings, 0);
    drop(first);
    edu.stop().detach().unwrap();
}

/// The verdict on a machine with one port, translated and not.
fn verdict(iommu: Iommu, port: &PortConfig, host: Host, expected: PeerVerdict) {
    for use_of in [IommuUse::AsFirmwareSays, IommuUse::Ignored] {
        let config = match use_of {
            IommuUse::AsFirmwareSays => small().with_iommu(iommu.clone()),
            IommuUse::Ignored => small().with_iommu(Iommu::None),
        };
        let mut rig = boot(config.with_port(port.clone()), host, use_of);
        let from = functions(&rig, EDU_IDS).remove(0);
        let to = functions(&rig, MEMORY_IDS).remove(0);
        if use_of == IommuUse::Ignored {
            // Nothing isolates where no unit starts, so what a port could do it does not.
            for function in rig.computer.topology().functions() {
                dmamap::group::Acs::isolate(function).unwrap();
            }
        }
        let device = match use_of {
            IommuUse::AsFirmwareSays => attach(&rig, &from),
            // SAFETY: the test's device reaches what it is told, and is idle in between.
            IommuUse::Ignored => unsafe {
                rig.system()
                    .attach_trusted(&from, Protection::Identity)
                    .unwrap()
            },
        };
        check(&mut rig, device, (&from, &to), expected);
        drop((from, to));
        rig.finish_after_faults();
    }
}

#[test]
fn below_a_switch_that_lets_requests_pass_devices_meet_on_the_bus() {
    for (_, iommu) in units() {
        for host in [Host::Silent, Host::Forwards] {
            let open = switch(None, None, Model::Memory);
            verdict(iommu.clone(), &open, host, PeerVerdict::Direct);
        }
    }
}

#[test]
fn below_a_switch_that_redirects_the_host_bridge_decides() {
    for (_, iommu) in units() {
        let closed = switch(Some(ISOLATING), Some(ISOLATING), Model::Memory);
        verdict(iommu.clone(), &closed, Host::Silent, UNKNOWN);
        verdict(
            iommu,
            &closed,
            Host::Forwards,
            PeerVerdict::ThroughHostBridge,
        );
    }
}

#[test]
fn functions_of_one_device_meet_inside_and_those_below_two_ports_of_it_do_not() {
    let iommu = || vtd(VtdConfig::default());
    let one = port(Some(ISOLATING), device(&[Model::Edu, Model::Memory]));
    verdict(iommu(), &one, Host::Silent, PeerVerdict::Direct);
    // Two switches, one below the other: the request is taken where the two ways part.
    let deep = Below::Switch(vec![port(None, device(&[Model::Edu]))]);
    let ports = vec![port(None, deep), port(None, device(&[Model::Memory]))];
    let nested = port(Some(ISOLATING), Below::Switch(ports));
    verdict(iommu(), &nested, Host::Silent, PeerVerdict::Direct);
}

#[test]
fn devices_of_one_conventional_bus_meet_there() {
    let devices = vec![Model::Edu, Model::Memory];
    let ids = ConventionalIds::Bridge;
    let bus = port(Some(ISOLATING), Below::Conventional { ids, devices });
    verdict(
        vtd(VtdConfig::default()),
        &bus,
        Host::Silent,
        PeerVerdict::Direct,
    );
}

#[test]
fn devices_below_two_root_ports_need_the_host_bridge() {
    for (host, expected) in [
        (Host::Silent, UNKNOWN),
        (Host::Forwards, PeerVerdict::ThroughHostBridge),
    ] {
        let config = small().with_port(port(None, device(&[Model::Edu])));
        let config = config.with_port(port(None, device(&[Model::Memory])));
        let mut rig = boot(config, host, IommuUse::AsFirmwareSays);
        let from = functions(&rig, EDU_IDS).remove(0);
        let to = functions(&rig, MEMORY_IDS).remove(0);
        let device = attach(&rig, &from);
        check(&mut rig, device, (&from, &to), expected);
        drop((from, to));
        rig.finish_after_faults();
    }
}

#[test]
fn memory_and_registers_of_others_are_no_resource() {
    let closed = switch(Some(ISOLATING), Some(ISOLATING), Model::Memory);
    let config = small().with_port(closed);
    let mut rig = boot(config, Host::Forwards, IommuUse::AsFirmwareSays);
    let from = functions(&rig, EDU_IDS).remove(0);
    let to = functions(&rig, MEMORY_IDS).remove(0);
    let device = attach(&rig, &from);
    let range = |start, len| PhysRange::new(PhysAddr::new(start), len).unwrap();
    let refused = |registers| {
        // SAFETY: it is refused.
        unsafe { device.map_resource_raw(&to, registers, AnyDirection::Bidirectional) }
            .unwrap_err()
            .failure
    };
    let ram = range(0x10_0000, PAGE);
    assert_eq!(refused(ram), MapFailure::IsRam { range: ram });
    let mut bars = from.bars().iter().flatten();
    let registers = bars.next().unwrap().phys.unwrap();
    assert_eq!(refused(registers), MapFailure::NotOfPeer { registers });
    let base = to.bar(0).unwrap().phys.unwrap();
    let part = base.slice(0x800, 0x800).unwrap();
    let whole = MapFailure::NotWholePages {
        memory: part,
        page_bytes: PAGE,
    };
    assert_eq!(refused(part), whole);
    assert_eq!(refused(base.slice(0, 0).unwrap()), MapFailure::Empty);

    // Two pages of it by the raw call, and what is carved out of a window by nobody but its owner.
    let two = base.slice(PAGE, 2 * PAGE).unwrap();
    // SAFETY: nobody drives the peer, which is memory and makes no requests.
    let bus = unsafe { device.map_resource_raw(&to, two, AnyDirection::Bidirectional) }.unwrap();
    assert_eq!(device.translate(bus.start()), Some(two.start()));
    // SAFETY: mapped above.
    unsafe { device.unmap_resource_raw(bus) }.unwrap();
    assert_eq!(device.translate(bus.start()), None);
    let mut whole = window(&mut rig, &to);
    let part = whole.carve(0, PAGE).unwrap();
    let rejected = device
        .map_resource(&to, whole, Bidirectional)
        .err()
        .unwrap();
    let registers = base;
    assert_eq!(rejected.error.failure, MapFailure::NotOfPeer { registers });
    let mapping = device.map_resource(&to, part, Bidirectional).unwrap();
    assert_eq!(mapping.phys(), base.slice(0, PAGE).unwrap());
    drop(mapping);
    drop(rejected);
    device.detach().unwrap();
    drop((from, to));
    rig.finish();
}

#[test]
fn a_blocked_device_and_one_with_identity_tables_get_no_resource() {
    let closed = switch(Some(ISOLATING), Some(ISOLATING), Model::Memory);
    let config = small().with_port(closed);
    let mut rig = boot(config, Host::Forwards, IommuUse::AsFirmwareSays);
    let from = functions(&rig, EDU_IDS).remove(0);
    let to = functions(&rig, MEMORY_IDS).remove(0);
    let mut window = Some(window(&mut rig, &to));
    for (protection, failure) in [
        (Protection::Blocked, MapFailure::Blocked),
        (
            Protection::Identity,
            MapFailure::PeerRefused(PeerRefusal::Identity),
        ),
    ] {
        // SAFETY: the device is told nothing.
        let device = unsafe { rig.system().attach_trusted(&from, protection) }.unwrap();
        let rejected = device.map_resource(&to, window.take().unwrap(), Bidirectional);
        let rejected = rejected.err().unwrap();
        assert_eq!(rejected.error.failure, failure);
        window = rejected.buffer;
    }
    drop((window, from, to));
    rig.finish();
}

#[test]
fn a_resource_forgotten_stays_claimed() {
    let closed = switch(Some(ISOLATING), Some(ISOLATING), Model::Memory);
    let config = small().with_port(closed);
    let mut rig = boot(config, Host::Forwards, IommuUse::AsFirmwareSays);
    let from = functions(&rig, EDU_IDS).remove(0);
    let to = functions(&rig, MEMORY_IDS).remove(0);
    let window = window(&mut rig, &to);
    let device = attach(&rig, &from);
    let mapping = device.map_resource(&to, window, Bidirectional).unwrap();
    std::mem::forget(mapping);
    device.detach().unwrap();
    let again = to.claim_bar(0, "another", rig.computer.resources_mut());
    assert!(again.is_err());
    drop((from, to));
    let _ = rig.finish_with_losses();
}
