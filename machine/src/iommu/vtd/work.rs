//! What each thing that software asks for does: commands, invalidations, wait descriptors.

use hw::vtd::invalidation::{Kind, Wait, kind};
use hw::vtd::regs::{ContextGranularity, IotlbGranularity, QueueErrorInfo, QueueErrorRecord};

use super::cache::{ContextSelection, PasidSelection, TranslationSelection};
use super::command::{Command, Switch};
use super::core::{Core, Mode};
use super::engine::{Engine, Job};
use super::invalidation::{TranslationRequest, contexts_by_register, translations_by_register};
use super::queue::{self, Descriptor};
use super::registers::Registers;
use crate::findings::FindingKind;
use crate::iommu::queue_hooks::QueueFault;

impl Core {
    /// Begins `job`; what is not done at once is finished when its drain is over.
    pub(super) fn start(&self, engine: &mut Engine, job: Job) {
        match job {
            Job::Command(command) => self.start_command(engine, command),
            Job::ContextRegister => self.start_context_register(engine),
            Job::IotlbRegister => self.start_iotlb_register(engine),
            Job::Descriptor(phys) => self.start_descriptor(engine, phys),
            Job::QueueError(info) => self.stop_queue(info, "its tail lies outside"),
        }
    }

    fn start_command(&self, engine: &mut Engine, command: Command) {
        let job = Job::Command(command);
        match command {
            Command::SetRootTable => {
                let register = self.registers.lock().root_table;
                let table = self.rules.root_table(register);
                if table.is_none() {
                    let bits = register.into_bits();
                    self.reporter.report(
                        FindingKind::ReservedBits,
                        format!("RTADDR {bits:#x}: not the address of a root table of this unit"),
                    );
                }
                self.live.set_root_table(table);
                engine.stale_contexts = true;
                engine.stale_pasids = table.is_some_and(|table| table.mode == Mode::Scalable);
                engine.stale_translations = true;
            }
            Command::Translation(Switch::On) => {
                if self.live.root_table().is_none() {
                    self.reporter
                        .illegal("translation enabled without a root table");
                }
                if engine.stale_contexts || engine.stale_translations {
                    self.reporter.illegal(
                        "translation enabled before context cache, in scalable mode PASID cache, \
                         and then IOTLB were invalidated globally after the root table was set",
                    );
                }
                self.live.set_translating(true);
                return self.drain_then(engine, true, true, job);
            }
            Command::Translation(Switch::Off) => {
                self.live.set_translating(false);
                return self.drain_then(engine, true, true, job);
            }
            Command::Queue(Switch::On) => {
                let queue = &mut self.registers.lock().queue;
                if queue.tail != 0 {
                    self.reporter
                        .illegal(format!("queue enabled with its tail at {:#x}", queue.tail));
                }
                queue.switch_on();
            }
            Command::Queue(Switch::Off) => {
                let registers = &mut *self.registers.lock();
                let queue = &mut registers.queue;
                // One that stopped at an error does not get any emptier.
                if queue.head != queue.tail && !registers.faults.queue_error() {
                    self.reporter.illegal("queue disabled before it was empty");
                }
                queue.switch_off();
            }
            Command::FlushWriteBuffer => self.tables.flush_write_buffers(),
        }
        self.finish(job);
    }

    fn start_context_register(&self, engine: &mut Engine) {
        let (cap, register) = {
            let registers = self.registers.lock();
            (registers.cap, registers.context_command)
        };
        let granularity = match contexts_by_register(cap, register) {
            Ok(selection) => {
                self.invalidate_contexts(engine, selection);
                register.cirg()
            }
            Err(refused) => {
                self.reporter.illegal(format!("CCMD: {refused}"));
                ContextGranularity::Reserved
            }
        };
        self.registers.lock().context_command.set_caig(granularity);
        self.finish(Job::ContextRegister);
    }

    fn start_iotlb_register(&self, engine: &mut Engine) {
        let (cap, register, pages) = {
            let registers = self.registers.lock();
            (
                registers.cap,
                registers.iotlb_invalidate,
                registers.invalidate_address,
            )
        };
        match translations_by_register(cap, register, pages) {
            Ok(request) => {
                self.registers
                    .lock()
                    .iotlb_invalidate
                    .set_iaig(register.iirg());
                self.invalidate_translations(engine, request, Job::IotlbRegister);
            }
            Err(refused) => {
                self.reporter.illegal(format!("IOTLB: {refused}"));
                self.registers
                    .lock()
                    .iotlb_invalidate
                    .set_iaig(IotlbGranularity::Reserved);
                self.finish(Job::IotlbRegister);
            }
        }
    }

