//! Frames the kernel freed, and whatever in the unit still leads to them.
//!
//! This finds an invalidation that was forgotten or came late without any device having to hit the page. Pages
//! mapped at their own address are left out: there a driver has opened memory as a whole.

use std::ops::Range;

use super::core::Core;
use super::entries::Route;
use super::reach::{self, Onward, Reached};
use crate::findings::FindingKind;

/// Things visited in the tables for one free, at most: the whole of a large address space is not read again for
/// every frame.
const VISITS: u32 = 1 << 18;

const FRAME_BYTES: u64 = 4096;

fn overlap(freed: &Range<u64>, phys: u64, len_bytes: u64) -> bool {
    phys < freed.end && freed.start < phys.saturating_add(len_bytes)
}

impl Core {
    pub(super) fn frames_freed(&self, phys: u64, len_bytes: u64) {
        let freed = phys..phys.saturating_add(len_bytes);
        if let Some(queue) = self.registers.lock().queue.frames()
            && overlap(&freed, queue.start, queue.end - queue.start)
        {
            self.reachable(
                &freed,
                format!("the invalidation queue at phys {:#x}", queue.start),
            );
        }
        if !self.live.is_translating() {
            return;
        }
        self.check_caches(&freed);
        self.check_tables(&freed);
    }

    fn reachable(&self, freed: &Range<u64>, through: String) {
        self.reporter.report(
            FindingKind::FreedFrameReachable,
            format!("phys {:#x}..{:#x}: {through}", freed.start, freed.end),
        );
    }

    fn check_caches(&self, freed: &Range<u64>) {
        let mut found = Vec::new();
        let caches = self.caches.read();
        caches.visit_contexts(|requester, context| {
            if let Route::Table { table, .. } = context.route
                && overlap(freed, table, FRAME_BYTES)
            {
                found.push(format!("context cache entry of requester {requester:#06x}"));
            }
        });
        caches.visit_tables(|did, bus, table| {
            if overlap(freed, table.phys, FRAME_BYTES) {
                found.push(format!(
                    "paging-structure cache entry of domain {did:#x}: table of level {} for bus {bus:#x}",
                    table.level
                ));
            }
        });
        caches.visit_pages(|did, bus, phys, len_bytes| {
            if bus != phys && overlap(freed, phys, len_bytes) {
                found.push(format!("IOTLB entry of domain {did:#x}: bus {bus:#x}"));
            }
        });
        drop(caches);
        for through in found {
            self.reachable(freed, through);
        }
    }

    fn check_tables(&self, freed: &Range<u64>) {
        let Some(root_table) = self.live.root_table() else {
            return;
        };
        let mut visits = 0;
        let mut found = Vec::new();
        reach::visit(self.rules, &self.tables, root_table, &mut |reached| {
            match reached {
                Reached::Table { phys } if overlap(freed, phys, FRAME_BYTES) => {
                    found.push(format!(
                        "a table at phys {phys:#x} that the root table leads to"
                    ));
                }
                Reached::Leaf {
                    requester,
                    bus,
                    phys,
                    len_bytes,
                    ..
                } if bus != phys && overlap(freed, phys, len_bytes) => {
                    found.push(format!(
                        "requester {requester:#06x} reaches it at bus {bus:#x}"
                    ));
                }
                _ => {}
            }
            visits += 1;
            if visits < VISITS {
                Onward::Continue
            } else {
                Onward::Stop
            }
        });
        for through in found {
            self.reachable(freed, through);
        }
    }
}
