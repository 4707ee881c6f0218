//! Which copies a mapping has: what is left of its [`Backing`] while it lives.
//!
//! Nearly all mappings have none, and every mapping is moved, by its driver too. So they hold names, and the pools say the rest.

use crate::bounce::{PoolName, Run, RunPlace};
use crate::device::DeviceCore;
use crate::map::Attributes;
use crate::map::backing::Backing;
use crate::platform::Platform;
use crate::system::Protection;

/// Which copies a mapping has. They are the mapping's until its [`backing`](Self::backing) is released.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Copies {
    /// None: it is in place.
    None,
    /// One of all of it.
    Whole {
        pool: PoolName,
        run: RunPlace,
        reach: CopyReach,
    },
    /// Those of what lies in the first and in the last page.
    Edges {
        head: Option<RunPlace>,
        tail: Option<RunPlace>,
    },
}

/// When a device reaches a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyReach {
    /// Also while nothing is mapped: then unmapping changes no table.
    Always,
    /// While it is mapped.
    WhileMapped,
}

impl Copies {
    /// One of all of it.
    #[inline]
    pub(crate) fn of_one(pool: PoolName, run: &Run) -> Self {
        Self::Whole {
            pool,
            run: run.place(),
            reach: match run.bus_range() {
                Some(_) => CopyReach::Always,
                None => CopyReach::WhileMapped,
            },
        }
    }

    /// Those of `backing`.
    #[inline]
    pub(crate) fn of(backing: &Backing) -> Self {
        match backing {
            Backing::InPlace => Self::None,
            Backing::Whole { pool, run } => Self::of_one(*pool, run),
            Backing::Edges { head, tail } => Self::Edges {
                head: head.as_ref().map(Run::place),
                tail: tail.as_ref().map(Run::place),
            },
        }
    }

    /// Whether the device was given any.
    #[inline]
    pub(crate) fn are_there(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Whether the bus addresses are those of one copy, however many pieces the buffer is in.
    pub(crate) fn are_one_run(&self) -> bool {
        matches!(self, Self::Whole { .. })
    }

    /// Whether the device has the memory also while nothing is mapped.
    #[inline]
    pub(crate) fn are_always_mapped(&self) -> bool {
        matches!(
            self,
            Self::Whole {
                reach: CopyReach::Always,
                ..
            }
        )
    }

    /// The attributes a mapping so made is taken back with: a copy goes to others at once, so the device must have lost
    /// it by then.
    #[inline]
    pub(crate) fn revoked_with(&self, attributes: Attributes) -> Attributes {
        match self {
            Self::None => attributes,
            Self::Whole { .. } | Self::Edges { .. } => attributes.at_least(Protection::Strict),
        }
    }

    /// What the device reaches.
    pub(crate) fn backing<P: Platform>(&self, core: &DeviceCore<P>) -> Backing {
        let shared = |place| run(core, PoolName::Shared, place);
        match *self {
            Self::None => Backing::InPlace,
            Self::Whole {
                pool, run: place, ..
            } => Backing::Whole {
                pool,
                run: run(core, pool, place),
            },
            Self::Edges { head, tail } => Backing::Edges {
                head: head.map(shared),
                tail: tail.map(shared),
            },
        }
    }
}

fn run<P: Platform>(core: &DeviceCore<P>, pool: PoolName, place: RunPlace) -> Run {
    // SAFETY: a mapping names its copies until they are released.
    let run = unsafe { core.bounce.pool(pool).run(place) };
    run.expect("a copy is lent until its mapping has ended")
}
