//! Who is attached to what: the unit keeps no table of it in memory, so its driver does.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::record::Record;
use crate::iommu::unit::DomainId;
use crate::platform::Platform;

/// What an endpoint is attached to.
pub(super) enum Target<P: Platform> {
    /// A domain that maps what a record says.
    Record(Arc<Record<P>>),
    /// A domain that lets everything pass.
    Bypass,
}

impl<P: Platform> Clone for Target<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Record(record) => Self::Record(record.clone()),
            Self::Bypass => Self::Bypass,
        }
    }
}

impl<P: Platform> Target<P> {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Record(one), Self::Record(other)) => Arc::ptr_eq(one, other),
            (Self::Bypass, Self::Bypass) => true,
            _ => false,
        }
    }
}

/// One endpoint.
pub(super) struct Entry<P: Platform> {
    pub(super) endpoint: u32,
    pub(super) domain: DomainId,
    pub(super) target: Target<P>,
}

impl<P: Platform> Clone for Entry<P> {
    fn clone(&self) -> Self {
        Self {
            endpoint: self.endpoint,
            domain: self.domain,
            target: self.target.clone(),
        }
    }
}

/// What a new entry finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// The domain is new to the unit: it must be told what is in it.
    NewDomain,
    /// Others are in the domain already.
    KnownDomain,
    /// The endpoint is where it is to be.
    Unchanged,
    /// The endpoint is elsewhere, or the unit knows another domain by this number: that must be gone first.
    Occupied,
}

/// All endpoints that are attached, or may be: one whose request was not answered counts.
pub(super) struct DeviceTable<P: Platform> {
    entries: lock_api::Mutex<P::Lock, Vec<Entry<P>>>,
}

impl<P: Platform> DeviceTable<P> {
    pub(super) fn new() -> Self {
        Self {
            entries: lock_api::Mutex::new(Vec::new()),
        }
    }

    /// Notes an endpoint. Of a domain that is new to the unit nothing counts as told: that is seen to before anybody who maps
    /// finds the domain here.
    pub(super) fn write(&self, entry: Entry<P>) -> Written {
        let mut entries = self.entries.lock();
        let (mut known_domain, mut own) = (false, false);
        for known in entries.iter() {
            let same_domain = known.domain == entry.domain;
            let same_endpoint = known.endpoint == entry.endpoint;
            // A domain that is left is not to be guessed at when the unit refuses the next, so none is left in passing.
            if same_endpoint && !same_domain || same_domain && !known.target.is(&entry.target) {
                return Written::Occupied;
            }
            known_domain |= same_domain;
            own |= same_endpoint;
        }
        if own {
            return Written::Unchanged;
        }
        let written = match known_domain {
            true => Written::KnownDomain,
            false => Written::NewDomain,
        };
        if let (Written::NewDomain, Target::Record(record)) = (written, &entry.target) {
            record.forget_told();
        }
        entries.push(entry);
        written
    }

    /// Forgets an endpoint; the number of the domain it was in.
    pub(super) fn clear(&self, endpoint: u32) -> Option<DomainId> {
        let mut entries = self.entries.lock();
        let index = entries
            .iter()
            .position(|known| known.endpoint == endpoint)?;
        Some(entries.swap_remove(index).domain)
    }

    /// The record behind a domain, if any endpoint is in it and it does not bypass.
    pub(super) fn record(&self, domain: DomainId) -> Option<Arc<Record<P>>> {
        let entries = self.entries.lock();
        let entry = entries.iter().find(|known| known.domain == domain)?;
        match &entry.target {
            Target::Record(record) => Some(record.clone()),
            Target::Bypass => None,
        }
    }

    /// The entries as they are now.
    pub(super) fn snapshot(&self) -> Vec<Entry<P>> {
        self.entries.lock().clone()
    }
}
