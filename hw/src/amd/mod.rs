//! AMD-Vi. Section numbers are those of the *AMD I/O Virtualization Technology (IOMMU) Specification*, 48882.

pub mod page_table;
