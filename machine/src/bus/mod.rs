//! The way from devices to memory: Z → Y.
//!
//! A request leaves a function through its [`DmaPort`] as a bus address and passes, in this order:
//!
//! 1. the function's bus-master bit and its address lines: higher bits are really dropped;
//! 2. a cut at every 4 KiB;
//! 3. the [message window](crate::interrupts::MESSAGE_WINDOW): a write there is an interrupt that passes as it is, but
//!    with a unit that [translates messages](crate::iommu::Unit::translates_messages) it is one if what the unit
//!    made of it is there;
//! 4. the bridge's windows: other devices' registers. A device on the way up may take the request
//!    (`pci/peer.rs`); what comes to the host bridge is refused, or forwarded if the bridge does that and no unit stands
//!    before it;
//! 5. the function's IOMMU unit, if one stands there ([`Translator`](crate::iommu::translator::Translator));
//! 6. the host bridge's inbound ranges, for what no IOMMU translated;
//! 7. memory; where there is none the request is unclaimed, but for the registers of the
//!    [FIFO](crate::device::fifo), and for other devices' registers at their physical address where the host bridge forwards
//!    requests to them.
//!
//! Each function belongs to one unit, or to none: that is how the machine is wired, whatever its tables say.
//!
//! ```
//! # use std::sync::Arc;
//! use board::ram::Ram;
//! use machine::bus::{Bus, DmaError, DmaPort, Requester};
//! use machine::interrupts::Interrupts;
//!
//! let ram = Ram::new(&[0..0x10000])?;
//! let bus = Bus::new(ram, Vec::new(), Vec::new(), Arc::new(Interrupts::new()));
//! // Function 3.0 drives 28 address lines, has no IOMMU, and nobody made it a bus master yet.
//! let requester = Requester::new(3, 0, 28, Vec::new());
//! let port = DmaPort::new(Arc::new(bus), None, Arc::new(requester));
//! assert_eq!(port.write(0x1000, b"data"), Err(DmaError::BusMasterOff));
//! # Ok::<(), board::ram::RamError>(())
//! ```

mod peer;
mod port;
mod requester;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, OnceLock, Weak};

use board::hardware::{InboundDescription, WindowDescription, WindowKind};
use board::ram::Ram;

use crate::device::fifo::Fifo;
use crate::fabric::PeerForwarding;
use crate::interrupts::Interrupts;
use crate::iommu::translator::TranslationFault;
use crate::pci::segment::Segment;

pub(crate) use port::Reached;
pub use port::{BusRun, DmaPort};
pub(crate) use requester::PendingRequest;
pub use requester::{ConventionalIds, DmaCounters, HeldRequest, Privilege, Requester};

/// What a request does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The device reads memory.
    Read,
    /// The device writes memory.
    Write,
}

/// Why a request of a device did not reach memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DmaError {
    /// The function may not start requests: its bus-master bit is off.
    #[error("bus master is off")]
    BusMasterOff,
    /// The function was pulled out.
    #[error("the function was pulled out")]
    Removed,
    /// The IOMMU blocked it, and recorded a fault.
    #[error(transparent)]
    Blocked(#[from] TranslationFault),
    /// The address is that of other devices' registers.
    #[error("bus {bus:#x} is in a host-bridge window: no peer-to-peer here")]
    PeerToPeer {
        /// The bus address (Z).
        bus: u64,
    },
    /// In the message window only aligned writes of 4 bytes mean something.
    #[error("{len_bytes} bytes at bus {bus:#x} are no message")]
    Message {
        /// The bus address.
        bus: u64,
        /// Length of the request.
        len_bytes: u64,
    },
    /// No inbound range of the host bridge holds the address.
    #[error("the host bridge takes no request to bus {bus:#x}")]
    NotInbound {
        /// The bus address (Z).
        bus: u64,
    },
    /// There is no memory.
    #[error("nothing answers at physical {phys:#x}")]
    Unclaimed {
        /// The physical address (Y).
        phys: u64,
    },
}

/// Why a transfer between a file of the host and memory failed.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// Memory was not reached; nothing was moved.
    #[error(transparent)]
    Dma(#[from] DmaError),
    /// The host's file failed.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// What every request has in common: memory and the way to it.
pub struct Bus {
    ram: Arc<Ram>,
    windows: Vec<WindowDescription>,
    inbound: Vec<InboundDescription>,
    interrupts: Arc<Interrupts>,
    peers: PeerForwarding,
    /// Registers at a physical address of their own.
    fifo: Arc<Fifo>,
    /// All functions, once they are wired; they refer to the bus, and not the other way round.
    root: OnceLock<Weak<Segment>>,
}

impl Bus {
    /// A bus to `ram`. Memory `windows` are other devices' registers; without `inbound` ranges a bus
    /// address that no IOMMU translates is the physical address.
    pub fn new(
        ram: Arc<Ram>,
        windows: Vec<WindowDescription>,
        inbound: Vec<InboundDescription>,
        interrupts: Arc<Interrupts>,
    ) -> Self {
        Self {
            ram,
            windows,
            inbound,
            interrupts,
            peers: PeerForwarding::Refused,
            fifo: Arc::default(),
            root: OnceLock::new(),
        }
    }

    /// The same, with a host bridge that does so with requests to other devices.
    #[must_use]
    pub fn with_peers(mut self, peers: PeerForwarding) -> Self {
        self.peers = peers;
        self
    }

    /// The transmitter that devices reach at its physical address.
    pub fn fifo(&self) -> &Arc<Fifo> {
        &self.fifo
    }

    /// The physical address of a request that no IOMMU translated.
    fn inbound(&self, bus: u64) -> Result<u64, DmaError> {
        if self.inbound.is_empty() {
            return Ok(bus);
        }
        self.inbound
            .iter()
            .find(|range| bus >= range.bus && bus - range.bus < range.len_bytes)
            .map(|range| range.phys + (bus - range.bus))
            .ok_or(DmaError::NotInbound { bus })
    }

    fn is_window(&self, bus: u64, len_bytes: u64) -> bool {
        let last = bus.saturating_add(len_bytes - 1);
        self.windows.iter().any(|window| {
            window.kind != WindowKind::Io
                && bus < window.bus + window.len_bytes
                && last >= window.bus
        })
    }
}
