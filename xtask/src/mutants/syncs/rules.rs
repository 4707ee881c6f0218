//! What is deleted: which calls, where, and what stands in their place.

/// One kind of call that orders memory or makes it the other side's.
#[derive(Debug)]
pub(super) struct Rule {
    /// What is missed when it is gone.
    pub(super) kind: Kind,
    /// The method's name.
    pub(super) call: &'static str,
    /// Which calls of that name are meant, by the number of their arguments.
    pub(super) arguments: Arguments,
    /// Where they are, from the workspace's root.
    pub(super) within: &'static [&'static str],
    /// What stands in the call's place when it is deleted.
    pub(super) becomes: Becomes,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It orders accesses.
    Order,
    /// It makes what one side wrote what the other reads.
    Sync,
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
const fn nothing(kind: Kind, call: &'static str, arguments: usize) -> Rule {
    Rule {
        kind,
        call,
        arguments: Arguments::Exactly(arguments),
        within: ALL,
        becomes: Becomes::Nothing,
    }
}

/// A call whose value is needed.
const fn value(
    kind: Kind,
    call: &'static str,
    arguments: Arguments,
    within: &'static [&'static str],
    counterpart: &'static str,
) -> Rule {
    Rule {
        kind,
        call,
        arguments,
        within,
        becomes: Becomes::Method(counterpart),
    }
}

/// All rules. Calls of theirs that are new in the source are found by themselves.
pub(super) const RULES: &[Rule] = &[
    nothing(Kind::Order, "dma_wmb", 0),
    nothing(Kind::Order, "dma_rmb", 0),
    nothing(Kind::Order, "dma_mb", 0),
    nothing(Kind::Order, "order_stores", 0),
    nothing(Kind::Sync, "clean_cache", 2),
    nothing(Kind::Sync, "invalidate_cache", 2),
    nothing(Kind::Sync, "clean_for_device", 1),
    // Those of a live mapping, which do the work.
    nothing(Kind::Sync, "sync_for_cpu", 3),
    nothing(Kind::Sync, "sync_for_device", 3),
    nothing(Kind::Sync, "for_cpu", 3),
    nothing(Kind::Sync, "for_device", 3),
    // Those that make views.
    value(
        Kind::Sync,
        "sync_for_cpu",
        Arguments::Exactly(0),
        ALL,
        "sync_for_cpu_unsynced",
    ),
    value(
        Kind::Sync,
        "sync_range_for_cpu",
        Arguments::Exactly(2),
        ALL,
        "sync_range_for_cpu_unsynced",
    ),
    value(
        Kind::Order,
        "consume",
        Arguments::Any,
        DRIVERS,
        "consume_unordered",
    ),
    value(
        Kind::Order,
        "publish",
        Arguments::Any,
        DRIVERS,
        "publish_unordered",
    ),
    value(
        Kind::Order,
        "publish_flag",
        Arguments::Any,
        DRIVERS,
        "publish_flag_unordered",
    ),
    // Registers: a write has one argument and a read none; those of shared memory have one more, the place.
    value(
        Kind::Order,
        "read",
        Arguments::Exactly(0),
        DRIVERS,
        "read_relaxed",
    ),
    value(
        Kind::Order,
        "write",
        Arguments::Exactly(1),
        DRIVERS,
        "write_relaxed",
    ),
    value(
        Kind::Order,
        "read_lo_hi",
        Arguments::Exactly(0),
        DRIVERS,
        "read_relaxed",
    ),
    value(
        Kind::Order,
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
        "dmamap/src/map/list_view.rs",
        include_str!("counterparts/list_view.rs"),
    ),
    (
        "dmamap/src/map/sgtable.rs",
        include_str!("counterparts/sgtable.rs"),
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
