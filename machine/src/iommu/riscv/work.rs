//! What each thing that software asks for does: modes, queues on and off, commands.

use hw::riscv::command::{Fence, Kind, kind};
use hw::riscv::regs::{Ddtp, IommuMode};

use super::cache::{DirectorySelection, Spaces};
use super::core::Core;
use super::engine::{Engine, Job};
use super::invalidation::{self, Command, Invalidation};
use super::queue::{Stop, Switch};
use crate::findings::FindingKind;
use crate::iommu::queue_hooks::QueueFault;
use crate::iommu::translation_cache::Extent;
use crate::temper::Temper;

impl Core {
    /// Begins `job`; what is not done at once is finished when its drain is over.
    pub(super) fn start(&self, engine: &mut Engine, job: Job) {
        match job {
            Job::DirectoryPointer(ddtp) => self.start_mode(engine, ddtp),
            Job::CommandQueue(switch) => {
                self.switch_queue(switch);
                // Commands fetched before are carried out or aborted (5.15): this unit aborts them.
                engine.fetched.clear();
                self.finish(job);
            }
            Job::FaultQueue(switch) => {
                self.registers.lock().faults.turn(switch);
                self.finish(job);
            }
            Job::Command(phys) => self.start_command(engine, phys),
            Job::Fence(_) => self.finish(job),
        }
    }

    /// The sign to software that a job, and the drain it asked for, is done.
    pub(super) fn finish(&self, job: Job) {
        if let Job::Fence(fence) = job {
            return self.finish_fence(fence);
        }
        let mut registers = self.registers.lock();
        match job {
            Job::DirectoryPointer(_) => registers.ddtp.finish(),
            Job::CommandQueue(_) => registers.queue.switch.finish(),
            Job::FaultQueue(_) => registers.faults.switch.finish(),
            Job::Command(_) => registers.queue.advance(),
            Job::Fence(_) => {}
        }
    }

    fn start_mode(&self, engine: &mut Engine, ddtp: Ddtp) {
        let was_translating = self.live.directory().is_some();
        let will_translate = ddtp.iommu_mode().levels().is_some();
        if !was_translating && will_translate && !self.caches.read().is_empty() {
            self.reporter.illegal(
                "a directory is set while caches hold entries of tables before: neither directory nor \
                 translations were invalidated since",
            );
        }
        self.live.set(ddtp);
        let job = Job::DirectoryPointer(ddtp);
        if ddtp.iommu_mode() == IommuMode::Off {
            return self.drain_then(engine, true, true, job);
        }
        self.finish(job);
    }

    fn switch_queue(&self, switch: Switch) {
        let queue = &mut self.registers.lock().queue;
        match switch {
            Switch::On if queue.tail != 0 => self.reporter.illegal(format!(
                "command queue enabled with its tail at {:#x}",
                queue.tail
            )),
            Switch::Off if queue.on && !queue.is_stopped() && queue.head != queue.tail => self
                .reporter
                .illegal("command queue disabled before it was empty"),
            _ => {}
        }
        queue.turn(switch);
    }

    fn start_command(&self, engine: &mut Engine, phys: u64) {
        let (capabilities, features, fault, slow) = {
            let mut registers = self.registers.lock();
            let hooks = &mut registers.queue.hooks;
            let (fault, slow) = (hooks.fault.take(), hooks.are_waits_slow());
            (registers.capabilities, registers.features, fault, slow)
        };
        if fault == Some(QueueFault::Lost) {
            return self.finish(Job::Command(phys));
        }
        let memory = self.tables.view();
        let words = match (memory.load_u64(phys), memory.load_u64(phys + 8)) {
            (Ok(low), Ok(high)) if fault.is_none() => [low, high],
            _ => return self.stop_queue(Stop::MemoryFault),
        };
        match invalidation::decode(capabilities, features, words) {
            Ok(Command::Invalidate(invalidation)) => {
                self.count(invalidation);
                engine.fetched.push(invalidation);
                if engine.temper == Temper::Forget {
                    self.carry_out(engine);
                }
                self.finish(Job::Command(phys));
            }
            Ok(Command::Fence(fence)) => {
                if slow && fence.av() && self.registers.lock().queue.hooks.is_wait_on() {
                    return;
                }
                self.carry_out(engine);
                self.drain_then(engine, fence.pr(), fence.pw(), Job::Fence(fence));
            }
            Err(illegal) => {
                let [low, high] = words;
                self.reporter.report(
                    FindingKind::ProtocolViolation,
                    format!("command {low:#018x} {high:#018x} at phys {phys:#x}: {illegal}"),
                );
                self.stop_queue(Stop::Illegal);
            }
        }
    }

