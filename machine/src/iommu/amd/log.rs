//! The event log (section 2.5): a ring in memory that the unit writes and software reads.
//!
//! An entry appears in memory a little after the tail says it is there, as on real units: until software lets time
//! pass, it reads as what was there before.

use hw::amd::event::Event;
use hw::amd::regs::{RING_ENTRY_BYTES, RingBase, RingPointer};

use crate::iommu::reporter::Reporter;

/// Registers and state of the log.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    pub(super) base: RingBase,
    /// Byte offsets.
    pub(super) head: u64,
    pub(super) tail: u64,
    /// It is enabled, and so is the unit.
    pub(super) enabled: bool,
    was_disabled: bool,
    /// It found no room, and was not enabled anew since.
    stopped: bool,
    /// Entries that the tail covers and memory does not show yet: where, and their words.
    unwritten: Vec<(u64, [u64; 2])>,
    /// They stay so.
    pub(super) held: bool,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logged {
    /// It has an entry.
    Entry,
    /// There was no room for it: the log stopped.
    Overflow,
    /// The log does not run.
    Lost,
}

impl EventLog {
    /// Whether events are logged.
    pub(super) fn runs(&self) -> bool {
        self.enabled && !self.stopped
    }

    /// Logs an event.
    pub(super) fn log(&mut self, event: Event) -> Logged {
        let Some(len_bytes) = self.base.len_bytes().filter(|_| self.runs()) else {
            return Logged::Lost;
        };
        let next = (self.tail + RING_ENTRY_BYTES) % len_bytes;
        // A full ring would look like an empty one.
        if next == self.head {
            self.stopped = true;
            return Logged::Overflow;
        }
        self.unwritten
            .push((self.base.base() + self.tail, event.to_words()));
        self.tail = next;
        Logged::Entry
    }

    /// Entries that memory does not show yet, unless they are held; it must show them from now on.
    pub(super) fn take_unwritten(&mut self) -> Vec<(u64, [u64; 2])> {
        match self.held {
            true => Vec::new(),
            false => std::mem::take(&mut self.unwritten),
        }
    }

    /// Whether there are any.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.held && !self.unwritten.is_empty()
    }

    /// The unit, or the log, was switched.
    pub(super) fn switch(&mut self, on: bool) {
        if on && (self.was_disabled || !self.enabled) {
            self.stopped = false;
            self.was_disabled = false;
        }
        self.enabled = on;
    }

    /// Software cleared the enable bit: when it is set again, what stopped the log is over, however short the
    /// time between.
    pub(super) fn note_disabled(&mut self) {
        self.was_disabled = true;
    }

    /// Software wrote the base register.
    pub(super) fn set_base(&mut self, value: RingBase, reporter: &Reporter) {
        if self.enabled {
            reporter.illegal("event log base written while the log is enabled");
            return;
        }
        reporter.check_reserved("event log base", value.into_bits(), RingBase::RESERVED);
        self.base = value;
        self.head = 0;
        self.tail = 0;
    }

    /// Software wrote the head: how far it has read.
    pub(super) fn set_head(&mut self, value: u64, reporter: &Reporter) {
        reporter.check_reserved("event log head", value, RingPointer::RESERVED);
        let head = RingPointer::from_bits(value).offset();
        let len_bytes = self.base.len_bytes().unwrap_or(0);
        let pending = |from: u64| (self.tail + len_bytes).wrapping_sub(from) % len_bytes.max(1);
        if head >= len_bytes.max(1) || pending(head) > pending(self.head) {
            reporter.report(
                crate::findings::FindingKind::DoorbellOutOfRange,
                format!("event log head {head:#x} is past its tail {:#x}", self.tail),
            );
            return;
        }
        self.head = head;
    }

    /// Software wrote the tail.
    pub(super) fn set_tail(&mut self, value: u64, reporter: &Reporter) {
        if self.enabled {
            reporter.illegal("event log tail written while the log is enabled");
            return;
        }
        reporter.check_reserved("event log tail", value, RingPointer::RESERVED);
        self.tail = RingPointer::from_bits(value).offset();
    }

    /// Physical range of the log, while it is used.
    pub(super) fn frames(&self) -> Option<std::ops::Range<u64>> {
        let start = self.base.base();
        let len_bytes = self.base.len_bytes().filter(|_| self.enabled)?;
        Some(start..start + len_bytes)
    }
}
