//! Groups: which devices an IOMMU cannot keep apart, what they share, and who reaches whom without it.
// One program, and no library.
#![allow(unreachable_pub)]

mod computers;
mod oracle;
mod peers;
mod registers;
mod reserved;
mod sharing;
mod topologies;

#[path = "../pci_support/mod.rs"]
mod pci_support;

/// What isolates: source validation, request and completion redirection, upstream forwarding.
const ISOLATING: u16 = 0b1_1101;
