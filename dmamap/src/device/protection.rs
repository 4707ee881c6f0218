//! How strongly a device is kept from memory now, and relaxing that while mappings live.

use core::sync::atomic::{AtomicU8, Ordering};

use crate::device::{Device, NotConfirmed};
use crate::iommu::{DomainError, FlushFigures, Requester};
use crate::map::{Attributes, Route};
use crate::platform::Platform;
use crate::system::Protection;

/// Whether somebody vouched for a device.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nobody did: something must be able to take memory back from it, and it reaches nothing but what it was given.
    Withheld,
    /// The caller of [`attach_trusted`](crate::system::DmaSystem::attach_trusted) did.
    Given,
}

/// How a mapping is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revocation {
    /// By an invalidation of its own, which is waited for.
    Alone,
    /// By a flush that others share, which is waited for.
    Shared,
    /// By a flush that others share, some time later: the device is trusted.
    Later,
}

/// How strongly a device is kept from memory.
pub(crate) struct Guard {
    attached: Protection,
    trust: Trust,
    /// One of the values below.
    relaxed: AtomicU8,
    /// How mappings are taken back that ask for nothing stronger: as it was attached, and once it is relaxed.
    revocations: [Revocation; 2],
}

/// As it was attached.
const AS_ATTACHED: u8 = 0;
/// Deferred now.
const RELAXED: u8 = 1;
/// As it was attached, and so it stays.
const PINNED: u8 = 2;

impl Guard {
    pub(crate) fn new(attached: Protection, trust: Trust) -> Self {
        Self {
            attached,
            trust,
            relaxed: AtomicU8::new(AS_ATTACHED),
            revocations: [attached, Protection::Deferred]
                .map(|protection| Revocation::of(protection, trust)),
        }
    }

    /// Whether somebody vouched for the device.
    pub(crate) fn trust(&self) -> Trust {
        self.trust
    }

    /// What every mapping of the device gets at least, where its unit translates for it.
    #[inline]
    pub(crate) fn protection(&self) -> Protection {
        match self.relaxed.load(Ordering::Acquire) {
            RELAXED => Protection::Deferred,
            _ => self.attached,
        }
    }

    /// How a mapping is taken back for which nothing more is asked.
    #[inline]
    pub(crate) fn default_revocation(&self) -> Revocation {
        self.revocation(Attributes::NONE)
    }

    /// How a mapping with `attributes` is taken back.
    #[inline]
    pub(crate) fn revocation(&self, attributes: Attributes) -> Revocation {
        match attributes.protection {
            None => {
                let [as_attached, relaxed] = self.revocations;
                match self.relaxed.load(Ordering::Acquire) {
                    RELAXED => relaxed,
                    _ => as_attached,
                }
            }
            Some(wanted) => Revocation::of(self.protection().or_stronger(wanted), self.trust),
        }
    }
}

impl Revocation {
    fn of(protection: Protection, trust: Trust) -> Self {
        match (protection, trust) {
            (Protection::Identity | Protection::Deferred, Trust::Given) => Revocation::Later,
            (Protection::Identity | Protection::Deferred, Trust::Withheld) => Revocation::Shared,
            (Protection::Blocked | Protection::Strict | Protection::Bounce, _) => Revocation::Alone,
        }
    }
}

/// Why a device was not relaxed: it is protected as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelaxError {
    /// Only what is strict can be relaxed with mappings that live.
    #[error(
        "{device} is attached as {protection:?}: only from strict to deferred can it be relaxed while it is attached"
    )]
    NotStrict {
        /// The device.
        device: Requester,
        /// How it is protected.
        protection: Protection,
    },
    /// The settings ask for more.
    #[error("{device}: deferred protects less than {least:?}, which the settings ask for at least")]
    TooWeak {
        /// The device.
        device: Requester,
        /// What is [asked for](crate::system::Settings::least_protection).
        least: Protection,
    },
    /// It was [pinned](Device::pin_protection).
    #[error("{device}: its protection was pinned")]
    Pinned {
        /// The device.
        device: Requester,
    },
    /// No memory for what waits for a flush.
    #[error("{device}: {error}")]
    Domain {
        /// The device.
        device: Requester,
        /// Why.
        error: DomainError,
    },
}

impl<P: Platform> Device<P> {
    /// How every mapping of the device is protected at least. [`Protection::Identity`] where no unit translates for it,
    /// however it was attached.
    pub fn protection(&self) -> Protection {
        let core = self.core();
        match &core.route {
            Route::Blocked => Protection::Blocked,
            Route::Direct(_) => Protection::Identity,
            Route::Translated(_) => core.guard.protection(),
        }
    }

    /// From now on unmaps of this strict device share flushes ([`Protection::Deferred`]), those of mappings that live
    /// already included. There is no way back but to attach the device anew. Changes nothing for a device that is
    /// deferred.
    ///
    /// Where nobody vouched for the device, memory still comes back only when the device has lost it. Memory of one that
    /// is trusted comes back at once:
    /// [`attach_trusted`](crate::system::DmaSystem::attach_trusted) says what that rests on.
    ///
    /// # Errors
    /// [`RelaxError`].
    pub fn relax_to_deferred(&self) -> Result<(), RelaxError> {
        let (core, device) = (self.core(), self.requester());
        let domain = match (&core.route, self.protection()) {
            (Route::Translated(_), Protection::Deferred) => return Ok(()),
            (Route::Translated(domain), Protection::Strict) => domain,
            (_, protection) => return Err(RelaxError::NotStrict { device, protection }),
        };
        let least = core.system.least_protection();
        if Protection::Deferred.is_weaker_than(least) {
            return Err(RelaxError::TooWeak { device, least });
        }
        domain
            .lend_flush_room()
            .map_err(|error| RelaxError::Domain { device, error })?;
        let (from, to) = (AS_ATTACHED, RELAXED);
        match core
            .guard
            .relaxed
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) | Err(RELAXED) => Ok(()),
            Err(_) => Err(RelaxError::Pinned { device }),
        }
    }

    /// From now on the device is not relaxed any more.
    ///
    /// # Errors
    /// [`RelaxError::NotStrict`] if it is already.
    pub fn pin_protection(&self) -> Result<(), RelaxError> {
        let guard = &self.core().guard;
        let (from, to) = (AS_ATTACHED, PINNED);
        match guard
            .relaxed
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) | Err(PINNED) => Ok(()),
            Err(_) => Err(RelaxError::NotStrict {
                device: self.requester(),
                protection: guard.protection(),
            }),
        }
    }

    /// Returns when the device has lost everything that was unmapped or retired before; asks once more for what an earlier
    /// unmap or flush did not confirm.
    ///
    /// # Errors
    /// [`NotConfirmed`] when the IOMMU did not confirm some of it.
    pub fn flush(&self) -> Result<(), NotConfirmed> {
        let Route::Translated(domain) = &self.core().route else {
            return Ok(());
        };
        let flushed = domain.flush().and_then(|()| match domain.is_confirmed() {
            true => Ok(()),
            false => domain.ask_again(),
        });
        let device = self.requester();
        flushed.map_err(|error| NotConfirmed { device, error })
    }

    /// What is unmapped and not flushed yet, and how long such things took so far: how far memory is exposed.
    pub fn flush_figures(&self) -> FlushFigures {
        match &self.core().route {
            Route::Translated(domain) => domain.flush_figures(),
            Route::Blocked | Route::Direct(_) => FlushFigures::default(),
        }
    }
}
