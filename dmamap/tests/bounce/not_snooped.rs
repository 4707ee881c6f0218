//! Devices that do not snoop: copies are brought to memory and back, and no line is shared with a neighbour.

use dmamap::buffer::PackedFrames;
use dmamap::map::{Bidirectional, FromDevice, ToDevice};
use dmamap::system::Protection;
use machine::MachineConfig;
use machine::cache::Snooping;
use machine::temper::Temper;

use crate::spy::Spy;
use crate::{attach_trusted, pattern, without_units};
use rig::{EDU, PAGE, Rig, buffer_of, small};

const TEMPERS: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(3)];

fn not_snooping(config: MachineConfig, temper: Temper) -> MachineConfig {
    config.with_devices(Snooping::Off).with_temper(temper)
}

fn no_store_was_lost(rig: &Rig) {
    let caches = rig.machine.caches().expect("the machine has caches");
    assert_eq!(caches.invalidated_dirty_lines, 0, "a store was lost");
}

/// Transfers both ways, with turns of the CPU between.
fn transfers(rig: &Rig, spy: &mut Spy) {
    let data = pattern(6, 2 * PAGE as usize);
    let mut buffer = buffer_of(rig.kernel, 2 * PAGE, 0);
    buffer.as_mut_slice().copy_from_slice(&data);
    let mut mapping = spy.device().map_single(buffer, Bidirectional).unwrap();
    let bus = mapping.bus_addr();
    assert!(spy.peek(bus, 2 * PAGE) == data);
    for turn in 0..20_u8 {
        spy.poke(bus.checked_add(70).unwrap(), &[turn; 300]);
        let mut seen = [0; 300];
        mapping.sync_for_cpu().read_at(70, &mut seen).unwrap();
        assert_eq!(seen, [turn; 300]);
        let mut view = mapping.sync_range_for_cpu(4000, 200).unwrap();
        view.write_at(3, &[turn ^ 0xff; 150]).unwrap();
        drop(view);
        assert_eq!(
            spy.peek(bus.checked_add(4003).unwrap(), 150),
            [turn ^ 0xff; 150]
        );
    }
    spy.poke(bus, &[0x33; 64]);
    let buffer = mapping.unmap().unwrap();
    assert_eq!(buffer.as_slice()[..64], [0x33; 64]);
    assert_eq!(buffer.as_slice()[70..370], [19; 300]);
    assert_eq!(buffer.as_slice()[4003..4153], [19 ^ 0xff; 150]);
    assert!(buffer.as_slice()[5000..] == data[5000..]);
}

#[test]
fn copies_are_right_without_snooping_on_every_route() {
    for temper in TEMPERS {
        let mut rig = Rig::boot(not_snooping(without_units(), temper));
        let device = attach_trusted(&rig);
        let mut spy = Spy::on(&mut rig, device);
        transfers(&rig, &mut spy);
        assert!(spy.device().figures().bounced_bytes > 0);
        spy.stop();
        no_store_was_lost(&rig);
        rig.finish();

        let mut rig = Rig::boot(not_snooping(small(), temper));
        let function = rig.function(EDU);
        let device = rig.system().attach(&function, Protection::Bounce).unwrap();
        drop(function);
        let mut spy = Spy::on(&mut rig, device);
        transfers(&rig, &mut spy);
        // Wiped where the device looks, not only in the CPU's caches.
        let secret = buffer_of(rig.kernel, PAGE, 0x5e);
        let mapping = spy.device().map_single(secret, Bidirectional).unwrap();
        let bus = mapping.bus_addr();
        drop(mapping.unmap().unwrap());
        assert!(spy.peek(bus, PAGE).iter().all(|&byte| byte == 0));
        spy.stop();
        no_store_was_lost(&rig);
        rig.finish();
    }
}

#[test]
fn a_block_that_shares_a_line_is_copied_where_the_device_writes() {
    for temper in TEMPERS {
        // All memory is within reach.
        let little = without_units().with_ram(64 << 20);
        let mut rig = Rig::boot(not_snooping(little, temper));
        let device = attach_trusted(&rig);
        let mut spy = Spy::on(&mut rig, device);
        let frames = PackedFrames::new(rig.kernel, 40);
        let (mut left, block, mut right) = (
            frames.allocate().unwrap(),
            frames.allocate().unwrap(),
            frames.allocate().unwrap(),
        );
        let mapping = spy.device().map_single(block, FromDevice).unwrap();
        assert_eq!(spy.device().figures().bounced_maps, 1);
        left.as_mut_slice().fill(1);
        spy.poke(mapping.bus_addr(), &[2; 40]);
        right.as_mut_slice().fill(3);
        let block = mapping.unmap().unwrap();
        assert_eq!(left.as_slice(), [1; 40]);
        assert_eq!(block.as_slice(), [2; 40]);
        assert_eq!(right.as_slice(), [3; 40]);
        // What the device only reads may share its lines.
        let mapping = spy.device().map_single(block, ToDevice).unwrap();
        assert_eq!(spy.device().figures().bounced_maps, 1);
        drop((mapping, left, right, frames));
        spy.stop();
        no_store_was_lost(&rig);
        rig.finish();
    }
}

#[test]
fn what_was_copied_is_gone_from_memory_when_its_mapping_is_over() {
    let mut rig = Rig::boot(not_snooping(small(), Temper::Keep));
    let function = rig.function(EDU);
    let device = rig.system().attach(&function, Protection::Bounce).unwrap();
    let mut spy = Spy::on(&mut rig, device);
    let secret = buffer_of(rig.kernel, PAGE, 0x5e);
    let mapping = spy.device().map_single(secret, Bidirectional).unwrap();
    let bus = mapping.bus_addr();
    assert_eq!(spy.peek(bus, PAGE), [0x5e; PAGE as usize]);
    drop(mapping.unmap().unwrap());
    // The addresses stay the device's: it reads memory, not the caches.
    assert_eq!(spy.peek(bus, PAGE), [0; PAGE as usize]);
    spy.stop();
    drop(function);
    rig.finish();
}
