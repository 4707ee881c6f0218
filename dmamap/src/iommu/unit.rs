//! What every IOMMU unit can be asked to do, whoever built it.
//!
//! The page-table walker is monomorphised per format and called once per list of memory; a unit is called
//! through this trait only to attach, detach and invalidate, where hardware dominates the cost.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::addr::{BusRange, PhysAddr};
use crate::iommu::fault::FaultLog;
use crate::iommu::requester::{Attachment, Requester};
use crate::iommu::translation::{Translate, Translation};
use crate::pagetable::{LeafSizes, TableChange};
use crate::platform::{OutOfFrames, Platform};

/// The number a unit tags cached translations of a domain with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DomainId(
    /// Below every unit's [`UnitFacts::domain_ids`].
    pub(crate) u16,
);

/// What changed in a domain's table, so that a unit knows which cached translations to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The addresses whose translation changed.
    pub(crate) range: BusRange,
    /// Whether a table on the way there was unlinked too.
    pub(crate) tables: TableChange,
}

/// What mapping (not-present to present) asks of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtMap {
    /// Nothing: the unit caches no absent translation.
    Nothing,
    /// The unit may have cached the absence ([caching mode](hw::vtd)): invalidate and wait.
    Invalidate,
    /// Writes to memory must be pushed out of the root complex first.
    FlushWriteBuffer,
}

/// Facts of a unit that decide how domains on it are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitFacts {
    /// The tables it walks.
    pub(crate) tables: TableShapes,
    /// Address bits the unit translates at most.
    pub(crate) address_bits: u8,
    /// Large leaves the unit understands.
    pub(crate) leaf_sizes: LeafSizes,
    /// Whether requests can be passed through untranslated.
    pub(crate) pass_through: PassThrough,
    /// Number of domain ids, 0 to this minus 1.
    pub(crate) domain_ids: u32,
    /// What a map asks of it.
    pub(crate) at_map: AtMap,
    /// What it does with devices' interrupt messages.
    pub(crate) messages: MessageRoute,
}

/// Whether devices' interrupt messages pass the unit like other writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageRoute {
    /// It knows them by their address and does not translate them.
    Aside,
    /// It translates them: the place they go to must be mapped in every domain.
    Translated,
}

/// A table that a unit walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableShape {
    /// Number of levels.
    pub(crate) levels: u8,
    /// Bits of a bus address it tells apart.
    pub(crate) address_bits: u8,
}

/// The tables a unit walks, from the narrowest to the widest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableShapes([Option<TableShape>; MAX_SHAPES]);

/// AMD's tables have 1 to 6 levels; nobody has more kinds.
const MAX_SHAPES: usize = 6;

impl TableShapes {
    /// Those of `shapes`, which ascend; [`MAX_SHAPES`] at most.
    pub(crate) fn new(shapes: impl IntoIterator<Item = TableShape>) -> Self {
        let mut all = Self::default();
        for (slot, shape) in all.0.iter_mut().zip(shapes) {
            *slot = Some(shape);
        }
        all
    }

    /// From the narrowest to the widest.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TableShape> + '_ {
        self.0.iter().flatten().copied()
    }
}

/// Whether a unit can let an attachment's requests through without a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PassThrough {
    /// It can.
    Supported,
    /// Identity needs tables.
    Unsupported,
}

/// An IOMMU unit did not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// A wait on the hardware passed its bound.
    #[error("IOMMU unit at {unit} did not finish {command} within {bound_ms} ms")]
    TimedOut {
        /// Physical address of its registers.
        unit: PhysAddr,
        /// What it was doing.
        command: &'static str,
        /// The bound.
        bound_ms: u64,
    },
    /// The unit refused a command of its queue and stopped.
    #[error("IOMMU unit at {unit} stopped its command queue at entry {entry}: {reason}")]
    QueueStopped {
        /// Physical address of its registers.
        unit: PhysAddr,
        /// Index of the entry it stopped at.
        entry: u32,
        /// What its error register says.
        reason: &'static str,
    },
    /// The unit answered a request with an error.
    #[error("IOMMU unit at {unit} refused {command}: {reason}")]
    Refused {
        /// Physical address of its registers.
        unit: PhysAddr,
        /// What was asked of it.
        command: &'static str,
        /// What its status says.
        reason: &'static str,
    },
    /// The unit is suspended: nothing is confirmed before it was resumed.
    #[error("IOMMU unit at {unit} is suspended")]
    Asleep {
        /// Physical address of its registers.
        unit: PhysAddr,
    },
    /// No frame for a table of the unit.
    #[error("IOMMU unit at {unit} needs a table frame: {cause}")]
    OutOfFrames {
        /// Physical address of its registers.
        unit: PhysAddr,
        /// What was asked of the platform.
        cause: OutOfFrames,
    },
    /// The requester already has a translation there.
    #[error("IOMMU unit at {unit} already translates for {requester}")]
    AlreadyAttached {
        /// Physical address of its registers.
        unit: PhysAddr,
        /// The requester.
        requester: Requester,
    },
    /// The unit cannot do what the attachment asks.
    #[error("IOMMU unit at {unit} has no {feature}")]
    Unsupported {
        /// Physical address of its registers.
        unit: PhysAddr,
        /// What it lacks.
        feature: &'static str,
    },
}

