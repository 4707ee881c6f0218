//! Raw mappings and the end of their device. The handle of a device is one, and goes with the detach (see
//! `compile_fail/unmapping_for_a_detached_device.rs`, `compile_fail/a_second_handle_of_a_device.rs`): whoever can unmap finds
//! the device's table as it was mapped. What is left behind nobody can unmap.

use dmamap::addr::{BusAddr, BusRange, PhysRange};
use dmamap::map::{AnyDirection, Attributes, Bidirectional};
use dmamap::system::Protection;

use crate::spans::nothing_is_lent;
use crate::spy::Spy;
use crate::{Ram, pattern};
use rig::kinds::kinds;
use rig::{EDU, HEARTBEAT, PAGE, Rig, buffer_of, small};

const DIRECTION: AnyDirection = AnyDirection::FromDevice;

/// Where in memory mappings are, each pages away from the next: inside a page, from inside a page to inside another, and a list
/// of pieces none of which begins or ends with a page.
const INSIDE: (u64, u64) = (100, 600);
const RAGGED: (u64, u64) = (2 * PAGE + 50, 3 * PAGE);
const LIST: [(u64, u64); 3] = [
    (7 * PAGE + 9, 3000),
    (9 * PAGE + 100, 4500),
    (12 * PAGE, 17),
];
const FRAMES: usize = 14;

/// One mapping of each kind.
struct Mapped {
    singles: [BusRange; 2],
    pieces: [PhysRange; 3],
    told: Vec<BusRange>,
}

impl Mapped {
    fn new(spy: &Spy, ram: &Ram) -> Self {
        let device = spy.device();
        let singles = [INSIDE, RAGGED].map(|(offset, len)| {
            // SAFETY: the memory lives, and is touched by address alone, while the CPU has its turn.
            unsafe { device.map_phys(ram.part(offset, len), DIRECTION) }.unwrap()
        });
        let pieces = LIST.map(|(offset, len)| ram.part(offset, len));
        let mut told = vec![BusRange::new(BusAddr::new(0), 0).unwrap(); 3];
        // SAFETY: as above.
        let used = unsafe { device.map_sg_raw(&pieces, &mut told, DIRECTION) }.unwrap();
        told.truncate(used);
        Self {
            singles,
            pieces,
            told,
        }
    }

    /// The device writes all of each: `data`, in order.
    fn write(&self, spy: &mut Spy, mut data: &[u8]) {
        for bus in self.singles.iter().chain(&self.told) {
            let (own, rest) = data.split_at(bus.len_bytes() as usize);
            spy.poke(bus.start(), own);
            data = rest;
        }
        assert!(data.is_empty());
    }

    fn unmap(self, spy: &Spy) {
        let device = spy.device();
        for bus in self.singles {
            // SAFETY: mapped once by `new`, with that direction; the device has finished.
            unsafe { device.unmap_phys(bus, DIRECTION, Attributes::NONE) }.unwrap();
        }
        let (pieces, told) = (&self.pieces, &self.told);
        // SAFETY: as above.
        unsafe { device.unmap_sg_raw(pieces, told, DIRECTION, Attributes::NONE) }.unwrap();
    }
}

/// All that is mapped, in order.
fn places() -> impl Iterator<Item = (usize, usize)> {
    let all = [INSIDE, RAGGED].into_iter().chain(LIST);
    all.map(|(offset, len)| (offset as usize, len as usize))
}

#[test]
fn what_the_device_wrote_is_in_memory_before_its_handle_can_go() {
    for (kind, iommu) in kinds() {
        for protection in [Protection::Strict, Protection::Bounce] {
            let mut rig = Rig::boot(small().with_iommu(iommu.clone()));
            let function = rig.function(EDU);
            let device = rig.system().attach(&function, protection).unwrap();
            let mut spy = Spy::on(&mut rig, device);
            let ram = Ram::allocate(rig.kernel, FRAMES);
            let before = pattern(3, FRAMES * PAGE as usize);
            ram.write(0, &before);
            let idle = spy.device().figures();
            let mapped = Mapped::new(&spy, &ram);
            assert!(spy.device().bounce_figures().slots_in_use > 0, "{kind}");
            let data = pattern(0x80, places().map(|(_, len)| len).sum());
            mapped.write(&mut spy, &data);
            mapped.unmap(&spy);

            let (mut expected, mut written) = (before, &data[..]);
            for (offset, len) in places() {
                let (own, rest) = written.split_at(len);
                expected[offset..offset + len].copy_from_slice(own);
                written = rest;
            }
            assert!(ram.bytes() == expected, "{kind} {protection:?}");
            let figures = spy.device().figures();
            assert_eq!(figures.live_mappings, idle.live_mappings, "{kind}");
            assert_eq!(figures.live_bytes, idle.live_bytes, "{kind}");
            assert_eq!(figures.quarantined_bytes, 0, "{kind}");
            let lent = spy.device().bounce_figures();
            assert_eq!((lent.slots_in_use, lent.transient), (0, 0), "{kind}");
            spy.stop();
            nothing_is_lent(&rig);
            drop((ram, function));
            rig.finish();
        }
    }
}

#[test]
fn what_is_left_behind_is_out_of_reach_and_its_copies_are_lent_to_nobody() {
    for (kind, iommu) in kinds() {
        let mut rig = Rig::boot(small().with_iommu(iommu));
        let device = rig.attach(EDU);
        let mut spy = Spy::on(&mut rig, device);
        let ram = Ram::allocate(rig.kernel, FRAMES);
        ram.write(0, &pattern(3, FRAMES * PAGE as usize));
        let mapped = Mapped::new(&spy, &ram);
        let data = pattern(0x80, places().map(|(_, len)| len).sum());
        mapped.write(&mut spy, &data);
        // What is given in place was written, and what is copied was not.
        let left_behind = ram.bytes();
        let (first, len) = (INSIDE.0 as usize, INSIDE.1 as usize);
        assert!(left_behind[first..first + len] == pattern(3, first + len)[first..]);
        let lent = rig.system().bounce_figures().slots_in_use;
        assert!(lent > 0, "{kind}");
        spy.stop();
        assert_eq!(rig.machine.audit().leaves, [], "{kind}");
        assert!(ram.bytes() == left_behind, "{kind}: nobody asked for it");
        assert_eq!(rig.system().bounce_figures().slots_in_use, lent, "{kind}");

        // Others are given other slots, and those come back.
        let function = rig.function(HEARTBEAT);
        let other = rig.system().attach(&function, Protection::Strict).unwrap();
        let attributes = Attributes::NONE.at_least(Protection::Bounce);
        let buffer = buffer_of(rig.kernel, PAGE, 0x55);
        let mapping = other.map_single_attrs(buffer, Bidirectional, attributes);
        let mapping = mapping.unwrap();
        assert!(rig.system().bounce_figures().slots_in_use > lent, "{kind}");
        assert_eq!(mapping.unmap().unwrap().as_slice(), [0x55; PAGE as usize]);
        assert_eq!(rig.system().bounce_figures().slots_in_use, lent, "{kind}");
        other.detach().unwrap();
        drop((ram, function));
        rig.finish_with_losses();
    }
}
