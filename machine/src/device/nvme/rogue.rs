//! A disk that also tries to reach what it was never given.
//!
//! While it works it aims at three kinds of places ([`RogueTarget`]) and keeps count. An attempt that is
//! carried out is a breach: the protection the operating system promised did not hold.

use crate::bus::{Access, BusRun, DmaPort};
use crate::interrupts::MESSAGE_WINDOW;
use crate::temper::Dice;

use super::statistics::Counters;

/// How far above every address it was told a rogue disk aims: farther than memory prepared for it but not
/// yet told to it.
const CLEARANCE_BYTES: u64 = 1 << 30;

/// Bytes one attempt moves; attempts are aligned to it.
const ATTEMPT_BYTES: usize = 64;

/// What a rogue disk writes: recognisable in a memory dump.
const PATTERN: [u8; ATTEMPT_BYTES] = [0xb5; ATTEMPT_BYTES];

/// One attempt in so many commands, after the first of each kind.
const COMMANDS_PER_ATTEMPT: u64 = 4;

/// Breaches kept with their details; later ones are counted only.
pub(crate) const MAX_BREACHES: usize = 64;

/// Where an attempt of a rogue disk aims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RogueTarget {
    /// The page at bus address 0.
    PageZero,
    /// An address far above all it was ever told; physical memory where translation is missing.
    NeverGiven,
    /// A data page of the command it executes, in the direction the command does not use.
    WrongDirection,
}

/// An attempt that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Where it aimed.
    pub target: RogueTarget,
    /// Whether memory was read or written.
    pub access: Access,
    /// The bus address.
    pub bus: u64,
    /// Bytes moved.
    pub len_bytes: u64,
}

/// What came of a rogue disk's attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RogueReport {
    /// How often it tried.
    pub attempts: u64,
    /// How many attempts were carried out.
    pub breaches_total: u64,
    /// The first of them.
    pub breaches: Vec<Breach>,
}

/// The disk's bad side.
pub(crate) struct Rogue {
    dice: Dice,
    /// The highest address an `address_lines`-wide controller can drive.
    highest_bus: u64,
    /// The highest address it was ever told.
    highest_told: u64,
    commands: u64,
    tried_read_command: bool,
    tried_write_command: bool,
}

impl Rogue {
    pub(crate) fn new(seed: u64, address_lines: u32) -> Self {
        Self {
            dice: Dice::new(seed),
            highest_bus: u64::MAX >> (64 - address_lines.clamp(1, 64)),
            highest_told: 0,
            commands: 0,
            tried_read_command: false,
            tried_write_command: false,
        }
    }

    /// The driver told the disk that `len_bytes` bytes at `bus` are for it.
    pub(crate) fn told(&mut self, bus: u64, len_bytes: u64) {
        let last = bus.saturating_add(len_bytes.saturating_sub(1)) | 0xfff;
        self.highest_told = self.highest_told.max(last);
    }

    /// Tries its luck while a command is in flight whose data lies at `runs`, where the driver allowed
    /// `allowed`.
    pub(crate) fn strike(
        &mut self,
        port: &DmaPort,
        allowed: Access,
        runs: &[BusRun],
        counters: &Counters,
    ) {
        let (wrong, tried) = match allowed {
            Access::Read => (Access::Write, &mut self.tried_write_command),
            Access::Write => (Access::Read, &mut self.tried_read_command),
        };
        let first = !std::mem::replace(tried, true);
        self.commands += 1;
        if first {
            for access in [Access::Read, Access::Write] {
                self.attempt(port, RogueTarget::PageZero, access, 0, counters);
                self.attempt_never_given(port, access, counters);
            }
            self.attempt_wrong_direction(port, wrong, runs, counters);
        } else if self.commands.is_multiple_of(COMMANDS_PER_ATTEMPT) {
            let access = match self.dice.one_in(2) {
                true => Access::Read,
                false => Access::Write,
            };
            match self.dice.below(3) {
                0 => {
                    let bus = self.dice.below(4096);
                    self.attempt(port, RogueTarget::PageZero, access, bus, counters);
                }
                1 => self.attempt_never_given(port, access, counters),
                _ => self.attempt_wrong_direction(port, wrong, runs, counters),
            }
        }
    }

    fn attempt_wrong_direction(
        &self,
        port: &DmaPort,
        wrong: Access,
        runs: &[BusRun],
        counters: &Counters,
    ) {
        if wrong == Access::Read && !port.knows_write_only() {
            // Nobody promised that this is refused.
            return;
        }
        if let Some(run) = runs.get(self.dice.below(runs.len() as u64) as usize) {
            let bus = run.bus.wrapping_add(self.dice.below(run.len_bytes));
            self.attempt(port, RogueTarget::WrongDirection, wrong, bus, counters);
        }
    }

    fn attempt_never_given(&self, port: &DmaPort, access: Access, counters: &Counters) {
        match self.never_given() {
            Some(bus) => self.attempt(port, RogueTarget::NeverGiven, access, bus, counters),
            None => self.attempt(port, RogueTarget::PageZero, access, 0, counters),
        }
    }

    /// An address at least [`CLEARANCE_BYTES`] above all that was told, each magnitude equally likely so
    /// that memory is hit as well as emptiness; `None` if the address lines end before.
    fn never_given(&self) -> Option<u64> {
        let lowest = self.highest_told.checked_add(CLEARANCE_BYTES)?;
        let room = self.highest_bus.checked_sub(lowest)?;
        let reach = u64::MAX >> (63 - self.dice.below(u64::from(room.max(1).ilog2()) + 1) as u32);
        let above = self.dice.below(room.min(reach).max(1));
        let bus = align_down(lowest + above);
        Some(if MESSAGE_WINDOW.contains(&bus) {
            MESSAGE_WINDOW.end
        } else {
            bus
        })
    }

    fn attempt(
        &self,
        port: &DmaPort,
        target: RogueTarget,
        access: Access,
        bus: u64,
        counters: &Counters,
    ) {
        let bus = align_down(bus);
        let result = match access {
            Access::Read => port.read(bus, &mut [0; ATTEMPT_BYTES]),
            Access::Write => port.write(bus, &PATTERN),
        };
        let breach = Breach {
            target,
            access,
            bus,
            len_bytes: ATTEMPT_BYTES as u64,
        };
        counters.rogue_attempt(result.is_ok().then_some(breach));
    }
}

/// Attempts never cross a page: a data page's protection is what they test, not its neighbour's.
fn align_down(bus: u64) -> u64 {
    bus & !(ATTEMPT_BYTES as u64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_never_given_are_clear_of_all_that_was() {
        for lines in [32, 39, 48, 64] {
            let mut rogue = Rogue::new(5, lines);
            rogue.told(0x1_2345, 0x1000);
            for _ in 0..10_000 {
                let bus = rogue.never_given().expect("3 GiB are left at least");
                assert!(bus >= 0x1_2fff + CLEARANCE_BYTES - ATTEMPT_BYTES as u64);
                assert!(bus <= rogue.highest_bus - (ATTEMPT_BYTES as u64 - 1));
                assert!(!MESSAGE_WINDOW.contains(&bus));
            }
        }
    }

    #[test]
    fn without_room_above_there_is_no_such_address() {
        let mut rogue = Rogue::new(5, 28);
        assert_eq!(rogue.never_given(), None);
        rogue = Rogue::new(5, 64);
        rogue.told(u64::MAX - 4096, 4096);
        assert_eq!(rogue.never_given(), None);
    }
}
