//! The question the bus asks an IOMMU for each page of each request, and its answer.

use super::in_flight::Guard;
use crate::bus::{Access, Privilege};

/// Why a unit let a request not pass. The unit has recorded and reported it by its own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the IOMMU blocked requester {requester:#06x} at bus {bus:#x}: fault reason {reason:#x}")]
pub struct TranslationFault {
    /// Who asked.
    pub requester: u16,
    /// The bus address asked for (Z).
    pub bus: u64,
    /// The vendor's code for the reason.
    pub reason: u16,
}

/// Where a request goes, and the promise that no drain ends before it is there.
///
/// Good up to the end of the 4 KiB page it begins in. Hold it until the last byte is copied, and no longer.
#[derive(Debug)]
#[must_use = "the transaction is in flight only while this is held"]
pub struct InFlight<'a> {
    destination: Destination,
    _guard: Option<Guard<'a>>,
}

/// An address after the IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A physical address (Y): the unit translated.
    Physical(u64),
    /// The bus address as it was: no unit, or translation is off. The host bridge's inbound ranges apply.
    Untranslated(u64),
}

impl<'a> InFlight<'a> {
    /// A translated request to `phys`, in flight until `guard` goes.
    pub fn translated(phys: u64, guard: Guard<'a>) -> Self {
        Self {
            destination: Destination::Physical(phys),
            _guard: Some(guard),
        }
    }

    /// A request that passes as it is.
    pub fn untranslated(bus: u64, guard: Option<Guard<'a>>) -> Self {
        Self {
            destination: Destination::Untranslated(bus),
            _guard: guard,
        }
    }

    /// Where it goes.
    pub fn destination(&self) -> Destination {
        self.destination
    }
}

/// What translates devices' requests.
pub trait Translator: Send + Sync {
    /// Translates the bus address of a request that does not leave its 4 KiB page.
    ///
    /// A unit enters its [`Gate`](super::in_flight::Gate) before it looks anything up, so that an
    /// invalidation which removed a translation and then drains waits for all who used it.
    ///
    /// # Errors
    /// [`TranslationFault`] when the request is blocked; recorded by the unit before this returns.
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault>;

    /// The same for a request that says whether it is privileged; one that does not say so is not. A unit whose tables
    /// make no difference, or that takes every request as one of a user, does not look at it.
    ///
    /// # Errors
    /// As [`translate`](Self::translate).
    fn translate_with(
        &self,
        privilege: Privilege,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        let _ = privilege;
        self.translate(requester, bus, access)
    }
}
