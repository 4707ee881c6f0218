//! Where the unit looks for frames that were freed: its queues and its mappings; and the exit audit.

use super::core::Core;
use crate::audit::Audit;
use crate::iommu::freed::Freed;
use crate::iommu::grant::Grant;
use crate::iommu::reach::{Onward, Reached, Visitor};
use crate::iommu::report::into_audit;

impl Core {
    pub(super) fn frames_freed(&self, phys: u64, len_bytes: u64) {
        let mut freed = Freed::new(phys, len_bytes);
        self.engine.lock().tell_uses(&mut freed);
        {
            let front = self.front.lock();
            if let Some(requests) = &front.requests {
                requests.tell_uses(&mut freed);
            }
            if let Some(events) = &front.events {
                events.tell_uses(&mut freed);
            }
        }
        freed.search(|visitor| {
            self.visit(visitor);
        });
        freed.report(&self.reporter);
    }

    pub(super) fn audit(&self, audit: &mut Audit) {
        let mut visitor = into_audit(&self.reporter, audit);
        self.visit(&mut visitor);
    }

    fn visit(&self, visitor: Visitor<'_>) {
        for (endpoint, mapping) in self.domains.read().iter() {
            let requester = self.requester(endpoint);
            let reached = match mapping {
                None => Reached::All { requester },
                Some(mapping) => Reached::Leaf {
                    requester,
                    bus: mapping.first,
                    phys: mapping.phys,
                    len_bytes: mapping.len_bytes(),
                    grant: Grant {
                        read: mapping.flags.read(),
                        write: mapping.flags.write(),
                    },
                },
            };
            if visitor(reached) == Onward::Stop {
                return;
            }
        }
    }
}
