//! Every class of offset, length, direction and alignment: data right, canaries intact, and nothing seen that was not
//! given; whatever the device writes around what it was given changes nothing.
//!
//! The gate takes offsets and lengths on both sides of every edge that the layer cuts at (words, cache lines, slots, pages) in
//! all combinations, and random ones between; the soak takes every offset and every length.

use dmamap::addr::{BusAddr, BusRange};
use dmamap::map::{AnyDirection, Attributes};
use machine::MachineConfig;

use crate::spy::Spy;
use crate::{Ram, attach_trusted, pattern, without_units};
use rig::Random;
use rig::{PAGE, Rig};

pub(crate) const DIRECTIONS: [AnyDirection; 3] = [
    AnyDirection::ToDevice,
    AnyDirection::FromDevice,
    AnyDirection::Bidirectional,
];

pub(crate) const OFFSETS: [u64; 12] = [0, 1, 7, 8, 63, 512, 2040, 2047, 2048, 2049, 4088, 4095];
pub(crate) const LENGTHS: [u64; 14] = [
    1, 2, 7, 8, 9, 511, 2047, 2048, 2049, 4095, 4096, 4097, 6001, 8192,
];
const MASKS: [u64; 5] = [0, 511, 2047, 4095, 0xffff];

/// Whose memory a copy is looked at: around a mapping the device may read this much.
#[derive(Clone, Copy, PartialEq)]
enum Around {
    /// The slots that the mapping lies in.
    Slots,
    /// The pages, which are all that is mapped.
    Pages,
}

struct Case<'a> {
    ram: &'a Ram,
    around: Around,
    align_mask: u64,
}

impl Case<'_> {
    fn check(&self, spy: &mut Spy, offset: u64, len: u64, direction: AnyDirection) {
        let what = format!(
            "{len} bytes at {offset}, {direction:?}, mask {:#x}",
            self.align_mask
        );
        let whole = pattern(0x11, self.ram.frames.len_bytes() as usize);
        self.ram.write(0, &whole);
        let memory = self.ram.part(offset, len);
        spy.device().set_min_align_mask(self.align_mask).unwrap();
        // SAFETY: the memory lives, and is touched by address alone.
        let bus = unsafe { spy.device().map_phys(memory, direction) };
        let bus = bus.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(bus.len_bytes(), len, "{what}");
        let kept = |address: u64| address & self.align_mask;
        assert_eq!(
            kept(bus.start().as_u64()),
            kept(memory.start().as_u64()),
            "{what}"
        );
        let (from, to) = (offset as usize, (offset + len) as usize);
        let mut expected = whole.clone();
        if self.around == Around::Slots || direction != AnyDirection::FromDevice {
            self.look_around(spy, bus, &whole[from..to], &what);
        }
        if self.around == Around::Slots || direction != AnyDirection::ToDevice {
            // Every third byte is left as it was.
            let written = from + (to - from) / 3;
            let news = pattern(0x80, to - written);
            let at = bus.start().checked_add((written - from) as u64).unwrap();
            spy.poke(at, &news);
            self.write_around(spy, bus);
            if direction != AnyDirection::ToDevice {
                expected[written..to].copy_from_slice(&news);
            }
        }
        // SAFETY: mapped above, once; the device has finished.
        unsafe { spy.device().unmap_phys(bus, direction, Attributes::NONE) }
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(
            self.ram.bytes() == expected,
            "{what}: memory is not as it must be"
        );
    }

    /// From where to where the device reaches more than it was given.
    fn reached(&self, bus: BusRange) -> (u64, u64) {
        let granule = match self.around {
            Around::Slots => 2048,
            Around::Pages => PAGE,
        };
        let start = bus.start().as_u64() / granule * granule;
        let end = (bus.last().as_u64() + 1).next_multiple_of(granule);
        (start, end)
    }

    /// The device writes the bytes around those it was given.
    fn write_around(&self, spy: &mut Spy, bus: BusRange) {
        let (start, end) = self.reached(bus);
        let (first, after) = (bus.start().as_u64(), bus.last().as_u64() + 1);
        for (from, to) in [(start, first), (after, end)] {
            spy.poke(BusAddr::new(from), &vec![0xee; (to - from) as usize]);
        }
    }

    /// The device sees the bytes it was given and zeros around them.
    fn look_around(&self, spy: &mut Spy, bus: BusRange, given: &[u8], what: &str) {
        let (start, end) = self.reached(bus);
        let seen = spy.peek(BusAddr::new(start), end - start);
        let head = (bus.start().as_u64() - start) as usize;
        let tail = head + given.len();
        assert!(seen[head..tail] == *given, "{what}: not what was given");
        let padding = seen[..head].iter().chain(&seen[tail..]);
        assert!({ padding }.all(|&byte| byte == 0), "{what}: padding shows");
    }
}

