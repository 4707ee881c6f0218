//! A function's only way to memory.

use std::fs::File;
use std::io;
use std::sync::Arc;

use board::ram::{Ram, RamRun};

use super::{Access, Bus, DmaError, PendingRequest, Requester, TransferError};
use crate::cache::{CpuCaches, Snooping};
use crate::interrupts::MESSAGE_WINDOW;
use crate::iommu::Unit;
use crate::iommu::translator::{Destination, InFlight};

/// Requests are cut at multiples of this, the smallest IOMMU page.
const CUT_BYTES: u64 = 4096;

/// A run of bus addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusRun {
    /// First bus address (Z).
    pub bus: u64,
    /// Its length.
    pub len_bytes: u64,
}

/// A function's connection to the bus. Clones are the same connection.
#[derive(Clone)]
pub struct DmaPort {
    bus: Arc<Bus>,
    unit: Option<Arc<dyn Unit>>,
    requester: Arc<Requester>,
    /// The CPU's caches, where requests pass beside them.
    beside: Option<Arc<CpuCaches>>,
}

/// A piece of a request on its way; holding it keeps it in flight.
struct Piece<'a> {
    phys: u64,
    _in_flight: Option<InFlight<'a>>,
    _pending: PendingRequest<'a>,
}

impl Piece<'_> {
    /// The piece, unless the unit made a message of it: bulk data is none.
    fn in_memory(self, bus: u64, len_bytes: u64) -> Result<Self, DmaError> {
        if MESSAGE_WINDOW.contains(&self.phys) {
            return Err(DmaError::Message { bus, len_bytes });
        }
        Ok(self)
    }
}

impl DmaPort {
    /// Connects `requester`, whose requests pass `unit` if there is one, and see what the CPU sees.
    pub fn new(bus: Arc<Bus>, unit: Option<Arc<dyn Unit>>, requester: Arc<Requester>) -> Self {
        Self {
            bus,
            unit,
            requester,
            beside: None,
        }
    }

    /// The same connection, but requests go to memory beneath `caches`, which are those over the bus's memory.
    #[must_use]
    pub fn beside(self, caches: Arc<CpuCaches>) -> Self {
        Self {
            beside: Some(caches),
            ..self
        }
    }

    /// Whether requests see the CPU's caches.
    pub fn snooping(&self) -> Snooping {
        match self.beside {
            Some(_) => Snooping::Off,
            None => Snooping::On,
        }
    }

    /// Who asks.
    pub fn requester(&self) -> &Arc<Requester> {
        &self.requester
    }

    /// Whether what is lent to be written can be kept from being read.
    pub fn knows_write_only(&self) -> bool {
        self.unit
            .as_ref()
            .is_none_or(|unit| unit.knows_write_only())
    }

    /// Reads memory from `bus` on into `into`.
    ///
    /// # Errors
    /// [`DmaError`] at the first 4 KiB piece that does not reach memory; the pieces before it were read.
    pub fn read(&self, bus: u64, into: &mut [u8]) -> Result<(), DmaError> {
        let mut rest = into;
        for (bus, len) in cuts(bus, rest.len()) {
            let (piece, after) = rest.split_at_mut(len);
            rest = after;
            self.counted(Access::Read, bus, len as u64, |phys| {
                self.in_memory(Access::Read, phys, len as u64, |ram| ram.read(phys, piece))
                    .map_err(|_| DmaError::Unclaimed { phys })?;
                Ok(len as u64)
            })?;
        }
        Ok(())
    }

    /// Writes `from` to memory from `bus` on, or, in the message window, raises an interrupt.
    ///
    /// # Errors
    /// [`DmaError`] at the first 4 KiB piece that does not reach memory; the pieces before it were written.
    pub fn write(&self, bus: u64, from: &[u8]) -> Result<(), DmaError> {
        let mut rest = from;
        for (bus, len) in cuts(bus, rest.len()) {
            let (piece, after) = rest.split_at(len);
            rest = after;
            let bus = bus & self.requester.highest_bus();
            if self.passes_as_message(bus) {
                self.message(bus, piece)
                    .inspect_err(|_| self.requester.count_refused())?;
                continue;
            }
            self.counted(Access::Write, bus, len as u64, |phys| {
                if MESSAGE_WINDOW.contains(&phys) {
                    return self.message(phys, piece).map(|()| 0);
                }
                self.in_memory(Access::Write, phys, len as u64, |ram| {
                    ram.write(phys, piece)
                })
                .map_err(|_| DmaError::Unclaimed { phys })?;
                Ok(len as u64)
            })?;
        }
        Ok(())
    }

    /// Reads `file` from `offset` on into memory at `runs`, one after the other, with no copy in between.
    /// Returns how many bytes the file had, fewer than asked for only at its end.
    ///
    /// # Errors
    /// [`TransferError::Dma`] if a piece does not reach memory: then nothing was moved.
    pub fn write_from_file(
        &self,
        runs: &[BusRun],
        file: &File,
        offset: u64,
    ) -> Result<u64, TransferError> {
        self.transfer(Access::Write, runs, |ram, runs| {
            ram.read_from_file(runs, file, offset)
        })
    }

    /// Writes memory at `runs`, one after the other, to `file` from `offset` on, with no copy in between.
    /// Returns how many bytes were written, fewer than asked for only when the host takes no more.
    ///
    /// # Errors
    /// [`TransferError::Dma`] if a piece does not reach memory: then nothing was moved.
    pub fn read_to_file(
        &self,
        runs: &[BusRun],
        file: &File,
        offset: u64,
    ) -> Result<u64, TransferError> {
        self.transfer(Access::Read, runs, |ram, runs| {
            ram.write_to_file(runs, file, offset)
        })
    }

