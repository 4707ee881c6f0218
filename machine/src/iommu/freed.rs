//! Frames the kernel freed, and whatever in a unit still leads to them.
//!
//! This finds an invalidation that was forgotten or came late without any device having to hit the page. Pages
//! mapped at their own address are left out: there a driver has opened memory as a whole.

use std::ops::Range;

use super::reach::{Onward, Reached};
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

    /// A visitor of the unit's tables.
    pub(super) fn visit(&mut self, reached: Reached) -> Onward {
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
