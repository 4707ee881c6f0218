//! Where the unit looks for frames that were freed: its rings, its caches, its tables; and the exit audit.

use super::core::Core;
use super::entries::Route;
use super::reach;
use crate::audit::Audit;
use crate::iommu::freed::Freed;
use crate::iommu::reach::Onward;
use crate::iommu::report::into_audit;

impl Core {
    pub(super) fn frames_freed(&self, phys: u64, len_bytes: u64) {
        let mut freed = Freed::new(phys, len_bytes);
        {
            let registers = self.registers.lock();
            let rings = [
                (registers.ring.frames(), "the command buffer"),
                (registers.log.frames(), "the event log"),
            ];
            for (frames, name) in rings {
                if let Some(frames) = frames {
                    freed.range(frames.start, frames.end - frames.start, || {
                        format!("{name} at phys {:#x}", frames.start)
                    });
                }
            }
        }
        if self.live.is_translating() {
            self.check_caches(&mut freed);
            let table = self.live.device_table();
            freed.range(table.base(), table.len_bytes(), || {
                format!("the device table at phys {:#x}", table.base())
            });
            freed.search(|visitor| {
                let known = self.live.known().into_iter();
                reach::visit(self.rules, &self.tables, table, known, visitor);
            });
        }
        freed.report(&self.reporter);
    }

    fn check_caches(&self, freed: &mut Freed) {
        let caches = self.caches.read();
        caches.visit_devices(|device, entry| {
            if let Route::Table { table, .. } = entry.route {
                freed.table(table, || format!("cached entry of device {device:#06x}"));
            }
        });
        caches.visit_tables(|domain, bus, table| {
            freed.table(table.phys, || {
                format!(
                    "cached table of domain {domain:#x}: level {} for bus {bus:#x}",
                    table.level
                )
            });
        });
        caches.visit_pages(|domain, bus, phys, len_bytes| {
            freed.page(bus, phys, len_bytes, || {
                format!("cached translation of domain {domain:#x}: bus {bus:#x}")
            });
        });
    }

    pub(super) fn audit(&self, audit: &mut Audit) {
        if !self.live.is_translating() {
            return;
        }
        let table = self.live.device_table();
        let mut visitor = into_audit(&self.reporter, audit);
        if reach::visit_device_table(table, &mut visitor) == Onward::Continue {
            let devices = reach::devices(&self.tables, table);
            reach::visit(self.rules, &self.tables, table, devices, &mut visitor);
        }
    }
}
