//! What the unit did, in numbers.

use crate::iommu::counters::statistics;

statistics! {
    /// Requests that came while translation was on.
    translations,
    /// Of these, answered by the translation cache.
    hits,
    /// Walks of a page table.
    walks,
    /// Invalidations of the whole device directory.
    directory_invalidations,
    /// Invalidations of one device context.
    device_invalidations,
    /// Invalidations of translations of many address spaces.
    global_invalidations,
    /// Invalidations of translations of one address space.
    space_invalidations,
    /// Invalidations of pages.
    page_invalidations,
    /// Of the invalidations of translations, those that dropped what is remembered of tables too.
    table_invalidations,
    /// Fences before which all is done.
    fences,
    /// The most fences that tell software that stood in the queue at once, each not completed yet.
    fences_at_once,
    /// Requests refused.
    faults,
    /// Of these, those with a record in the fault queue.
    faults_recorded,
    /// Of these, those lost because the queue was full, off or out of order.
    faults_lost,
    /// Of these, those the device context said not to record (`DTF`).
    faults_silenced,
}
