//! Intel VT-d in legacy mode: registers, tables, descriptors and fault codes.
//!
//! Section numbers are those of the *Intel Virtualization Technology for Directed I/O Architecture
//! Specification*, revision 4.x. Field names are its abbreviations in lower case.
//!
//! - [`regs`]: the register file of one remapping unit (chapter 11)
//! - [`root`]: root and context entries, which find a requester's domain (sections 9.1 and 9.3)
//! - [`first_stage`]: the page-table entries of an address space (section 9.9)
//! - [`second_stage`]: the page-table entries of a domain (section 9.8)
//! - [`invalidation`]: descriptors of the invalidation queue (section 6.5.2)
//! - [`fault`]: what a unit records of a request that it blocked (section 7)

pub mod fault;
pub mod first_stage;
pub mod invalidation;
pub mod regs;
pub mod root;
pub mod second_stage;
