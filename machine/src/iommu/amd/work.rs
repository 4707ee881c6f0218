//! What each thing that software asks for does: switches and commands.

use hw::amd::command::{CompletionWait, Kind, kind};
use hw::amd::event::{Event, EventCode, HardwareError};
use hw::amd::regs::Status;

use super::core::Core;
use super::engine::{Engine, Job};
use super::log::Logged;
use super::registers::Switching;
use super::ring::{self, Command};
use crate::findings::FindingKind;
use crate::iommu::queue_hooks::QueueFault;
use crate::iommu::translation_cache::Extent;

impl Core {
    /// Begins `job`; what is not done at once is finished when its drain is over.
    pub(super) fn start(&self, engine: &mut Engine, job: Job) {
        match job {
            Job::Switch => self.start_switch(engine),
            Job::Command(phys) => self.start_command(engine, phys),
            Job::Wait(_) => self.drain_then(engine, job),
            Job::Stop => self.stop_ring(),
        }
    }

    /// The sign to software that a job, and the drain it asked for, is done.
    pub(super) fn finish(&self, job: Job) {
        match job {
            Job::Switch => {
                let mut registers = self.registers.lock();
                registers.switch_rings();
                if registers.switching == Switching::Started {
                    registers.switching = Switching::Done;
                }
            }
            Job::Wait(wait) => self.complete_wait(wait),
            Job::Command(_) | Job::Stop => {}
        }
    }

    fn start_switch(&self, engine: &mut Engine) {
        let on = {
            let registers = self.registers.lock();
            self.live.follow(&registers);
            registers.control.iommuen()
        };
        self.live.set_translating(on);
        self.drain_then(engine, Job::Switch);
    }

    fn start_command(&self, engine: &mut Engine, phys: u64) {
        let (features, fault, slow) = {
            let mut registers = self.registers.lock();
            let hooks = &mut registers.ring.hooks;
            let (fault, slow) = (hooks.fault.take(), hooks.are_waits_slow());
            (registers.features, fault, slow)
        };
        if fault == Some(QueueFault::Lost) {
            return self.registers.lock().ring.advance();
        }
        let words = match (self.ram.load_u64(phys), self.ram.load_u64(phys + 8)) {
            (Ok(low), Ok(high)) if fault.is_none() => [low, high],
            _ => return self.hardware_error(phys),
        };
        match ring::decode(features, words) {
            Ok(Command::Wait(wait)) => {
                if !(slow && self.registers.lock().ring.hooks.is_wait_on()) {
                    self.drain_then(engine, Job::Wait(wait));
                }
                return;
            }
            Ok(Command::Device(device)) => {
                self.counters.entry_invalidations.add_one();
                self.live.note(device);
                self.caches.write().invalidate_device(device);
            }
            Ok(Command::Pages { domain, extent }) => {
                match extent {
                    Extent::All => self.counters.domain_invalidations.add_one(),
                    Extent::Pages { .. } => self.counters.page_invalidations.add_one(),
                }
                if extent.takes_tables() {
                    self.counters.table_invalidations.add_one();
                }
                self.caches.write().invalidate_pages(domain, extent);
            }
            Ok(Command::All) => {
                self.counters.global_invalidations.add_one();
                self.counters.table_invalidations.add_one();
                self.caches.write().invalidate_all();
            }
            Ok(Command::Nothing) => {}
            Err(illegal) => {
                let [low, high] = words;
                self.reporter.report(
                    FindingKind::ProtocolViolation,
                    format!("command {low:#018x} {high:#018x} at phys {phys:#x}: {illegal}"),
                );
                self.stop_ring();
                let event = Event::new().with_code(EventCode::IllegalCommandError);
                self.log_event(event.with_address(phys));
                return;
            }
        }
        self.registers.lock().ring.advance();
    }

    /// Every command before is done, as they are done one by one, and every request before has landed.
    fn complete_wait(&self, wait: CompletionWait) {
        // Counted before software can see that it is done, and ask for another.
        self.counters.waits.add_one();
        let pending = self.registers.lock().ring.pending();
        let is_wait = |phys: &u64| {
            let low = self.ram.load_u64(*phys);
            low.is_ok_and(|low| kind([low, 0]) == Some(Kind::CompletionWait))
        };
        let at_once = pending.filter(is_wait).count();
        self.counters.waits_at_once.at_least(at_once as u64);
        let at = wait.store_address();
        if wait.s() && self.ram.store_u64(at, wait.store_data()).is_err() {
            self.reporter.report(
                FindingKind::ProtocolViolation,
                format!("completion wait stored at phys {at:#x}, which is no RAM"),
            );
            return self.hardware_error(at);
        }
        let mut registers = self.registers.lock();
        // The head moves before the interrupt, so that its handler finds the wait done.
        registers.ring.advance();
        if wait.i() {
            registers.raise(|status| status.set_comwaitint(true));
        }
    }

    fn hardware_error(&self, phys: u64) {
        self.stop_ring();
        let event = Event::new()
            .with_code(EventCode::CommandHardwareError)
            .with_kind(HardwareError::MasterAbort.code());
        self.log_event(event.with_address(phys));
    }

    fn stop_ring(&self) {
        log::debug!("{}: command buffer stopped", self.reporter.name());
        self.registers.lock().ring.stopped = true;
    }

    /// Puts an event into the log, if it runs and has room.
    pub(super) fn log_event(&self, event: Event) {
        let logged = {
            let mut registers = self.registers.lock();
            let logged = registers.log.log(event);
            match logged {
                Logged::Entry => registers.raise(|status| status.set_eventlogint(true)),
                Logged::Overflow => {
                    registers.raise(|status: &mut Status| status.set_eventoverflow(true))
                }
                Logged::Lost => {}
            }
            logged
        };
        match logged {
            Logged::Entry => self.counters.events_logged.add_one(),
            Logged::Overflow | Logged::Lost => self.counters.events_lost.add_one(),
        }
        self.worker.kick();
    }

    /// Events that the log's tail covers appear in memory.
    pub(super) fn write_events(&self) {
        let events = self.registers.lock().log.take_unwritten();
        for (phys, [low, high]) in events {
            // The word with the code last: whoever sees it sees the rest.
            let written = self
                .ram
                .store_u64(phys + 8, high)
                .and_then(|()| self.ram.store_u64(phys, low));
            if written.is_err() {
                self.reporter.report(
                    FindingKind::ProtocolViolation,
                    format!("event log entry at phys {phys:#x}, which is no RAM"),
                );
            }
        }
    }
}
