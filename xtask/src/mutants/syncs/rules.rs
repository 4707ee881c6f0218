//! What is deleted: which calls, where, and what stands in their place.

/// One kind of call that orders memory or makes it the other side's.
#[derive(Debug)]
pub(super) struct Rule {
    /// The method's name.
    pub(super) call: &'static str,
    /// Which calls of that name are meant, by the number of their arguments.
    pub(super) arguments: Arguments,
    /// Where they are, from the workspace's root.
    pub(super) within: &'static [&'static str],
    /// What stands in the call's place when it is deleted.
    pub(super) becomes: Becomes,
}

/// How many arguments a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arguments {
    /// Any number.
    Any,
    /// This many.
    Exactly(usize),
}

/// What is left of a deleted call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    /// Nothing but its arguments, which are looked at and dropped.
    Nothing,
    /// The same call of this method, which orders and syncs nothing.
    Method(&'static str),
}

const ALL: &[&str] = &["dmamap/src", "drivers/src"];
const DRIVERS: &[&str] = &["drivers/src"];

/// A call that gives nothing back.
const fn order(call: &'static str, arguments: usize) -> Rule {
    Rule {
        call,
        arguments: Arguments::Exactly(arguments),
        within: ALL,
        becomes: Becomes::Nothing,
    }
}

/// A call whose value is needed.
const fn value(
    call: &'static str,
    arguments: Arguments,
    within: &'static [&'static str],
    counterpart: &'static str,
) -> Rule {
    Rule {
        call,
        arguments,
        within,
        becomes: Becomes::Method(counterpart),
    }
}

/// All rules. Calls of theirs that are new in the source are found by themselves.
pub(super) const RULES: &[Rule] = &[
    order("dma_wmb", 0),
    order("dma_rmb", 0),
    order("dma_mb", 0),
    order("order_stores", 0),
    order("clean_cache", 2),
    order("invalidate_cache", 2),
    order("clean_for_device", 1),
    // Those of a live mapping, which do the work.
    order("sync_for_cpu", 3),
    order("sync_for_device", 3),
    // Those that make views.
    value(
        "sync_for_cpu",
        Arguments::Exactly(0),
        ALL,
        "sync_for_cpu_unsynced",
    ),
    value(
        "sync_range_for_cpu",
        Arguments::Exactly(2),
        ALL,
        "sync_range_for_cpu_unsynced",
    ),
    value("consume", Arguments::Any, DRIVERS, "consume_unordered"),
    value("publish", Arguments::Any, DRIVERS, "publish_unordered"),
    value(
        "publish_flag",
        Arguments::Any,
        DRIVERS,
        "publish_flag_unordered",
    ),
    // Registers: a write has one argument and a read none; those of shared memory have one more, the place.
    value("read", Arguments::Exactly(0), DRIVERS, "read_relaxed"),
    value("write", Arguments::Exactly(1), DRIVERS, "write_relaxed"),
    value("read_lo_hi", Arguments::Exactly(0), DRIVERS, "read_relaxed"),
    value(
        "write_lo_hi",
        Arguments::Exactly(1),
        DRIVERS,
        "write_relaxed",
    ),
];

/// Text that the copy of the source has behind a file's own, so that values can be had without order or sync.
pub(super) const COUNTERPARTS: &[(&str, &str)] = &[
    (
        "dmamap/src/map/view.rs",
        include_str!("counterparts/view.rs"),
    ),
    (
        "dmamap/src/map/owned.rs",
        include_str!("counterparts/owned.rs"),
    ),
    (
        "dmamap/src/map/single.rs",
        include_str!("counterparts/single.rs"),
    ),
    (
        "dmamap/src/map/coherent/publish.rs",
        include_str!("counterparts/publish.rs"),
    ),
];
