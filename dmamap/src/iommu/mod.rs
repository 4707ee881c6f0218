//! IOMMUs: which unit stands before a device, what it lets through, what it refused.
//!
//! | part | what it is |
//! |---|---|
//! | `requester` | who a request is from |
//! | `domain` | bus addresses and what they reach; the order of an unmap |
//! | `translation` | the record a domain changes and a unit obeys |
//! | `unit` | what every unit can be asked to do |
//! | `scope` | firmware's word on which unit translates for which device |
//! | [`fault`] | refused requests |
//! | `vtd` | Intel's units |
//!
//! [`DmaSystem`](crate::system::DmaSystem) owns the units and puts devices into domains.
//!
//! ```
//! use dmamap::iommu::Requester;
//!
//! let disk = Requester { segment: 0, id: 0x0100 };
//! assert_eq!(disk.to_string(), "0000:01:00.0");
//! ```

mod domain;
mod domain_ids;
pub mod fault;
mod requester;
mod scope;
mod translation;
mod unit;
mod vtd;

pub use domain::{DomainError, RevokeError};
pub use requester::{Pasid, Requester};
pub use unit::UnitError;
pub use vtd::VtdStartError;

pub(crate) use domain::{Domain, MAX_UNITS};
pub(crate) use domain_ids::DomainIds;
pub(crate) use requester::Attachment;
pub(crate) use scope::{ScopeMap, functions_of};
pub(crate) use translation::Translate;
pub(crate) use unit::{DomainId, PassThrough, Unit, Units};
pub(crate) use vtd::{UnitPlace, VtdUnit};
