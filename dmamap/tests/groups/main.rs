//! Groups: which devices an IOMMU cannot keep apart, what they share, and who reaches whom without it.

mod oracle;
mod topologies;

#[path = "../pci_support/mod.rs"]
mod pci_support;

/// What isolates: source validation, request and completion redirection, upstream forwarding.
const ISOLATING: u16 = 0b1_1101;
