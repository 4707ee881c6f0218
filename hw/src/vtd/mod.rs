//! Intel VT-d: registers, tables, descriptors and fault codes.
//!
//! Section numbers are those of the *Intel Virtualization Technology for Directed I/O Architecture
//! Specification*, revision 4.x. Field names are its abbreviations in lower case.
//!
//! - [`regs`]: the register file of one remapping unit (chapter 11)
//! - [`root`]: root and context entries of legacy mode, which find a requester's domain (sections 9.1 and 9.3)
//! - [`scalable`]: root and context entries of scalable mode (sections 9.2 and 9.4)
//! - [`pasid`]: PASID directory and PASID table of scalable mode (sections 9.5 and 9.6)
//! - [`first_stage`]: the page-table entries of an address space (section 9.9)
//! - [`second_stage`]: the page-table entries of a domain (section 9.8)
//! - [`invalidation`]: descriptors of the invalidation queue (section 6.5.2)
//! - [`fault`]: what a unit records of a request that it blocked (section 7)

pub mod fault;
pub mod first_stage;
pub mod invalidation;
pub mod pasid;
pub mod regs;
pub mod root;
pub mod scalable;
pub mod second_stage;
