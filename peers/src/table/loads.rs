//! Map, then unmap, many times side by side; each phase is timed by itself.

use super::{Extent, PageTables};
use crate::PeersError;
use crate::measure::{Contestant, Effort, Timer, Took, measure};

/// Where bus addresses begin.
pub(super) const BUS: u64 = 0x10_0000_0000;
/// Where they end at most, of mappings in smallest pages.
pub(super) const MOST: u64 = 0x400_0000;
/// Where they end at most, of mappings in large pages.
pub(super) const MOST_LARGE: u64 = 0x4000_0000;

/// Where memory begins, and how far one mapping's is from the next one's: they must not be taken for one.
const PHYS: u64 = 0x20_0000_0000;
/// See [`PHYS`].
const APART: u64 = 0x1000_0000;

/// Mappings that stand at once, of as many bytes.
fn slots(len_bytes: u64) -> u64 {
    (MOST / len_bytes).clamp(64, 512)
}

/// What is mapped in a slot.
enum Memory {
    Contiguous,
    /// The pages of all slots, one after another.
    List(Vec<u64>),
}

/// Maps and unmaps `extent`, contiguous in memory. Two phases: the map, the unmap.
///
/// # Errors
/// [`PeersError::Failed`] when one does not what it should.
pub fn contiguous(
    tables: Vec<Box<dyn PageTables>>,
    extent: Extent,
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    run(
        tables,
        extent,
        slots(extent.len_bytes),
        || Memory::Contiguous,
        effort,
    )
}

/// Maps `count` pages of 4 KiB that lie apart in memory as one range, and unmaps it. Two phases: the map, the unmap.
///
/// # Errors
/// [`PeersError::Failed`] when one does not what it should.
pub fn list(
    tables: Vec<Box<dyn PageTables>>,
    count: u64,
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    let extent = Extent {
        page_bytes: 4096,
        len_bytes: 4096 * count,
    };
    let slots = slots(extent.len_bytes);
    // Every other page of memory, backwards.
    let pages = || {
        (0..slots * count)
            .map(|n| PHYS + 0x2000 * (slots * count - n))
            .collect()
    };
    run(tables, extent, slots, || Memory::List(pages()), effort)
}

fn run(
    tables: Vec<Box<dyn PageTables>>,
    extent: Extent,
    slots: u64,
    memory: impl Fn() -> Memory,
    effort: Effort,
) -> Result<Vec<Took>, PeersError> {
    let timer = Timer::calibrated();
    let mut contestants = Vec::new();
    for tables in tables {
        let peer = tables.peer();
        let mut slots = Slots {
            tables,
            extent,
            slots,
            memory: memory(),
        };
        slots.check()?;
        let sample = move || {
            let (mut mapped, mut unmapped) = (0, 0);
            let map_ns = timer.time(|| mapped = slots.map());
            let unmap_ns = timer.time(|| unmapped = slots.unmap());
            let count = slots.slots as f64;
            match mapped == slots.slots && unmapped == slots.slots {
                true => Ok(vec![map_ns / count, unmap_ns / count]),
                false => Err(PeersError::failed(peer, "map and unmap")),
            }
        };
        contestants.push(Contestant {
            peer,
            sample: Box::new(sample),
        });
    }
    measure(contestants, effort)
}

/// Mappings of one length side by side.
struct Slots {
    tables: Box<dyn PageTables>,
    extent: Extent,
    slots: u64,
    memory: Memory,
}

impl Slots {
    fn bus(&self, slot: u64) -> u64 {
        BUS + slot * self.extent.len_bytes
    }

    /// Returns how many slots were mapped before the first that was not.
    fn map(&mut self) -> u64 {
        for slot in 0..self.slots {
            let bus = self.bus(slot);
            let mapped = match &self.memory {
                Memory::Contiguous => self.tables.map(bus, PHYS + slot * APART, self.extent),
                Memory::List(pages) => {
                    let count = (self.extent.len_bytes / self.extent.page_bytes) as usize;
                    let first = slot as usize * count;
                    self.tables.map_list(bus, &pages[first..first + count])
                }
            };
            if !mapped {
                return slot;
            }
        }
        self.slots
    }

    /// Returns how many slots were unmapped before the first that was not.
    fn unmap(&mut self) -> u64 {
        for slot in 0..self.slots {
            let bus = self.bus(slot);
            if !self.tables.unmap(bus, self.extent) {
                return slot;
            }
        }
        self.slots
    }

    /// Whether addresses lead where they should, before anything is timed.
    fn check(&mut self) -> Result<(), PeersError> {
        let peer = self.tables.peer();
        let last = self.extent.len_bytes - 4096 + 0x123;
        for _ in 0..2 {
            if self.map() != self.slots {
                return Err(PeersError::failed(peer, "map"));
            }
            for slot in 0..self.slots {
                for offset in [0, last] {
                    if self.tables.translate(self.bus(slot) + offset) != self.target(slot, offset) {
                        return Err(PeersError::failed(peer, "lead to what was mapped"));
                    }
                }
            }
            if self.unmap() != self.slots {
                return Err(PeersError::failed(peer, "unmap"));
            }
            for slot in 0..self.slots {
                if self.tables.translate(self.bus(slot) + last).is_some() {
                    return Err(PeersError::failed(peer, "lead nowhere after an unmap"));
                }
            }
        }
        Ok(())
    }

    /// Where a byte of a slot should lead.
    fn target(&self, slot: u64, offset: u64) -> Option<u64> {
        match &self.memory {
            Memory::Contiguous => Some(PHYS + slot * APART + offset),
            Memory::List(pages) => {
                let page = slot * (self.extent.len_bytes / 4096) + offset / 4096;
                Some(pages.get(page as usize)? + offset % 4096)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::all;

    const EFFORT: Effort = Effort {
        warm_up: 0,
        rounds: 2,
        sample_ns: 1,
    };

    #[test]
    fn all_map_and_unmap_every_load() {
        let mut took = Vec::new();
        for (page_bytes, len_bytes) in [
            (4096, 4096),
            (4096, 0x1_0000),
            (4096, 0x10_0000),
            (0x20_0000, 0x20_0000),
        ] {
            let extent = Extent {
                page_bytes,
                len_bytes,
            };
            took.push(contiguous(all(None).unwrap(), extent, EFFORT).unwrap());
        }
        took.push(list(all(None).unwrap(), 256, EFFORT).unwrap());
        for took in took {
            let peers: Vec<_> = took.iter().map(|took| took.peer).collect();
            assert_eq!(peers, ["dmamap", "aarch64-paging", "vm-memory iotlb"]);
            assert!(took.iter().all(|took| took.phases.len() == 2));
        }
    }

    /// Maps everything to one page.
    struct Broken;

    impl PageTables for Broken {
        fn peer(&self) -> &'static str {
            "broken"
        }

        fn map(&mut self, _bus: u64, _phys: u64, _extent: Extent) -> bool {
            true
        }

        fn map_list(&mut self, _bus: u64, _pages: &[u64]) -> bool {
            true
        }

        fn unmap(&mut self, _bus: u64, _extent: Extent) -> bool {
            true
        }

        fn translate(&self, _bus: u64) -> Option<u64> {
            Some(PHYS)
        }
    }

    #[test]
    fn one_that_leads_elsewhere_is_noticed() {
        let error = list(vec![Box::new(Broken)], 2, EFFORT).unwrap_err();
        assert_eq!(
            error.to_string(),
            "broken could not lead to what was mapped"
        );
    }
}
