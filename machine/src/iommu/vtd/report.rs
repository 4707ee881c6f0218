//! The exit audit: what devices can still reach through this unit, walked from its registers.

use std::sync::atomic::{AtomicU64, Ordering};

use super::core::Core;
use super::reach::{self, Onward, Reached};
use crate::audit::{Audit, Leaf};
use crate::bus::Access;

/// Leaves and tables listed at most: tables that lead to themselves would list without end.
const LISTED: u64 = 1 << 20;

impl Core {
    pub(super) fn audit(&self, audit: &mut Audit) {
        let Some(root_table) = self
            .live
            .root_table()
            .filter(|_| self.live.is_translating())
        else {
            return;
        };
        let listed = AtomicU64::new(0);
        reach::visit(self.rules, &self.tables, root_table, &mut |reached| {
            match reached {
                Reached::Table { phys } => audit.table_frames.push(phys),
                Reached::Leaf {
                    requester,
                    bus,
                    phys,
                    len_bytes,
                    grant,
                } => audit.add_leaf(Leaf {
                    unit: self.reporter.name().to_owned(),
                    requester,
                    bus,
                    phys,
                    len_bytes,
                    access: if grant.write {
                        Access::Write
                    } else {
                        Access::Read
                    },
                }),
                Reached::All { requester } => audit.add_leaf(Leaf {
                    unit: self.reporter.name().to_owned(),
                    requester,
                    bus: 0,
                    phys: 0,
                    len_bytes: u64::MAX,
                    access: Access::Write,
                }),
            }
            if listed.fetch_add(1, Ordering::Relaxed) < LISTED {
                Onward::Continue
            } else {
                Onward::Stop
            }
        });
    }
}
