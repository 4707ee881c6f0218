//! What the dearest single call costs where all addresses of a window are taken but for holes that were made to be in the way.
//!
//! Costs are what was looked at: tree nodes, blocks, and words of bits where a block was searched.

use std::time::Instant;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, IovaSpace};

use crate::{PAGE, pages};
use rig::{Arena, Random};

/// How a window becomes full of holes: the lengths of ranges that fill it, and which of these are freed.
struct Pattern {
    name: &'static str,
    lengths: &'static [u64],
    is_freed: fn(usize, u64) -> bool,
}

const PATTERNS: [Pattern; 10] = [
    Pattern {
        name: "no hole",
        lengths: &[1],
        is_freed: |_, _| false,
    },
    Pattern {
        name: "holes of a page",
        lengths: &[1],
        is_freed: |n, _| n % 2 == 1,
    },
    Pattern {
        name: "two pages of three",
        lengths: &[1],
        is_freed: |_, page| page % 3 != 0,
    },
    Pattern {
        name: "two pages at odd ones",
        lengths: &[1],
        is_freed: |_, page| matches!(page % 4, 1 | 2),
    },
    Pattern {
        name: "six pages of which no four are aligned",
        lengths: &[1],
        is_freed: |_, page| (1..7).contains(&(page % 8)),
    },
    Pattern {
        name: "all but the first page of 512",
        lengths: &[1],
        is_freed: |_, page| !page.is_multiple_of(512),
    },
    Pattern {
        name: "lengths of all kinds",
        lengths: &[1, 7, 2, 300, 3, 64, 5, 33, 1, 600, 12],
        is_freed: |n, _| n % 3 == 0,
    },
    Pattern {
        name: "257 and 511 pages",
        lengths: &[257, 511, 257, 1],
        is_freed: |n, _| n % 4 == 2,
    },
    Pattern {
        name: "2 MiB, every other",
        lengths: &[512],
        is_freed: |n, _| n % 2 == 1,
    },
    Pattern {
        name: "across units of 2 MiB",
        lengths: &[513, 700],
        is_freed: |n, _| n % 2 == 1,
    },
];

/// A window and what is known of it.
struct Window {
    space: IovaSpace<Arena>,
    /// One past the last page of the window.
    end: u64,
    owned: Vec<BusRange>,
    worst: Worst,
}

/// The dearest call.
#[derive(Default)]
struct Worst {
    looks: u64,
    request: Option<IovaRequest>,
    /// Of the fastest of several times the same, so that it is not the machine's.
    ns: u128,
}

impl Window {
    /// The pages before `end`, of an aperture of so many.
    fn new(end: u64, aperture: u64) -> Self {
        let space = IovaSpace::new(Arena::new(1 << 15), pages(0, aperture), 12).unwrap();
        Self {
            space,
            end,
            owned: Vec::new(),
            worst: Worst::default(),
        }
    }

    fn request(&self, count: u64) -> IovaRequest {
        IovaRequest::new(count * PAGE).below(BusAddr::new(self.end * PAGE - 1))
    }

    fn allocate(&mut self, request: IovaRequest) -> Option<BusRange> {
        let before = self.space.statistics().nodes_visited;
        let outcome = self.space.allocate(request);
        let looks = self.space.statistics().nodes_visited - before;
        if looks > self.worst.looks {
            (self.worst.looks, self.worst.request) = (looks, Some(request));
        }
        match outcome {
            Ok(range) => Some(range),
            Err(IovaError::IovaExhausted { .. }) => None,
            Err(error) => panic!("{request}: {error}"),
        }
    }

    fn free(&mut self, range: BusRange) {
        let before = self.space.statistics().nodes_visited;
        self.space.free(range).unwrap();
        let looks = self.space.statistics().nodes_visited - before;
        self.worst.looks = self.worst.looks.max(looks);
    }

    fn fill(&mut self, pattern: &Pattern) {
        let mut refused = 0;
        for &length in pattern.lengths.iter().cycle() {
            match self.allocate(self.request(length)) {
                Some(range) => {
                    self.owned.push(range);
                    refused = 0;
                }
                None => refused += 1,
            }
            if refused == pattern.lengths.len() {
                break;
            }
        }
        self.owned.sort_by_key(|range| range.start());
        for (n, range) in std::mem::take(&mut self.owned).into_iter().enumerate() {
            match (pattern.is_freed)(n, range.start().as_u64() / PAGE) {
                true => self.free(range),
                false => self.owned.push(range),
            }
        }
    }

    /// Asks for what may or may not be there, in all kinds of ways, and gives it back.
    fn ask(&mut self, random: &Random, times: usize) {
        const LENGTHS: [u64; 22] = [
            1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 33, 64, 100, 255, 256, 257, 300, 511, 512, 1000,
        ];
        for length in LENGTHS {
            for kind in 0..24 {
                let order = length.next_power_of_two().trailing_zeros() as u64;
                let align = [0, order, order + 1, order + 3, 9, 10, 18][kind % 7];
                let mut request = self.request(length).aligned(12 + align as u32, 0);
                if kind % 3 == 1 && (kind < 8 || align == 0) {
                    request = request.within(12 + (order + random.below(4)) as u32);
                }
                match kind % 4 {
                    0 => {}
                    1 => request = request.from(BusAddr::new(random.below(self.end) * PAGE)),
                    2 => {
                        request =
                            request.below(BusAddr::new(random.below(self.end) * PAGE + PAGE - 1))
                    }
                    _ => {
                        let first = random.below(self.end);
                        let last = first + random.below(self.end - first);
                        request = request.from(BusAddr::new(first * PAGE));
                        request = request.below(BusAddr::new(last * PAGE + PAGE - 1));
                    }
                }
                let mut fastest = u128::MAX;
                for _ in 0..times {
                    let begin = Instant::now();
                    let found = self.allocate(request);
                    fastest = fastest.min(begin.elapsed().as_nanos());
                    if let Some(range) = found {
                        self.free(range);
                    }
                }
                self.worst.ns = self.worst.ns.max(fastest);
            }
        }
    }
}

