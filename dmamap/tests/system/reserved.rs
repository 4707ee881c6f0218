//! Where nothing may be mapped nothing ever is, and what firmware reserved for a device it always reaches.

use dmamap::addr::{BusAddr, BusRange, DmaMask, PhysRange};
use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::iommu::DomainError;
use dmamap::iova::IovaError;
use dmamap::map::{AnyDirection, FromDevice, MapFailure, ToDevice};
use dmamap::platform::{FrameRequest, Platform};
use dmamap::system::{AttachError, Protection, Settings};
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::cache::Snooping;
use machine::iommu::vtd::{CachingMode, Support, VtdConfig};
use machine::temper::Temper;
use machine::{Iommu, Machine, MachineConfig};
use rig::patience::wait_until;
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, small};

/// Message interrupts, whatever a table says.
const MESSAGES: (u64, u64) = (0xfee0_0000, 0xfef0_0000);
/// The memory windows of the machine's host bridge, on the bus.
const WINDOWS: [(u64, u64); 2] = [(0x8000_0000, 0x9000_0000), (0x40_0000_0000, 0x41_0000_0000)];
/// The memory firmware reserved for one device, on a machine with at least 2 GiB.
const DIRECT: (u64, u64) = (0x7ffe_0000, 0x7fff_0000);

fn range((start, end): (u64, u64)) -> BusRange {
    BusRange::new(BusAddr::new(start), end - start).unwrap()
}

/// Maps `memory` again and again, ever smaller parts of it, until no bus address is left. Gives the bytes of
/// address space that were used; nothing overlaps `forbidden`.
fn use_up(device: &Device<Hosted>, memory: PhysRange, forbidden: &[BusRange]) -> u64 {
    let mut used = 0;
    let mut len_bytes = memory.len_bytes();
    while len_bytes >= PAGE {
        let part = memory.slice(0, len_bytes).unwrap();
        // SAFETY: the memory stays lent until the device is detached, nobody refers to it, and the device is
        // given nothing to do.
        match unsafe { device.map_phys(part, AnyDirection::ToDevice) } {
            Ok(bus) => {
                let overlapped = forbidden.iter().find(|each| each.overlaps(bus));
                assert_eq!(overlapped, None, "{bus} was given");
                assert!(
                    device.mask().covers(bus),
                    "{bus} is beyond {}",
                    device.mask()
                );
                used += len_bytes;
            }
            Err(error) => {
                let exhausted = matches!(
                    error.failure,
                    MapFailure::Domain(DomainError::Iova(IovaError::IovaExhausted { .. }))
                );
                assert!(exhausted, "{error}");
                len_bytes /= 2;
            }
        }
    }
    used
}

#[test]
fn a_device_can_use_every_address_of_its_mask_but_the_reserved_ones() {
    for (requester, direct) in [(EDU, None), (HEARTBEAT, Some(DIRECT))] {
        let rig = Rig::boot(small());
        let device = rig.attach(requester);
        let forbidden: Vec<BusRange> = [(0, PAGE), MESSAGES, WINDOWS[0]]
            .into_iter()
            .chain(direct)
            .map(range)
            .collect();
        let request = FrameRequest {
            align_log2: 24,
            ..FrameRequest::new(4096)
        };
        let memory = rig.kernel.allocate_frames(request).unwrap();
        let used = use_up(&device, memory, &forbidden);
        let kept: u64 = forbidden.iter().map(|range| range.len_bytes()).sum();
        assert_eq!(used, (1 << 32) - kept, "{requester}");
        let pulse = rig.machine.heartbeat();
        assert_eq!(pulse.missed, 0);
        device.detach().unwrap();
        // SAFETY: the device is detached and nobody else refers to it.
        unsafe { rig.kernel.free_frames(memory) };
        // What was mapped by the raw layer is never counted out, so what belongs to the device stays.
        let _ = rig.finish_with_losses();
    }
}

#[test]
fn a_wide_device_is_kept_out_of_the_upper_window_too() {
    let units = Settings {
        table_levels: Some(3),
        ..Settings::default()
    };
    let config = MachineConfig::default();
    let rig = Rig::boot_with(
        config,
        BootOptions {
            units,
            ..BootOptions::default()
        },
    );
    let device = rig.attach(HEARTBEAT);
    device.set_mask_and_coherent(DmaMask::ALL).unwrap();
    let request = FrameRequest {
        align_log2: 30,
        ..FrameRequest::new(1 << 18)
    };
    let memory = rig.kernel.allocate_frames(request).unwrap();
    let forbidden = [(0, PAGE), MESSAGES, WINDOWS[0], WINDOWS[1], DIRECT].map(range);
    let used = use_up(&device, memory, &forbidden);
    let kept: u64 = forbidden.iter().map(|range| range.len_bytes()).sum();
    assert_eq!(used, (1 << 39) - kept);
    device.detach().unwrap();
    rig.assert_no_findings();
    rig.abandon();
}

