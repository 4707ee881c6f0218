//! What the unit did, in numbers.

crate::iommu::counters::statistics! {
    /// Requests that came while the unit was on.
    translations,
    /// Of these, answered by the TLB.
    hits,
    /// Walks of a page table.
    walks,
    /// Invalidations of stream table entries and context descriptors done.
    config_invalidations,
    /// Invalidations of everything.
    global_invalidations,
    /// Invalidations of one ASID or VMID.
    domain_invalidations,
    /// Invalidations of addresses.
    page_invalidations,
    /// Of the invalidations of translations, those that dropped what is remembered of tables too.
    table_invalidations,
    /// Synchronisations completed.
    syncs,
    /// The most synchronisations that stood in the queue at once, each not completed yet.
    syncs_at_once,
    /// Requests terminated.
    faults,
    /// Of these, those that have a record in the event queue.
    faults_recorded,
    /// Of these, those lost because the queue was full.
    faults_lost,
    /// Of these, those the stream's configuration, or software's silence, said not to record.
    faults_silenced,
}