/// The dearest call for each pattern, with about so many ranges live before holes are made.
fn dearest(live: u64, times: usize) {
    let random = Random::from_environment(31);
    for (kind, aperture) in [("all of a space", 0), ("a window of one", 1 << 36)] {
        for pattern in &PATTERNS {
            let mean = pattern.lengths.iter().sum::<u64>() / pattern.lengths.len() as u64;
            let end = live * mean + 1;
            let mut window = Window::new(end, end.max(aperture));
            window.fill(pattern);
            let filling = window.worst.looks;
            window.ask(&random, times);
            let Worst { looks, ns, request } = window.worst;
            println!(
                "{live:8} {kind:15} {:38} {filling:4} looks, then {looks:4}, {ns:5} ns",
                pattern.name
            );
            // A tree of n nodes is at most 1.44 log2 n high, and a call goes down and up a few times.
            let limit = 20 + 9 * (u64::from(live.ilog2()) + 1);
            assert!(looks <= limit, "{}: {looks}, {request:?}", pattern.name);
        }
    }
}

#[test]
fn no_call_is_dear_whatever_holes_there_are() {
    for live in [1_000, 10_000] {
        dearest(live, 1);
    }
}

/// With `--release`: nanoseconds, too.
#[test]
#[ignore = "minutes, and an hour unless it is optimized"]
fn no_call_is_dear_with_ten_million_ranges() {
    for live in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        dearest(live, 7);
    }
}

/// Whether a range fits into free pages of one block.
fn has_place(used: &[bool], request: &IovaRequest) -> bool {
    let count = request.len_bytes() / PAGE;
    let (align, offset) = (1 << request.align_log2(), request.offset());
    let cell = |addr: u64| addr.checked_shr(request.boundary_log2()).unwrap_or(0);
    let mut free = 0;
    (0..used.len() as u64).any(|page| {
        free = match used[page as usize] {
            true => 0,
            false if page % 512 == 0 => 1,
            false => free + 1,
        };
        let first = (page + 1).saturating_sub(count) * PAGE;
        let last = page * PAGE + PAGE - 1;
        free >= count
            && first % align == offset % align
            && cell(first) == cell(last)
            && first >= request.first().as_u64()
            && last <= request.last().as_u64()
    })
}

#[test]
fn nobody_is_refused_a_place_whatever_is_asked_of_it() {
    // Blocks of granules, and no larger ones.
    const ALL: u64 = 512 * 512;
    const WINDOW: u64 = 40 * 512;
    let random = Random::from_environment(14);
    let mut used = vec![false; WINDOW as usize];
    used[0] = true;
    let mut window = Window::new(WINDOW, ALL);
    let set = |used: &mut Vec<bool>, range: BusRange, to: bool| {
        let first = (range.start().as_u64() / PAGE) as usize;
        let pages = &mut used[first..first + (range.len_bytes() / PAGE) as usize];
        assert!(!pages.contains(&to), "{range}");
        pages.fill(to);
    };
    let (mut refused, mut found) = (0, 0);
    for step in 0..25_000 {
        let is_full = step > 5_000;
        if random.below(20) < if is_full { 10 } else { 19 } || window.owned.is_empty() {
            let count = 1 + random.below(random.pick(&[2, 8, 40, 300, 512]));
            let mut request = window.request(count);
            if is_full {
                let align = random.below(13) as u32;
                let offset = random.pick(&[0, 0, random.below(1 << align)]);
                request = request.aligned(12 + align, offset * PAGE);
                request = request.within(random.pick(&[64, 12 + random.below(12) as u32]));
                let first = random.pick(&[0, 0, random.below(WINDOW)]);
                let end = random.pick(&[WINDOW, WINDOW, 1 + random.below(WINDOW)]);
                request = request.from(BusAddr::new(first * PAGE));
                request = request.below(BusAddr::new(end * PAGE - 1));
            }
            match window.allocate(request) {
                Some(range) => {
                    found += usize::from(is_full);
                    set(&mut used, range, true);
                    window.owned.push(range);
                }
                None => {
                    refused += 1;
                    assert!(!has_place(&used, &request), "{request}");
                }
            }
        } else {
            let at = random.below(window.owned.len() as u64) as usize;
            let range = window.owned.swap_remove(at);
            window.free(range);
            set(&mut used, range, false);
        }
    }
    assert!(refused > 1000 && found > 1000, "{refused}, {found}");
}

#[test]
fn a_narrow_device_has_a_large_unit_divided_instead_of_using_it_up() {
    const GIB: u64 = 1 << 18;
    let mut space = IovaSpace::new(Arena::new(4096), pages(0, 1 << 36), 12).unwrap();
    space.reserve(pages(0, GIB)).unwrap();
    let wide = space.allocate(IovaRequest::new(600 * PAGE)).unwrap();
    assert_eq!(wide.start().as_u64(), GIB * PAGE);
    let narrow = IovaRequest::new(PAGE).below(BusAddr::new(2 * GIB * PAGE - 1));
    for n in 0..512 {
        // The first unit that is free of the large block.
        let page = space.allocate(narrow).unwrap();
        assert_eq!(page, pages(GIB + 1024 + n, 1));
    }
}
