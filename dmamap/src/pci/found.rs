//! What is known of a function while enumeration is under way.

use hw::pci::config::ClassRevision;

use super::bar::SizedBars;
use super::capability::Capabilities;
use super::config::FunctionConfig;
use super::{Bar, BridgeBuses, PciAddress};
use crate::platform::Platform;

/// A function on its way to becoming a [`Function`](super::Function).
pub(crate) struct Found<P: Platform> {
    pub(crate) config: FunctionConfig<P>,
    pub(crate) vendor: u16,
    pub(crate) device: u16,
    pub(crate) class: ClassRevision,
    pub(crate) header: Header,
    /// Index of the bridge above.
    pub(crate) parent: Option<usize>,
    pub(crate) capabilities: Capabilities,
    pub(crate) bars: SizedBars,
}

/// What a function's header makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// Type 0.
    Device,
    /// Type 1; with the buses behind it, if it got any.
    Bridge(Option<BridgeBuses>),
}

impl<P: Platform> Found<P> {
    pub(crate) fn address(&self) -> PciAddress {
        self.config.address()
    }

    pub(crate) fn buses(&self) -> Option<BridgeBuses> {
        match self.header {
            Header::Bridge(buses) => buses,
            Header::Device => None,
        }
    }

    /// A memory BAR that has no address, so that decoding must stay off.
    pub(crate) fn memory_blocked(&self) -> Option<u8> {
        self.blocked(|bar| !bar.kind.is_io())
            .or(self.bars.bad_memory)
    }

    /// An IO BAR that has no address, so that decoding must stay off.
    pub(crate) fn io_blocked(&self) -> Option<u8> {
        self.blocked(|bar| bar.kind.is_io()).or(self.bars.bad_io)
    }

    fn blocked(&self, in_space: impl Fn(&Bar) -> bool) -> Option<u8> {
        let mut bars = self.bars.bars.iter().flatten();
        bars.find(|bar| bar.phys.is_none() && in_space(bar))
            .map(|bar| bar.index)
    }

    pub(crate) fn is_bridge(&self) -> bool {
        matches!(self.header, Header::Bridge(_))
    }
}
