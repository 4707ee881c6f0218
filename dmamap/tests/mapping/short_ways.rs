//! What the short ways map is what is asked for, to the page, and what the device's general way maps: whatever the unit's table, pieces,
//! direction and protection.
//!
//! A device whose driver set a segment boundary goes the general way, though the boundary is the one that segments keep to anyway.

use std::thread;

use dmamap::addr::{BusRange, DmaMask, PhysRange};
use dmamap::buffer::{DmaBuffer, DmaMemory, ScatterList, ScatteredBuffer};
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Direction, FromDevice, Lane, ToDevice};
use dmamap::system::Protection;
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::MachineConfig;
use machine::bus::Access;
use machine::cache::Snooping;

use crate::lanes::{assert_nothing_left, machines, with};
use rig::Random;
use rig::{EDU, PAGE, Rig, buffer_of};

/// The last of the addresses that segments keep to if nothing is said.
const BOUNDARY: u64 = (1 << 32) - 1;

/// Who maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Device,
    Lane,
    /// The device, by the general way.
    General,
}

/// Each page that a device reaches from the first of `range` on, and the most that it may do there: all that is mapped.
fn reached(rig: &Rig, range: BusRange) -> (Vec<u64>, Access) {
    let mut leaves = rig.machine.audit().leaves;
    leaves.sort_by_key(|leaf| leaf.bus);
    let mut next = range.start().as_u64() & !(PAGE - 1);
    let mut pages = Vec::new();
    for leaf in &leaves {
        assert_eq!(leaf.bus, next, "{leaves:?}");
        assert_eq!(leaf.access, leaves[0].access, "{leaves:?}");
        next += leaf.len_bytes;
        pages.extend((leaf.phys..leaf.phys + leaf.len_bytes).step_by(PAGE as usize));
    }
    assert_eq!(
        next,
        (range.last().as_u64() | (PAGE - 1)) + 1,
        "{range} {leaves:?}"
    );
    (pages, leaves[0].access)
}

/// The pages that pieces touch, and the bytes from the first one's first to the last one's last.
fn expected(pieces: &[PhysRange]) -> (Vec<u64>, u64) {
    let first = |piece: &PhysRange| piece.start().as_u64() & !(PAGE - 1);
    let pages = |piece: &PhysRange| (first(piece)..=piece.last().as_u64()).step_by(PAGE as usize);
    let all: Vec<u64> = pieces.iter().flat_map(pages).collect();
    let (head, tail) = match (pieces.first(), pieces.last()) {
        (Some(one), Some(last)) => (
            one.start().as_u64() % PAGE,
            PAGE - 1 - last.last().as_u64() % PAGE,
        ),
        _ => (0, 0),
    };
    let len_bytes = all.len() as u64 * PAGE - head - tail;
    (all, len_bytes)
}

fn pieces_of(memory: &impl DmaMemory, (offset, len_bytes): (u64, u64)) -> Vec<PhysRange> {
    let mut pieces = Vec::new();
    let (mut at, end) = (offset, offset + len_bytes);
    while at < end {
        let piece = memory.segment(at);
        let len = piece.len_bytes().min(end - at);
        pieces.push(piece.slice(0, len).unwrap());
        at += len;
    }
    pieces
}

fn may<D: Direction>(direction: D) -> Access {
    match direction.any() {
        dmamap::map::AnyDirection::ToDevice => Access::Read,
        _ => Access::Write,
    }
}

/// The device, and a lane of it.
struct Ways<'a> {
    rig: &'a Rig,
    device: &'a Device<Hosted>,
    lane: Lane<Hosted>,
    who: Who,
}

