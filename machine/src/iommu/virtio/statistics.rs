//! What the unit did, in numbers.

use crate::iommu::counters::statistics;

statistics! {
    /// Requests of devices that came.
    translations,
    /// ATTACH requests done.
    attaches,
    /// DETACH requests done.
    detaches,
    /// MAP requests done.
    maps,
    /// UNMAP requests done.
    unmaps,
    /// PROBE requests done.
    probes,
    /// Requests in the queue that were answered with an error.
    refusals,
    /// Notifications of the request queue.
    notifications,
    /// Requests of devices that were blocked.
    faults,
    /// Of these, those reported in the event queue.
    faults_reported,
    /// Of these, those lost because no buffer was there.
    faults_lost,
}
