//! What the unit did, in numbers.

use crate::iommu::counters::statistics;

statistics! {
    /// Requests that came while translation was on.
    translations,
    /// Of these, answered by the IOTLB.
    hits,
    /// Walks of a page table.
    walks,
    /// Context-cache invalidations done.
    context_invalidations,
    /// IOTLB invalidations of everything.
    global_invalidations,
    /// IOTLB invalidations of one domain.
    domain_invalidations,
    /// IOTLB invalidations of pages.
    page_invalidations,
    /// IOTLB invalidations of one PASID, or of pages of it.
    pasid_invalidations,
    /// Of the invalidations of translations, those that dropped what is remembered of tables too.
    table_invalidations,
    /// PASID-cache invalidations done.
    pasid_cache_invalidations,
    /// Wait descriptors completed.
    waits,
    /// The most wait descriptors that stood in the queue at once, each not completed yet.
    waits_at_once,
    /// Requests blocked.
    faults,
    /// Of these, those that have a fault record of their own.
    faults_recorded,
    /// Of these, those that a record of the same requester stands for.
    faults_collapsed,
    /// Of these, those lost because no record was free.
    faults_lost,
    /// Of these, those the tables said not to record (`FPD`).
    faults_silenced,
}
