//! What each thing that software asks for does: switches, invalidations, synchronisations.

use hw::smmu::command::{Opcode, Sync, opcode};
use hw::smmu::regs::{CommandError, Cr0, Gbpa, Gerror, IrqCtrl};

use super::core::{Core, Live};
use super::engine::{Engine, Job, Unfinished};
use super::invalidation::{self, Command, ConfigSelection, TlbSelection, Who};
use super::stream_table::StreamTable;
use crate::findings::FindingKind;
use crate::interrupts::MESSAGE_WINDOW;
use crate::iommu::messages::Message;
use crate::iommu::queue_hooks::QueueFault;
use crate::iommu::translation_cache::Extent;

/// Most invalidations that wait for a synchronisation.
const UNFINISHED: usize = 256;

impl Core {
    /// Begins `job`; what is not done at once is finished when its drain is over.
    pub(super) fn start(&self, engine: &mut Engine, job: Job) {
        match job {
            Job::Control(from, to) => {
                self.switch(engine, Cr0::from_bits(from), Cr0::from_bits(to));
                // Requests that are under way end by the old configuration before the new one is acknowledged.
                return self.drain_then(engine, job);
            }
            Job::Interrupts(to) => {
                let mut registers = self.registers.lock();
                let wanted = IrqCtrl::from_bits(to);
                registers.errors.interrupt.enabled = wanted.gerror_irqen();
                registers.events.interrupt.enabled = wanted.eventq_irqen();
            }
            Job::BypassAttributes(_) => {
                let mut live = self.live.write();
                if matches!(*live, Live::Bypass | Live::Abort) {
                    *live = self.while_off();
                }
                drop(live);
                return self.drain_then(engine, job);
            }
            Job::Command(phys) => return self.start_command(engine, phys),
            Job::Sync(_) => {}
        }
        self.finish(job);
    }

    fn while_off(&self) -> Live {
        let wanted = Gbpa::from_bits(self.registers.lock().gbpa.wanted());
        if wanted.abort() {
            Live::Abort
        } else {
            Live::Bypass
        }
    }

    fn switch(&self, engine: &mut Engine, from: Cr0, to: Cr0) {
        if from.smmuen() != to.smmuen() {
            let live = if to.smmuen() {
                self.switch_on(engine)
            } else {
                self.while_off()
            };
            *self.live.write() = live;
        }
        let mut registers = self.registers.lock();
        registers.queue.enabled = to.cmdqen();
        registers.events.enabled = to.eventqen();
        if to.cmdqen() && !from.cmdqen() && registers.queue.is_overrun() {
            self.reporter.report(
                FindingKind::DoorbellOutOfRange,
                "command queue enabled with more commands than it holds",
            );
        }
    }

    fn switch_on(&self, engine: &mut Engine) -> Live {
        let table = {
            let mut registers = self.registers.lock();
            if std::mem::take(&mut registers.stream_table_changed) {
                // Whatever was cached may be of another table (3.21.3, 6.3.23); it was to be invalidated before.
                if engine.stale_config || engine.stale_translations {
                    self.reporter.illegal(
                        "SMMUEN set before CMD_CFGI_ALL and CMD_TLBI_NSNH_ALL were synchronised",
                    );
                }
            }
            StreamTable::new(
                registers.stream_table.addr(),
                registers.stream_table_config,
                registers.identification.idr1.sidsize().into(),
                registers.cr2.recinvsid(),
            )
        };
        // Whatever comes to be cached from now on is stale once the table changes.
        engine.stale_config = true;
        engine.stale_translations = true;
        match table {
            Some(table) => Live::On(table),
            None => {
                self.reporter
                    .illegal("SMMUEN set with a stream table that the manual does not have");
                Live::OnWithoutTable
            }
        }
    }

