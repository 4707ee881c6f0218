//! Allocations and mappings of all sizes, taken back in random order: what there was at first is there at the end, and the last
//! operations cost what the first ones did.

use std::time::{Duration, Instant};

use dmamap::addr::{BusAddr, BusRange, PhysAddr, PhysRange};
use dmamap::iova::{IovaRequest, IovaSpace};
use dmamap::pagetable::{ArmLpaeStage1, Gather, Granule, PageTable, Permission};
use hosted::Hosted;

use rig::Random;
use rig::{PAGE, Rig, small};

/// Ranges that live at once, at most; it is half of that and more as soon as it was.
const LIVE: usize = 20_000;

/// Bits of the addresses that ranges are taken from.
const APERTURE_LOG2: u32 = 48;

struct Churn {
    kernel: Hosted,
    random: Random,
    space: IovaSpace<Hosted>,
    table: PageTable<Hosted, ArmLpaeStage1>,
    live: Vec<BusRange>,
}

impl Churn {
    fn new(kernel: Hosted, random: Random) -> Self {
        let aperture = BusRange::new(BusAddr::new(0), 1 << APERTURE_LOG2).unwrap();
        let format = ArmLpaeStage1::new(Granule::FourKib, APERTURE_LOG2, APERTURE_LOG2);
        Self {
            kernel,
            random,
            space: IovaSpace::new(kernel, aperture, PAGE.ilog2()).unwrap(),
            table: PageTable::new(kernel, format.unwrap()).unwrap(),
            live: Vec::with_capacity(LIVE),
        }
    }

    /// Mostly a few pages, as drivers have them; of each power of two there are fewer the larger it is, up to 8 MiB.
    fn pages(&self) -> u64 {
        let largest = self.random.next().trailing_zeros().min(11);
        1 + self.random.below(1 << largest)
    }

    fn map(&mut self) {
        let len_bytes = self.pages() * PAGE;
        let aligned = match self.random.below(4) {
            0 => PAGE.ilog2(),
            _ => len_bytes.next_power_of_two().ilog2(),
        };
        let request = IovaRequest::new(len_bytes).aligned(aligned, 0);
        let range = self.space.allocate(request).unwrap();
        // Memory that nobody looks at: a large leaf where it is as aligned as the address.
        let memory = PhysAddr::new(range.start().as_u64() % (1 << 40));
        let memory = PhysRange::new(memory, len_bytes).unwrap();
        let mapped = self.table.map(range.start(), memory, Permission::ReadWrite);
        mapped.unwrap();
        self.live.push(range);
    }

    fn unmap(&mut self) {
        let any = self.random.below(self.live.len() as u64) as usize;
        let range = self.live.swap_remove(any);
        let mut gather = Gather::new(self.kernel);
        self.table.unmap(range, &mut gather).unwrap();
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
        self.space.free(range).unwrap();
    }

    fn turn(&mut self) {
        let must = self.live.len() < LIVE / 2;
        let may = self.live.len() < LIVE && self.random.below(2) == 0;
        if must || may {
            self.map();
        } else {
            self.unmap();
        }
    }

    fn turns(&mut self, count: u64) -> Duration {
        let started = Instant::now();
        (0..count).for_each(|_| self.turn());
        started.elapsed()
    }

    fn frames(&self) -> (usize, usize) {
        (self.space.frames(), self.table.frames())
    }

    /// Everything goes, in random order.
    fn end(&mut self) {
        while !self.live.is_empty() {
            self.unmap();
        }
        self.space.reclaim();
        let mut gather = Gather::new(self.kernel);
        self.table.reclaim(&mut gather);
        // SAFETY: no unit walks the table.
        unsafe { gather.release() };
    }
}

/// Makes so many turns; how long each of the first hundredth took and each of the last, in nanoseconds.
fn churn(turns: u64, random: Random) -> (f64, f64) {
    let rig = Rig::boot(small());
    let before = rig.frames_in_use();
    let mut churn = Churn::new(rig.kernel, random);
    let birth = churn.frames();
    // As many live as will.
    churn.turns(4 * LIVE as u64);
    let hundredth = (turns / 100).max(1);
    let first = churn.turns(hundredth);
    churn.turns(turns.saturating_sub(2 * hundredth));
    let last = churn.turns(hundredth);
    churn.end();
    assert_eq!(churn.frames(), birth, "frames are held for nothing");
    assert_eq!(churn.space.statistics().live_allocations, 0);
    // In one piece again: all but the first page of the aperture, in two requests.
    let halves = [1 << (APERTURE_LOG2 - 1), (1 << (APERTURE_LOG2 - 1)) - PAGE];
    for len_bytes in halves {
        churn.space.allocate(IovaRequest::new(len_bytes)).unwrap();
    }
    let Churn { space, table, .. } = churn;
    drop(space);
    // SAFETY: no unit walks it.
    unsafe { table.free() };
    assert_eq!(rig.frames_in_use(), before, "frames are lost");
    rig.finish();
    let each = |took: Duration| took.as_nanos() as f64 / hundredth as f64;
    (each(first), each(last))
}

#[test]
fn what_was_taken_in_every_size_and_order_comes_back_whole() {
    churn(100_000, Random::from_environment(1));
}

/// `cargo xtask soak` says how many, in `DMAMAP_SOAK_TURNS`.
#[test]
#[ignore = "a soak"]
fn a_long_churn_costs_at_its_end_what_it_did_at_first() {
    let asked = std::env::var("DMAMAP_SOAK_TURNS").ok();
    let turns = asked.and_then(|turns| turns.parse().ok());
    let turns = turns.unwrap_or(10_000_000);
    let (first, last) = churn(turns, Random::from_environment(1));
    let drift = (last / first - 1.0) * 100.0;
    println!("churn: {turns} turns, {first:.1} ns each at first, {last:.1} at last: {drift:+.1} %");
}
