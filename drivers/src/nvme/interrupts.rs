//! One message interrupt per I/O queue pair; where that cannot be, the reason why the driver polls.

use alloc::vec::Vec;
use core::fmt;

use dmamap::device::Device;
use dmamap::mmio::Mmio;
use dmamap::pci::{Function, MsixError, MsixTable};
use dmamap::platform::{Interrupt, OutOfInterrupts, Platform};
use dmamap::resource::ResourceTree;

/// How the ends of commands are learned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompletionMode {
    /// Each I/O queue has an interrupt of its own.
    Interrupt,
    /// The driver looks again and again.
    Polling(PollingReason),
}

impl fmt::Display for CompletionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupt => f.write_str("interrupts"),
            Self::Polling(reason) => write!(f, "polling: {reason}"),
        }
    }
}

/// Why completions are polled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PollingReason {
    /// The settings say so.
    #[error("as chosen")]
    Chosen,
    /// The function cannot raise message interrupts, or cannot reach their address
    /// ([`MsixError::MessageOutOfReach`]).
    #[error(transparent)]
    Msix(#[from] MsixError),
    /// The function has fewer vectors than there are queues, the admin queue's counted.
    #[error("{needed} interrupt vectors are needed, the function has {vectors}")]
    TooFewVectors {
        /// What it has.
        vectors: u16,
        /// What is needed.
        needed: u16,
    },
    /// The platform has no interrupt left.
    #[error(transparent)]
    OutOfInterrupts(#[from] OutOfInterrupts),
}

/// The interrupts of a controller's I/O queues. The admin queue's vector 0 stays masked: it is polled.
pub(super) struct Interrupts<P: Platform> {
    platform: P,
    table: MsixTable<P>,
    /// That of queue `n` at index `n - 1`.
    lent: Vec<Interrupt>,
}

impl<P: Platform> Interrupts<P> {
    /// Makes I/O queues 1 to `queues` raise an interrupt each. The table is taken from `registers` where it lies there.
    pub(super) fn connect(
        device: &Device<P>,
        function: &Function<P>,
        registers: &mut Mmio<P>,
        tree: &mut ResourceTree,
        queues: u16,
    ) -> Result<Self, PollingReason> {
        let table = function.claim_msix(super::start::DRIVER_NAME, tree, Some(registers))?;
        let (vectors, needed) = (table.entries(), queues.saturating_add(1));
        if vectors < needed {
            return Err(PollingReason::TooFewVectors { vectors, needed });
        }
        let platform = device.platform();
        // What was lent goes back when this is dropped, on success and on failure.
        let mut interrupts = Self {
            platform,
            table,
            lent: Vec::new(),
        };
        for queue in 1..=queues {
            let interrupt = platform.allocate_interrupt(None)?;
            interrupts.lent.push(interrupt);
            let vector = Self::vector_of_queue(queue);
            interrupts
                .table
                .program(vector, &interrupt, device.mask())?;
            interrupts.table.unmask(vector)?;
        }
        interrupts.table.enable();
        Ok(interrupts)
    }

    /// The vector, an index in the MSI-X table, that queue `queue` raises.
    pub(super) fn vector_of_queue(queue: u16) -> u16 {
        queue
    }

    /// The interrupt of I/O queue `queue`, counted from 1.
    pub(super) fn of_queue(&self, queue: u16) -> Option<Interrupt> {
        let index = usize::from(queue).checked_sub(1)?;
        self.lent.get(index).copied()
    }
}

impl<P: Platform> Drop for Interrupts<P> {
    fn drop(&mut self) {
        self.table.disable();
        for interrupt in self.lent.drain(..) {
            self.platform.free_interrupt(interrupt);
        }
    }
}
