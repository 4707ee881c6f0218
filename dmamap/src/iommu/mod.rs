//! IOMMUs: which unit stands before a device, what it lets through, what it refused.
//!
//! | part | what it is |
//! |---|---|
//! | `requester` | who a request is from |
//! | `domain` | bus addresses and what they reach; the order of an unmap |
//! | `flush_queue`, `retire` | unmaps that share an invalidation, and wait for it |
//! | `unconfirmed` | what units did not confirm, and are asked about again |
//! | `translation` | the record a domain changes and a unit obeys |
//! | `unit` | what every unit can be asked to do |
//! | `scope`, `stream` | firmware's word on which unit translates for which device, and what it calls it |
//! | [`fault`], `fault_event` | refused requests, and when they are read |
//! | `setup` | what a unit's driver begins with, and which driver that is |
//! | `command_ring`, `bound` | what the vendors' queues, and all units' waits, have in common |
//! | `domain_ids` | what units tag remembered translations with |
//! | `start_error` | why units were not started |
//! | `vtd`, `amd`, `smmu`, `riscv` | Intel's units, AMD's, Arm's, RISC-V's |
//! | `virtio` | virtio-iommu |
//!
//! [`DmaSystem`](crate::system::DmaSystem) owns the units and puts devices into domains.
//!
//! ```
//! use dmamap::iommu::Requester;
//!
//! let disk = Requester { segment: 0, id: 0x0100 };
//! assert_eq!(disk.to_string(), "0000:01:00.0");
//! ```

mod amd;
mod bound;
mod command_batch;
mod command_ring;
mod cover;
mod domain;
mod domain_ids;
pub mod fault;
mod fault_event;
mod fence_group;
#[cfg(test)]
mod fence_group_interleaved;
mod flush_queue;
mod requester;
mod retire;
mod riscv;
mod scope;
mod setup;
mod smmu;
mod start_error;
mod stream;
mod translation;
mod unconfirmed;
mod unit;
mod virtio;
mod vtd;

pub use domain::{DomainError, RevokeError};
pub use flush_queue::FlushFigures;
pub use requester::{Pasid, Requester};
pub use start_error::UnitStartError;
pub use unit::UnitError;

pub(crate) use domain::{Domain, DomainLane, Linked, MAX_UNITS};
pub(crate) use domain_ids::DomainIds;
pub(crate) use flush_queue::{FlushLimits, Owed};
pub(crate) use requester::Attachment;
pub(crate) use scope::{Behind, ScopeMap, requesters_of};
pub(crate) use setup::{UnitPlace, UnitSetup, prepare};
pub(crate) use stream::StreamNames;
pub(crate) use translation::Translate;
pub(crate) use unit::{DomainId, MessageRoute, PassThrough, TableShape, TableShapes, Unit, Units};
