//! Arm SMMUv3. Section numbers are those of the *Arm System Memory Management Unit Architecture Specification*,
//! IHI 0070.

pub mod page_table;
