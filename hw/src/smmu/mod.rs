//! Arm SMMUv3: registers, tables, commands and events. Section numbers are those of the *Arm System Memory
//! Management Unit Architecture Specification*, IHI 0070.
//!
//! Field names are its abbreviations in lower case. Words of more than 64 bits are structures of 64-bit words,
//! as hardware promises to read 64 bits at once and no more.
//!
//! - [`regs`]: the register file of one unit (chapter 6)
//! - [`stream`]: stream table descriptors and entries, which find a stream's configuration (5.1, 5.2)
//! - [`context`]: context descriptors, which find a stream's stage 1 table (5.3, 5.4)
//! - [`page_table`]: the page-table entries of either stage
//! - [`command`]: commands of the command queue (chapter 4)
//! - [`event`]: what a unit records of a request that it terminated (7.3)

pub mod command;
pub mod context;
pub mod event;
pub mod page_table;
pub mod regs;
pub mod stream;
