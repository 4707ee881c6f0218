//! What the unit remembers of its tables (chapter 6): context cache, IOTLB, paging-structure caches.
//!
//! Contexts are tagged by requester and, in legacy mode, domain; PASID-table entries by requester, domain and PASID;
//! everything else by domain, for first-stage translations PASID, and address.

use hw::vtd::fault::FaultReason;
use hw::vtd::second_stage::size_log2;

use super::entries::{Context, ContextFault, TableAt, Tag};
use super::scalable::Directory;
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

/// Which cached PASID-table entries an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PasidSelection {
    Global,
    Domain(u16),
    Pasid { did: u16, pasid: u32 },
}

/// Which translations an invalidation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TranslationSelection {
    Global,
    Domain(u16),
    /// Of second-stage tables.
    Pages {
        did: u16,
        extent: Extent,
    },
    /// Of first-stage tables.
    Pasid {
        did: u16,
        pasid: u32,
        extent: Extent,
    },
}

/// Two requesters that one tag leads to different tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) tag: Tag,
    pub(super) requesters: [u16; 2],
}

/// All that one unit remembers.
#[derive(Debug)]
pub(super) struct Caches {
    contexts: EntryCache<u16, CachedContext>,
    /// Context entries of scalable mode.
    directories: EntryCache<u16, Result<Directory, ContextFault>>,
    /// PASID-table entries, by requester and PASID.
    pasids: EntryCache<(u16, u32), CachedContext>,
    translations: TranslationCache<Tag, CachedPage, CachedTable>,
}

#[derive(Clone, Copy, Debug)]
struct CachedContext {
    /// The domain that names it in invalidations: 0 for one that is not present or malformed (6.1).
    did: u16,
    context: Result<Context, ContextFault>,
}

impl CachedContext {
    fn new(context: Result<Context, ContextFault>) -> Self {
        let did = context.map_or(0, |context| context.tag.did);
        Self { did, context }
    }

    /// Another one of `others` with the same tag that goes another way.
    fn conflict(&self, mut others: impl Iterator<Item = (u16, Self)>) -> Option<(Tag, u16)> {
        let context = self.context.ok()?;
        others.find_map(|(requester, other)| {
            let other = other.context.ok()?;
            (other.tag == context.tag && other.route != context.route)
                .then_some((context.tag, requester))
        })
    }
}

