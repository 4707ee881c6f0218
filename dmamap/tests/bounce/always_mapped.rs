//! `Protection::Bounce` behind a unit: pools that are always mapped, and nothing else.

use dmamap::addr::PhysAddr;
use dmamap::bounce::BounceError;
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::iommu::fault::Access;
use dmamap::map::{Attributes, Bidirectional, FromDevice, MapFailure, ToDevice};
use dmamap::platform::Platform;
use dmamap::system::Protection;
use hw::vtd::fault::FaultReason;
use machine::MachineConfig;
use machine::cache::Snooping;
use machine::iommu::vtd::{CachingMode, VtdConfig};

use crate::pattern;
use crate::spy::Spy;
use rig::{EDU, PAGE, Rig, assert_first_fault, buffer_of, impatient, small, vtd};

fn bounced(config: MachineConfig) -> (Rig, Spy) {
    let mut rig = Rig::boot(config);
    let function = rig.function(EDU);
    let device = rig.system().attach(&function, Protection::Bounce).unwrap();
    let spy = Spy::on(&mut rig, device);
    (rig, spy)
}

#[test]
fn no_page_of_a_driver_is_ever_mapped() {
    let (rig, mut spy) = bounced(small());
    let data = pattern(5, 2 * PAGE as usize);
    let mut buffer = buffer_of(rig.kernel, 2 * PAGE, 0);
    buffer.as_mut_slice().copy_from_slice(&data);
    let mapping = spy.device().map_single(buffer, ToDevice).unwrap();
    let phys = mapping.phys();
    let leaves = rig.machine.audit().leaves;
    let reached = |leaf: &machine::audit::Leaf| {
        let end = leaf.phys + leaf.len_bytes;
        leaf.phys <= phys.last().as_u64() && phys.start().as_u64() < end
    };
    assert!(!leaves.iter().any(reached), "{leaves:?}");
    assert!(spy.peek(mapping.bus_addr(), 2 * PAGE) == data);
    drop(mapping.unmap().unwrap());
    assert_eq!(spy.device().figures().bounced_bytes, 2 * PAGE);
    spy.stop();
    rig.finish();
}

#[test]
fn what_was_there_before_is_gone_and_what_comes_after_is_not_the_drivers() {
    let (rig, mut spy) = bounced(small());
    let secret = buffer_of(rig.kernel, PAGE, 0x5e);
    let mapping = spy.device().map_single(secret, Bidirectional).unwrap();
    let bus = mapping.bus_addr();
    assert_eq!(spy.peek(bus, 16), [0x5e; 16]);
    let buffer = mapping.unmap().unwrap();
    // The addresses stay the device's, with nothing behind them.
    assert!(spy.device().translate(bus).is_some());
    assert!(spy.peek(bus, PAGE).iter().all(|&byte| byte == 0));
    spy.poke(bus, &[0xbb; 4096]);
    assert!(buffer.as_slice().iter().all(|&byte| byte == 0x5e));
    // What it left there is not what the next driver finds; beside what that is given there is but what the device left.
    let short = buffer_of(rig.kernel, 2100, 1);
    let mapping = spy.device().map_single(short, Bidirectional).unwrap();
    assert_eq!(mapping.bus_addr(), bus, "the slots are used again at once");
    let seen = [vec![1; 2100], vec![0xbb; 1996]].concat();
    assert_eq!(spy.peek(bus, PAGE), seen);
    assert_eq!(mapping.unmap().unwrap().as_slice(), [1; 2100]);
    let seen = [vec![0; 2100], vec![0xbb; 1996]].concat();
    assert_eq!(spy.peek(bus, PAGE), seen);
    drop(buffer);
    spy.stop();
    rig.finish();
}

#[test]
fn what_a_device_only_reads_it_cannot_change() {
    let (rig, mut spy) = bounced(small());
    let mapping = spy
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 2), ToDevice)
        .unwrap();
    let bus = mapping.bus_addr();
    spy.poke(bus, &[0xff; 8]);
    let reason = FaultReason::WriteNotPermitted;
    assert_first_fault(rig.system(), EDU, bus, Access::Write, reason);
    assert_eq!(spy.peek(bus, 8), [2; 8]);
    drop(mapping);
    spy.stop();
    rig.finish_after_faults();
}

#[test]
fn mapping_and_unmapping_tell_the_unit_nothing() {
    let (rig, spy) = bounced(small());
    let round = || {
        let buffer = buffer_of(rig.kernel, 3 * PAGE, 2);
        let mapping = spy.device().map_single(buffer, FromDevice).unwrap();
        drop(mapping.unmap().unwrap());
    };
    round();
    let before = rig.system().invalidations();
    for _ in 0..100 {
        round();
    }
    assert_eq!(rig.system().invalidations(), before);
    let pool = spy.device().bounce_figures();
    assert_eq!((pool.slots_in_use, pool.slots_high_water), (0, 6));
    spy.stop();
    rig.finish();
}

