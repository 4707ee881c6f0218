#![no_std]
//! ACPI tables and devicetrees from bytes: which IOMMU translates for which device, which memory is reserved,
//! where configuration space lies.
//!
//! This is of use to any kernel, hypervisor or tool, with the rest of the workspace or without: it needs an
//! allocator and nothing else of its host, and hands out plain data.
//!
//! The tables come from firmware and may be damaged. Everything here is total: a table is either read, or
//! refused with a [`TableError`] that names the table, the byte and the damage. No byte is trusted to size,
//! count or place anything, no table makes a loop endless, and nothing panics.
//!
//! - [`Tables`] follows the RSDP to the list of tables and reads those that are asked for;
//!   [`Tables::iommus`] says what all of them say of IOMMUs, whoever built these
//! - [`Devicetree`] says the same where there is a devicetree instead, and where host bridges and memory are
//! - [`IommuDescription`]: the common words for it
//! - [`Dmar`]: Intel VT-d's remapping units and reserved regions
//! - [`Ivrs`]: AMD's IOMMUs
//! - [`Iort`]: Arm's SMMUs
//! - [`Rimt`]: RISC-V's IOMMUs
//! - [`Viot`]: virtio-iommus, and what they translate for
//! - [`Mcfg`]: where configuration space is mapped in memory
//! - [`PhysicalMemory`]: what the caller lends to read with
//!
//! What a device scope's path means on the running machine is for those who enumerated it: bridges' bus numbers
//! are not firmware's business. Addresses are physical, as `u64`.
//!
//! ```
//! use firmware::{Tables, Unreadable};
//! # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/example/mod.rs")); }
//! # let image = example::image();
//!
//! // `image` stands for the machine's memory from physical address 0xe0000 on.
//! let memory = |phys: u64, into: &mut [u8]| {
//!     let start = phys.checked_sub(0xe_0000).ok_or(Unreadable { phys })? as usize;
//!     let from = image.get(start..start + into.len()).ok_or(Unreadable { phys })?;
//!     into.copy_from_slice(from);
//!     Ok(())
//! };
//! let tables = Tables::find(0xe_0000, &memory)?;
//! let dmar = tables.dmar()?.expect("this machine has VT-d");
//! let unit = &dmar.units()[0];
//! assert_eq!(unit.register_base, 0xfed9_0000);
//! assert_eq!(unit.scopes[0].path, [(3, 0)]);
//!
//! // Or, whatever IOMMUs the machine has:
//! let iommus = tables.iommus()?;
//! assert_eq!(iommus.units[0].kind, firmware::UnitKind::Vtd);
//! # Ok::<(), firmware::Error>(())
//! ```

extern crate alloc;

mod description;
mod error;
mod fields;
mod header;
mod memory;
mod rsdp;
mod tables;

pub mod devicetree;
pub mod dmar;
pub mod iort;
pub mod ivrs;
pub mod mcfg;
pub mod rimt;
pub mod viot;

pub use description::{
    Assignment, Devices, DirectAccess, IommuDescription, ReservedKind, ReservedRegion, Stream,
    UnitDescription, UnitKind, UnitPlace, Walks,
};
pub use devicetree::Devicetree;
pub use dmar::Dmar;
pub use error::{Damage, Error, TableError};
pub use header::Signature;
pub use iort::Iort;
pub use ivrs::Ivrs;
pub use mcfg::Mcfg;
pub use memory::{PhysicalMemory, Unreadable};
pub use rimt::Rimt;
pub use rsdp::{Root, Rsdp};
pub use tables::{Entry, Tables};
pub use viot::Viot;
