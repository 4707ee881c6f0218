//! A function's only way to memory.

use std::fs::File;
use std::io;
use std::sync::Arc;

use board::ram::{Ram, RamRun};

use super::{Access, Bus, DmaError, PendingRequest, Requester, TransferError};
use crate::cache::{CpuCaches, Snooping};
use crate::device::fifo::FIFO_REGISTERS;
use crate::interrupts::MESSAGE_WINDOW;
use crate::iommu::Unit;
use crate::iommu::translator::{Destination, InFlight};
use crate::pci::endpoint::Hit;

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

/// How requests meet the CPU's caches.
#[derive(Clone)]
enum Way {
    /// There is one copy of memory.
    OneCopy,
    /// They see and update lines.
    Through(Arc<CpuCaches>),
    /// They pass beside them.
    Beside(Arc<CpuCaches>),
}

impl Way {
    /// The copy that requests reach.
    fn memory<'a>(&'a self, ram: &'a Ram) -> &'a Ram {
        match self {
            Self::OneCopy | Self::Through(_) => ram,
            Self::Beside(caches) => caches.memory(),
        }
    }

    fn before(&self, access: Access, phys: u64, len_bytes: u64) {
        match self {
            Self::OneCopy => {}
            Self::Through(caches) => caches.before_snooping(phys, len_bytes),
            Self::Beside(caches) => caches.before_access(access, phys, len_bytes),
        }
    }

    fn after(&self, access: Access, phys: u64, len_bytes: u64) {
        match self {
            Self::Through(caches) if access == Access::Write => {
                caches.after_snooping_write(phys, len_bytes);
            }
            Self::OneCopy | Self::Through(_) => {}
            Self::Beside(caches) => caches.after_access(phys, len_bytes),
        }
    }
}

/// A function's connection to the bus. Clones are the same connection.
#[derive(Clone)]
pub struct DmaPort {
    bus: Arc<Bus>,
    unit: Option<Arc<dyn Unit>>,
    requester: Arc<Requester>,
    way: Way,
}

/// A piece of a request on its way; holding it keeps it in flight.
struct Piece<'a> {
    place: Place,
    _in_flight: Option<InFlight<'a>>,
    _pending: PendingRequest<'a>,
}

/// Who answers a piece of a request.
enum Place {
    /// What is at a physical address: memory, or the message window.
    Phys(u64),
    /// Another device.
    Peer(Hit),
    /// The FIFO, at this offset of its registers.
    Fifo(u64),
}

impl Piece<'_> {
    /// The physical address of the piece, unless the unit made a message of it, or another device answers: bulk data
    /// goes to memory.
    fn in_memory(&self, bus: u64, len_bytes: u64) -> Result<u64, DmaError> {
        match self.place {
            Place::Phys(phys) if MESSAGE_WINDOW.contains(&phys) => {
                Err(DmaError::Message { bus, len_bytes })
            }
            Place::Phys(phys) => Ok(phys),
            Place::Peer(_) | Place::Fifo(_) => Err(DmaError::PeerToPeer { bus }),
        }
    }
}

/// A piece of a request that has reached memory: in flight, and at memory, until it is dropped.
pub(crate) struct Reached<'a> {
    phys: u64,
    len: usize,
    _piece: Piece<'a>,
    access: Access,
    way: &'a Way,
}

impl Reached<'_> {
    /// Where in memory it is.
    pub(crate) fn phys(&self) -> u64 {
        self.phys
    }

    /// How many bytes it has, of those asked for.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        self.way.after(self.access, self.phys, self.len as u64);
    }
}

impl DmaPort {
    /// Connects `requester`, whose requests pass `unit` if there is one, and see what the CPU sees.
    pub fn new(bus: Arc<Bus>, unit: Option<Arc<dyn Unit>>, requester: Arc<Requester>) -> Self {
        Self {
            bus,
            unit,
            requester,
            way: Way::OneCopy,
        }
    }

    /// The same connection, but requests go to memory beneath `caches`, which are those over the bus's memory.
    #[must_use]
    pub fn beside(self, caches: Arc<CpuCaches>) -> Self {
        Self {
            way: Way::Beside(caches),
            ..self
        }
    }

    /// The same connection, but requests go through `caches`, which are those over the bus's memory.
    #[must_use]
    pub fn through(self, caches: Arc<CpuCaches>) -> Self {
        Self {
            way: Way::Through(caches),
            ..self
        }
    }

