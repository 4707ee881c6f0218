//! Where the unit looks for frames that were freed: its queues, its caches, its tables; and the exit audit.

use hw::riscv::directory::{SecondStage, TABLE_BYTES};

use super::core::Core;
use super::entries::Route;
use super::reach;
use crate::audit::Audit;
use crate::iommu::freed::Freed;
use crate::iommu::report::into_audit;

impl Core {
    pub(super) fn frames_freed(&self, phys: u64, len_bytes: u64) {
        let mut freed = Freed::new(phys, len_bytes);
        {
            let registers = self.registers.lock();
            let queues = [
                (registers.queue.frames(), "command"),
                (registers.faults.frames(), "fault"),
            ];
            for (queue, name) in queues {
                if let Some(queue) = queue {
                    freed.range(queue.start, queue.end - queue.start, || {
                        format!("the {name} queue at phys {:#x}", queue.start)
                    });
                }
            }
        }
        if let Some(directory) = self.live.directory() {
            self.check_caches(&mut freed);
            freed.search(|visitor| {
                reach::visit(self.rules, &self.tables, directory, visitor);
            });
        }
        freed.report(&self.reporter);
    }

    fn check_caches(&self, freed: &mut Freed) {
        let caches = self.caches.read();
        caches.visit_directories(|table| {
            freed.table(table, || {
                format!("remembered table of the device directory at phys {table:#x}")
            });
        });
        caches.visit_contexts(|device, context| {
            let (table, len_bytes) = match context.route {
                Route::Bare => return,
                Route::First { table, .. } => (table, TABLE_BYTES),
                Route::Second { table, .. } => (table, SecondStage::ROOT_BYTES),
            };
            freed.range(table, len_bytes, || {
                format!("remembered context of device {device:#06x}")
            });
        });
        caches.visit_tables(|tag, bus, table| {
            freed.table(table.phys, || {
                format!(
                    "remembered table of level {} of {tag:?} for bus {bus:#x}",
                    table.level
                )
            });
        });
        caches.visit_pages(|tag, bus, phys, len_bytes| {
            freed.page(bus, phys, len_bytes, || {
                format!("remembered translation of {tag:?}: bus {bus:#x}")
            });
        });
    }

    pub(super) fn audit(&self, audit: &mut Audit) {
        if let Some(directory) = self.live.directory() {
            let visitor = &mut into_audit(&self.reporter, audit);
            reach::visit(self.rules, &self.tables, directory, visitor);
        }
    }
}
