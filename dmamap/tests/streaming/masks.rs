//! Which bus addresses a device is given: its masks, and the limit of the path.

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysAddr, PhysRange};
use dmamap::bridge::{HostBridge, Inbound};
use dmamap::device::MaskError;
use dmamap::map::{AnyDirection, Attributes, MapFailure, ToDevice};
use dmamap::platform::Platform;
use dmamap::system::Protection;
use machine::cache::Snooping;
use machine::iommu::smmu::SmmuConfig;
use machine::{Iommu, MachineConfig};

use rig::{EDU, PAGE, Rig, buffer_of, small};

fn bits(bits: u32) -> DmaMask {
    DmaMask::from_bits(bits).unwrap()
}

/// A machine with an SMMU behind a root complex that passes on addresses of `bits` bits.
fn passing_on(bits: u8) -> MachineConfig {
    let unit = SmmuConfig {
        root_complex_bits: bits,
        ..SmmuConfig::default()
    };
    small().with_iommu(Iommu::Smmu {
        unit,
        walks: Snooping::On,
    })
}

#[test]
fn before_a_mask_is_set_thirty_two_bits_hold() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    assert_eq!(
        (device.mask(), device.coherent_mask()),
        (bits(32), bits(32))
    );
    // The device is given nothing of this: only the addresses are of interest.
    let mut ram = None;
    rig.kernel
        .memory_map(&mut |range| ram = ram.max(range.slice(0, 1 << 30).map(|_| range.start())));
    let memory = PhysRange::new(ram.unwrap(), 1 << 30).unwrap();
    let direction = AnyDirection::ToDevice;
    let mut kept = Vec::new();
    let failure = loop {
        // SAFETY: the device makes no requests.
        match unsafe { device.map_phys(memory, direction) } {
            Ok(range) => kept.push(range),
            Err(error) => break error.failure,
        }
    };
    assert!(matches!(failure, MapFailure::Domain(_)), "{failure}");
    assert!(kept.len() >= 2 && kept.iter().all(|range| bits(32).covers(*range)));
    // With a wider mask there is room again.
    device.set_mask(bits(34)).unwrap();
    // SAFETY: as above.
    let beyond = unsafe { device.map_phys(memory, direction) }.unwrap();
    assert!(beyond.last() > bits(32).last());
    kept.push(beyond);
    for range in kept {
        // SAFETY: mapped above.
        unsafe { device.unmap_phys(range, direction, Attributes::NONE) }.unwrap();
    }
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn sixty_four_bits_never_fail_and_the_last_mask_holds() {
    for iommu in [small(), small().with_iommu(Iommu::None), passing_on(31)] {
        let rig = Rig::boot(iommu);
        let device = rig.attach_trusted(EDU, Protection::Strict);
        assert_eq!(device.set_mask_and_coherent(DmaMask::ALL), Ok(()));
        if rig.computer.has_iommu() {
            for wanted in [40, 24, 64, 30] {
                device.set_mask(bits(wanted)).unwrap();
                assert_eq!(device.mask(), bits(wanted));
                // A mask of its own.
                assert_eq!(device.coherent_mask(), DmaMask::ALL);
            }
            let narrow = device.set_coherent_mask(bits(12));
            assert_eq!(
                narrow,
                Err(MaskError::NoRoom {
                    device: EDU,
                    mask: bits(12)
                })
            );
            assert_eq!(device.coherent_mask(), DmaMask::ALL);
        }
        device.detach().unwrap();
        rig.finish();
    }
}

#[test]
fn a_narrow_path_holds_whatever_the_mask_says() {
    let rig = Rig::boot(passing_on(14));
    let device = rig.attach(EDU);
    let limit = BusAddr::new((1 << 14) - 1);
    assert_eq!(device.bus_limit(), limit);
    device.set_mask_and_coherent(DmaMask::ALL).unwrap();
    assert_eq!(device.mask(), DmaMask::ALL, "the mask is the driver's");
    assert!(device.addressing_limited());
    // Three pages are within it: the first is never used.
    assert_eq!(device.max_mapping_bytes(), 3 * PAGE);
    let two = device
        .map_single(buffer_of(rig.kernel, 2 * PAGE, 1), ToDevice)
        .unwrap();
    let coherent = device.alloc_coherent::<u64>(1).unwrap();
    assert!(two.range().last() <= limit && coherent.range().last() <= limit);
    let refused = device
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap_err();
    assert!(refused.buffer.is_some() && refused.error.device == EDU);
    assert!(
        refused.error.to_string().contains("up to 0x3fff"),
        "the limit is not named: {refused}"
    );
    drop((two, coherent, refused));
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn where_nothing_limits_the_path_it_carries_all_addresses() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    assert_eq!(device.bus_limit(), DmaMask::ALL.last());
    assert!(!device.addressing_limited());
    device.detach().unwrap();
    rig.finish();
}

#[test]
fn a_bridge_that_shows_part_of_memory_carries_that_part() {
    let view = |bus, phys, len| Inbound {
        bus: BusRange::new(BusAddr::new(bus), len).unwrap(),
        phys: PhysRange::new(PhysAddr::new(phys), len).unwrap(),
    };
    let views = vec![view(0x8000_0000, 0, 0x1000_0000), view(0, 1 << 32, 0x4000)];
    let bridge = HostBridge::new(0, 0, 255, vec![], views).unwrap();
    assert_eq!(bridge.bus_limit(), BusAddr::new(0x8fff_ffff));
    let narrow = bridge.with_bus_limit(BusAddr::new(0x7fff_ffff));
    assert_eq!(narrow.bus_limit(), BusAddr::new(0x7fff_ffff));

    let offset = 0x0800_0000;
    let config = MachineConfig::default()
        .with_ram(64 << 20)
        .with_iommu(Iommu::None);
    let rig = Rig::boot(config.with_inbound_offset(offset));
    let device = rig.attach_trusted(EDU, Protection::Strict);
    let shown = rig.kernel.host_bridges().unwrap().remove(0);
    let last = shown.inbound().iter().map(|view| view.bus.last()).max();
    assert_eq!(Some(device.bus_limit()), last);
    device.detach().unwrap();
    rig.finish();
}
