//! NVM Express over PCI Express: registers, queue entries, commands, status, identify data.
//!
//! Section and figure names are those of the *NVM Express Base Specification*, revision 2.0, the *NVMe over PCIe
//! Transport Specification*, revision 1.0, and the *NVM Command Set Specification*, revision 1.0. Fields have
//! their abbreviations in lower case. All words are little-endian in memory, and so are the targets this crate builds for.
//!
//! - [`regs`]: controller properties in BAR 0, and the doorbells
//! - [`submission`], [`completion`]: the entries of the queues
//! - [`command`]: opcodes and the command dwords that are specific to each
//! - [`status`]: what a completion says
//! - [`identify`]: what controller and namespace say of themselves

pub mod command;
pub mod completion;
pub mod identify;
pub mod regs;
pub mod status;
pub mod submission;

pub use completion::CompletionEntry;
pub use status::{Status, StatusField};
pub use submission::SubmissionEntry;
