//! What the unit remembers of its tables (2.8): device directory, translations, page tables walked through.
//!
//! Device contexts are tagged with the device id, translations with the soft-context id of their address space.
//! What is not valid is never remembered. A page larger than 4 KiB is remembered whole and in the piece that was used;
//! an invalidation of an address takes the piece only if it covers it, as with emulators whose cache has pieces alone.

use super::entries::{Context, TableAt};
use super::page_entry::size_log2;
use crate::iommu::entry_cache::EntryCache;
use crate::iommu::grant::Grant;
use crate::iommu::translation_cache::{Extent, TranslationCache};
use crate::temper::{Dice, Temper};

/// The address space of a remembered translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tag {
    /// Of a first stage: its process soft-context id.
    Process(u32),
    /// Of every first stage: a leaf, or an entry above it, said global.
    Global,
    /// Of a second stage: its guest soft-context id.
    Guest(u16),
}

/// Which address spaces an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spaces {
    None,
    /// Every first stage, and what is global.
    Host,
    /// One first stage, without what is global.
    Process(u32),
    /// Every second stage.
    Guests,
    Guest(u16),
}

impl Spaces {
    fn name(self, tag: Tag) -> bool {
        match self {
            Self::None => false,
            Self::Host => matches!(tag, Tag::Process(_) | Tag::Global),
            Self::Process(pscid) => tag == Tag::Process(pscid),
            Self::Guests => matches!(tag, Tag::Guest(_)),
            Self::Guest(gscid) => tag == Tag::Guest(gscid),
        }
    }
}

/// Which parts of the device directory an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirectorySelection {
    /// Contexts of all devices, and the tables that lead to them.
    All,
    /// The context of one device.
    Device(u32),
}

/// A remembered translation of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CachedPage {
    pub(super) phys: u64,
    pub(super) grant: Grant,
}

/// A table of the device directory: its level, the lowest being 0, and the bits of the device id above it.
type DirectoryKey = (u32, u32);

/// All that one unit remembers.
#[derive(Debug)]
pub(super) struct Caches {
    contexts: EntryCache<u32, Context>,
    directories: EntryCache<DirectoryKey, u64>,
    translations: TranslationCache<Tag, CachedPage, TableAt>,
}

impl Caches {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self {
            contexts: EntryCache::new(temper, dice.next_u64()),
            directories: EntryCache::new(temper, dice.next_u64()),
            translations: TranslationCache::new(temper, dice.next_u64()),
        }
    }

    /// The remembered context of a device.
    pub(super) fn context(&self, device: u32) -> Option<Context> {
        self.contexts.get(device).copied()
    }

    /// Remembers a context. Returns another device whose context has the same soft-context id and another table:
    /// then the unit may use either for both (2.1.3.2, 2.2.3).
    pub(super) fn insert_context(&mut self, device: u32, context: Context) -> Option<u32> {
        let conflict = self.contexts.iter().find_map(|(other, cached)| {
            let (ours, theirs) = (context.route, cached.route);
            (ours.tag().is_some() && ours.tag() == theirs.tag() && ours != theirs).then_some(other)
        });
        self.contexts.insert(device, context);
        conflict
    }

    /// The remembered table of the directory.
    pub(super) fn directory(&self, key: DirectoryKey) -> Option<u64> {
        self.directories.get(key).copied()
    }

    pub(super) fn insert_directory(&mut self, key: DirectoryKey, table: u64) {
        self.directories.insert(key, table);
    }

    /// The remembered translation of `bus`, and log₂ of its page's size.
    pub(super) fn page(&self, tag: Tag, bus: u64) -> Option<(CachedPage, u32)> {
        let own = self.translations.page(tag, bus);
        let global = || match tag {
            Tag::Process(_) => self.translations.page(Tag::Global, bus),
            Tag::Global | Tag::Guest(_) => None,
        };
        own.or_else(global)
    }

    /// The lowest remembered table on the way to `bus`.
    pub(super) fn table(&self, tag: Tag, bus: u64) -> Option<TableAt> {
        self.translations.table(tag, bus)
    }

    /// Remembers the page of `2^size_log2` bytes around `bus`.
    pub(super) fn insert_page(&mut self, tag: Tag, bus: u64, size_log2: u32, page: CachedPage) {
        let offset = bus & ((1 << size_log2) - 1) & !0xfff;
        let piece = CachedPage {
            phys: page.phys + offset,
            ..page
        };
        self.translations
            .insert_page(tag, bus, size_log2, page, Some(piece));
    }

    /// Remembers the table that the entry of the level above it on the way to `bus` leads to.
    pub(super) fn insert_table(&mut self, tag: Tag, bus: u64, table: TableAt) {
        self.translations
            .insert_table(tag, bus, size_log2(table.level + 1), table);
    }

    pub(super) fn invalidate_directory(&mut self, selection: DirectorySelection) {
        match selection {
            DirectorySelection::All => {
                self.contexts.invalidate(|_, _| true);
                self.directories.invalidate(|_, _| true);
            }
            DirectorySelection::Device(named) => {
                self.contexts.invalidate(|device, _| device == named);
            }
        }
    }

    pub(super) fn invalidate_translations(&mut self, spaces: Spaces, extent: Extent) {
        self.translations.invalidate(|tag| spaces.name(tag), extent);
    }

    /// Whether anything is remembered.
    pub(super) fn is_empty(&self) -> bool {
        let mut empty = self.contexts.iter().next().is_none();
        empty &= self.directories.iter().next().is_none();
        self.translations.visit_pages(|_, _, _, _| empty = false);
        self.translations.visit_tables(|_, _, _| empty = false);
        empty
    }

    /// Calls `visit` with each remembered page: its space, bus address, physical address, length.
    pub(super) fn visit_pages(&self, mut visit: impl FnMut(Tag, u64, u64, u64)) {
        self.translations.visit_pages(|tag, bus, size_log2, page| {
            visit(tag, bus, page.phys, 1 << size_log2);
        });
    }

    /// Calls `visit` with each remembered page table: its space, the bus address it serves, the table.
    pub(super) fn visit_tables(&self, visit: impl FnMut(Tag, u64, TableAt)) {
        self.translations.visit_tables(visit);
    }

    /// Calls `visit` with each remembered context.
    pub(super) fn visit_contexts(&self, mut visit: impl FnMut(u32, Context)) {
        for (device, context) in self.contexts.iter() {
            visit(device, *context);
        }
    }

    /// Calls `visit` with each remembered table of the directory.
    pub(super) fn visit_directories(&self, mut visit: impl FnMut(u64)) {
        for (_, table) in self.directories.iter() {
            visit(*table);
        }
    }
}