#[test]
fn the_narrowest_mask_leaves_the_second_page_only() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    device.set_mask(DmaMask::from_bits(13).unwrap()).unwrap();
    let only = device
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap();
    assert_eq!(only.bus_addr(), BusAddr::new(PAGE));
    let failed = device
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap_err();
    assert!(failed.buffer.is_some());
    drop((only, failed));
    assert!(device.set_mask(DmaMask::from_bits(12).unwrap()).is_err());
    assert!(device.set_mask(DmaMask::from_bits(1).unwrap()).is_err());
    assert_eq!(device.mask().bits(), 13);
    drop(device);
    rig.finish();
}

#[test]
fn streaming_and_coherent_memory_keep_to_their_own_masks() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    assert_eq!(
        (device.mask().bits(), device.coherent_mask().bits()),
        (32, 32)
    );
    device.set_mask(DmaMask::from_bits(20).unwrap()).unwrap();
    device
        .set_coherent_mask(DmaMask::from_bits(16).unwrap())
        .unwrap();
    let mut mappings = Vec::new();
    while let Ok(mapping) = device.map_single(buffer_of(rig.kernel, PAGE, 0), FromDevice) {
        assert!(mapping.range().last() < BusAddr::new(1 << 20));
        mappings.push(mapping);
    }
    assert_eq!(mappings.len(), 255);
    assert!(device.alloc_coherent::<u8>(1).is_err());
    // Room beyond its mask is none for coherent memory.
    drop(mappings.remove(200));
    assert!(device.alloc_coherent::<u8>(1).is_err());
    mappings.remove(3);
    let coherent = device.alloc_coherent::<u8>(1).unwrap();
    assert_eq!(coherent.bus_addr(), BusAddr::new(4 * PAGE));
    drop((coherent, mappings));
    drop(device);
    rig.finish();
}

#[test]
fn coherent_memory_is_aligned_to_the_power_of_two_that_holds_it() {
    let rig = Rig::boot(MachineConfig::default().with_ram(256 << 20));
    let device = rig.attach(EDU);
    // Something in the way, so that alignment is no accident.
    let odd = device
        .map_single(buffer_of(rig.kernel, PAGE, 0), FromDevice)
        .unwrap();
    let mut kept = Vec::new();
    for bytes in [
        1,
        4096,
        4097,
        3 * 4096,
        65536,
        70_000,
        2 << 20,
        (2 << 20) + 1,
        4 << 20,
        9 << 20,
    ] {
        let coherent = device.alloc_coherent::<u8>(bytes).unwrap();
        let align = (bytes as u64).next_power_of_two().max(PAGE);
        let (bus, phys) = (
            coherent.bus_addr(),
            device.translate(coherent.bus_addr()).unwrap(),
        );
        assert!(
            bus.is_aligned(align.ilog2()),
            "{bytes:#x} bytes at bus {bus}"
        );
        assert!(
            phys.is_aligned(align.ilog2()),
            "{bytes:#x} bytes at physical {phys}"
        );
        kept.push(coherent);
    }
    drop((odd, kept));
    drop(device);
    rig.finish();
}

#[test]
fn coherent_memory_that_cannot_be_aligned_is_refused() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    // Below 64 KiB a block of 64 KiB has one place, and page 0 is in it.
    device
        .set_coherent_mask(DmaMask::from_bits(16).unwrap())
        .unwrap();
    assert!(device.alloc_coherent::<u8>(33_000).is_err());
    let half = device.alloc_coherent::<u8>(32_768).unwrap();
    assert_eq!(half.bus_addr(), BusAddr::new(32_768));
    drop(half);
    drop(device);
    rig.finish();
}

/// Units that let a device through or not, walk with or without snooping, cache absence or not.
fn kinds_of_unit() -> Vec<Iommu> {
    let mut kinds = Vec::new();
    for pass_through in [Support::No, Support::Yes] {
        for caching_mode in [CachingMode::PresentOnly, CachingMode::NotPresentToo] {
            for walks in [Snooping::On, Snooping::Off] {
                let unit = VtdConfig {
                    pass_through,
                    caching_mode,
                    ..VtdConfig::default()
                };
                kinds.push(Iommu::Vtd { unit, walks });
            }
        }
    }
    kinds
}