/// An IOMMU unit, from the domain's side. Every method returns within a bound.
pub(crate) trait Unit<P: Platform>: Send + Sync {
    /// Physical address of its registers: its name in messages.
    fn base(&self) -> PhysAddr;

    /// What it can do.
    fn facts(&self) -> UnitFacts;

    /// A table of `shape`, one of its [`UnitFacts::tables`], in the unit's format, with nothing mapped, for the domain
    /// `domain`.
    ///
    /// # Errors
    /// [`UnitError::OutOfFrames`], or [`UnitError::Unsupported`] if the unit walks no such table.
    fn create_table(
        &self,
        shape: TableShape,
        domain: DomainId,
    ) -> Result<Box<dyn Translation<P>>, UnitError>;

    /// Bus addresses of `attachment` that nothing may be mapped at, as they never reach its translation, whatever a
    /// table says.
    ///
    /// # Errors
    /// [`UnitError`] where the unit must be asked and does not answer.
    fn unmappable(&self, attachment: Attachment) -> Result<Vec<BusRange>, UnitError>;

    /// From now on requests of `attachment` are translated as `translate` says and tagged `domain`; what was
    /// cached of an earlier translation is gone when this returns.
    ///
    /// # Errors
    /// [`UnitError`]; nothing is attached then, unless the error is [`UnitError::TimedOut`] or
    /// [`UnitError::QueueStopped`]: then the old translation may still be cached.
    fn attach(
        &self,
        attachment: Attachment,
        domain: DomainId,
        translate: Translate,
    ) -> Result<(), UnitError>;

    /// As [`attach`](Self::attach), also where the requester is attached in a way that one store cannot
    /// change: then its requests are refused for a moment.
    fn move_to(
        &self,
        attachment: Attachment,
        domain: DomainId,
        translate: Translate,
    ) -> Result<(), UnitError> {
        match self.attach(attachment, domain, translate) {
            Err(UnitError::AlreadyAttached { .. }) => {
                self.detach(attachment, domain)?;
                self.attach(attachment, domain, translate)
            }
            outcome => outcome,
        }
    }

    /// From now on requests of `attachment` are refused; nothing cached is left when this returns.
    ///
    /// # Errors
    /// [`UnitError`] when the invalidation did not complete: the device may still reach memory.
    fn detach(&self, attachment: Attachment, domain: DomainId) -> Result<(), UnitError>;

    /// Drops what is cached of `domain` in `change`, and returns when it is gone and requests that used it
    /// have drained.
    ///
    /// # Errors
    /// [`UnitError`] when that did not happen in time.
    fn invalidate(&self, domain: DomainId, change: Change) -> Result<(), UnitError>;

    /// Makes a new mapping visible to the unit, as its [`UnitFacts::at_map`] asks.
    ///
    /// # Errors
    /// [`UnitError`] when the unit did not answer in time.
    fn sync_map(&self, domain: DomainId, range: BusRange) -> Result<(), UnitError>;

    /// Moves recorded faults from the unit's registers into `log`.
    fn service_faults(&self, log: &FaultLog<P>);

    /// Completed invalidation commands so far.
    fn invalidations(&self) -> u64;

    /// Turns translation on: from now on requests of devices that are not attached are refused.
    ///
    /// # Errors
    /// [`UnitError`] when it did not answer in time.
    fn turn_on(&self) -> Result<(), UnitError>;

    /// Resets the unit and makes it go on with what is attached and mapped now, nothing of before the reset being
    /// cached: as after a loss of power, or an error that stopped its queue. Untranslated, or refused, as the unit
    /// treats them while off, are requests in between.
    ///
    /// # Errors
    /// [`UnitError`] when it did not answer in time: it may be tried again.
    fn restart(&self) -> Result<(), UnitError>;

    /// The unit is about to lose its state: until [`restart`](Self::restart) whoever asks it for anything gets
    /// [`UnitError::Asleep`], who waits for it too.
    fn sleep(&self);

    /// Turns translation off and gives back what the unit was lent.
    ///
    /// # Errors
    /// [`UnitError`] when the unit did not turn off; then what it may still walk is kept, not freed.
    fn stop(&self) -> Result<(), UnitError>;
}

/// The units of a machine, numbered.
pub(crate) type Units<P> = Arc<[Arc<dyn Unit<P>>]>;
