//! What the unit did, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! statistics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers since the unit was built.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Statistics {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: Counter,)*
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> Statistics {
                Statistics { $($name: self.$name.0.load(Ordering::Relaxed),)* }
            }
        }
    };
}

statistics! {
    /// Requests that came while translation was on.
    translations,
    /// Of these, answered by the IOTLB.
    hits,
    /// Walks of a second-stage table.
    walks,
    /// Context-cache invalidations done.
    context_invalidations,
    /// IOTLB invalidations of everything.
    global_invalidations,
    /// IOTLB invalidations of one domain.
    domain_invalidations,
    /// IOTLB invalidations of pages.
    page_invalidations,
    /// Wait descriptors completed.
    waits,
    /// Requests blocked.
    faults,
    /// Of these, those that have a fault record of their own.
    faults_recorded,
    /// Of these, those that a record of the same requester stands for.
    faults_collapsed,
    /// Of these, those lost because no record was free.
    faults_lost,
    /// Of these, those the context entry said not to record (`FPD`).
    faults_silenced,
}

/// A number that only grows; its readers need no order.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
