//! What the unit remembers of its tables: device table entries by device, translations and tables by domain.

use super::entries::{DeviceEntry, TableAt};
use crate::iommu::entry_cache::EntryCache;
use crate::iommu::grant::Grant;
use crate::iommu::translation_cache::{Extent, PAGE_LOG2, TranslationCache};
use crate::temper::{Dice, Temper};

/// A remembered translation of one page: what the page table says, without the device's `IR` and `IW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) phys: u64,
    pub(super) grant: Grant,
}

/// All that one unit remembers.
#[derive(Debug)]
pub(super) struct Caches {
    entries: EntryCache<u16, CachedEntry>,
    translations: TranslationCache<u16, Page, TableAt>,
}

#[derive(Clone, Copy, Debug)]
struct CachedEntry {
    entry: DeviceEntry,
    /// A page fault of the device was logged since.
    faulted: bool,
}

impl Caches {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self {
            entries: EntryCache::new(temper, dice.next_u64()),
            translations: TranslationCache::new(temper, dice.next_u64()),
        }
    }

    /// The remembered entry of a device.
    pub(super) fn device(&self, device: u16) -> Option<DeviceEntry> {
        self.entries.get(device).map(|cached| cached.entry)
    }

    /// The remembered translation of `bus`, and log₂ of its page's size.
    pub(super) fn page(&self, domain: u16, bus: u64) -> Option<(Page, u32)> {
        self.translations.page(domain, bus)
    }

    /// The lowest remembered table on the way to `bus`.
    pub(super) fn table(&self, domain: u16, bus: u64) -> Option<TableAt> {
        self.translations.table(domain, bus)
    }

    /// Remembers an entry. Returns another device of the same domain whose requests go another way, which the manual
    /// forbids.
    pub(super) fn insert_device(&mut self, device: u16, entry: DeviceEntry) -> Option<u16> {
        let conflict = self.entries.iter().find_map(|(other, cached)| {
            // Its own entry of before may be another.
            // One that has no table must not find what was remembered for one that has.
            let differs = other != device
                && cached.entry.domain == entry.domain
                && !cached.entry.is_open()
                && !entry.is_open()
                && cached.entry.table() != entry.table();
            differs.then_some(other)
        });
        let faulted = false;
        self.entries.insert(device, CachedEntry { entry, faulted });
        conflict
    }

    /// Whether a page fault of the device was logged since its entry is remembered; from now on, one was.
    pub(super) fn note_fault(&mut self, device: u16) -> bool {
        let Some(cached) = self.entries.get(device).copied() else {
            return false;
        };
        let faulted = true;
        self.entries
            .insert(device, CachedEntry { faulted, ..cached });
        cached.faulted
    }

    /// Remembers the page of `2^size_log2` bytes around `bus`.
    pub(super) fn insert_page(&mut self, domain: u16, bus: u64, size_log2: u32, page: Page) {
        let offset = bus & ((1 << size_log2) - 1) & !((1 << PAGE_LOG2) - 1);
        let piece = Page {
            phys: page.phys + offset,
            ..page
        };
        self.translations
            .insert_page(domain, bus, size_log2, page, Some(piece));
    }

    /// Remembers a table that translates the `2^span_log2` bytes around `bus`.
    pub(super) fn insert_table(&mut self, domain: u16, bus: u64, span_log2: u32, table: TableAt) {
        if span_log2 < u64::BITS {
            self.translations
                .insert_table(domain, bus, span_log2, table);
        }
    }

    pub(super) fn invalidate_device(&mut self, device: u16) {
        self.entries.invalidate(|cached, _| cached == device);
    }

    pub(super) fn invalidate_pages(&mut self, domain: u16, extent: Extent) {
        self.translations.invalidate(|tag| tag == domain, extent);
    }

    pub(super) fn invalidate_all(&mut self) {
        self.entries.invalidate(|_, _| true);
        self.translations.invalidate(|_| true, Extent::All);
    }

    /// Calls `visit` with each remembered page: domain, bus address, physical address, length.
    pub(super) fn visit_pages(&self, mut visit: impl FnMut(u16, u64, u64, u64)) {
        self.translations
            .visit_pages(|domain, bus, size_log2, page| {
                visit(domain, bus, page.phys, 1 << size_log2);
            });
    }

    /// Calls `visit` with each remembered table: its domain, the bus address it serves, the table.
    pub(super) fn visit_tables(&self, visit: impl FnMut(u16, u64, TableAt)) {
        self.translations.visit_tables(visit);
    }

    /// Calls `visit` with each remembered device table entry.
    pub(super) fn visit_devices(&self, mut visit: impl FnMut(u16, DeviceEntry)) {
        for (device, cached) in self.entries.iter() {
            visit(device, cached.entry);
        }
    }
}
