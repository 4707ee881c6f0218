//! What the dearest single call costs where all addresses of a window are taken but for holes that were made to be in the way.
//!
//! Costs are what was looked at: tree nodes, blocks, and words of bits where a block was searched.

use std::time::Instant;

use dmamap::addr::{BusAddr, BusRange};
use dmamap::iova::{IovaError, IovaRequest, IovaSpace};

use crate::support::{Arena, Random};
use crate::{PAGE, pages};

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
    ns: f64,
    ns_request: Option<IovaRequest>,
}

impl Window {
    /// Of `live` pages or so, the first ones of an aperture of so many.
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
        let mut n = 0;
        let owned = std::mem::take(&mut self.owned);
        for range in owned {
            match (pattern.is_freed)(n, range.start().as_u64() / PAGE) {
                true => self.free(range),
                false => self.owned.push(range),
            }
            n += 1;
        }
    }

    /// Asks for what may or may not be there, in all kinds of ways, and gives it back.
    fn ask(&mut self, random: &Random, timed: bool) {
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
                let mut fastest = f64::MAX;
                for _ in 0..if timed { 7 } else { 1 } {
                    let begin = Instant::now();
                    let found = self.allocate(request);
                    fastest = fastest.min(begin.elapsed().as_nanos() as f64);
                    if let Some(range) = found {
                        self.free(range);
                    }
                }
                if fastest > self.worst.ns {
                    (self.worst.ns, self.worst.ns_request) = (fastest, Some(request));
                }
            }
        }
    }
}

fn run(live: u64, timed: bool) {
    let random = Random::from_environment(31);
    for (kind, aperture) in [("all of a space", live), ("of a large one", 1 << 36)] {
        for pattern in &PATTERNS {
            let pages = live * pattern.lengths.iter().sum::<u64>() / pattern.lengths.len() as u64;
            let aperture = aperture.max(pages + 1);
            let mut window = Window::new(pages + 1, aperture);
            window.fill(pattern);
            let filling = std::mem::take(&mut window.worst);
            window.ask(&random, timed);
            let Worst { looks, ns, .. } = window.worst;
            println!(
                "{live:9} {kind:15} {:40} filling {:5} looks {looks:6} ns {ns:8} {} | {}",
                pattern.name,
                filling.looks,
                window.worst.request.unwrap(),
                window.worst.ns_request.unwrap(),
            );
        }
    }
}

#[test]
fn explore() {
    let timed = std::env::var("TIMED").is_ok();
    for live in [1_000, 10_000, 100_000] {
        run(live, timed);
    }
    if timed {
        run(1_000_000, timed);
    }
}
