//! The end of a domain: its tables go, if every unit has confirmed that no device is in it any more.

use core::sync::atomic::Ordering;

use super::{Domain, Reach, RevokeError};
use crate::addr::{BusAddr, BusRange};
use crate::iommu::unconfirmed::Unconfirmed;
use crate::iommu::unit::UnitError;
use crate::iova::IovaSpace;
use crate::iova::lanes::Recall;
use crate::platform::Platform;

impl<P: Platform> Domain<P> {
    /// Ends the domain, `outcome` telling whether every unit confirmed that no device is in it any more. Then no
    /// device reaches anything through it, and every mapping in it counts as revoked.
    ///
    /// # Errors
    /// `outcome`'s: the tables are kept, and later unmaps report it.
    pub(crate) fn end(&self, outcome: Result<(), UnitError>) -> Result<(), UnitError> {
        self.await_flush();
        let mut inner = self.inner.lock();
        // From now on no CPU is in a lane.
        let emptied = self.recall(&mut inner, Recall::ForGood);
        inner.give_up(Unconfirmed::of(emptied));
        match outcome {
            Ok(()) => {
                inner.reach = Reach::Revoked;
                self.walkers.store(0, Ordering::Release);
                match (inner.table.take(), inner.owners) {
                    // SAFETY: every unit has confirmed that it neither walks nor remembers the table.
                    (Some(table), 0) => unsafe { table.free() },
                    // The last of them frees it.
                    (Some(table), _) => inner.ended = Some(table),
                    (None, _) => {}
                }
                let unconfirmed = inner.take_unconfirmed(self.platform);
                // SAFETY: as above: these were the table's.
                unsafe { unconfirmed.gather.release() };
                if let Some(waiting) = inner.queue.close(Ok(())) {
                    // SAFETY: as above, for the tables that were part of it.
                    unsafe { waiting.release() };
                }
                // Nobody chooses or frees addresses any more.
                let nothing = BusRange::new(BusAddr::new(0), 0).expect("an empty range exists");
                if let Ok(none) = IovaSpace::new(self.platform, nothing, self.page_size_log2) {
                    inner.iova = none;
                }
                Ok(())
            }
            Err(error) => {
                inner.reach = Reach::Unconfirmed;
                if let Some(waiting) = inner.queue.close(Err(RevokeError::DetachUnconfirmed)) {
                    inner.give_up(Unconfirmed::of(waiting));
                }
                Err(error)
            }
        }
    }
}

impl<P: Platform> Drop for Domain<P> {
    fn drop(&mut self) {
        let never_walked = *self.walkers.get_mut() == 0;
        let inner = self.inner.0.get_mut();
        if let Some(table) = inner.table.take()
            && never_walked
        {
            // SAFETY: no unit was ever told of the table.
            unsafe { table.free() };
        }
        if let Some(table) = inner.ended.take() {
            // SAFETY: the domain ended, and whoever had a lane in it had the domain.
            unsafe { table.free() };
        }
        // Empty, where the domain ended.
        if let Some(waiting) = inner.queue.close(Err(RevokeError::DetachUnconfirmed)) {
            if never_walked {
                // SAFETY: as above.
                unsafe { waiting.release() };
            } else {
                waiting.abandon();
            }
        }
    }
}
