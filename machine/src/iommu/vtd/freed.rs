//! Where the unit looks for frames that were freed: its queue, its caches, its tables; and the exit audit.

use super::core::Core;
use super::entries::Route;
use super::reach;
use crate::audit::Audit;
use crate::iommu::freed::Freed;
use crate::iommu::report::into_audit;

impl Core {
    pub(super) fn frames_freed(&self, phys: u64, len_bytes: u64) {
        let mut freed = Freed::new(phys, len_bytes);
        if let Some(queue) = self.registers.lock().queue.frames() {
            freed.range(queue.start, queue.end - queue.start, || {
                format!("the invalidation queue at phys {:#x}", queue.start)
            });
        }
        if self.live.is_translating() {
            self.check_caches(&mut freed);
            if let Some(root_table) = self.live.root_table() {
                freed.search(|visitor| {
                    reach::visit(self.rules, &self.tables, root_table, visitor);
                });
            }
        }
        freed.report(&self.reporter);
    }

    fn check_caches(&self, freed: &mut Freed) {
        let caches = self.caches.read();
        caches.visit_contexts(|requester, context| {
            if let Route::Table { table, .. } = context.route {
                freed.table(table, || {
                    format!("context or PASID cache entry of requester {requester:#06x}")
                });
            }
        });
        caches.visit_directories(|requester, directory| {
            freed.range(directory.phys, directory.len_bytes(), || {
                format!("context cache entry of requester {requester:#06x}: PASID directory")
            });
        });
        caches.visit_tables(|did, bus, table| {
            freed.table(table.phys, || {
                format!(
                    "paging-structure cache entry of domain {did:#x}: table of level {} for bus {bus:#x}",
                    table.level
                )
            });
        });
        caches.visit_pages(|did, bus, phys, len_bytes| {
            freed.page(bus, phys, len_bytes, || {
                format!("IOTLB entry of domain {did:#x}: bus {bus:#x}")
            });
        });
    }

    pub(super) fn audit(&self, audit: &mut Audit) {
        if let Some(root_table) = self.live.root_table()
            && self.live.is_translating()
        {
            let mut visitor = into_audit(&self.reporter, audit);
            reach::visit(self.rules, &self.tables, root_table, &mut visitor);
        }
    }
}
