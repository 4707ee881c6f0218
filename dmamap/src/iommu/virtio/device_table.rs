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

/// An endpoint that leaves.
pub(super) struct Leaver<P: Platform> {
    /// The number of the domain that it is in.
    pub(super) domain: DomainId,
    /// The domain's record, if no other endpoint is in it, and it does not bypass.
    pub(super) last: Option<Arc<Record<P>>>,
}

/// Whether an endpoint stays where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    In,
    /// It is to be detached: nobody counts on it, but until the unit has confirmed that it reaches memory.
    Leaving,
}

struct Line<P: Platform> {
    entry: Entry<P>,
    stage: Stage,
}

/// All endpoints that are attached, or may be: one whose request was not answered counts.
pub(super) struct DeviceTable<P: Platform> {
    lines: lock_api::Mutex<P::Lock, Vec<Line<P>>>,
}

impl<P: Platform> DeviceTable<P> {
    pub(super) fn new() -> Self {
        Self {
            lines: lock_api::Mutex::new(Vec::new()),
        }
    }

    /// Notes an endpoint. Of a domain that is new to the unit nothing counts as told: that is seen to before anybody who maps
    /// finds the domain here.
    pub(super) fn write(&self, entry: Entry<P>) -> Written {
        let mut lines = self.lines.lock();
        let (mut known_domain, mut own) = (false, false);
        for known in lines.iter().filter_map(Line::staying) {
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
        // One that was to leave, and comes after all.
        lines.retain(|line| line.entry.endpoint != entry.endpoint);
        let stage = Stage::In;
        lines.push(Line { entry, stage });
        written
    }

    /// Notes that an endpoint is about to be detached: no restart attaches it any more.
    pub(super) fn leave(&self, endpoint: u32) -> Option<Leaver<P>> {
        let mut lines = self.lines.lock();
        let mut own = lines.iter_mut();
        let own = own.find(|line| line.entry.endpoint == endpoint)?;
        own.stage = Stage::Leaving;
        let Entry { domain, target, .. } = own.entry.clone();
        let others = |line: &&Line<P>| line.entry.domain == domain;
        let last = match target {
            Target::Record(record) if lines.iter().filter(others).count() == 1 => Some(record),
            _ => None,
        };
        Some(Leaver { domain, last })
    }

    /// Forgets an endpoint, which is in no domain of the unit's. With the last of a domain its record
    /// [is left](Record::left).
    pub(super) fn clear(&self, endpoint: u32) {
        let mut lines = self.lines.lock();
        let index = lines
            .iter()
            .position(|line| line.entry.endpoint == endpoint);
        let Some(index) = index else { return };
        let Entry { domain, target, .. } = lines.swap_remove(index).entry;
        if let Target::Record(record) = target
            && !lines.iter().any(|line| line.entry.domain == domain)
        {
            record.left();
        }
    }

    /// The record behind a domain, if any endpoint may be in it and it does not bypass.
    pub(super) fn record(&self, domain: DomainId) -> Option<Arc<Record<P>>> {
        let lines = self.lines.lock();
        let line = lines.iter().find(|line| line.entry.domain == domain)?;
        match &line.entry.target {
            Target::Record(record) => Some(record.clone()),
            Target::Bypass => None,
        }
    }

    /// The entries of those who stay, as they are now.
    pub(super) fn snapshot(&self) -> Vec<Entry<P>> {
        let lines = self.lines.lock();
        lines.iter().filter_map(Line::staying).cloned().collect()
    }
}

impl<P: Platform> Line<P> {
    fn staying(&self) -> Option<&Entry<P>> {
        (self.stage == Stage::In).then_some(&self.entry)
    }
}
