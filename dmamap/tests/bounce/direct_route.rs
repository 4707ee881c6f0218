//! The direct route: who is given a copy, and of what.

use std::thread;

use dmamap::addr::DmaMask;
use dmamap::bounce::{BounceSettings, Forced};
use dmamap::buffer::ScatteredBuffer;
use dmamap::device::MaskError;
use dmamap::map::{Attributes, Bidirectional, FromDevice, MapFailure, ToDevice};
use dmamap::system::Protection;
use machine::{Iommu, MachineConfig};

use crate::spy::Spy;
use crate::{attach_trusted, pattern, without_units};
use rig::{EDU, PAGE, Rig, buffer_of};

fn bits(bits: u32) -> DmaMask {
    DmaMask::from_bits(bits).unwrap()
}

#[test]
fn memory_beyond_the_mask_goes_by_way_of_a_copy() {
    let mut rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    let mut spy = Spy::on(&mut rig, device);
    let data = pattern(1, 3 * PAGE as usize);
    let mut buffer = buffer_of(rig.kernel, 3 * PAGE, 0);
    buffer.as_mut_slice().copy_from_slice(&data);
    let phys = buffer.phys(0);

    let mapping = spy.device().map_single(buffer, ToDevice).unwrap();
    assert!(bits(28).covers(mapping.range()), "{mapping:?}");
    assert_ne!(spy.device().translate(mapping.bus_addr()), phys);
    assert!(mapping.need_sync());
    assert!(spy.peek(mapping.bus_addr(), 3 * PAGE) == data);
    // What the device only reads it cannot change for the driver.
    spy.poke(mapping.bus_addr(), &[0xff; 64]);
    let buffer = mapping.unmap().unwrap();
    assert!(buffer.as_slice() == data);

    let mapping = spy.device().map_single(buffer, FromDevice).unwrap();
    spy.poke(mapping.bus_addr().checked_add(5000).unwrap(), &[7; 100]);
    let buffer = mapping.unmap().unwrap();
    let mut expected = data;
    expected[5000..5100].fill(7);
    assert!(
        buffer.as_slice() == expected,
        "bytes not written keep their value"
    );
    let figures = spy.device().figures();
    assert_eq!((figures.bounced_maps, figures.bounced_bytes), (2, 6 * PAGE));
    let pool = rig.system().bounce_figures();
    assert_eq!((pool.slots_in_use, pool.slots_high_water), (0, 6));
    drop(buffer);
    spy.stop();
    rig.finish();
}

#[test]
fn the_cpus_turn_reads_and_writes_what_the_device_has() {
    let mut rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    let mut spy = Spy::on(&mut rig, device);
    for attributes in [Attributes::NONE, Attributes::NONE.skip_cpu_sync()] {
        let buffer = buffer_of(rig.kernel, 2 * PAGE, 3);
        let mapping = spy
            .device()
            .map_single_attrs(buffer, Bidirectional, attributes);
        let mut mapping = mapping.unwrap();
        let at = |offset| mapping.bus_addr().checked_add(offset).unwrap();
        let (low, high) = (at(100), at(4090));
        spy.poke(low, &[9; 50]);
        let mut view = mapping.sync_range_for_cpu(4080, 40).unwrap();
        view.write_at(10, &[5; 20]).unwrap();
        drop(view);
        assert_eq!(spy.peek(high, 21), [vec![5; 20], vec![3]].concat());
        let mut read = [0; 52];
        mapping.sync_for_cpu().read_at(99, &mut read).unwrap();
        assert_eq!(read[..], [vec![3], vec![9; 50], vec![3]].concat());
        // Not synced for the CPU any more: unmapping brings it, unless it was told not to.
        spy.poke(low, &[8]);
        let buffer = mapping.unmap().unwrap();
        let expected = match attributes {
            Attributes::NONE => 8,
            _ => 9,
        };
        assert_eq!(buffer.as_slice()[100..102], [expected, 9]);
        assert_eq!(buffer.as_slice()[4090..4110], [5; 20]);
    }
    spy.stop();
    rig.finish();
}

#[test]
fn those_who_read_retired_memory_at_once_do_not_write_it() {
    let mut rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    let mut spy = Spy::on(&mut rig, device);
    let attributes = Attributes::NONE.skip_cpu_sync();
    let buffer = buffer_of(rig.kernel, PAGE, 3);
    let mapping = spy
        .device()
        .map_single_attrs(buffer, Bidirectional, attributes);
    let mapping = mapping.unwrap();
    spy.poke(mapping.bus_addr(), &[9; 50]);
    let retired = mapping.retire();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = [0; 51];
                retired.read_at(0, &mut seen).unwrap();
                assert_eq!(seen[..], [vec![9; 50], vec![3]].concat());
            });
        }
    });
    // Nobody synced it for the CPU, and nobody was to.
    assert_eq!(retired.finish().unwrap().as_slice()[..50], [3; 50]);
    spy.stop();
    rig.finish();
}

#[test]
fn a_device_that_writes_after_unmap_changes_no_memory_of_the_driver() {
    let mut rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    let mut spy = Spy::on(&mut rig, device);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let mapping = spy.device().map_single(buffer, FromDevice).unwrap();
    let late = mapping.bus_addr();
    let buffer = mapping.unmap().unwrap();
    spy.poke(late, &[0xee; 4096]);
    assert!(buffer.as_slice().iter().all(|&byte| byte == 1));
    drop(buffer);
    spy.stop();
    rig.finish();
}

