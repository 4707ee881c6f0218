//! The control register: what is on.

use bitfield_struct::{bitenum, bitfield};

/// `Control.InvTimeOut`: how long the IOMMU waits for a device to answer an invalidation of its own cache.
#[bitenum]
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidationTimeout {
    /// For ever.
    Never = 0,
    /// 1 ms.
    Ms1 = 1,
    /// 10 ms.
    Ms10 = 2,
    /// 100 ms.
    Ms100 = 3,
    /// 1 s.
    S1 = 4,
    /// 10 s.
    S10 = 5,
    /// 100 s.
    S100 = 6,
    /// Reserved.
    #[fallback]
    Reserved = 7,
}

/// `Control` (section 3.4): what is on. Bits that no driver of ours sets are kept as one field per run.
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Control {
    /// The IOMMU translates. While clear, requests pass as they are and neither ring runs.
    pub iommuen: bool,
    /// HyperTransport tunnel traffic is translated.
    pub httunen: bool,
    /// The event log is written.
    pub eventlogen: bool,
    /// An entry of the event log, and its overflow, raise an interrupt.
    pub eventinten: bool,
    /// A [completion wait](crate::amd::command::CompletionWait) that asks for an interrupt gets one.
    pub comwaitinten: bool,
    /// How long to wait for a device's answer.
    #[bits(3)]
    pub invtimeout: InvalidationTimeout,
    /// `PassPW` of the IOMMU's own HyperTransport requests.
    pub passpw: bool,
    /// `ResPassPW` of the IOMMU's own HyperTransport requests.
    pub respasspw: bool,
    /// The IOMMU's reads of the device table snoop the CPU's caches.
    pub coherent: bool,
    /// The IOMMU's own requests travel on the isochronous channel.
    pub isoc: bool,
    /// Commands are fetched and done.
    pub cmdbufen: bool,
    /// The page request log is written.
    pub pprlogen: bool,
    /// Entries of the page request log raise an interrupt.
    pub pprinten: bool,
    /// Page requests are processed.
    pub ppren: bool,
    /// Guest translation.
    pub gten: bool,
    /// Guest virtual APIC.
    pub gaen: bool,
    /// Reserved for later use by the manual.
    #[bits(4)]
    pub crw: u8,
    /// SMI filter, its log, self write-back, guest virtual-APIC modes and log, dual logs.
    #[bits(12)]
    pub filters_and_logs: u16,
    /// Number of device table segments: `2^devtblsegen`.
    #[bits(3)]
    pub devtblsegen: u8,
    /// Privilege abort, automatic page responses, address routing, and what else lies below bit 50.
    #[bits(13)]
    pub functions: u16,
    /// Interrupts have x2APIC destinations.
    pub xten: bool,
    /// The IOMMU's own interrupts are those of the [`IntCapXt`](super::IntCapXt) registers, not of its MSI capability.
    pub intcapxten: bool,
    /// What lies above.
    #[bits(12)]
    pub above: u16,
}
