//! What memory owes to earlier mappings of it.
//!
//! A mapping that was retired and made again hangs on the flushes that the retired one does. Few mappings do, and every mapping is
//! moved, by its driver too: so it is noted with the device, and a mapping has its name.

use crate::iommu::{Owed, RevokeError};
use crate::platform::Platform;
use crate::slab::{Handle, Slab, SlabError};

/// What memory owes to earlier mappings of it, for one device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Earlier {
    /// What must be covered by flushes before the device has lost the memory. An error where one was not confirmed to be gone.
    pub(crate) owed: Result<Owed, RevokeError>,
    /// Whether the device could write the memory.
    pub(crate) written: Written,
}

/// Whether a device could write some memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Perhaps,
    Never,
}

impl Earlier {
    /// Of memory that was not mapped before.
    pub(crate) const NOTHING: Self = Self {
        owed: Ok(Owed::NOTHING),
        written: Written::Never,
    };

    /// The same, once it was mapped again and that was retired as well.
    pub(crate) fn and(self, later: Result<Owed, RevokeError>) -> Self {
        Self {
            owed: both(self.owed, later),
            ..self
        }
    }
}

/// What is owed for memory of which an earlier mapping was retired and then a later one.
pub(crate) fn both(
    earlier: Result<Owed, RevokeError>,
    later: Result<Owed, RevokeError>,
) -> Result<Owed, RevokeError> {
    match (earlier, later) {
        (Ok(earlier), Ok(later)) => Ok(earlier.and(later)),
        (Err(earlier), Err(later)) => Err(earlier.or_graver(later)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
    }
}

/// What is noted of mappings of one device.
pub(crate) struct EarlierMappings<P: Platform> {
    notes: lock_api::Mutex<P::Lock, Slab<P, Earlier>>,
}

impl<P: Platform> EarlierMappings<P> {
    pub(crate) fn new(platform: P) -> Self {
        Self {
            notes: lock_api::Mutex::new(Slab::new(platform)),
        }
    }

    /// Notes it down.
    ///
    /// # Errors
    /// [`SlabError`] where there is no frame to.
    pub(crate) fn note(&self, earlier: Earlier) -> Result<Handle<Earlier>, SlabError> {
        self.notes.lock().insert(earlier)
    }

    /// What was noted.
    pub(crate) fn get(&self, note: Handle<Earlier>) -> Earlier {
        self.notes.lock()[note]
    }

    /// Gives back frames that hold nothing.
    pub(crate) fn reclaim(&self) {
        self.notes.lock().reclaim();
    }

    /// What was noted, which is forgotten.
    pub(crate) fn take(&self, note: Handle<Earlier>) -> Earlier {
        let taken = self.notes.lock().remove(note);
        taken.expect("a note is its mapping's until that has ended")
    }
}
