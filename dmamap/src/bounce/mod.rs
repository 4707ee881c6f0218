//! Bounce buffers: memory that stands in for memory a device does not reach, or must not.
//!
//! A device with few address lines cannot reach all memory, an untrusted one must not reach what shares a page with a
//! buffer, and one under [`Protection::Bounce`](crate::system::Protection::Bounce) reaches no driver's memory at all.
//! Their mappings are given a run of slots of a [pool](PoolFigures) instead; mapping copies the buffer into it,
//! whatever the direction, so that neither the device nor, later, the driver sees what somebody else left there; and
//! unmapping copies back what the device wrote. Drivers do not notice: the route decides ([`crate::map`]).
//!
//! A copy may also be what costs less: short mappings of strictly protected devices are copied where
//! [`copy_below_bytes`](BounceSettings::copy_below_bytes) says so, to slots that are mapped already.
//!
//! # Confidential guests
//!
//! Devices of a confidential guest reach only memory that the guest shares with its host, and no page of the machine's own
//! pool is: [`Forced::Always`] has streaming mappings copied, to memory that is as private as before, and coherent memory
//! is not copied at all. Such a guest sets memory aside, shares it with the host, and
//! [restricts](crate::system::DmaSystem::restrict) each device to its part of it: then all streaming mappings of the device are copied
//! there, and its coherent memory is of it. That holds on the direct route; where a unit translates for the device, it is
//! the unit that confines it, and coherent memory may be any.
//!
//! | concept | file |
//! |---|---|
//! | a pool: areas, transient memory | `pool` |
//! | memory for an area | `growth` |
//! | an area: slots with a lock of their own | `area` |
//! | which slots are free | `buddy`, over `records`: a `record` for each slot |
//! | runs that CPUs keep ready | `magazine`, `ready`; counted in `tally` |
//! | a run lent for one mapping, and its copies | `run`, `request` |
//! | the copy itself | `copying` |
//! | memory of its own for one mapping | `transient` |
//! | a device's pools, always mapped for it | `own` |
//! | whose pool serves a device | `service` |
//!
//! ```
//! use dmamap::bounce::{BounceSettings, Forced, SLOT_BYTES};
//!
//! let copied = BounceSettings {
//!     forced: Forced::Always,
//!     ..BounceSettings::default()
//! };
//! assert_eq!(copied.limit_bytes, 64 << 20);
//! assert_eq!(SLOT_BYTES, 2048);
//! ```

mod area;
mod buddy;
mod copying;
mod figures;
mod growth;
#[cfg(test)]
mod interleaved;
mod magazine;
mod own;
mod pool;
mod ready;
mod record;
mod records;
mod request;
mod run;
mod service;
mod tally;
mod transient;

use crate::addr::PhysAddr;
use crate::iommu::UnitError;
use crate::sync;

pub(crate) use copying::{copy_across, zero};
pub use figures::PoolFigures;
pub(crate) use magazine::RunStart;
pub(crate) use own::{AlwaysMapped, OwnPools};
pub(crate) use pool::{Exposure, Pool};
pub(crate) use record::Holds;
pub(crate) use request::RunRequest;
pub(crate) use run::{Run, RunPlace};
pub(crate) use service::{ALL, Bounce, PoolName};

/// log2 of [`SLOT_BYTES`].
pub(crate) const SLOT_SIZE_LOG2: u32 = 11;

/// Bytes of a slot, the unit that pools lend memory in (`IO_TLB_SIZE`).
pub const SLOT_BYTES: u64 = 1 << SLOT_SIZE_LOG2;

/// Whether devices that reach memory untranslated are given copies even of memory that they reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forced {
    /// Only where they do not reach it.
    #[default]
    WhereNeeded,
    /// Always (`swiotlb=force`): streaming mappings, that is. It shares nothing with a host, so a
    /// [confidential guest](self#confidential-guests) needs more.
    Always,
}

/// How bounce buffers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BounceSettings {
    /// Bytes of an area of the machine's pool, rounded up to a power of two between a frame and 64 MiB. Longer mappings
    /// get memory of their own.
    pub area_bytes: u64,
    /// Bytes that all areas may hold together. Nothing is taken before it is needed.
    pub limit_bytes: u64,
    /// Whether devices that reach memory untranslated are given copies even of memory that they reach.
    pub forced: Forced,
    /// Streaming mappings of fewer bytes, of devices that are attached as [`Protection::Strict`](crate::system::Protection::Strict) behind an
    /// IOMMU, are copied to a pool of the device's own that stays mapped, instead of being mapped and invalidated. 0 copies
    /// none. It is a matter of cost alone: where there are no slots, or the mapping must not be copied, the memory is mapped. `docs/performance.md` tells from
    /// how long a wait for the unit on it is cheaper.
    pub copy_below_bytes: u64,
}

impl Default for BounceSettings {
    fn default() -> Self {
        Self {
            area_bytes: 2 << 20,
            limit_bytes: 64 << 20,
            forced: Forced::WhereNeeded,
            copy_below_bytes: 0,
        }
    }
}

/// Why memory could not be had to stand in for other memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BounceError {
    /// Nothing that the device reaches is free: neither in the pool nor in memory.
    #[error("no {len_bytes:#x} bytes at or below physical {last} are free to copy memory to")]
    Exhausted {
        /// Bytes asked for.
        len_bytes: u64,
        /// The highest physical address that the device reaches.
        last: PhysAddr,
    },
    /// The mapping is longer than any run of the pool that the device is restricted to.
    #[error(
        "{len_bytes:#x} bytes are longer than the {max_bytes:#x} that the device's own pool lends at once"
    )]
    TooLong {
        /// Bytes asked for.
        len_bytes: u64,
        /// The longest run.
        max_bytes: u64,
    },
    /// The bus sees the pool at an offset that is less aligned than the device asks its buffers to be.
    #[error(
        "the bus sees memory at an offset that does not keep the {align_mask:#x} of addresses that the device needs kept"
    )]
    Misaligned {
        /// The bits of addresses that must be kept.
        align_mask: u64,
    },
    /// The copy could not be mapped, and it was not confirmed that this was undone: the copy is kept, the memory is not
    /// concerned.
    #[error("mapping a copy failed and was not confirmed undone: {cause}")]
    Unconfirmed {
        /// Why the mapping failed.
        cause: UnitError,
    },
}
