//! The RISC-V IOMMU. Section numbers are those of the *RISC-V IOMMU Architecture Specification*, version 1.0.

pub mod page_table;
