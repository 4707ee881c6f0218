//! The exit audit: what devices can still reach through a unit.

use super::reach::{Onward, Reached};
use super::reporter::Reporter;
use crate::audit::{Audit, Leaf};
use crate::bus::Access;

/// Leaves and tables listed at most: tables that lead to themselves would list without end.
const LISTED: u64 = 1 << 20;

/// A visitor that adds what it is told to `audit`, under the name of `reporter`.
pub(super) fn into_audit<'a>(
    reporter: &'a Reporter,
    audit: &'a mut Audit,
) -> impl FnMut(Reached) -> Onward + 'a {
    let mut listed = 0;
    move |reached| {
        match reached {
            Reached::Table { phys } => audit.table_frames.push(phys),
            Reached::Leaf {
                requester,
                bus,
                phys,
                len_bytes,
                grant,
            } => audit.add_leaf(Leaf {
                unit: reporter.name().to_owned(),
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
                unit: reporter.name().to_owned(),
                requester,
                bus: 0,
                phys: 0,
                len_bytes: u64::MAX,
                access: Access::Write,
            }),
        }
        listed += 1;
        if listed <= LISTED {
            Onward::Continue
        } else {
            Onward::Stop
        }
    }
}
