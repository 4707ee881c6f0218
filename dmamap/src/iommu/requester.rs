//! Who a request on the bus is from.

use core::fmt;

/// Who a request on the bus says it is from (PCIe base spec 2.2.6.2: requester ID, with its segment).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requester {
    /// PCI segment group.
    pub segment: u16,
    /// Bus number in bits 15:8, device in 7:3, function in 2:0.
    pub id: u16,
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segment, id } = *self;
        write!(
            f,
            "{segment:04x}:{:02x}:{:02x}.{}",
            id >> 8,
            id >> 3 & 0x1f,
            id & 7
        )
    }
}

/// A process address space identifier: 20 bits (PCIe base spec 6.20).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pasid(
    /// The identifier.
    pub u32,
);

/// One stream of requests a domain is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// The requester.
    pub(crate) requester: Requester,
    /// The number that its requests carry where they meet its unit.
    pub(crate) stream: u32,
    /// The address space within it, where the requester tags its requests with one.
    pub(crate) pasid: Option<Pasid>,
}
