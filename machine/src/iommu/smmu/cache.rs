//! What the unit remembers of its tables (3.21): stream table, context descriptors, translations.
//!
//! It remembers entries that are not valid as well as those that are: an entry that becomes valid needs its
//! invalidation too. It does not remember that there is no translation.

use hw::smmu::stream::Level1Descriptor;

use super::entries::{ConfigFault, Context, Stream};
use super::invalidation::{ConfigSelection, TlbSelection};
use super::privilege::Grants;
use super::walk::TableAt;
use crate::iommu::entry_cache::EntryCache;
use crate::iommu::grant::Grant;
use crate::iommu::translation_cache::{Extent, TranslationCache};
use crate::temper::Temper;

/// By what translations are told apart (3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tag {
    /// Stage 1, alone or with stage 2.
    Asid { vmid: u16, asid: u16 },
    /// Stage 1 for all ASIDs.
    Global { vmid: u16 },
    /// Stage 2.
    Stage2 { vmid: u16 },
}

/// A remembered translation of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CachedPage {
    /// Physical address of the page.
    pub(super) phys: u64,
    /// What stage 1 grants, to whomever.
    pub(super) first: Grants,
    /// What stage 2 grants.
    pub(super) second: Grant,
}

/// All that one unit remembers.
#[derive(Debug)]
pub(super) struct Caches {
    /// By index in the first level.
    pub(super) level1: EntryCache<u32, Level1Descriptor>,
    /// By stream id.
    pub(super) streams: EntryCache<u32, Result<Stream, ConfigFault>>,
    /// By stream id.
    pub(super) contexts: EntryCache<u32, Result<Context, ConfigFault>>,
    pub(super) translations: TranslationCache<Tag, CachedPage, TableAt>,
}

impl Caches {
    pub(super) fn new(temper: Temper, seed: u64) -> Self {
        Self {
            level1: EntryCache::new(temper, seed),
            streams: EntryCache::new(temper, seed.rotate_left(16)),
            contexts: EntryCache::new(temper, seed.rotate_left(32)),
            translations: TranslationCache::new(temper, seed.rotate_left(48)),
        }
    }

    /// A remembered context of another stream with the same tag that goes another way, which the manual forbids
    /// (3.8.1).
    pub(super) fn conflict(&self, stream: u32, vmid: u16, context: Context) -> Option<u32> {
        self.contexts.iter().find_map(|(other, cached)| {
            let known = cached.as_ref().ok()?;
            let other_vmid = match self.streams.iter().find(|(id, _)| *id == other)?.1 {
                Ok(Stream::Translate(translating)) => translating.vmid,
                _ => return None,
            };
            let same_tag = known.asid == context.asid && other_vmid == vmid;
            (other != stream && same_tag && known.tables.root != context.tables.root)
                .then_some(other)
        })
    }

    /// Forgets stream table entries and context descriptors. Those of a stream go with its entry (4.3.1). `split` is
    /// that of a table with two levels.
    pub(super) fn invalidate_config(&mut self, selection: ConfigSelection, split: Option<u32>) {
        let named = |stream: u32| selection.names(stream);
        if selection.covers_entries() {
            self.streams.invalidate(|stream, _| named(stream));
        }
        if let Some(split) = split
            && selection.covers_level1()
        {
            self.level1.invalidate(|index, _| {
                let first = u64::from(index) << split;
                selection.meets(first, first + (1 << split) - 1)
            });
        }
        self.contexts.invalidate(|stream, _| named(stream));
    }

    /// Forgets translations.
    pub(super) fn invalidate_translations(&mut self, selection: TlbSelection) {
        let named = |tag| selection.who.names(tag);
        match (selection.extent, selection.leaf_log2) {
            (extent @ Extent::Pages { .. }, Some(leaf_log2)) => {
                self.translations
                    .invalidate_size(named, extent, |size_log2| size_log2 == leaf_log2);
            }
            (extent, _) => self.translations.invalidate(named, extent),
        }
    }
}
