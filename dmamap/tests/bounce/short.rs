//! Short mappings of a strictly protected device that are copied to slots it always has: what it sees, what it does not, and
//! when the memory itself is mapped all the same.

use dmamap::addr::{BusAddr, PhysAddr};
use dmamap::bounce::BounceSettings;
use dmamap::buffer::{DmaMemory, PackedFrames};
use dmamap::device::Device;
use dmamap::iommu::fault::Access;
use dmamap::map::{Attributes, Bidirectional, FromDevice, ToDevice};
use dmamap::system::Protection;
use hosted::Hosted;
use hw::vtd::fault::FaultReason;

use crate::pattern;
use crate::spy::Spy;
use rig::{EDU, PAGE, Rig, assert_first_fault, buffer_of, small};

/// How a device is attached.
type Attach = fn(&Rig) -> Device<Hosted>;

/// A rig whose settings have mappings of fewer bytes copied.
fn copying_below(copy_below_bytes: u64) -> Rig {
    let rig = Rig::boot(small());
    rig.system().set_bounce(BounceSettings {
        copy_below_bytes,
        ..BounceSettings::default()
    });
    rig
}

fn spy(rig: &mut Rig) -> Spy {
    let device = rig.attach(EDU);
    Spy::on(rig, device)
}

#[test]
fn what_is_short_is_copied_and_tells_the_unit_nothing() {
    let mut rig = copying_below(PAGE + 1);
    let mut spy = spy(&mut rig);
    let data = pattern(5, PAGE as usize);
    let mut buffer = buffer_of(rig.kernel, PAGE, 0);
    buffer.as_mut_slice().copy_from_slice(&data);
    let mapping = spy.device().map_single(buffer, ToDevice).unwrap();
    let (bus, phys) = (mapping.bus_addr(), mapping.phys().start());
    assert_ne!(spy.device().translate(bus), Some(phys));
    assert!(spy.peek(bus, PAGE) == data);
    // It only reads it.
    spy.poke(bus, &[0xff; 8]);
    let reason = FaultReason::WriteNotPermitted;
    assert_first_fault(rig.system(), EDU, bus, Access::Write, reason);
    let mut buffer = mapping.unmap().unwrap();
    assert!(buffer.as_slice() == data);
    let before = rig.system().invalidations();
    for round in 0..100 {
        let mapping = spy.device().map_single(buffer, FromDevice).unwrap();
        spy.poke(mapping.bus_addr(), &[round; 16]);
        buffer = mapping.unmap().unwrap();
        assert_eq!(buffer.as_slice()[..16], [round; 16]);
        // What the device did not write is as it was.
        assert!(buffer.as_slice()[16..] == data[16..]);
    }
    assert_eq!(rig.system().invalidations(), before);
    assert_eq!(spy.device().figures().bounced_maps, 101);
    drop(buffer);
    spy.stop();
    rig.finish_after_faults();
}

#[test]
fn what_is_not_short_is_in_place_and_lost_at_its_unmap() {
    let mut rig = copying_below(PAGE);
    let mut spy = spy(&mut rig);
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let phys = buffer.segment(0).start();
    let mapping = spy.device().map_single(buffer, Bidirectional).unwrap();
    let bus = mapping.bus_addr();
    assert_eq!(spy.device().translate(bus), Some(phys));
    let before = rig.system().invalidations();
    drop(mapping.unmap().unwrap());
    assert!(rig.system().invalidations() > before);
    assert_eq!(spy.device().translate(bus), None);
    spy.peek(bus, 8);
    assert_eq!(rig.system().faults().total, 1);
    assert_eq!(spy.device().figures().bounced_maps, 0);
    spy.stop();
    rig.finish_after_faults();
}

