//! Frames the kernel freed, and whatever in a unit still leads to them.
//!
//! This finds an invalidation that was forgotten or came late without any device having to hit the page. Pages
//! mapped at their own address are left out: there a driver has opened memory as a whole.
//!
//! The kernel's other threads change tables, and free and reuse them, while one is being read here. What is found in
//! a table counts only if it is found a second time: the frames looked for are still nobody's, so a way that leads to
//! them stays, and one that was read from a table which is not one any more does not.

use std::ops::Range;

use super::reach::{Onward, Reached, Visitor};
use super::reporter::Reporter;
use crate::findings::FindingKind;

/// Things visited in the tables for one free, at most: the whole of a large address space is not read again for
/// every frame.
const VISITS: u32 = 1 << 18;

const FRAME_BYTES: u64 = 4096;

/// One free, and the ways found to its frames. They become findings in [`report`](Self::report), so that locks of
/// caches can be held while looking.
#[derive(Debug)]
pub(super) struct Freed {
    frames: Range<u64>,
    ways: Vec<String>,
    visits: u32,
}

impl Freed {
    pub(super) fn new(phys: u64, len_bytes: u64) -> Self {
        Self {
            frames: phys..phys.saturating_add(len_bytes),
            ways: Vec::new(),
            visits: 0,
        }
    }

    /// Memory at `phys` is in use by what `through` tells.
    pub(super) fn range(&mut self, phys: u64, len_bytes: u64, through: impl FnOnce() -> String) {
        if phys < self.frames.end && self.frames.start < phys.saturating_add(len_bytes) {
            self.ways.push(through());
        }
    }

    /// A table of one frame is at `phys`.
    pub(super) fn table(&mut self, phys: u64, through: impl FnOnce() -> String) {
        self.range(phys, FRAME_BYTES, through);
    }

    /// A page is mapped.
    pub(super) fn page(
        &mut self,
        bus: u64,
        phys: u64,
        len_bytes: u64,
        through: impl FnOnce() -> String,
    ) {
        if bus != phys {
            self.range(phys, len_bytes, through);
        }
    }

    /// Looks in the unit's tables: `walk` calls its visitor with all that can be reached through them.
    pub(super) fn search(&mut self, mut walk: impl FnMut(Visitor<'_>)) {
        let found = self.found_by(&mut walk);
        if !found.is_empty() {
            let again = self.found_by(&mut walk);
            self.ways
                .extend(found.into_iter().filter(|way| again.contains(way)));
        }
    }

    fn found_by(&self, walk: &mut impl FnMut(Visitor<'_>)) -> Vec<String> {
        let mut search = Self {
            frames: self.frames.clone(),
            ways: Vec::new(),
            visits: 0,
        };
        walk(&mut |reached| search.visit(reached));
        search.ways
    }

    fn visit(&mut self, reached: Reached) -> Onward {
        match reached {
            Reached::Table { phys } => self.table(phys, || {
                format!("a table at phys {phys:#x} that the unit's registers lead to")
            }),
            Reached::Leaf {
                requester,
                bus,
                phys,
                len_bytes,
                ..
            } => self.page(bus, phys, len_bytes, || {
                format!("requester {requester:#06x} reaches it at bus {bus:#x}")
            }),
            Reached::All { .. } => {}
        }
        self.visits += 1;
        if self.visits < VISITS {
            Onward::Continue
        } else {
            Onward::Stop
        }
    }

    /// Every way is a finding.
    pub(super) fn report(self, reporter: &Reporter) {
        let Range { start, end } = self.frames;
        for through in self.ways {
            reporter.report(
                FindingKind::FreedFrameReachable,
                format!("phys {start:#x}..{end:#x}: {through}"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Findings;
    use crate::iommu::grant::Grant;

    const PHYS: u64 = 0x7_0000;

    fn leaf(bus: u64) -> Reached {
        Reached::Leaf {
            requester: 0x28,
            bus,
            phys: PHYS,
            len_bytes: FRAME_BYTES,
            grant: Grant::ALL,
        }
    }

    /// What is found where the walks, one after the other, meet `walks`.
    fn found(walks: &[&[u64]]) -> Vec<String> {
        let findings = Findings::new();
        let mut walks = walks.iter();
        let mut freed = Freed::new(PHYS, FRAME_BYTES);
        freed.search(|visit| {
            for &bus in *walks.next().expect("no more walks than these") {
                let _ = visit(leaf(bus));
            }
        });
        freed.report(&Reporter::new("unit", &findings));
        findings
            .list()
            .iter()
            .map(|finding| finding.detail.clone())
            .collect()
    }

    #[test]
    fn a_way_that_stays_is_a_finding() {
        let all = found(&[&[0x1000, 0x2000], &[0x1000, 0x2000]]);
        assert_eq!(all.len(), 2);
        assert!(all[0].ends_with("requester 0x0028 reaches it at bus 0x1000"));
    }

    #[test]
    fn a_way_read_from_a_table_that_was_given_to_others_meanwhile_is_none() {
        assert_eq!(found(&[&[0x2_0000_0000], &[]]), Vec::<String>::new());
        assert_eq!(found(&[&[0x2_0000_0000, 0x1000], &[0x1000]]).len(), 1);
    }

    #[test]
    fn tables_that_lead_nowhere_are_read_once() {
        assert_eq!(found(&[&[]]), Vec::<String>::new());
    }
}
