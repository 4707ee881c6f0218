//! What a unit's tables lead to, one thing at a time. Each model visits its own tables and tells what it meets;
//! audits and the search for freed frames listen.

use super::grant::Grant;

/// Something the tables lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// A table, of any kind, of one frame.
    Table { phys: u64 },
    /// A page that `requester` reaches.
    Leaf {
        requester: u16,
        bus: u64,
        phys: u64,
        len_bytes: u64,
        grant: Grant,
    },
    /// Everything, by pass-through.
    All { requester: u16 },
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onward {
    Continue,
    /// Enough was seen.
    Stop,
}

/// Who is told of each thing.
pub(super) type Visitor<'a> = &'a mut dyn FnMut(Reached) -> Onward;
