//! The event log (48882 2.5): a ring that the unit writes, read out and cleared in order.
//!
//! A unit may say that an entry is there a little before memory shows it. So software clears what it has read, and
//! takes an entry whose code is 0 for one that is still to come.

use hw::amd::event::{Event, EventCode};
use hw::amd::regs::{self, RING_ENTRY_BYTES, RingBase, RingPointer, Status};

use super::AmdUnit;
use super::registers::Registers;
use crate::addr::BusAddr;
use crate::frame::HardwareFrames;
use crate::iommu::fault::{Access, Fault, FaultLog, FaultReason};
use crate::iommu::fault_event::{FaultEvent, FaultSource, Pending};
use crate::iommu::unit::UnitError;
use crate::pagetable::WalkCoherence;
use crate::platform::{OutOfFrames, Platform};

/// log2 of the entries of the one frame the log uses.
const ENTRIES_LOG2: u8 = 8;
const ENTRIES: u32 = 1 << ENTRIES_LOG2;

/// Entries read before the CPU is given back.
const MAX_READ: u32 = 4 * ENTRIES;

/// Looks at an entry that memory does not show yet, before it is left for later.
const LOOKS: u32 = 1000;

/// Times that an entry is left for later, before it is given up: the unit then says more than it writes.
const PATIENCE: u32 = 100;

/// The log of one unit.
pub(super) struct EventLog<P: Platform> {
    platform: P,
    entries: HardwareFrames<P>,
    /// Entries are read by one at a time.
    place: lock_api::Mutex<P::Lock, Place>,
}

/// How far the log has been read.
#[derive(Default)]
struct Place {
    /// Index of the next entry to read.
    head: u32,
    /// How often the next entry was left for later.
    left: u32,
    /// The last entry that told why the command buffer stopped.
    command_error: Option<EventCode>,
}

impl<P: Platform> EventLog<P> {
    /// An empty log.
    pub(super) fn new(platform: P) -> Result<Self, OutOfFrames> {
        // The unit writes events coherently, whatever firmware says of its walks.
        let entries = HardwareFrames::allocate(platform, 1, WalkCoherence::Snooped)?;
        Ok(Self {
            platform,
            entries,
            place: lock_api::Mutex::new(Place::default()),
        })
    }

    /// What the base register is set to.
    pub(super) fn base(&self) -> RingBase {
        RingBase::new()
            .with_base(self.entries.phys().as_u64())
            .with_entries_log2(ENTRIES_LOG2)
    }

    /// Empties the log, for a unit that is off: `point` tells it where the log is, and that head and tail are 0.
    pub(super) fn reset(&self, point: impl FnOnce()) {
        let mut place = self.place.lock();
        for word in 0..ENTRIES as usize * 2 {
            self.entries.store(word, 0);
        }
        *place = Place::default();
        point();
    }

    /// Why the command buffer stopped, if the log says so.
    pub(super) fn command_error(&self, registers: &Registers<P>) -> Option<EventCode> {
        let place = self.place.lock();
        let tail = tail(registers);
        let pending = (0..ENTRIES)
            .map(|n| (place.head + n) % ENTRIES)
            .take_while(|index| *index != tail);
        let found = pending.filter_map(|index| is_command_error(self.look(index)?));
        found.last().or(place.command_error)
    }

    /// The entry at `index`, or `None` if memory does not show it in time.
    fn look(&self, index: u32) -> Option<Event> {
        let word = index as usize * 2;
        for _ in 0..LOOKS {
            let low = self.entries.load(word);
            let event = Event::from_words([low, self.entries.load(word + 1)]);
            if event.event_code() != 0 {
                return Some(event);
            }
            self.platform.relax();
        }
        None
    }

    /// Gives the log's memory back.
    ///
    /// # Safety
    /// The unit no longer writes it.
    pub(super) unsafe fn free(self) {
        // SAFETY: the caller vouches that the unit has let go.
        unsafe { self.entries.free() };
    }
}

fn tail<P: Platform>(registers: &Registers<P>) -> u32 {
    let tail = RingPointer::from_bits(registers.read_u64(regs::EVENT_TAIL)).offset();
    (tail / RING_ENTRY_BYTES) as u32 % ENTRIES
}

fn is_command_error(event: Event) -> Option<EventCode> {
    event.code().filter(|code| {
        matches!(
            code,
            EventCode::IllegalCommandError | EventCode::CommandHardwareError
        )
    })
}

impl<P: Platform> FaultSource<P> for AmdUnit<P> {
    fn fault_event(&self) -> &FaultEvent<P> {
        &self.event
    }