impl Ways<'_> {
    fn check<D: Direction>(&self, range: BusRange, pieces: &[PhysRange], direction: D) {
        let (pages, len_bytes) = expected(pieces);
        let found = reached(self.rig, range);
        assert_eq!(found, (pages, may(direction)), "{:?} {pieces:?}", self.who);
        let head = pieces[0].start().as_u64() % PAGE;
        let told = (range.start().as_u64() % PAGE, range.len_bytes());
        assert_eq!(told, (head, len_bytes), "{:?} {pieces:?}", self.who);
    }

    /// Once nothing waits for a flush, nothing is left.
    fn check_gone(&self) {
        self.device.flush().unwrap();
        assert_eq!(self.rig.machine.audit().leaves, [], "{:?}", self.who);
    }

    fn single<D: Direction>(&mut self, len_bytes: u64, direction: D) {
        let buffer = buffer_of(self.rig.kernel, len_bytes, 1);
        let pieces = pieces_of(&buffer, (0, len_bytes));
        let mapped = match self.who {
            Who::Lane => self.lane.map_single(buffer, direction),
            Who::Device | Who::General => self.device.map_single(buffer, direction),
        };
        let mapping = mapped.unwrap();
        self.check(mapping.range(), &pieces, direction);
        drop(match self.who {
            Who::Lane => self.lane.unmap(mapping).unwrap(),
            Who::Device | Who::General => mapping.unmap().unwrap(),
        });
        self.check_gone();
    }

    fn scattered<D: Direction>(&mut self, len_bytes: u64, direction: D) {
        let buffer = ScatteredBuffer::allocate(self.rig.kernel, len_bytes).unwrap();
        let pieces = pieces_of(&buffer, (0, len_bytes));
        let mapped = match self.who {
            Who::Lane => self.lane.map_sg(buffer, direction),
            Who::Device | Who::General => self.device.map_sg(buffer, direction),
        };
        let mapping = mapped.unwrap();
        let told: u64 = mapping.segments().map(|one| one.len_bytes()).sum();
        assert_eq!(told, len_bytes);
        let first = mapping.segments().next().unwrap().start();
        self.check(BusRange::new(first, len_bytes).unwrap(), &pieces, direction);
        drop(match self.who {
            Who::Lane => self.lane.unmap_sg(mapping).unwrap(),
            Who::Device | Who::General => mapping.unmap().unwrap(),
        });
        self.check_gone();
    }

    fn list<D: Direction>(&mut self, parts: &[(u64, u64)], direction: D) {
        let mut list = ScatterList::with_room(parts.len()).unwrap();
        let mut pieces = Vec::new();
        for &(offset, len_bytes) in parts {
            let whole = (offset + len_bytes).next_multiple_of(PAGE);
            let buffer: DmaBuffer<Hosted> = buffer_of(self.rig.kernel, whole, 1);
            pieces.extend(pieces_of(&buffer, (offset, len_bytes)));
            list.push_part(buffer, offset, len_bytes).unwrap();
        }
        let mapping = self.device.map_sgtable(list, direction).unwrap();
        let runs: Vec<_> = mapping.runs().collect();
        // Each has pages of its own, and lies in them as in memory.
        for (run, piece) in runs.iter().zip(&pieces) {
            assert_eq!(run.len_bytes(), piece.len_bytes());
            assert_eq!(
                self.device.translate(run.start()),
                Some(piece.start()),
                "{runs:?}"
            );
            assert_eq!(
                self.device.translate(run.last()),
                Some(piece.last()),
                "{runs:?}"
            );
        }
        let len_bytes = expected(&pieces).1;
        let range = BusRange::new(runs[0].start(), len_bytes).unwrap();
        self.check(range, &pieces, direction);
        drop(mapping.unmap().unwrap());
        self.check_gone();
    }

    fn one_of_each<D: Direction>(&mut self, random: &Random, direction: D) {
        let pages = random.pick(&[1, 2, 3, 15, 16, 17, 33, 63, 64, 65, 80]);
        let tail = random.pick(&[0, 0, 1, 100, PAGE - 1]);
        self.single(pages * PAGE - tail, direction);
        let pages = random.pick(&[1, 2, 3, 8, 15, 16, 17, 40, 65]);
        self.scattered(pages * PAGE - tail, direction);
        let parts = random.pick(&[1, 2, 7, 16, 17]);
        let is_whole = random.below(2) == 0;
        let part = |_| match is_whole {
            true => (0, random.pick(&[1, 1, 1, 2, 16, 30]) * PAGE),
            false => (
                random.below(2 * PAGE),
                1 + random.below(random.pick(&[64, PAGE, 3 * PAGE])),
            ),
        };
        let parts: Vec<_> = (0..parts).map(part).collect();
        self.list(&parts, direction);
    }
}

/// All ways on one machine, to the same device in turn.
fn map_all_ways(config: MachineConfig, protection: Protection, random: &Random) {
    let rig = Rig::boot_with(config, BootOptions::default());
    for who in [Who::Device, Who::Lane, Who::General] {
        println!("{who:?}");
        // Nothing is copied, and unmaps may be put off.
        let device = rig.attach_trusted(EDU, protection);
        device.set_mask(DmaMask::ALL).unwrap();
        if who == Who::General {
            device.set_segment_boundary(BOUNDARY).unwrap();
        }
        let before = (device.domain_frames(), rig.frames_in_use());
        let lane = device.lane();
        let mut ways = Ways {
            rig: &rig,
            device: &device,
            lane,
            who,
        };
        for _ in 0..8 {
            ways.one_of_each(random, Bidirectional);
            ways.one_of_each(random, ToDevice);
            ways.one_of_each(random, FromDevice);
        }
        drop(ways);
        assert_nothing_left(&rig, &device, before);
        device.detach().unwrap();
    }
    rig.finish();
}

#[test]
fn what_short_ways_map_is_what_was_asked_for() {
    let kinds = [
        (Protection::Strict, Snooping::On),
        (Protection::Deferred, Snooping::On),
        (Protection::Strict, Snooping::Off),
    ];
    // Beside each other: one after the other they would go on alone when all other tests have ended.
    thread::scope(|scope| {
        for (seed, (protection, snooping)) in (51..).zip(kinds) {
            scope.spawn(move || {
                let random = Random::from_environment(seed);
                for (name, iommu) in machines() {
                    if name == "virtio" && protection == Protection::Deferred {
                        // Its model minds memory that comes back before the flush.
                        continue;
                    }
                    println!("{name} {protection:?} {snooping:?}");
                    let config = with(&iommu).with_devices(snooping);
                    map_all_ways(config, protection, &random);
                }
            });
        }
    });
}
