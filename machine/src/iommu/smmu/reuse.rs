//! Requests that come between two invalidations which nobody ordered: as long as a stream's old configuration is
//! remembered, they bring translations back that went before it.

use super::cache::{CachedPage, Tag};
use super::core::{Core, Live};
use super::entries::{Stream, Tables};
use super::invalidation::ConfigSelection;
use super::privilege::Grants;
use crate::iommu::grant::Grant;

/// A page that a stream used by a configuration that is about to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    tag: Tag,
    tables: Tables,
    bus: u64,
}

impl Core {
    /// The pages remembered for streams with one stage whose remembered configuration one of `changing` names.
    pub(super) fn pages_of(&self, changing: &[ConfigSelection]) -> Vec<Used> {
        let mut used = Vec::new();
        if changing.is_empty() || !matches!(*self.live.read(), Live::On(_)) {
            return used;
        }
        let caches = self.caches.read();
        for (stream, cached) in caches.streams.iter() {
            let Ok(Stream::Translate(translating)) = cached else {
                continue;
            };
            if !changing.iter().any(|selection| selection.names(stream)) {
                continue;
            }
            let vmid = translating.vmid;
            let context = caches.contexts.iter().find(|(id, _)| *id == stream);
            let (tag, tables) = match (translating.context, translating.stage2, context) {
                (Some(_), None, Some((_, Ok(context)))) => {
                    let asid = context.asid;
                    (Tag::Asid { vmid, asid }, context.tables)
                }
                (None, Some(tables), _) => (Tag::Stage2 { vmid }, tables),
                _ => continue,
            };
            caches.translations.visit_pages(|known, bus, _, _| {
                if known == tag {
                    used.push(Used { tag, tables, bus });
                }
            });
        }
        used
    }

    /// Their streams use them again, by the old configuration: what its tables still lead to is remembered.
    pub(super) fn use_again(&self, used: &[Used]) {
        let mut caches = self.caches.write();
        for page in used {
            let found = page.tables.walk(
                page.tables.top(),
                page.bus,
                |at| {
                    let unreachable = page.tables.fault(hw::smmu::event::EventKind::WalkAbort, at);
                    self.tables.entry(at).map_err(|_| unreachable)
                },
                |_, _| {},
                &mut |_, _| {},
            );
            let Ok(found) = found else {
                continue;
            };
            let (first, second) = match page.tag {
                Tag::Stage2 { .. } => (Grants::ALL, found.grants.privileged),
                Tag::Asid { .. } | Tag::Global { .. } => (found.grants, Grant::ALL),
            };
            let translation = CachedPage {
                phys: found.leaf.output,
                first,
                second,
            };
            caches
                .translations
                .insert_page(page.tag, page.bus, found.size_log2, translation, None);
        }
    }
}
