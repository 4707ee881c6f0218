//! The RISC-V IOMMU: registers, device directory, commands and fault records.
//!
//! Section numbers are those of the *RISC-V IOMMU Architecture Specification*, version 1.0; the extensions NL
//! and S are those of its chapter 8. Field names are its own in lower case.
//!
//! - [`regs`]: the register file (chapter 5)
//! - [`directory`]: the device directory table and device contexts, which find a device's tables (section 2.1)
//! - [`page_table`]: the page-table entries of both stages
//! - [`command`]: commands of the command queue (section 3.1)
//! - [`fault`]: records of the fault queue (section 3.2)

pub mod command;
pub mod directory;
pub mod fault;
pub mod page_table;
pub mod regs;
