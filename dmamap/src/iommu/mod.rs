//! IOMMUs: which unit stands before a device, what it lets through, what it refused.
//!
//! | part | what it is |
//! |---|---|
//! | [`unit`] | what every unit can be asked to do |
//! | [`domain`] | bus addresses and what they reach; the order of an unmap |
//! | `scope` | firmware's word on which unit translates for which device |
//! | [`fault`] | refused requests |
//! | [`vtd`] | Intel's units |
//!
//! [`DmaSystem`](crate::system::DmaSystem) owns the units and puts devices into domains.
//!
//! ```
//! use dmamap::iommu::unit::Requester;
//!
//! let disk = Requester { segment: 0, id: 0x0100 };
//! assert_eq!(disk.to_string(), "0000:01:00.0");
//! ```

pub mod domain;
mod domain_ids;
pub mod fault;
mod scope;
pub mod unit;
pub mod vtd;

pub(crate) use domain_ids::DomainIds;
pub(crate) use scope::{ScopeMap, functions_of};
