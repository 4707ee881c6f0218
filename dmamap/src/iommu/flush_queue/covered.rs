//! Whether a flush has begun that is about what the owner of a lane retired: agreed on without a lock.
//!
//! The flush [says so](Covered::set), and then makes the units forget; the owner clears entries, and then [looks](Covered::is_set). What
//! is [between](order_flush) for the one and [for the other](order_owner) keeps both from missing what the other has done.

use super::sync::{AtomicBool, Ordering, compiler_fence, fence};
use crate::platform::Platform;

/// Whether one has. Changed under the queue's lock.
pub(super) struct Covered(AtomicBool);

impl Covered {
    /// None has.
    pub(super) fn no() -> Self {
        Self(AtomicBool::new(false))
    }

    /// What is retired from now on waits for the next.
    pub(super) fn unset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// One begins.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether one has begun: if not, it will be about what the owner cleared before.
    #[inline]
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Comes between what an owner has cleared and its look, on platforms that make CPUs fence, or not.
#[inline]
pub(super) fn order_owner(fences_cpus: bool) {
    match fences_cpus {
        true => compiler_fence(Ordering::SeqCst),
        false => fence(Ordering::SeqCst),
    }
}

/// Comes between what a flush said to owners and what it makes units forget: what owners cleared before is in memory then, or they see
/// that a flush has begun.
pub(in crate::iommu) fn order_flush<P: Platform>(platform: P) {
    fence(Ordering::SeqCst);
    if platform.fences_cpus() {
        platform.fence_cpus();
    }
}