    fn start_command(&self, engine: &mut Engine, phys: u64) {
        let job = Job::Command(phys);
        let (id, fault, slow) = {
            let mut registers = self.registers.lock();
            let hooks = &mut registers.queue.hooks;
            let (fault, slow) = (hooks.fault.take(), hooks.are_waits_slow());
            (registers.identification, fault, slow)
        };
        if fault == Some(QueueFault::Lost) {
            return self.finish(job);
        }
        let words = match (self.tables.entry(phys), self.tables.entry(phys + 8)) {
            (Ok(low), Ok(high)) if fault.is_none() => [low, high],
            _ => return self.stop_queue(CommandError::Abort),
        };
        let understood = match invalidation::understand(id, words) {
            Ok(understood) => understood,
            Err(illegal) => {
                let [low, high] = words;
                self.reporter.report(
                    FindingKind::ProtocolViolation,
                    format!("command {low:#018x} {high:#018x} at phys {phys:#x}: {illegal}"),
                );
                return self.stop_queue(CommandError::Illegal);
            }
        };
        if understood.reserved != 0 {
            let [low, high] = words;
            self.reporter.report(
                FindingKind::ReservedBits,
                format!("command {low:#018x} {high:#018x} at phys {phys:#x}"),
            );
        }
        match understood.command {
            Command::Config(selection) => self.later(engine, Unfinished::Config(selection)),
            Command::Translations(selection) => {
                self.later(engine, Unfinished::Translations(selection));
            }
            Command::Sync(_) if slow && self.registers.lock().queue.hooks.is_wait_on() => return,
            Command::Sync(sync) => {
                self.finish_invalidations(engine);
                return self.drain_then(engine, Job::Sync(sync));
            }
            Command::Nothing => {}
        }
        self.finish(job);
    }

    fn stop_queue(&self, error: CommandError) {
        let mut registers = self.registers.lock();
        registers.queue.stop(error);
        registers.errors.raise(Gerror::new().with_cmdq_err(true));
    }

    fn later(&self, engine: &mut Engine, invalidation: Unfinished) {
        engine.unfinished.push(invalidation);
        if engine.is_eager() || engine.unfinished.len() > UNFINISHED {
            self.finish_invalidations(engine);
        }
    }

    /// Invalidations between two synchronisations have no order (4.7.3). The worst is done: translations go first, and
    /// whoever comes before the configuration goes too brings old ones back.
    fn finish_invalidations(&self, engine: &mut Engine) {
        let unfinished = std::mem::take(&mut engine.unfinished);
        let changing: Vec<ConfigSelection> = unfinished
            .iter()
            .filter_map(|one| match one {
                Unfinished::Config(selection) => Some(*selection),
                Unfinished::Translations(_) => None,
            })
            .collect();
        let used = self.pages_of(&changing);
        for one in &unfinished {
            if let Unfinished::Translations(selection) = one {
                self.invalidate_translations(engine, *selection);
            }
        }
        self.use_again(&used);
        for selection in changing {
            self.invalidate_config(engine, selection);
        }
    }

    fn invalidate_config(&self, engine: &mut Engine, selection: ConfigSelection) {
        self.counters.config_invalidations.add_one();
        let split = self
            .live
            .read()
            .stream_table()
            .and_then(|table| table.split);
        self.caches.write().invalidate_config(selection, split);
        if selection == ConfigSelection::All {
            engine.stale_config = false;
        }
    }

    fn invalidate_translations(&self, engine: &mut Engine, selection: TlbSelection) {
        match (selection.who, selection.extent) {
            (Who::Everybody, _) => {
                self.counters.global_invalidations.add_one();
                engine.stale_translations = false;
            }
            (_, Extent::All) => self.counters.domain_invalidations.add_one(),
            (_, Extent::Pages { .. }) => self.counters.page_invalidations.add_one(),
        }
        if selection.extent.takes_tables() {
            self.counters.table_invalidations.add_one();
        }
        self.caches.write().invalidate_translations(selection);
    }

    /// Everything before a synchronisation is done, and every request that was under way has ended.
    pub(super) fn complete_sync(&self, sync: Sync) {
        self.counters.syncs.add_one();
        let commands = self.registers.lock().queue.commands();
        let is_sync = |phys: &u64| {
            let low = self.tables.view().load_u64(*phys);
            low.is_ok_and(|low| opcode([low, 0]) == Some(Opcode::Sync))
        };
        let at_once = commands.filter(is_sync).count();
        self.counters.syncs_at_once.at_least(at_once as u64);
        let sent = match sync.cs() {
            Sync::SIG_IRQ if sync.msi_address() != 0 => self.signal(sync),
            _ => Ok(()),
        };
        let registers = &mut *self.registers.lock();
        registers.queue.advance();
        if sent.is_err() {
            registers
                .errors
                .raise(Gerror::new().with_msi_cmdq_abt_err(true));
        }
    }

    fn signal(&self, sync: Sync) -> Result<(), ()> {
        let phys = sync.msi_address();
        if !self.rules.id.idr0.msi() {
            return Ok(());
        }
        if MESSAGE_WINDOW.contains(&phys) {
            self.outbox.send(Message {
                bus: phys,
                data: sync.msi_data(),
            });
            return Ok(());
        }
        let memory = self.tables.view();
        memory.store_u32(phys, sync.msi_data()).map_err(|_| ())
    }
}
