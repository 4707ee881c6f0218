//! AMD-Vi. Section numbers are those of the *AMD I/O Virtualization Technology (IOMMU) Specification*, 48882.
//!
//! Field names are its abbreviations in lower case.
//!
//! - [`regs`]: the register file of one IOMMU (section 3.4)
//! - [`capability`]: the PCI capability of the function an IOMMU is (section 3.2)
//! - [`device_table`]: device table entries, which find a requester's domain (section 2.2.2)
//! - [`page_table`]: the page-table entries of a domain (section 2.2.3)
//! - [`command`]: entries of the command buffer (section 2.4)
//! - [`event`]: entries of the event log: refused requests and errors (section 2.5)

pub mod capability;
pub mod command;
pub mod device_table;
pub mod event;
pub mod page_table;
pub mod regs;