    /// Whether requests see the CPU's caches.
    pub fn snooping(&self) -> Snooping {
        match self.way {
            Way::Beside(_) => Snooping::Off,
            Way::OneCopy | Way::Through(_) => Snooping::On,
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
            self.counted(Access::Read, bus, len as u64, |place| {
                match place {
                    Place::Phys(phys) => self
                        .in_memory(Access::Read, *phys, len as u64, |ram| {
                            ram.read(*phys, piece)
                        })
                        .map_err(|_| DmaError::Unclaimed { phys: *phys })?,
                    Place::Peer(peer) => peer.read_all(piece),
                    Place::Fifo(offset) => {
                        let word = self.bus.fifo().read(*offset, len).to_le_bytes();
                        let known = len.min(word.len());
                        piece.fill(0xff);
                        piece[..known].copy_from_slice(&word[..known]);
                    }
                }
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
            self.counted(Access::Write, bus, len as u64, |place| {
                match place {
                    Place::Phys(phys) if MESSAGE_WINDOW.contains(phys) => {
                        return self.message(*phys, piece).map(|()| 0);
                    }
                    Place::Phys(phys) => self
                        .in_memory(Access::Write, *phys, len as u64, |ram| {
                            ram.write(*phys, piece)
                        })
                        .map_err(|_| DmaError::Unclaimed { phys: *phys })?,
                    Place::Peer(peer) => peer.write_all(piece),
                    Place::Fifo(offset) => self.bus.fifo().write(*offset, piece),
                }
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

    /// The first piece of a request of `len` bytes, for whoever moves bytes in memory itself.
    ///
    /// # Errors
    /// [`DmaError`] if it does not reach memory.
    pub(crate) fn reach(
        &self,
        access: Access,
        bus: u64,
        len: usize,
    ) -> Result<Reached<'_>, DmaError> {
        let (bus, len) = cuts(bus, len).next().unwrap_or((bus, 0));
        let (piece, phys) = self
            .resolve(access, bus, len as u64)
            .and_then(|piece| {
                let phys = piece.in_memory(bus, len as u64)?;
                Ok((piece, phys))
            })
            .inspect_err(|_| self.requester.count_refused())?;
        self.requester.count(access, len as u64);
        self.way.before(access, phys, len as u64);
        Ok(Reached {
            phys,
            len,
            _piece: piece,
            access,
            way: &self.way,
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
                let (piece, phys) = self
                    .resolve(access, bus, len as u64)
                    .and_then(|piece| {
                        let phys = piece.in_memory(bus, len as u64)?;
                        Ok((piece, phys))
                    })
                    .inspect_err(|_| self.requester.count_refused())?;
                match memory.last_mut() {
                    Some(last) if last.phys + last.len_bytes == phys => {
                        last.len_bytes += len as u64
                    }
                    _ => memory.push(RamRun {
                        phys,
                        len_bytes: len as u64,
                    }),
                }
                pieces.push(piece);
            }
        }
        for run in &memory {
            self.way.before(access, run.phys, run.len_bytes);
        }
        let moved = with(self.way.memory(&self.bus.ram), &memory)?;
        for run in &memory {
            self.way.after(access, run.phys, run.len_bytes);
        }
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
        self.way.before(access, phys, len_bytes);
        let outcome = copy(self.way.memory(&self.bus.ram));
        self.way.after(access, phys, len_bytes);
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
        copy: impl FnOnce(&Place) -> Result<u64, DmaError>,
    ) -> Result<(), DmaError> {
        let moved = self
            .resolve(access, bus, len_bytes)
            .and_then(|piece| copy(&piece.place));
        match &moved {
            Ok(moved) => self.requester.count(access, *moved),
            Err(error) => {
                log::debug!(
                    "{access:?} of {:#06x} at {bus:#x}: {error}",
                    self.requester.request_id(access)
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
        if self.bus.is_window(bus, len_bytes) {
            let taken = self.bus.on_the_way(&self.requester, bus, len_bytes);
            let forwarded = || self.bus.forwarded(bus, len_bytes);
            let peer = match &self.unit {
                Some(_) => taken,
                None => taken.or_else(forwarded),
            };
            let peer = peer.ok_or(DmaError::PeerToPeer { bus })?;
            return Ok(Piece {
                place: Place::Peer(peer),
                _in_flight: None,
                _pending: pending,
            });
        }
        let (destination, in_flight) = match &self.unit {
            Some(unit) => {
                let in_flight = {
                    let id = self.requester.request_id(access);
                    unit.translate_with(self.requester.privilege(), id, bus, access)?
                };
                (in_flight.destination(), Some(in_flight))
            }
            None => (Destination::Untranslated(bus), None),
        };
        let phys = match destination {
            Destination::Physical(phys) => phys,
            Destination::Untranslated(bus) => self.bus.inbound(bus)?,
        };
        if let Some(peer) = self.bus.forwarded_from_phys(phys, len_bytes) {
            return Ok(Piece {
                place: Place::Peer(peer),
                _in_flight: in_flight,
                _pending: pending,
            });
        }
        if FIFO_REGISTERS.contains(&phys) {
            return Ok(Piece {
                place: Place::Fifo(phys - FIFO_REGISTERS.start),
                _in_flight: in_flight,
                _pending: pending,
            });
        }
        let piece = Piece {
            place: Place::Phys(phys),
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