    /// Carries out what was fetched, in an order that hurts: a unit may take any between two fences (3.1.2).
    fn carry_out(&self, engine: &mut Engine) {
        let mut fetched = core::mem::take(&mut engine.fetched);
        match engine.temper {
            Temper::Forget => {}
            Temper::Keep => fetched.reverse(),
            Temper::Random(_) => {
                for end in (1..fetched.len()).rev() {
                    fetched.swap(end, engine.dice.below(end as u64 + 1) as usize);
                }
            }
        }
        for invalidation in fetched {
            // The lock is given back in between, so that a request may come between two of them.
            let mut caches = self.caches.write();
            match invalidation {
                Invalidation::Directory(selection) => caches.invalidate_directory(selection),
                Invalidation::Translations { spaces, extent } => {
                    caches.invalidate_translations(spaces, extent);
                }
            }
        }
    }

    fn count(&self, invalidation: Invalidation) {
        let counter = match invalidation {
            Invalidation::Directory(DirectorySelection::All) => {
                &self.counters.directory_invalidations
            }
            Invalidation::Directory(DirectorySelection::Device(_)) => {
                &self.counters.device_invalidations
            }
            Invalidation::Translations {
                extent: Extent::Pages { .. },
                ..
            } => &self.counters.page_invalidations,
            Invalidation::Translations {
                spaces: Spaces::Process(_) | Spaces::Guest(_),
                ..
            } => &self.counters.space_invalidations,
            Invalidation::Translations { .. } => &self.counters.global_invalidations,
        };
        counter.add_one();
        if let Invalidation::Translations { extent, .. } = invalidation
            && extent.takes_tables()
        {
            self.counters.table_invalidations.add_one();
        }
    }

    fn finish_fence(&self, fence: Fence) {
        // Counted before software can see that it is done.
        self.counters.fences.add_one();
        let pending = self.registers.lock().queue.pending();
        let tells = |phys: &u64| {
            let low = self.tables.view().load_u64(*phys);
            low.is_ok_and(|low| {
                kind([low, 0]) == Some(Kind::Fence) && Fence::from_words([low, 0]).av()
            })
        };
        let at_once = pending.filter(tells).count();
        self.counters.fences_at_once.at_least(at_once as u64);
        if fence.av()
            && self
                .tables
                .view()
                .store_u32(fence.addr(), fence.data())
                .is_err()
        {
            self.reporter.report(
                FindingKind::ProtocolViolation,
                format!(
                    "a fence writes to phys {:#x}, which is no RAM",
                    fence.addr()
                ),
            );
            return self.stop_queue(Stop::MemoryFault);
        }
        let mut registers = self.registers.lock();
        // The head moves before the interrupt, so that its handler finds the fence done.
        registers.queue.advance();
        if fence.wsi() {
            registers.queue.control.set_fence_w_ip(true);
            registers.raise_conditions();
        }
    }

    fn stop_queue(&self, why: Stop) {
        log::debug!("{}: command queue stopped: {why:?}", self.reporter.name());
        let mut registers = self.registers.lock();
        registers.queue.stop(why);
        registers.raise_conditions();
    }
}