    fn transfer(
        &self,
        access: Access,
        runs: &[BusRun],
        mut with: impl FnMut(&Ram, &[RamRun]) -> io::Result<u64>,
    ) -> Result<u64, TransferError> {
        let mut pieces = Vec::new();
        let mut memory: Vec<RamRun> = Vec::new();
        for run in runs {
            let len = usize::try_from(run.len_bytes)
                .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            for (bus, len) in cuts(run.bus, len) {
                let piece = self
                    .resolve(access, bus, len as u64)
                    .and_then(|piece| piece.in_memory(bus, len as u64))
                    .inspect_err(|_| self.requester.count_refused())?;
                match memory.last_mut() {
                    Some(last) if last.phys + last.len_bytes == piece.phys => {
                        last.len_bytes += len as u64
                    }
                    _ => memory.push(RamRun {
                        phys: piece.phys,
                        len_bytes: len as u64,
                    }),
                }
                pieces.push(piece);
            }
        }
        let moved = match &self.beside {
            None => with(&self.bus.ram, &memory)?,
            Some(caches) => {
                for run in &memory {
                    caches.before_access(access, run.phys, run.len_bytes);
                }
                let moved = with(caches.memory(), &memory)?;
                for run in &memory {
                    caches.after_access(run.phys, run.len_bytes);
                }
                moved
            }
        };
        self.requester.count(access, moved);
        Ok(moved)
    }

    /// Runs `copy` on the memory that requests reach.
    fn in_memory<R>(
        &self,
        access: Access,
        phys: u64,
        len_bytes: u64,
        copy: impl FnOnce(&Ram) -> R,
    ) -> R {
        let Some(caches) = &self.beside else {
            return copy(&self.bus.ram);
        };
        caches.before_access(access, phys, len_bytes);
        let outcome = copy(caches.memory());
        caches.after_access(phys, len_bytes);
        outcome
    }

    /// Whether no unit translates the address: a message by its bus address.
    fn passes_as_message(&self, bus: u64) -> bool {
        let translated = self
            .unit
            .as_ref()
            .is_some_and(|unit| unit.translates_messages());
        MESSAGE_WINDOW.contains(&bus) && !translated
    }

    fn message(&self, bus: u64, data: &[u8]) -> Result<(), DmaError> {
        self.check_leave()?;
        let data = <[u8; 4]>::try_from(data)
            .ok()
            .filter(|_| bus.is_multiple_of(4))
            .ok_or(DmaError::Message {
                bus,
                len_bytes: data.len() as u64,
            })?;
        self.bus.interrupts.deliver(bus, u32::from_le_bytes(data));
        Ok(())
    }

    /// Resolves one piece, lets `copy` move it, and counts the bytes that reached memory.
    fn counted(
        &self,
        access: Access,
        bus: u64,
        len_bytes: u64,
        copy: impl FnOnce(u64) -> Result<u64, DmaError>,
    ) -> Result<(), DmaError> {
        let moved = self
            .resolve(access, bus, len_bytes)
            .and_then(|piece| copy(piece.phys));
        match &moved {
            Ok(moved) => self.requester.count(access, *moved),
            Err(error) => {
                log::debug!(
                    "{access:?} of {:#06x} at {bus:#x}: {error}",
                    self.requester.id()
                );
                self.requester.count_refused();
            }
        }
        moved.map(drop)
    }

    /// Whether the function may make requests.
    fn check_leave(&self) -> Result<(), DmaError> {
        if self.requester.is_removed() {
            return Err(DmaError::Removed);
        }
        if !self.requester.is_master() {
            return Err(DmaError::BusMasterOff);
        }
        Ok(())
    }

    /// Where one piece goes; steps 1 and 3 to 7 of the [module's](super) list.
    fn resolve(&self, access: Access, bus: u64, len_bytes: u64) -> Result<Piece<'_>, DmaError> {
        // Before the look at the bus-master bit: whoever switched it off and finds nothing pending knows that nothing
        // follows.
        let pending = self.requester.begin_request();
        self.check_leave()?;
        let bus = bus & self.requester.highest_bus();
        if self.passes_as_message(bus) {
            return Err(DmaError::Message { bus, len_bytes });
        }
        self.bus.refuse_peers(bus, len_bytes)?;
        let (destination, in_flight) = match &self.unit {
            Some(unit) => {
                let in_flight = unit.translate(self.requester.id(), bus, access)?;
                (in_flight.destination(), Some(in_flight))
            }
            None => (Destination::Untranslated(bus), None),
        };
        let phys = match destination {
            Destination::Physical(phys) => phys,
            Destination::Untranslated(bus) => self.bus.inbound(bus)?,
        };
        let piece = Piece {
            phys,
            _in_flight: in_flight,
            _pending: pending,
        };
        let translated = self.unit.as_ref();
        let may_be_message =
            access == Access::Write && translated.is_some_and(|unit| unit.translates_messages());
        if may_be_message && MESSAGE_WINDOW.contains(&phys)
            || self.bus.ram.contains(phys, len_bytes)
        {
            return Ok(piece);
        }
        Err(DmaError::Unclaimed { phys })
    }
}

/// The pieces of a request: bus address and length, none across a multiple of [`CUT_BYTES`].
fn cuts(bus: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut bus = bus;
    let mut left = len;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let room = (CUT_BYTES - bus % CUT_BYTES) as usize;
        let piece = (bus, room.min(left));
        left -= piece.1;
        bus = bus.wrapping_add(piece.1 as u64);
        Some(piece)
    })
}