    fn read_faults(&self, log: &FaultLog<P>) -> Pending {
        let registers = &self.registers;
        if registers.is_gone() {
            return Pending::Nothing;
        }
        let mut place = self.log.place.lock();
        for _ in 0..MAX_READ {
            // Cleared before the tail is read: an event that comes after that raises the interrupt anew.
            let interrupt = Status::new().with_eventlogint(true);
            registers.write_u64(regs::STATUS, interrupt.into_bits());
            if place.head == tail(registers) {
                return self.restart_log(log);
            }
            match self.log.look(place.head) {
                Some(event) => self.report(event, &mut place, log),
                None if place.left < PATIENCE => {
                    place.left += 1;
                    return Pending::More;
                }
                None => log::error!("{}: an event was never written", registers.base()),
            }
            place.left = 0;
            let word = place.head as usize * 2;
            self.log.entries.store(word, 0);
            self.log.entries.store(word + 1, 0);
            place.head = (place.head + 1) % ENTRIES;
            let head = RingPointer::from_offset(u64::from(place.head) * RING_ENTRY_BYTES);
            registers.write_u64(regs::EVENT_HEAD, head.into_bits());
        }
        Pending::More
    }
}

impl<P: Platform> AmdUnit<P> {
    /// A log that found no room has stopped: it goes on when it was turned off and on again, its overflow cleared
    /// in between.
    fn restart_log(&self, log: &FaultLog<P>) -> Pending {
        let registers = &self.registers;
        if !registers.status().eventoverflow() {
            return Pending::Nothing;
        }
        log.record_overflow();
        match self.toggle_log() {
            Ok(()) => Pending::More,
            Err(error) => {
                log::error!("events are no longer logged: {error}");
                Pending::Nothing
            }
        }
    }

    fn toggle_log(&self) -> Result<(), UnitError> {
        let registers = &self.registers;
        registers.switch(|now| now.with_eventlogen(false));
        registers.until("event log restart", |status| !status.eventlogrun())?;
        let overflow = Status::new().with_eventoverflow(true);
        registers.write_u64(regs::STATUS, overflow.into_bits());
        // Not where the unit was turned off meanwhile.
        registers.switch(|now| now.with_eventlogen(now.iommuen()));
        registers.until("event log restart", |status| {
            // In a storm it may have stopped again by now.
            status.eventlogrun() || status.eventoverflow() || !registers.is_enabled()
        })
    }

    /// Requests that were refused go into `log`; errors of the unit's own accesses have no requester.
    fn report(&self, event: Event, place: &mut Place, log: &FaultLog<P>) {
        let Some(code) = event.code() else {
            log::error!("{}: unknown event {event:x?}", self.registers.base());
            return;
        };
        match code {
            EventCode::IllegalDeviceTableEntry
            | EventCode::IoPageFault
            | EventCode::DeviceTableHardwareError
            | EventCode::PageTableHardwareError
            | EventCode::InvalidDeviceRequest => log.record(Fault {
                unit: self.registers.base(),
                requester: self.streams.requester_of(event.deviceid().into()),
                address: BusAddr::new(event.address()).align_down(12),
                access: access(event),
                reason: FaultReason {
                    code: code.code().into(),
                    text: text(event, code),
                },
            }),
            EventCode::IllegalCommandError | EventCode::CommandHardwareError => {
                place.command_error = Some(code);
                log::error!(
                    "{}: {code} at phys {:#x}",
                    self.registers.base(),
                    event.address()
                );
            }
            EventCode::IotlbInvalidationTimeout
            | EventCode::InvalidPageRequest
            | EventCode::EventCounterZero => {
                log::warn!("{}: {code}: {event:x?}", self.registers.base());
            }
        }
    }
}

/// What the request tried. That it wrote is not told of an interrupt, nor of a request for a translation.
fn access(event: Event) -> Access {
    match (event.i() || event.tr(), event.rw()) {
        (true, _) => Access::Unknown,
        (false, true) => Access::Write,
        (false, false) => Access::Read,
    }
}

/// What the event says of the entries walked.
fn text(event: Event, code: EventCode) -> &'static str {
    match (code, event.pr(), event.pe(), event.rz()) {
        (EventCode::IoPageFault, false, _, _) => "I/O page fault: page not present",
        (EventCode::IoPageFault, true, true, _) => "I/O page fault: access not permitted",
        (EventCode::IoPageFault, true, false, true) => {
            "I/O page fault: reserved bit of page-table entry set"
        }
        (EventCode::IoPageFault, true, false, false) => {
            "I/O page fault: invalid level in page-table entry"
        }
        _ => code.text(),
    }
}
