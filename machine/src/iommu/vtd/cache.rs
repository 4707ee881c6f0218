//! What the unit remembers of its tables (chapter 6): context cache, IOTLB, paging-structure caches.
//!
//! Tags are those of legacy mode: contexts by requester and domain, everything else by domain and address.

use hw::vtd::fault::FaultReason;
use hw::vtd::second_stage::size_log2;

use super::entries::{Context, ContextFault, TableAt};
use crate::iommu::entry_cache::EntryCache;
use crate::iommu::grant::Grant;
use crate::iommu::translation_cache::{Extent, TranslationCache};
use crate::temper::{Dice, Temper};

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
    Pages { did: u16, extent: Extent },
}

/// All that one unit remembers.
#[derive(Debug)]
pub(super) struct Caches {
    contexts: EntryCache<u16, CachedContext>,
    translations: TranslationCache<u16, CachedPage, CachedTable>,
}

#[derive(Clone, Copy, Debug)]
struct CachedContext {
    /// The domain that names it in invalidations: 0 for one that is not present or malformed (6.1).
    tag: u16,
    context: Result<Context, ContextFault>,
}

impl Caches {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self {
            contexts: EntryCache::new(temper, dice.next_u64()),
            translations: TranslationCache::new(temper, dice.next_u64()),
        }
    }

    /// The remembered context of a requester.
    pub(super) fn context(&self, sid: u16) -> Option<Result<Context, ContextFault>> {
        self.contexts.get(sid).map(|cached| cached.context)
    }

    /// The remembered translation of `bus`, and log₂ of its page's size.
    pub(super) fn page(&self, did: u16, bus: u64) -> Option<(CachedPage, u32)> {
        self.translations.page(did, bus)
    }

    /// The lowest remembered table on the way to `bus`.
    pub(super) fn table(&self, did: u16, bus: u64) -> Option<CachedTable> {
        self.translations.table(did, bus)
    }

    /// Remembers a context. Returns another one of the same domain that goes another way, which the manual forbids.
    pub(super) fn insert_context(
        &mut self,
        sid: u16,
        context: Result<Context, ContextFault>,
    ) -> Option<u16> {
        let tag = context.map_or(0, |context| context.did);
        let conflict = context.ok().and_then(|context| {
            self.contexts.iter().find_map(|(other, cached)| {
                let other_context = cached.context.ok()?;
                (other_context.did == context.did && other_context.route != context.route)
                    .then_some(other)
            })
        });
        self.contexts.insert(sid, CachedContext { tag, context });
        conflict
    }

    /// Remembers what a walk found for `bus` at the leaf `level`.
    pub(super) fn insert_page(&mut self, did: u16, bus: u64, level: u32, page: CachedPage) {
        let size_log2 = size_log2(level);
        let piece = match page {
            CachedPage::Page { phys, grant } => {
                let offset = bus & ((1 << size_log2) - 1) & !0xfff;
                Some(CachedPage::Page {
                    phys: phys + offset,
                    grant,
                })
            }
            CachedPage::NotPresent | CachedPage::Malformed(_) => None,
        };
        self.translations
            .insert_page(did, bus, size_log2, page, piece);
    }

    /// Remembers what the entry of `level` on the way to `bus` leads to.
    pub(super) fn insert_table(&mut self, did: u16, bus: u64, level: u32, table: CachedTable) {
        self.translations
            .insert_table(did, bus, size_log2(level), table);
    }

    pub(super) fn invalidate_contexts(&mut self, selection: ContextSelection) {
        self.contexts.invalidate(|sid, cached| match selection {
            ContextSelection::Global => true,
            ContextSelection::Domain(did) => cached.tag == did,
            ContextSelection::Device {
                did,
                sid: named,
                ignored,
            } => cached.tag == did && (sid | ignored) == (named | ignored),
        });
    }

    pub(super) fn invalidate_translations(&mut self, selection: TranslationSelection) {
        match selection {
            TranslationSelection::Global => self.translations.invalidate(|_| true, Extent::All),
            TranslationSelection::Domain(did) => {
                self.translations.invalidate(|tag| tag == did, Extent::All);
            }
            TranslationSelection::Pages { did, extent } => {
                self.translations.invalidate(|tag| tag == did, extent);
            }
        }
    }

    /// Calls `visit` with each remembered page: domain, bus address, physical address, length.
    pub(super) fn visit_pages(&self, mut visit: impl FnMut(u16, u64, u64, u64)) {
        self.translations.visit_pages(|did, bus, size_log2, page| {
            if let CachedPage::Page { phys, .. } = page {
                visit(did, bus, phys, 1 << size_log2);
            }
        });
    }

    /// Calls `visit` with each remembered table: its domain, the bus address it serves, the table.
    pub(super) fn visit_tables(&self, mut visit: impl FnMut(u16, u64, TableAt)) {
        self.translations.visit_tables(|did, bus, table| {
            if let CachedTable::Table(table) = table {
                visit(did, bus, table);
            }
        });
    }

    /// Calls `visit` with each remembered context.
    pub(super) fn visit_contexts(&self, mut visit: impl FnMut(u16, Context)) {
        for (sid, cached) in self.contexts.iter() {
            if let Ok(context) = cached.context {
                visit(sid, context);
            }
        }
    }
}