/// Whoever vouched for the device or not: what lies beside a short buffer is not in its slot, and what was in the slot is gone.
#[test]
fn what_lies_beside_a_short_buffer_and_what_was_there_before_is_never_shown() {
    let trusted = |rig: &Rig| rig.attach_trusted(EDU, Protection::Strict);
    let attached: [(&str, Attach); 2] = [("confined", |rig| rig.attach(EDU)), ("trusted", trusted)];
    for (trust, attach) in attached {
        let mut rig = copying_below(PAGE);
        let device = attach(&rig);
        let mut spy = Spy::on(&mut rig, device);
        let frames = PackedFrames::new(rig.kernel, 200);
        let mut blocks: Vec<_> = (0..20).map(|_| frames.allocate().unwrap()).collect();
        for (n, block) in blocks.iter_mut().enumerate() {
            block.as_mut_slice().fill(0x40 + n as u8);
        }
        let middle = blocks.swap_remove(7);
        let mapping = spy.device().map_single(middle, Bidirectional).unwrap();
        let bus = mapping.bus_addr();
        let area = BusAddr::new(bus.as_u64() >> 20 << 20);
        let seen = spy.peek(area, 1 << 20);
        let at = (bus.as_u64() - area.as_u64()) as usize;
        assert_eq!(seen[at..at + 200], [0x47; 200], "{trust}");
        let shown = seen.iter().filter(|&&byte| byte != 0).count();
        assert_eq!(shown, 200, "{trust}");
        // All of the area is the device's to write, and none of it anybody's memory.
        spy.poke(area, &vec![0xee; 1 << 20]);
        let middle = mapping.unmap().unwrap();
        assert_eq!(middle.as_slice(), [0xee; 200], "{trust}");
        for (n, block) in blocks.iter().enumerate() {
            let own = if n == 7 { 0x40 + 19 } else { 0x40 + n as u8 };
            assert_eq!(block.as_slice(), [own; 200], "{trust}");
        }
        // It keeps the addresses, and writes there when it likes; the next mapping is none the worse.
        assert_eq!(spy.peek(bus, 200), [0; 200], "{trust}");
        spy.poke(bus, &[0xdd; 200]);
        let mapping = spy.device().map_single(middle, ToDevice).unwrap();
        let middle = mapping.unmap().unwrap();
        assert_eq!(middle.as_slice(), [0xee; 200], "{trust}");
        drop((middle, blocks, frames));
        spy.stop();
        rig.finish();
    }
}

#[test]
fn where_a_copy_is_not_to_be_or_there_are_no_slots_the_memory_is_mapped() {
    let mut rig = copying_below(1 << 20);
    let spy = spy(&mut rig);
    let device = spy.device();
    // The device has 28 address lines.
    let longest = device.max_mapping_bytes();
    assert!(longest > 64 << 20, "not what a pool lends: {longest:#x}");
    let is_copied = |bus, phys| device.translate(bus) != Some(phys);
    let coherent = Attributes::NONE.require_coherent();
    let buffer = buffer_of(rig.kernel, PAGE, 1);
    let mapping = device.map_single_attrs(buffer, ToDevice, coherent).unwrap();
    assert!(!is_copied(mapping.bus_addr(), mapping.phys().start()));
    drop(mapping.unmap().unwrap());
    // Two to an area, of which there are 32 for each permission.
    let map = || {
        let buffer = buffer_of(rig.kernel, 512 << 10, 2);
        device.map_single(buffer, FromDevice).unwrap()
    };
    let mappings: Vec<_> = (0..70).map(|_| map()).collect();
    let copied = |n: usize| is_copied(mappings[n].bus_addr(), mappings[n].phys().start());
    assert!((0..64).all(copied));
    assert!(!(64..70).any(copied));
    assert_eq!(device.bounce_figures().transient, 0);
    for mapping in mappings {
        let buffer = mapping.unmap().unwrap();
        assert!(buffer.as_slice().iter().all(|&byte| byte == 2));
    }
    assert!(is_copied(map().bus_addr(), PhysAddr::new(0)));
    spy.stop();
    rig.finish();
}

/// Those who attached before are left as they were, and so are others than strictly protected devices.
#[test]
fn only_strictly_protected_devices_that_attach_later_copy_what_is_short() {
    let rig = Rig::boot(small());
    let device = rig.attach(EDU);
    rig.system().set_bounce(BounceSettings {
        copy_below_bytes: 1 << 20,
        ..BounceSettings::default()
    });
    let bounced = |device: &Device<Hosted>| {
        let buffer = buffer_of(rig.kernel, PAGE, 1);
        drop(device.map_single(buffer, ToDevice).unwrap());
        device.figures().bounced_maps
    };
    assert_eq!(bounced(&device), 0);
    device.detach().unwrap();
    for (protection, expected) in [(Protection::Strict, 1), (Protection::Deferred, 0)] {
        let device = rig.attach_trusted(EDU, protection);
        assert_eq!(bounced(&device), expected, "{protection:?}");
        device.detach().unwrap();
    }
    rig.finish();
}
