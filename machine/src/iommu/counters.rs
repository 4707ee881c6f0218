//! Numbers of what a unit did: a list of names and meanings becomes the counters and their snapshot.

use std::sync::atomic::{AtomicU64, Ordering};

/// Defines `Statistics`, public, and `Counters`, which the model holds and counts in.
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
            $(pub(super) $name: $crate::iommu::counters::Counter,)*
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> Statistics {
                Statistics { $($name: self.$name.value(),)* }
            }
        }
    };
}

pub(in crate::iommu) use statistics;

/// A number that only grows; its readers need no order.
#[derive(Debug, Default)]
pub(in crate::iommu) struct Counter(AtomicU64);

impl Counter {
    pub(in crate::iommu) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// It is `value` at least.
    pub(in crate::iommu) fn at_least(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    pub(in crate::iommu) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
