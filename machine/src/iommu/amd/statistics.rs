//! What the unit did, in numbers.

use crate::iommu::counters::statistics;

statistics! {
    /// Requests that came while translation was on.
    translations,
    /// Of these, answered by the cache of translations.
    hits,
    /// Walks of a page table.
    walks,
    /// Device table entries invalidated.
    entry_invalidations,
    /// Invalidations of everything.
    global_invalidations,
    /// Invalidations of all pages of one domain.
    domain_invalidations,
    /// Invalidations of some pages.
    page_invalidations,
    /// Of the invalidations of translations, those that dropped what is remembered of tables too.
    table_invalidations,
    /// Completion waits done.
    waits,
    /// The most completion waits that stood in the queue at once, each not completed yet.
    waits_at_once,
    /// Requests blocked.
    faults,
    /// Events logged, of requests and of errors.
    events_logged,
    /// Events lost because the log was full, off or stopped.
    events_lost,
    /// Page faults that a device table entry said not to log (`SE`, `SA`).
    faults_silenced,
}