impl Caches {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self {
            contexts: EntryCache::new(temper, dice.next_u64()),
            directories: EntryCache::new(temper, dice.next_u64()),
            pasids: EntryCache::new(temper, dice.next_u64()),
            translations: TranslationCache::new(temper, dice.next_u64()),
        }
    }

    /// The remembered context of a requester.
    pub(super) fn context(&self, sid: u16) -> Option<Result<Context, ContextFault>> {
        self.contexts.get(sid).map(|cached| cached.context)
    }

    /// The remembered translation of `bus`, and log₂ of its page's size.
    pub(super) fn page(&self, tag: Tag, bus: u64) -> Option<(CachedPage, u32)> {
        self.translations.page(tag, bus)
    }

    /// The lowest remembered table on the way to `bus`.
    pub(super) fn table(&self, tag: Tag, bus: u64) -> Option<CachedTable> {
        self.translations.table(tag, bus)
    }

    /// The remembered scalable-mode context of a requester.
    pub(super) fn directory(&self, sid: u16) -> Option<Result<Directory, ContextFault>> {
        self.directories.get(sid).copied()
    }

    /// The remembered PASID-table entry of a requester.
    pub(super) fn pasid(&self, sid: u16, pasid: u32) -> Option<Result<Context, ContextFault>> {
        self.pasids.get((sid, pasid)).map(|cached| cached.context)
    }

    /// Remembers a context. Returns whether one of another requester with the same tag goes another way. What was
    /// remembered of this requester may: its entry is being changed, and not yet invalidated.
    pub(super) fn insert_context(
        &mut self,
        sid: u16,
        context: Result<Context, ContextFault>,
    ) -> Option<Conflict> {
        let cached = CachedContext::new(context);
        let others = self.contexts.iter().map(|(other, cached)| (other, *cached));
        let others = others.filter(|(other, _)| *other != sid);
        let conflict = cached.conflict(others);
        self.contexts.insert(sid, cached);
        conflict.map(|(tag, other)| Conflict {
            tag,
            requesters: [sid, other],
        })
    }

    /// Remembers a scalable-mode context.
    pub(super) fn insert_directory(&mut self, sid: u16, found: Result<Directory, ContextFault>) {
        self.directories.insert(sid, found);
    }

    /// Remembers a PASID-table entry. Returns whether another one with the same tag goes another way, as for
    /// [`insert_context`](Self::insert_context).
    pub(super) fn insert_pasid(
        &mut self,
        sid: u16,
        pasid: u32,
        context: Result<Context, ContextFault>,
    ) -> Option<Conflict> {
        let cached = CachedContext::new(context);
        let others = self
            .pasids
            .iter()
            .filter(|(other, _)| *other != (sid, pasid))
            .map(|((other, _), cached)| (other, *cached));
        let conflict = cached.conflict(others);
        self.pasids.insert((sid, pasid), cached);
        conflict.map(|(tag, other)| Conflict {
            tag,
            requesters: [sid, other],
        })
    }

    /// Remembers what a walk found for `bus` at the leaf `level`.
    pub(super) fn insert_page(&mut self, tag: Tag, bus: u64, level: u32, page: CachedPage) {
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
            .insert_page(tag, bus, size_log2, page, piece);
    }

    /// Remembers what the entry of `level` on the way to `bus` leads to.
    pub(super) fn insert_table(&mut self, tag: Tag, bus: u64, level: u32, table: CachedTable) {
        self.translations
            .insert_table(tag, bus, size_log2(level), table);
    }

    pub(super) fn invalidate_contexts(&mut self, selection: ContextSelection) {
        self.contexts.invalidate(|sid, cached| match selection {
            ContextSelection::Global => true,
            ContextSelection::Domain(did) => cached.did == did,
            ContextSelection::Device {
                did,
                sid: named,
                ignored,
            } => cached.did == did && (sid | ignored) == (named | ignored),
        });
    }

    /// In scalable mode contexts have no domain: only the requester is compared (6.5.2.1).
    pub(super) fn invalidate_directories(&mut self, selection: ContextSelection) {
        self.directories.invalidate(|sid, _| match selection {
            ContextSelection::Global => true,
            ContextSelection::Domain(_) => false,
            ContextSelection::Device {
                sid: named,
                ignored,
                ..
            } => (sid | ignored) == (named | ignored),
        });
    }

    pub(super) fn invalidate_pasids(&mut self, selection: PasidSelection) {
        self.pasids
            .invalidate(|(_, pasid), cached| match selection {
                PasidSelection::Global => true,
                PasidSelection::Domain(did) => cached.did == did,
                PasidSelection::Pasid { did, pasid: named } => cached.did == did && pasid == named,
            });
    }

    pub(super) fn invalidate_translations(&mut self, selection: TranslationSelection) {
        match selection {
            TranslationSelection::Global => self.translations.invalidate(|_| true, Extent::All),
            TranslationSelection::Domain(did) => {
                self.translations
                    .invalidate(|tag| tag.did == did, Extent::All);
            }
            TranslationSelection::Pages { did, extent } => {
                let named = Tag { did, pasid: None };
                self.translations.invalidate(|tag| tag == named, extent);
            }
            TranslationSelection::Pasid { did, pasid, extent } => {
                let named = Tag {
                    did,
                    pasid: Some(pasid),
                };
                self.translations.invalidate(|tag| tag == named, extent);
            }
        }
    }

    /// Calls `visit` with each remembered page: domain, bus address, physical address, length.
    pub(super) fn visit_pages(&self, mut visit: impl FnMut(u16, u64, u64, u64)) {
        self.translations.visit_pages(|tag, bus, size_log2, page| {
            if let CachedPage::Page { phys, .. } = page {
                visit(tag.did, bus, phys, 1 << size_log2);
            }
        });
    }

    /// Calls `visit` with each remembered table: its domain, the bus address it serves, the table.
    pub(super) fn visit_tables(&self, mut visit: impl FnMut(u16, u64, TableAt)) {
        self.translations.visit_tables(|tag, bus, table| {
            if let CachedTable::Table(table) = table {
                visit(tag.did, bus, table);
            }
        });
    }

    /// Calls `visit` with each remembered context, of legacy mode and of PASID tables.
    pub(super) fn visit_contexts(&self, mut visit: impl FnMut(u16, Context)) {
        let contexts = self.contexts.iter();
        let pasids = self.pasids.iter().map(|((sid, _), cached)| (sid, cached));
        for (sid, cached) in contexts.chain(pasids) {
            if let Ok(context) = cached.context {
                visit(sid, context);
            }
        }
    }

    /// Calls `visit` with each remembered context of scalable mode.
    pub(super) fn visit_directories(&self, mut visit: impl FnMut(u16, Directory)) {
        for (sid, cached) in self.directories.iter() {
            if let Ok(directory) = cached {
                visit(sid, *directory);
            }
        }
    }
}