#[test]
fn a_list_becomes_one_segment() {
    let rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    device.set_mask(bits(28)).unwrap();
    let mut buffer = ScatteredBuffer::allocate(rig.kernel, 7 * PAGE + 100).unwrap();
    let data = pattern(9, 7 * PAGE as usize + 100);
    buffer.as_mut_slice().copy_from_slice(&data);
    let list = device.map_sg(buffer, Bidirectional).unwrap();
    let segments: Vec<_> = list.segments().collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    assert_eq!(segments[0].len_bytes(), 7 * PAGE + 100);
    assert!(bits(28).covers(segments[0]));
    device.set_max_segment_bytes(2 * PAGE).unwrap();
    let lens: Vec<_> = list.segments().map(|one| one.len_bytes()).collect();
    assert_eq!(lens, [2 * PAGE, 2 * PAGE, 2 * PAGE, PAGE + 100]);
    assert!(list.unmap().unwrap().as_slice() == data);
    drop(device);
    rig.finish();
}

#[test]
fn where_coherent_memory_is_required_nothing_is_copied() {
    let rig = Rig::boot(without_units());
    let device = attach_trusted(&rig);
    let high = buffer_of(rig.kernel, PAGE, 0);
    let memory = dmamap::buffer::DmaMemory::segment(&high, 0);
    let attributes = Attributes::NONE.require_coherent();
    let rejected = device
        .map_single_attrs(high, ToDevice, attributes)
        .unwrap_err();
    assert_eq!(rejected.error.failure, MapFailure::WouldBounce { memory });
    let high = rejected.buffer.expect("it comes back");
    device.set_mask(DmaMask::ALL).unwrap();
    let mapping = device.map_single_attrs(high, ToDevice, attributes).unwrap();
    assert_eq!(device.figures().bounced_maps, 0);
    drop((mapping, device));
    rig.finish();
}

#[test]
fn copies_can_be_forced_by_the_machine_the_device_or_the_mapping() {
    let forced = BounceSettings {
        forced: Forced::Always,
        ..BounceSettings::default()
    };
    for (settings, protection, attributes) in [
        (forced, Protection::Identity, Attributes::NONE),
        (
            BounceSettings::default(),
            Protection::Bounce,
            Attributes::NONE,
        ),
        (
            BounceSettings::default(),
            Protection::Identity,
            Attributes::NONE.at_least(Protection::Bounce),
        ),
    ] {
        let rig = Rig::boot(without_units());
        rig.system().set_bounce(settings);
        let device = rig.attach_trusted(EDU, protection);
        device.set_mask(DmaMask::ALL).unwrap();
        let buffer = buffer_of(rig.kernel, PAGE, 4);
        let phys = buffer.phys(0);
        let mapping = device
            .map_single_attrs(buffer, Bidirectional, attributes)
            .unwrap();
        assert_ne!(device.translate(mapping.bus_addr()), phys);
        assert_eq!(device.figures().bounced_bytes, PAGE);
        // Coherent memory is the device's from the start.
        drop(device.alloc_coherent::<u64>(8).unwrap());
        assert_eq!(device.figures().bounced_maps, 1);
        drop((mapping, device));
        rig.finish();
    }
}

#[test]
fn a_mask_is_refused_where_not_even_copies_are_within_reach() {
    const OFFSET: u64 = 0x0800_0000;
    let config = MachineConfig::default()
        .with_ram(64 << 20)
        .with_iommu(Iommu::None)
        .with_inbound_offset(OFFSET);
    let rig = Rig::boot(config);
    let device = attach_trusted(&rig);
    for too_few in [12, 13, 27] {
        let refused = device.set_mask(bits(too_few));
        assert!(
            matches!(
                refused,
                Err(MaskError::CannotReachMemory { .. } | MaskError::NoRoom { .. })
            ),
            "{refused:?}"
        );
        assert_eq!(device.mask(), bits(32));
    }
    device.set_mask(bits(28)).unwrap();
    drop(device);
    rig.finish();
}

#[test]
fn copies_are_where_the_bus_shows_memory() {
    const OFFSET: u64 = 0x0800_0000;
    // Half of the memory is within reach of 28 address lines, and it is lent from above.
    let config = MachineConfig::default()
        .with_ram(256 << 20)
        .with_iommu(Iommu::None)
        .with_inbound_offset(OFFSET);
    let mut rig = Rig::boot(config);
    let device = attach_trusted(&rig);
    let mut spy = Spy::on(&mut rig, device);
    let data = pattern(2, PAGE as usize);
    let mut buffer = buffer_of(rig.kernel, PAGE, 0);
    buffer.as_mut_slice().copy_from_slice(&data);
    let mapping = spy.device().map_single(buffer, ToDevice).unwrap();
    let reached = spy.device().translate(mapping.bus_addr()).unwrap();
    assert_eq!(mapping.bus_addr().as_u64(), reached.as_u64() + OFFSET);
    assert!(bits(28).covers(mapping.range()));
    assert!(spy.peek(mapping.bus_addr(), PAGE) == data);
    drop(mapping);
    spy.stop();
    rig.finish();
}
