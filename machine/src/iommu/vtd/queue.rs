//! The invalidation queue (6.5.2): where it lies, how far it came, and what stands in it.

use hw::vtd::invalidation::{self, ContextCache, Iotlb, Kind, PasidCache, PasidIotlb, Wait};
use hw::vtd::regs::{Cap, Ecap, QueueAddress, QueueErrorInfo, QueueErrorRecord, QueuePointer};

use super::cache::{ContextSelection, PasidSelection};
use super::invalidation::{
    Refused, TranslationRequest, contexts_by_descriptor, pasid_translations_by_descriptor,
    pasids_by_descriptor, translations_by_descriptor,
};
use crate::iommu::queue_hooks::QueueHooks;

/// Registers and state of the queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) address: QueueAddress,
    pub(super) enabled: bool,
    /// Byte offsets.
    pub(super) head: u64,
    pub(super) tail: u64,
    pub(super) error: QueueErrorRecord,
    pub(super) hooks: QueueHooks,
}

/// What to do with the queue now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextDescriptor {
    /// Nothing to do until software writes a register or a hook is called.
    Idle,
    /// Something to do, but later.
    Later,
    /// The descriptor at this physical address.
    Fetch(u64),
    /// The registers make no sense.
    Error(QueueErrorInfo),
}

/// A descriptor, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Descriptor {
    Contexts(ContextSelection),
    Pasids(PasidSelection),
    Translations(TranslationRequest),
    Wait(Wait),
}

/// A descriptor that stops the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    #[error("type {0:#x} is none this unit has")]
    Type(u8),
    #[error("reserved bits are set")]
    Reserved,
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Invalid {
    pub(super) fn info(self) -> QueueErrorInfo {
        match self {
            Self::Type(_) => QueueErrorInfo::InvalidDescriptorType,
            Self::Reserved | Self::Refused(_) => QueueErrorInfo::ReservedField,
        }
    }
}

impl Queue {
    /// What comes next, as long as no error is pending.
    pub(super) fn next(&self) -> NextDescriptor {
        if !self.enabled || self.hooks.held || self.head == self.tail {
            return NextDescriptor::Idle;
        }
        if self.tail >= self.address.len_bytes() {
            return NextDescriptor::Error(QueueErrorInfo::InvalidTail);
        }
        if !self.tail.is_multiple_of(self.address.descriptor_bytes()) {
            return NextDescriptor::Error(QueueErrorInfo::TailNotAligned);
        }
        if self.hooks.is_early() {
            return NextDescriptor::Later;
        }
        NextDescriptor::Fetch(self.address.iqa() + self.head)
    }

    /// Physical addresses of the descriptors that are not done.
    pub(super) fn pending(&self) -> impl Iterator<Item = u64> + use<> {
        let (address, head) = (self.address, self.head);
        let (len, step) = (address.len_bytes(), address.descriptor_bytes());
        let count = (self.tail + len - head) % len / step;
        (0..count).map(move |n| address.iqa() + (head + n * step) % len)
    }

    /// The descriptor at the head is done.
    pub(super) fn advance(&mut self) {
        self.head = (self.head + self.address.descriptor_bytes()) % self.address.len_bytes();
    }

    pub(super) fn write_tail(&mut self, value: QueuePointer) {
        self.tail = value.offset();
        self.hooks.tail_written();
    }

    pub(super) fn switch_on(&mut self) {
        self.enabled = true;
        self.head = 0;
    }

    pub(super) fn switch_off(&mut self) {
        self.enabled = false;
        self.head = 0;
    }

    /// Physical range of the queue, while it is used.
    pub(super) fn frames(&self) -> Option<std::ops::Range<u64>> {
        let start = self.address.iqa();
        self.enabled
            .then(|| start..start + self.address.len_bytes())
    }
}

/// Understands the descriptor `words`, behind which `upper` stands in a queue of 256-bit descriptors.
pub(super) fn decode(
    cap: Cap,
    ecap: Ecap,
    words: [u64; 2],
    upper: [u64; 2],
) -> Result<Descriptor, Invalid> {
    let reserved =
        |mask: [u64; 2]| words[0] & mask[0] != 0 || words[1] & mask[1] != 0 || upper != [0; 2];
    match invalidation::kind(words) {
        Some(Kind::ContextCache) if reserved(ContextCache::RESERVED) => Err(Invalid::Reserved),
        Some(Kind::ContextCache) => {
            let descriptor = ContextCache::from_words(words);
            Ok(Descriptor::Contexts(contexts_by_descriptor(
                cap, descriptor,
            )?))
        }
        Some(Kind::Iotlb) if reserved(Iotlb::RESERVED) => Err(Invalid::Reserved),
        Some(Kind::Iotlb) => Ok(Descriptor::Translations(translations_by_descriptor(
            cap,
            Iotlb::from_words(words),
        )?)),
        Some(Kind::Wait) if reserved(Wait::RESERVED) => Err(Invalid::Reserved),
        Some(Kind::Wait) => {
            let wait = Wait::from_words(words);
            // Page-request drain needs page requests (ECAP.PDS).
            if wait.pd() {
                Err(Invalid::Reserved)
            } else {
                Ok(Descriptor::Wait(wait))
            }
        }
        Some(Kind::PasidCache | Kind::PasidIotlb) if !ecap.smts() => {
            Err(Invalid::Type(invalidation::type_code(words[0])))
        }
        Some(Kind::PasidCache) if reserved(PasidCache::RESERVED) => Err(Invalid::Reserved),
        Some(Kind::PasidCache) => {
            let descriptor = PasidCache::from_words(words);
            Ok(Descriptor::Pasids(pasids_by_descriptor(cap, descriptor)?))
        }
        Some(Kind::PasidIotlb) if reserved(PasidIotlb::RESERVED) => Err(Invalid::Reserved),
        Some(Kind::PasidIotlb) => {
            let descriptor = PasidIotlb::from_words(words);
            Ok(Descriptor::Translations(pasid_translations_by_descriptor(
                cap, descriptor,
            )?))
        }
        // The unit has neither device-TLBs nor interrupt remapping.
        Some(Kind::DeviceTlb | Kind::InterruptEntryCache) | None => {
            Err(Invalid::Type(invalidation::type_code(words[0])))
        }
    }
}
