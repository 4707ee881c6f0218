//! What the unit remembers of its tables (chapter 6): context cache, IOTLB, paging-structure caches.
//!
//! Tags are those of legacy mode: contexts by requester and domain, everything else by domain and address. In
//! the *keep* temper the caches are as large as hardware could ever make them: nothing goes that was not
//! invalidated, tables that were walked through are remembered at every level, and a large page is
//! remembered both whole and as the 4 KiB piece that was used: an invalidation must cover all of it.

use std::collections::BTreeMap;

use hw::vtd::fault::FaultReason;
use hw::vtd::second_stage::size_log2;
use rustc_hash::FxHashMap;

use super::entries::{Context, ContextFault, Grant, TableAt};
use crate::temper::{Dice, Temper};

/// Levels of the largest leaf, 1 GiB.
const LEAF_LEVELS: usize = 3;
/// Levels of the deepest table.
const TABLE_LEVELS: usize = 5;

/// A remembered translation of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CachedPage {
    Page {
        phys: u64,
        grant: Grant,
    },
    /// Only with caching mode: there was none.
    NotPresent,
    /// Only with caching mode: an entry was malformed.
    Malformed(FaultReason),
}

/// A remembered table below the top one, or (only with caching mode) that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CachedTable {
    Table(TableAt),
    NotPresent,
    Malformed(FaultReason),
}

/// Which context-cache entries an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContextSelection {
    Global,
    Domain(u16),
    /// Bits of `ignored` are not compared.
    Device {
        did: u16,
        sid: u16,
        ignored: u16,
    },
}

/// Which translations an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TranslationSelection {
    Global,
    Domain(u16),
    Pages {
        did: u16,
        first: u64,
        last: u64,
        tables: Tables,
    },
}

/// What a page-selective invalidation does to paging-structure caches (`IH`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tables {
    Keep,
    Invalidate,
}

/// All that one unit remembers.
#[derive(Debug)]
pub(super) struct Caches {
    temper: Temper,
    dice: Dice,
    contexts: FxHashMap<u16, CachedContext>,
    domains: FxHashMap<u16, Domain>,
}

#[derive(Clone, Copy, Debug)]
struct CachedContext {
    /// The domain that names it in invalidations: 0 for one that is not present or malformed (6.1).
    tag: u16,
    context: Result<Context, ContextFault>,
}

#[derive(Debug, Default)]
struct Domain {
    /// By level of the leaf; the key is the bus address in units of its size.
    pages: [BTreeMap<u64, CachedPage>; LEAF_LEVELS],
    /// By level of the entry that holds the table; the key is the bus address in units of what it covers.
    tables: [BTreeMap<u64, CachedTable>; TABLE_LEVELS],
}

