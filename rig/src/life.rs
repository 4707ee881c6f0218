//! What a device does from its attachment to its detachment, on units of every kind.

use dmamap::buffer::{DmaBuffer, DmaMemory, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::iommu::fault::Access;
use dmamap::map::{Bidirectional, Direction, FromDevice, Mapping, ToDevice};
use drivers::edu::Edu;
use hosted::Hosted;
use hw::vtd::fault::FaultReason;

use crate::{EDU, PAGE, Rig, assert_first_fault, buffer_of, try_read, try_write};

/// The life of a device that at last goes where nothing is mapped, by `access`, and is refused for `reason`.
pub fn live(rig: &mut Rig, access: Access, reason: FaultReason) {
    let mut edu = rig.edu();
    // Before anything was mapped the unit is asked, and may remember that there was nothing.
    // (Later faults of a requester are counted only, so the first must be the one looked at.)
    round_trip(&mut edu, rig.kernel, 1);
    for pages in [2, 5, 16] {
        round_trip(&mut edu, rig.kernel, pages);
    }
    large_leaves(edu.device(), rig.kernel);
    assert_eq!(rig.system().faults().total, 0);
    rig.assert_no_findings();

    let buffer = buffer_of(rig.kernel, PAGE, 0x5a);
    let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
    edu.fetch(&mapping, 0, 64).unwrap();
    edu.store(&mapping, 0, 64).unwrap();
    let bus = mapping.bus_addr();
    let buffer = mapping.unmap().unwrap();
    match access {
        Access::Write => try_write(&mut edu, bus, 64),
        Access::Read | Access::Unknown => try_read(&mut edu, bus, 64),
    }
    assert_first_fault(rig.system(), EDU, bus, access, reason);
    assert!(buffer.as_slice().iter().all(|&byte| byte == 0x5a));

    // What was refused there is reached as soon as it is mapped again.
    let mapping = edu.device().map_single(buffer, Bidirectional).unwrap();
    let faults = rig.system().faults().total;
    edu.fetch(&mapping, 0, 64).unwrap();
    assert_eq!(rig.system().faults().total, faults);
    drop(mapping);
    edu.stop().detach().unwrap();
    assert_eq!(rig.machine.audit().leaves, []);
}

/// Through memory to the device and back to other memory.
pub fn round_trip(edu: &mut Edu<Hosted>, kernel: Hosted, pages: u64) {
    let len_bytes = pages * PAGE;
    let mut source = DmaBuffer::allocate(kernel, len_bytes).unwrap();
    for (n, byte) in source.as_mut_slice().iter_mut().enumerate() {
        *byte = (n as u64 / PAGE * 7 + n as u64 % 251) as u8;
    }
    let expected = source.as_slice().to_vec();
    let source = edu.device().map_single(source, ToDevice).unwrap();
    let target = edu
        .device()
        .map_single(buffer_of(kernel, len_bytes, 0xee), FromDevice)
        .unwrap();
    for page in 0..pages {
        edu.fetch(&source, page * PAGE, PAGE).unwrap();
        edu.store(&target, page * PAGE, PAGE).unwrap();
    }
    assert!(target.unmap().unwrap().as_slice() == expected);
    assert_translates_home(edu.device(), &source);
    assert!(source.unmap().unwrap().as_slice() == expected);
}

/// Asserts that the device finds at the mapping's addresses the memory that was mapped.
pub fn assert_translates_home<B: DmaMemory, D: Direction>(
    device: &Device<Hosted>,
    mapping: &Mapping<Hosted, B, D>,
) {
    let (bus, phys) = (mapping.range(), mapping.phys());
    for offset in [0, 1, PAGE - 1, bus.len_bytes() - 1] {
        let home = phys.start().checked_add(offset);
        assert_eq!(
            device.translate(bus.start().checked_add(offset).unwrap()),
            home
        );
    }
}

/// Memory long enough for a large leaf, mapped and unmapped between small mappings.
pub fn large_leaves(device: &Device<Hosted>, kernel: Hosted) {
    let small = device
        .map_single(DmaBuffer::allocate(kernel, PAGE).unwrap(), ToDevice)
        .unwrap();
    let large = DmaBuffer::allocate(kernel, 3 << 20).unwrap();
    let large = device.map_single(large, FromDevice).unwrap();
    assert_translates_home(device, &large);
    let after = large.range().last().checked_add(1).unwrap();
    assert_eq!(
        device.translate(after),
        None,
        "more is mapped than was asked for"
    );
    drop(large.unmap().unwrap());
    let scattered = ScatteredBuffer::allocate(kernel, 40 * PAGE).unwrap();
    let list = device.map_sg(scattered, FromDevice).unwrap();
    drop(list.unmap().unwrap());
    drop(small.unmap().unwrap());
}