/// Every combination of these.
fn check_all(
    config: MachineConfig,
    around: Around,
    offsets: &[u64],
    lengths: &[u64],
    masks: &[u64],
) {
    check_each(config, around, |check| {
        for &align_mask in masks {
            for direction in DIRECTIONS {
                for &offset in offsets {
                    for &len in lengths {
                        check(align_mask, offset, len, direction);
                    }
                }
            }
        }
    });
}

/// Calls `all` with what checks a combination of mask, offset, length and direction.
fn check_each(
    config: MachineConfig,
    around: Around,
    all: impl FnOnce(&mut dyn FnMut(u64, u64, u64, AnyDirection)),
) {
    let mut rig = Rig::boot(config);
    let device = match around {
        Around::Slots => attach_trusted(&rig),
        Around::Pages => rig.attach(crate::EDU),
    };
    let mut spy = Spy::on(&mut rig, device);
    let ram = Ram::allocate(rig.kernel, 4);
    all(&mut |align_mask, offset, len, direction| {
        let case = Case {
            ram: &ram,
            around,
            align_mask,
        };
        case.check(&mut spy, offset, len, direction);
    });
    let in_use = rig.system().bounce_figures();
    assert_eq!((in_use.slots_in_use, in_use.transient), (0, 0));
    let figures = spy.device().figures();
    assert_eq!(figures.maps, figures.unmaps + 1, "the window is left");
    drop(ram);
    spy.stop();
    rig.finish();
}

#[test]
fn every_class_is_copied_right_on_the_direct_route() {
    check_all(without_units(), Around::Slots, &OFFSETS, &LENGTHS, &MASKS);
}

#[test]
fn every_class_is_cut_right_for_a_device_nobody_vouched_for() {
    check_all(crate::small(), Around::Pages, &OFFSETS, &LENGTHS, &MASKS);
}

#[test]
fn random_offsets_and_lengths_are_copied_right() {
    let random = Random::from_environment(1);
    for (config, around) in [
        (without_units(), Around::Slots),
        (crate::small(), Around::Pages),
    ] {
        check_each(config, around, |check| {
            for _ in 0..3000 {
                let (mask, direction) = (random.pick(&MASKS), random.pick(&DIRECTIONS));
                check(mask, random.below(4096), 1 + random.below(8192), direction);
            }
        });
    }
}

#[test]
#[ignore = "a soak: every offset with every class of length, and the other way round"]
fn every_offset_and_every_length_is_copied_right() {
    let offsets: Vec<u64> = (0..4096).collect();
    let lengths: Vec<u64> = (1..=8192).collect();
    for around in [Around::Slots, Around::Pages] {
        let config = || match around {
            Around::Slots => without_units(),
            Around::Pages => crate::small(),
        };
        check_all(config(), around, &offsets, &LENGTHS, &MASKS);
        check_all(config(), around, &OFFSETS, &lengths, &MASKS);
    }
}