impl Caches {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            temper,
            dice: Dice::new(seed),
            contexts: FxHashMap::default(),
            domains: FxHashMap::default(),
        }
    }

    fn forgets(&self) -> bool {
        self.temper.forgets(&self.dice)
    }

    /// The remembered context of a requester.
    pub(super) fn context(&self, sid: u16) -> Option<Result<Context, ContextFault>> {
        let cached = self.contexts.get(&sid)?;
        (!self.forgets()).then_some(cached.context)
    }

    /// The remembered translation of `bus`, and the level of its leaf.
    pub(super) fn page(&self, did: u16, bus: u64) -> Option<(CachedPage, u32)> {
        let domain = self.domains.get(&did)?;
        let found = (1..).zip(&domain.pages).find_map(|(level, pages)| {
            pages
                .get(&(bus >> size_log2(level)))
                .map(|page| (*page, level))
        })?;
        (!self.forgets()).then_some(found)
    }

    /// The lowest remembered table on the way to `bus`.
    pub(super) fn table(&self, did: u16, bus: u64) -> Option<CachedTable> {
        let domain = self.domains.get(&did)?;
        let found = (1..)
            .zip(&domain.tables)
            .find_map(|(level, tables)| tables.get(&(bus >> size_log2(level))).copied())?;
        (!self.forgets()).then_some(found)
    }

    /// Remembers a context. Returns another one of the same domain that goes another way, which the manual forbids.
    pub(super) fn insert_context(
        &mut self,
        sid: u16,
        context: Result<Context, ContextFault>,
    ) -> Option<u16> {
        if self.forgets() {
            return None;
        }
        let tag = context.map_or(0, |context| context.did);
        let conflict = context.ok().and_then(|context| {
            self.contexts.iter().find_map(|(other, cached)| {
                let other_context = cached.context.ok()?;
                (other_context.did == context.did && other_context.route != context.route)
                    .then_some(*other)
            })
        });
        self.contexts.insert(sid, CachedContext { tag, context });
        conflict
    }

    /// Remembers what a walk found for `bus` at the leaf `level`.
    pub(super) fn insert_page(&mut self, did: u16, bus: u64, level: u32, page: CachedPage) {
        if self.forgets() {
            return;
        }
        let domain = self.domains.entry(did).or_default();
        domain.pages[level as usize - 1].insert(bus >> size_log2(level), page);
        if let CachedPage::Page { phys, grant } = page
            && level > 1
        {
            let offset = bus & ((1 << size_log2(level)) - 1) & !0xfff;
            let piece = CachedPage::Page {
                phys: phys + offset,
                grant,
            };
            domain.pages[0].insert(bus >> size_log2(1), piece);
        }
    }

    /// Remembers what the entry of `level` on the way to `bus` leads to.
    pub(super) fn insert_table(&mut self, did: u16, bus: u64, level: u32, table: CachedTable) {
        if self.forgets() {
            return;
        }
        let domain = self.domains.entry(did).or_default();
        domain.tables[level as usize - 1].insert(bus >> size_log2(level), table);
    }

    pub(super) fn invalidate_contexts(&mut self, selection: ContextSelection) {
        match selection {
            ContextSelection::Global => self.contexts.clear(),
            ContextSelection::Domain(did) => self.contexts.retain(|_, cached| cached.tag != did),
            ContextSelection::Device { did, sid, ignored } => {
                self.contexts.retain(|cached_sid, cached| {
                    cached.tag != did || (cached_sid | ignored) != (sid | ignored)
                });
            }
        }
    }

    pub(super) fn invalidate_translations(&mut self, selection: TranslationSelection) {
        match selection {
            TranslationSelection::Global => self.domains.clear(),
            TranslationSelection::Domain(did) => {
                self.domains.remove(&did);
            }
            TranslationSelection::Pages {
                did,
                first,
                last,
                tables,
            } => {
                let Some(domain) = self.domains.get_mut(&did) else {
                    return;
                };
                for (level, pages) in (1..).zip(&mut domain.pages) {
                    remove_range(pages, first >> size_log2(level), last >> size_log2(level));
                }
                if tables == Tables::Invalidate {
                    for (level, tables) in (1..).zip(&mut domain.tables) {
                        remove_range(tables, first >> size_log2(level), last >> size_log2(level));
                    }
                }
            }
        }
    }

    /// Calls `visit` with each remembered page: domain, bus address, physical address, length.
    pub(super) fn visit_pages(&self, mut visit: impl FnMut(u16, u64, u64, u64)) {
        for (did, domain) in &self.domains {
            for (level, pages) in (1..).zip(&domain.pages) {
                for (key, page) in pages {
                    if let CachedPage::Page { phys, .. } = page {
                        visit(*did, key << size_log2(level), *phys, 1 << size_log2(level));
                    }
                }
            }
        }
    }

    /// Calls `visit` with each remembered table: its domain, the bus address it serves, the table.
    pub(super) fn visit_tables(&self, mut visit: impl FnMut(u16, u64, TableAt)) {
        for (did, domain) in &self.domains {
            for (level, tables) in (1..).zip(&domain.tables) {
                for (key, table) in tables {
                    if let CachedTable::Table(table) = table {
                        visit(*did, key << size_log2(level), *table);
                    }
                }
            }
        }
    }

    /// Calls `visit` with each remembered context.
    pub(super) fn visit_contexts(&self, mut visit: impl FnMut(u16, Context)) {
        for (sid, cached) in &self.contexts {
            if let Ok(context) = cached.context {
                visit(*sid, context);
            }
        }
    }
}

fn remove_range<V>(map: &mut BTreeMap<u64, V>, first: u64, last: u64) {
    // Most ranges are one page or a few: cheaper than taking the tree apart.
    while let Some((&key, _)) = map.range(first..=last).next() {
        map.remove(&key);
    }
}
