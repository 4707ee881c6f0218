//! Where QEMU's units let a device reach memory: at every power of two that its domain accepts, the highest too.

mod support;

use std::mem::ManuallyDrop;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::buffer::{DmaBuffer, DmaMemory};
use dmamap::map::{Permission, UnmanagedDomain};
use drivers::edu::Engine;
use support::Rig;

/// Boards with an IOMMU, and how many bits of bus addresses their devices have at least.
const BOARDS: [(&str, u32); 9] = [
    ("q35-vtd", 39),
    ("q35-vtd-second-stage", 39),
    ("q35-vtd-first-stage", 39),
    ("q35-amd", 39),
    ("q35-virtio", 39),
    ("arm-smmu-stage1", 39),
    ("arm-smmu-stage2", 39),
    ("arm-virtio", 39),
    ("riscv-pci", 38),
];

const LEN: u64 = 4096;

/// Beyond a power of two: clear of what lies at one, and of no page of a table's first entries.
const BEYOND: u64 = 0x0560_1000;

#[test]
fn memory_is_reached_at_every_power_of_two() {
    for (board, least_bits) in BOARDS {
        let Some(mut rig) = Rig::boot(board, |config| config.with_edu_of(64)) else {
            return;
        };
        let function = rig.computer.edus().next().expect("a device").clone();
        let device = rig.computer.attach(&function).expect("it attaches");
        let mut memory = DmaBuffer::allocate(rig.hosted, LEN).expect("there is memory");
        memory.as_mut_slice().fill(0);
        // The device may reach it until it is unmapped.
        let mut memory = ManuallyDrop::new(memory);
        let domain = UnmanagedDomain::of(device).expect("nothing is mapped");
        let mut engine = Engine::claim(rig.hosted, &function, rig.computer.resources_mut())
            .expect("its registers are nobody's");
        let mut highest = 0;
        for power in 28..63 {
            let bus = BusAddr::new((1 << power) + BEYOND);
            let sent = memory.as_slice()[0];
            let segment = memory.segment(0);
            // SAFETY: the memory is kept, and looked at when it was unmapped.
            if unsafe { domain.map(bus, segment, Permission::ReadWrite) }.is_err() {
                // Beyond its addresses, or where its bridge has windows.
                continue;
            }
            highest = power;
            let half = LEN / 2;
            let upper = bus.checked_add(half).expect("a place in the page");
            // SAFETY: the device is confined to its domain, where both halves are.
            unsafe {
                engine.fetch_at(bus, half).expect("it is read");
                engine.store_at(upper, half).expect("it is written");
            }
            let range = BusRange::new(bus, LEN).expect("a page");
            domain.unmap(range).expect("it is mapped");
            assert_eq!(memory.as_slice()[half as usize], sent, "{board}: {bus}");
            memory.as_mut_slice().fill(sent + 1);
        }
        assert!(highest + 1 >= least_bits, "{board}: 2^{highest}");
        assert_eq!(rig.computer.system().faults().total, 0, "{board}");
        drop(engine);
        domain.detach().expect("it detaches");
        drop(ManuallyDrop::into_inner(memory));
    }
}
