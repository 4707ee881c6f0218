//! Where the unit looks for frames that were freed: its queues, its caches, its tables; and the exit audit.

use hw::smmu::stream::ENTRY_BYTES;

use super::core::Core;
use super::entries::Stream;
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
                ("command", registers.queue.frames()),
                ("event", registers.events.frames()),
            ];
            for (name, frames) in queues {
                if let Some(frames) = frames {
                    freed.range(frames.start, frames.end - frames.start, || {
                        format!("the {name} queue at phys {:#x}", frames.start)
                    });
                }
            }
        }
        let table = self.live.read().stream_table();
        if let Some(table) = table {
            self.check_caches(&mut freed);
            freed.search(|visitor| {
                reach::visit(self.rules, &self.tables, table, self.first_stream, visitor);
            });
        }
        freed.report(&self.reporter);
    }

    fn check_caches(&self, freed: &mut Freed) {
        let caches = self.caches.read();
        for (index, level1) in caches.level1.iter() {
            let len_bytes = u64::from(level1.entries()) * ENTRY_BYTES;
            if len_bytes != 0 {
                freed.range(level1.l2ptr(), len_bytes, || {
                    format!("cached descriptor {index:#x} of the stream table's first level")
                });
            }
        }
        for (stream, cached) in caches.streams.iter() {
            let Ok(Stream::Translate(translating)) = cached else {
                continue;
            };
            let through = || format!("cached stream table entry of stream {stream:#x}");
            if let Some(context) = translating.context {
                freed.range(context, ENTRY_BYTES, through);
            }
            if let Some(tables) = translating.stage2 {
                let geometry = tables.geometry;
                freed.range(
                    tables.root,
                    geometry.table_bytes(geometry.start_level),
                    through,
                );
            }
        }
        for (stream, cached) in caches.contexts.iter() {
            if let Ok(context) = cached {
                let geometry = context.tables.geometry;
                freed.range(
                    context.tables.root,
                    geometry.table_bytes(geometry.start_level),
                    || format!("cached context descriptor of stream {stream:#x}"),
                );
            }
        }
        caches.translations.visit_tables(|tag, bus, table| {
            freed.table(table.address, || {
                format!(
                    "walk cache entry of {tag:x?}: table of level {} for bus {bus:#x}",
                    table.level
                )
            });
        });
        caches
            .translations
            .visit_pages(|tag, bus, size_log2, page| {
                freed.page(bus, page.phys, 1 << size_log2, || {
                    format!("TLB entry of {tag:x?}: bus {bus:#x}")
                });
            });
    }

    pub(super) fn audit(&self, audit: &mut Audit) {
        let table = self.live.read().stream_table();
        if let Some(table) = table {
            let mut visitor = into_audit(&self.reporter, audit);
            reach::visit(
                self.rules,
                &self.tables,
                table,
                self.first_stream,
                &mut visitor,
            );
        }
    }
}