#[test]
fn a_mapping_longer_than_an_area_is_mapped_for_its_time() {
    let (rig, spy) = bounced(small());
    let data = pattern(8, 3 << 20);
    let mut buffer = buffer_of(rig.kernel, 3 << 20, 0);
    buffer.as_mut_slice().copy_from_slice(&data);
    let mapping = spy.device().map_single(buffer, Bidirectional).unwrap();
    let (first, last) = (mapping.range().start(), mapping.range().last());
    assert!(spy.device().translate(last).is_some());
    assert_eq!(spy.device().bounce_figures().transient, 1);
    let buffer = mapping.unmap().unwrap();
    assert!(buffer.as_slice() == data);
    assert_eq!(spy.device().translate(first), None);
    assert_eq!(spy.device().bounce_figures().transient, 0);
    drop(buffer);
    spy.stop();
    rig.finish();
}

#[test]
fn a_mapping_that_outlives_its_device_brings_its_data() {
    let (rig, mut spy) = bounced(small());
    let mapping = spy
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 1), FromDevice)
        .unwrap();
    spy.poke(mapping.bus_addr(), &[6; 10]);
    spy.stop();
    assert_eq!(rig.machine.audit().leaves, []);
    let buffer = mapping.unmap().unwrap();
    assert_eq!(buffer.as_slice()[..11], [6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 1]);
    drop(buffer);
    rig.finish();
}

#[test]
fn one_mapping_can_ask_for_more_than_its_domain() {
    let mut rig = Rig::boot(small());
    let device = rig.attach(EDU);
    let mut spy = Spy::on(&mut rig, device);
    let attributes = Attributes::NONE.at_least(Protection::Bounce);
    let buffer = buffer_of(rig.kernel, PAGE + 10, 3);
    let phys = buffer.phys(0);
    let mapping = spy
        .device()
        .map_single_attrs(buffer, Bidirectional, attributes);
    let mapping = mapping.unwrap();
    let bus = mapping.bus_addr();
    assert_ne!(spy.device().translate(bus), phys);
    // All that is mapped: its pages, zeros behind its bytes.
    let seen = spy.peek(bus, 2 * PAGE);
    assert!(seen[..4106].iter().all(|&byte| byte == 3));
    assert!(seen[4106..].iter().all(|&byte| byte == 0));
    spy.poke(bus, &[4; 5]);
    assert_eq!(mapping.unmap().unwrap().as_slice()[..6], [4, 4, 4, 4, 4, 3]);
    assert_eq!(spy.device().translate(bus), None);
    spy.stop();
    rig.finish();
}

#[test]
fn new_memory_of_a_pool_holds_nothing_of_others() {
    new_memory_holds_nothing(small());
}

/// There the zeros that the CPU stored have to arrive.
#[test]
fn new_memory_of_a_pool_holds_nothing_of_others_beneath_the_caches() {
    new_memory_holds_nothing(small().with_devices(Snooping::Off));
}

fn new_memory_holds_nothing(config: MachineConfig) {
    let mut rig = Rig::boot(config);
    // What the pool will be made of was somebody's.
    let last = PhysAddr::new(u32::MAX.into());
    let low = || DmaBuffer::allocate_within(rig.kernel, 1 << 20, last, 12).unwrap();
    let mut theirs: Vec<_> = (0..40).map(|_| low()).collect();
    for buffer in &mut theirs {
        buffer.as_mut_slice().fill(0x99);
        // And not in the caches alone.
        rig.kernel.clean_cache(buffer.pointer(), 1 << 20);
    }
    theirs.clear();
    let function = rig.function(EDU);
    let device = rig.system().attach(&function, Protection::Bounce).unwrap();
    drop(function);
    let mut spy = Spy::on(&mut rig, device);
    let mapping = spy
        .device()
        .map_single(buffer_of(rig.kernel, PAGE, 1), ToDevice)
        .unwrap();
    let area = dmamap::addr::BusAddr::new(mapping.bus_addr().as_u64() >> 20 << 20);
    let seen = spy.peek(area, 256 * PAGE);
    let not_zero = seen.iter().filter(|&&byte| byte != 0);
    assert_eq!(not_zero.count(), PAGE as usize);
    drop(mapping);
    spy.stop();
    rig.finish();
}

#[test]
fn new_memory_that_the_device_may_have_already_is_lost_once_and_counted() {
    let caching = vtd(VtdConfig {
        caching_mode: CachingMode::NotPresentToo,
        ..VtdConfig::default()
    });
    let rig = Rig::boot_with(small().with_iommu(caching), impatient(150));
    let function = rig.function(EDU);
    let device = rig.system().attach(&function, Protection::Bounce).unwrap();
    drop(function);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    rig.unit(0).hold_queue();
    let rejected = device.map_single(buffer, ToDevice).unwrap_err();
    rig.unit(0).release_queue();
    assert!(
        matches!(
            rejected.error.failure,
            MapFailure::Bounce(BounceError::Unconfirmed { .. })
        ),
        "{rejected}"
    );
    let buffer = rejected.buffer.expect("the device was not given it");
    let figures = device.bounce_figures();
    assert_eq!((figures.lost_bytes, figures.bytes), (1 << 20, 0));
    assert_eq!(device.figures().lost_bytes, 1 << 20);
    // There is other memory.
    let mapping = device.map_single(buffer, ToDevice).unwrap();
    assert_eq!(device.bounce_figures().bytes, 1 << 20);
    drop(mapping.unmap().unwrap());
    device.detach().unwrap();
    let lost = rig.finish_with_losses();
    assert_eq!(lost.frames.in_use, (1 << 20) / PAGE);
}
