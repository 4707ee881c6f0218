//! What a unit remembers of page tables: translations (IOTLB) and the tables walked through (paging-structure or
//! walk caches), in the unit's temper.
//!
//! Generic over the tag by which invalidations name address spaces (a domain id, an ASID and a VMID, …) and over
//! what is remembered of a page and of a table. In the *keep* temper the caches are as large as hardware could ever
//! make them: nothing goes that was not invalidated, tables that were walked through are remembered at every
//! level, and a large page is remembered both whole and as the 4 KiB piece that was used: an invalidation must
//! cover all of it.

use std::collections::BTreeMap;
use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::temper::{Dice, Temper};

/// log₂ of the smallest page.
pub(super) const PAGE_LOG2: u32 = 12;

/// Bus addresses an invalidation covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    All,
    /// From `first` to `last`, inclusive.
    Pages {
        first: u64,
        last: u64,
        tables: Tables,
    },
}

impl Extent {
    /// Whether what is remembered of tables goes too.
    pub(super) fn takes_tables(self) -> bool {
        match self {
            Self::All => true,
            Self::Pages { tables, .. } => tables == Tables::Invalidate,
        }
    }
}

/// What an invalidation of pages does to remembered tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    Keep,
    Invalidate,
}

/// All that one unit remembers of page tables.
#[derive(Debug)]
pub(super) struct TranslationCache<Tag, Page, Table> {
    temper: Temper,
    dice: Dice,
    spaces: FxHashMap<Tag, Space<Page, Table>>,
}

/// One address space.
#[derive(Debug)]
struct Space<Page, Table> {
    pages: BySize<Page>,
    tables: BySize<Table>,
}

/// By log₂ of the size, ascending; the key is the bus address in units of that size.
type BySize<T> = BTreeMap<u32, BTreeMap<u64, T>>;

impl<Page, Table> Default for Space<Page, Table> {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            tables: BTreeMap::new(),
        }
    }
}

impl<Tag: Copy + Eq + Hash, Page: Copy, Table: Copy> TranslationCache<Tag, Page, Table> {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            temper,
            dice: Dice::new(seed),
            spaces: FxHashMap::default(),
        }
    }

    fn forgets(&self) -> bool {
        self.temper.forgets(&self.dice)
    }

    /// The remembered translation of `bus`, and log₂ of its page's size.
    pub(super) fn page(&self, tag: Tag, bus: u64) -> Option<(Page, u32)> {
        let found = smallest(&self.spaces.get(&tag)?.pages, bus)?;
        (!self.forgets()).then_some(found)
    }

    /// The lowest remembered table on the way to `bus`.
    pub(super) fn table(&self, tag: Tag, bus: u64) -> Option<Table> {
        let (found, _) = smallest(&self.spaces.get(&tag)?.tables, bus)?;
        (!self.forgets()).then_some(found)
    }

    /// Remembers the page of `2^size_log2` bytes around `bus`, and `piece`, its 4 KiB there, if it is larger.
    pub(super) fn insert_page(
        &mut self,
        tag: Tag,
        bus: u64,
        size_log2: u32,
        page: Page,
        piece: Option<Page>,
    ) {
        if self.forgets() {
            return;
        }
        let pages = &mut self.spaces.entry(tag).or_default().pages;
        insert(pages, bus, size_log2, page);
        if let Some(piece) = piece.filter(|_| size_log2 > PAGE_LOG2) {
            insert(pages, bus, PAGE_LOG2, piece);
        }
    }

    /// Remembers the table that the entry for the `2^size_log2` bytes around `bus` leads to.
    pub(super) fn insert_table(&mut self, tag: Tag, bus: u64, size_log2: u32, table: Table) {
        if self.forgets() {
            return;
        }
        let space = self.spaces.entry(tag).or_default();
        insert(&mut space.tables, bus, size_log2, table);
    }

    /// Invalidates `extent` of the address spaces that `is_named`.
    pub(super) fn invalidate(&mut self, is_named: impl Fn(Tag) -> bool, extent: Extent) {
        let Extent::Pages {
            first,
            last,
            tables,
        } = extent
        else {
            self.spaces.retain(|tag, _| !is_named(*tag));
            return;
        };
        for (_, space) in self.spaces.iter_mut().filter(|(tag, _)| is_named(**tag)) {
            remove_range(&mut space.pages, first, last);
            if tables == Tables::Invalidate {
                remove_range(&mut space.tables, first, last);
            }
        }
    }

    /// Invalidates the pages of `extent`, and of them only those of a size (log₂) that `is_meant`: what a hint of the
    /// leaves' level may leave behind.
    pub(super) fn invalidate_size(
        &mut self,
        is_named: impl Fn(Tag) -> bool,
        extent: Extent,
        is_meant: impl Fn(u32) -> bool,
    ) {
        let Extent::Pages {
            first,
            last,
            tables,
        } = extent
        else {
            return self.invalidate(is_named, extent);
        };
        for (_, space) in self.spaces.iter_mut().filter(|(tag, _)| is_named(**tag)) {
            for (size_log2, pages) in &mut space.pages {
                if is_meant(*size_log2) {
                    remove_entries(pages, *size_log2, first, last);
                }
            }
            if tables == Tables::Invalidate {
                remove_range(&mut space.tables, first, last);
            }
        }
    }

    /// Calls `visit` with each remembered page: tag, bus address, log₂ of its size, the page.
    pub(super) fn visit_pages(&self, mut visit: impl FnMut(Tag, u64, u32, Page)) {
        for (tag, space) in &self.spaces {
            visit_all(&space.pages, |bus, size_log2, page| {
                visit(*tag, bus, size_log2, page);
            });
        }
    }

    /// Calls `visit` with each remembered table: tag, the bus address it serves, the table.
    pub(super) fn visit_tables(&self, mut visit: impl FnMut(Tag, u64, Table)) {
        for (tag, space) in &self.spaces {
            visit_all(&space.tables, |bus, _, table| visit(*tag, bus, table));
        }
    }
}

fn smallest<T: Copy>(sizes: &BySize<T>, bus: u64) -> Option<(T, u32)> {
    sizes.iter().find_map(|(size_log2, entries)| {
        entries
            .get(&(bus >> size_log2))
            .map(|entry| (*entry, *size_log2))
    })
}

fn insert<T>(sizes: &mut BySize<T>, bus: u64, size_log2: u32, entry: T) {
    let entries = sizes.entry(size_log2).or_default();
    entries.insert(bus >> size_log2, entry);
}

fn remove_range<T>(sizes: &mut BySize<T>, first: u64, last: u64) {
    for (size_log2, entries) in sizes {
        remove_entries(entries, *size_log2, first, last);
    }
}

fn remove_entries<T>(entries: &mut BTreeMap<u64, T>, size_log2: u32, first: u64, last: u64) {
    // Most ranges are one page or a few: cheaper than taking the tree apart.
    let (first, last) = (first >> size_log2, last >> size_log2);
    while let Some((&key, _)) = entries.range(first..=last).next() {
        entries.remove(&key);
    }
}

fn visit_all<T: Copy>(sizes: &BySize<T>, mut visit: impl FnMut(u64, u32, T)) {
    for (size_log2, entries) in sizes {
        for (key, entry) in entries {
            visit(key << size_log2, *size_log2, *entry);
        }
    }
}