    fn start_descriptor(&self, engine: &mut Engine, phys: u64) {
        let job = Job::Descriptor(phys);
        let (cap, wide, fault, slow) = {
            let mut registers = self.registers.lock();
            let queue = &mut registers.queue;
            let (wide, hooks) = (queue.address.dw(), &mut queue.hooks);
            let (fault, slow) = (hooks.fault.take(), hooks.are_waits_slow());
            (registers.cap, wide, fault, slow)
        };
        if fault == Some(QueueFault::Lost) {
            return self.finish(job);
        }
        let words = match (self.ram.load_u64(phys), self.ram.load_u64(phys + 8)) {
            (Ok(low), Ok(high)) if fault.is_none() => [low, high],
            _ => {
                return self.stop_queue(
                    QueueErrorInfo::DescriptorFetch,
                    "a descriptor was not fetched",
                );
            }
        };
        if !wide && self.is_scalable() {
            return self.stop_queue(
                QueueErrorInfo::InvalidDescriptorWidth,
                "scalable mode needs descriptors of 256 bits",
            );
        }
        let upper = match (
            wide,
            self.ram.load_u64(phys + 16),
            self.ram.load_u64(phys + 24),
        ) {
            (false, ..) => [0; 2],
            (true, low, high) => [low.unwrap_or(u64::MAX), high.unwrap_or(u64::MAX)],
        };
        match queue::decode(cap, self.rules.ecap, words, upper) {
            Ok(Descriptor::Contexts(selection)) => {
                self.invalidate_contexts(engine, selection);
                self.finish(job);
            }
            Ok(Descriptor::Translations(request)) => {
                self.invalidate_translations(engine, request, job);
            }
            Ok(Descriptor::Pasids(selection)) => {
                self.invalidate_pasids(engine, selection);
                self.finish(job);
            }
            Ok(Descriptor::Wait(wait)) => {
                if !(slow && self.registers.lock().queue.hooks.is_wait_on()) {
                    self.complete_wait(wait);
                }
            }
            Err(invalid) => {
                let [low, high] = words;
                self.reporter.report(
                    FindingKind::ProtocolViolation,
                    format!("descriptor {low:#018x} {high:#018x} at phys {phys:#x}: {invalid}"),
                );
                self.stop_queue(invalid.info(), "a descriptor is invalid");
            }
        }
    }

    /// Everything before a wait descriptor is done, as descriptors are done one by one: fences cost nothing.
    fn complete_wait(&self, wait: Wait) {
        // Counted before software can see that it is done, and ask for another.
        self.counters.waits.add_one();
        let pending = self.registers.lock().queue.pending();
        let is_wait = |phys: &u64| {
            let low = self.ram.load_u64(*phys);
            low.is_ok_and(|low| kind([low, 0]) == Some(Kind::Wait))
        };
        let at_once = pending.filter(is_wait).count();
        self.counters.waits_at_once.at_least(at_once as u64);
        if wait.sw()
            && self
                .ram
                .store_u32(wait.status_address(), wait.status_data())
                .is_err()
        {
            self.reporter.report(
                FindingKind::ProtocolViolation,
                format!(
                    "status of a wait written to phys {:#x}, which is no RAM",
                    wait.status_address()
                ),
            );
        }
        let registers = &mut *self.registers.lock();
        // The head moves before the interrupt, so that its handler finds the wait done.
        registers.queue.advance();
        if wait.interrupt() && !registers.completion.iwc() {
            registers.completion.set_iwc(true);
            registers.completion_event.raise();
        }
    }

    fn stop_queue(&self, info: QueueErrorInfo, why: &str) {
        log::debug!(
            "{}: invalidation queue stopped: {why}",
            self.reporter.name()
        );
        let registers: &mut Registers = &mut self.registers.lock();
        registers.queue.error = QueueErrorRecord::new().with_iqei(info);
        registers.faults.set_queue_error();
    }

    fn invalidate_contexts(&self, engine: &mut Engine, selection: ContextSelection) {
        self.counters.context_invalidations.add_one();
        // Invalidations flush the write buffers first (6.8).
        self.tables.flush_write_buffers();
        {
            let mut caches = self.caches.write();
            caches.invalidate_contexts(selection);
            caches.invalidate_directories(selection);
        }
        if selection == ContextSelection::Global {
            engine.stale_contexts = false;
        }
    }

    fn invalidate_pasids(&self, engine: &mut Engine, selection: PasidSelection) {
        self.counters.pasid_cache_invalidations.add_one();
        self.tables.flush_write_buffers();
        self.caches.write().invalidate_pasids(selection);
        if selection == PasidSelection::Global {
            engine.stale_pasids &= engine.stale_contexts;
        }
    }

    fn is_scalable(&self) -> bool {
        self.live
            .root_table()
            .is_some_and(|table| table.mode == Mode::Scalable)
    }

    fn invalidate_translations(&self, engine: &mut Engine, request: TranslationRequest, job: Job) {
        match request.selection {
            TranslationSelection::Global => {
                self.counters.global_invalidations.add_one();
                // Contexts still cached would bring old translations back.
                engine.stale_translations = engine.stale_contexts || engine.stale_pasids;
            }
            TranslationSelection::Domain(_) => self.counters.domain_invalidations.add_one(),
            TranslationSelection::Pages { .. } => self.counters.page_invalidations.add_one(),
            TranslationSelection::Pasid { .. } => self.counters.pasid_invalidations.add_one(),
        }
        let takes_tables = match request.selection {
            TranslationSelection::Global | TranslationSelection::Domain(_) => true,
            TranslationSelection::Pages { extent, .. }
            | TranslationSelection::Pasid { extent, .. } => extent.takes_tables(),
        };
        if takes_tables {
            self.counters.table_invalidations.add_one();
        }
        self.tables.flush_write_buffers();
        self.caches
            .write()
            .invalidate_translations(request.selection);
        self.drain_then(engine, request.drain_reads, request.drain_writes, job);
    }
}