#[test]
fn the_device_firmware_left_at_work_never_misses_a_beat() {
    for iommu in kinds_of_unit() {
        for temper in [Temper::Keep, Temper::Forget, Temper::Random(9)] {
            let config = small().with_iommu(iommu.clone()).with_temper(temper);
            let machine = Machine::boot(config).unwrap();
            let kernel = Hosted::boot(machine.clone()).unwrap();
            let rig =
                Rig::boot_on(machine.clone(), kernel, kernel, BootOptions::default()).unwrap();
            beat(&rig, "started");
            for _ in 0..2 {
                let device = rig.attach(HEARTBEAT);
                beat(&rig, "attached");
                let mapping = device
                    .map_single(buffer_of(kernel, 5 * PAGE, 0), FromDevice)
                    .unwrap();
                beat(&rig, "mapped");
                drop(mapping);
                device.reclaim().unwrap();
                beat(&rig, "reclaimed");
                device.detach().unwrap();
                beat(&rig, "detached");
                let device = rig.attach_trusted(HEARTBEAT, Protection::Identity);
                beat(&rig, "identity");
                device.detach().unwrap();
                beat(&rig, "detached from identity");
            }
            let function = rig.function(HEARTBEAT);
            let blocked = rig.system().attach(&function, Protection::Blocked).unwrap();
            beat(&rig, "blocked");
            drop((blocked, function));
            beat(&rig, "no longer blocked");
            assert_eq!(rig.system().faults().total, 0);
            // SAFETY: the one device at work is the one firmware left at work.
            unsafe { rig.system().shutdown() }.unwrap();
            beat(&rig, "shut down");
            rig.assert_no_findings();
            drop(rig);
            machine.shutdown();
            assert!(kernel.shutdown().is_clean());
        }
    }
}

/// Waits for the next beat; none was missed.
fn beat(rig: &Rig, when: &str) {
    let before = rig.machine.heartbeat();
    wait_until(when, || {
        let pulse = rig.machine.heartbeat();
        assert_eq!(pulse.missed, 0, "after it was {when}");
        pulse.beats > before.beats + 1
    });
}

#[test]
fn the_device_firmware_left_at_work_goes_on_when_attaching_it_fails() {
    use rig::impatient;
    for protection in [Protection::Strict, Protection::Identity] {
        let rig = Rig::boot_with(small(), impatient(150));
        rig.unit(1).hold_queue();
        let function = rig.function(HEARTBEAT);
        // SAFETY: the device goes on within its memory.
        let failed = unsafe { rig.system().attach_trusted(&function, protection) };
        assert!(
            matches!(failed, Err(AttachError::Unconfirmed { .. })),
            "{failed:?}"
        );
        beat(&rig, "not attached");
        rig.unit(1).release_queue();
        beat(&rig, "released");
        rig.assert_no_findings();
        assert_eq!(rig.machine.audit().leaves, []);
        drop(function);
        rig.abandon();
    }
}

#[test]
fn what_firmware_reserved_is_reached_by_its_device_alone() {
    let mut rig = Rig::boot(small());
    let device = rig.attach(HEARTBEAT);
    let reserved = range(DIRECT);
    for offset in [0, PAGE, reserved.len_bytes() - 1] {
        let bus = reserved.start().checked_add(offset).unwrap();
        assert_eq!(
            device.translate(bus).map(|phys| phys.as_u64()),
            Some(bus.as_u64())
        );
    }
    let after = BusAddr::new(DIRECT.1);
    assert_eq!(device.translate(after), None);
    let edu = rig.edu();
    assert_eq!(edu.device().translate(reserved.start()), None);
    drop((device, edu));
    rig.finish();
}

#[test]
fn memory_is_never_mapped_where_the_device_reads_its_own_reserved_memory() {
    // The window is the same however often a device comes and goes.
    let rig = Rig::boot(small());
    for _ in 0..5 {
        let device = rig.attach(HEARTBEAT);
        let buffer = DmaBuffer::allocate(rig.kernel, 64 * PAGE).unwrap();
        let mapping = device.map_single(buffer, FromDevice).unwrap();
        assert!(!mapping.range().overlaps(range(DIRECT)));
        drop(mapping);
        device.detach().unwrap();
    }
    rig.finish();
}
