//! A unit with a little memory, and a program that drives it by raw words.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use board::hardware::{InterruptSink, Width};
use board::ram::Ram;
use parking_lot::Mutex;

use super::super::{SmmuConfig, SmmuUnit, Stages};
use crate::bus::Access;
use crate::cache::{MemoryView, Snooping};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::translator::{Destination, Translator};
use crate::iommu::{Unit, UnitEnvironment};
use crate::temper::Temper;

pub(super) const RAM: Range<u64> = 0..0x100_0000;
/// A stream table of 2^8 entries.
pub(super) const STREAMS: u64 = 0x4000;
pub(super) const COMMANDS: u64 = 0x8000;
pub(super) const EVENTS: u64 = 0x9000;
/// Context descriptors, one per stream.
pub(super) const CONTEXTS: u64 = 0x10000;
const FIRST_FREE: u64 = 0x20000;

pub(super) const CR0: u64 = 0x20;
pub(super) const CR0ACK: u64 = 0x24;
pub(super) const CR1: u64 = 0x28;
pub(super) const CR2: u64 = 0x2c;
pub(super) const GBPA: u64 = 0x44;
pub(super) const IRQ_CTRL: u64 = 0x50;
pub(super) const IRQ_CTRLACK: u64 = 0x54;
pub(super) const GERROR: u64 = 0x60;
pub(super) const GERRORN: u64 = 0x64;
pub(super) const STRTAB_BASE: u64 = 0x80;
pub(super) const STRTAB_BASE_CFG: u64 = 0x88;
pub(super) const CMDQ_BASE: u64 = 0x90;
pub(super) const CMDQ_PROD: u64 = 0x98;
pub(super) const CMDQ_CONS: u64 = 0x9c;
pub(super) const EVENTQ_BASE: u64 = 0xa0;
pub(super) const EVENTQ_IRQ_CFG0: u64 = 0xb0;
pub(super) const EVENTQ_IRQ_CFG1: u64 = 0xb8;
pub(super) const EVENTQ_PROD: u64 = 0x100a8;
pub(super) const EVENTQ_CONS: u64 = 0x100ac;

pub(super) const SMMUEN: u32 = 1;
pub(super) const EVENTQEN: u32 = 4;
pub(super) const CMDQEN: u32 = 8;

/// Entries of the command queue, log₂.
pub(super) const COMMANDS_LOG2: u64 = 4;
/// Records of the event queue, log₂.
pub(super) const EVENTS_LOG2: u64 = 2;

/// Stage 1 page of 4 KiB: valid, page, unprivileged read and write, access flag, not global.
pub(super) const PAGE: u64 = 0xc43;
/// The same, read only.
pub(super) const PAGE_RO: u64 = 0xcc3;
/// Stage 1 block.
pub(super) const BLOCK: u64 = 0xc41;
pub(super) const TABLE: u64 = 3;
/// Stage 2 page: read and write, access flag.
pub(super) const PAGE2: u64 = 0x4ff;

/// 00:03.0.
pub(super) const DEVICE: u16 = 0x18;
pub(super) const DOMAIN: u64 = 5;

/// Word 0 of a stream table entry: valid, stage 1, and where its descriptor is.
pub(super) fn stage1_entry(requester: u16) -> u64 {
    context_of(requester) | 0b1011
}

pub(super) fn entry_of(requester: u16) -> u64 {
    STREAMS + u64::from(requester) * 64
}

pub(super) fn context_of(requester: u16) -> u64 {
    CONTEXTS + u64::from(requester) * 64
}

/// Word 0 of a context descriptor: 39 bits, granule of 4 KiB, EPD1, valid, 44-bit output, AA64, R, A.
pub(super) fn context_word(asid: u64) -> u64 {
    asid << 48 | 0x0000_6204_c000_0019
}

/// Word 2 of a stage 2 entry: 39 bits from level 1, granule of 4 KiB, 44-bit output, AA64, R.
pub(super) fn stage2_word(vmid: u64) -> u64 {
    vmid | 0x040c_0059_0000_0000
}

/// Messages that arrived.
#[derive(Default)]
pub(super) struct Sink(Mutex<Vec<(u64, u32)>>);

impl InterruptSink for Sink {
    fn deliver(&self, bus: u64, data: u32) {
        self.0.lock().push((bus, data));
    }
}

pub(super) struct Bench {
    pub(super) unit: Arc<SmmuUnit>,
    pub(super) ram: Arc<Ram>,
    pub(super) view: Arc<MemoryView>,
    pub(super) findings: Findings,
    sink: Arc<Sink>,
    next_frame: AtomicU64,
}

/// A unit of stage 1 alone.
pub(super) fn first() -> SmmuConfig {
    SmmuConfig {
        stages: Stages::First,
        ..SmmuConfig::default()
    }
}

/// A unit of stage 2 alone.
pub(super) fn second() -> SmmuConfig {
    SmmuConfig {
        stages: Stages::Second,
        ..SmmuConfig::default()
    }
}

impl Bench {
    pub(super) fn new(config: SmmuConfig) -> Self {
        Self::with(config, Temper::Keep, Snooping::On)
    }

    pub(super) fn with(config: SmmuConfig, temper: Temper, snooping: Snooping) -> Self {
        let ram = Ram::new(&[RAM]).expect("RAM");
        let view = Arc::new(MemoryView::new(ram.clone(), snooping, 1));
        let findings = Findings::new();
        let interrupts = Arc::new(Interrupts::new());
        let sink = Arc::new(Sink::default());
        interrupts.connect(sink.clone());
        let environment = UnitEnvironment {
            name: "smmu0".to_owned(),
            walks: view.clone(),
            ram: ram.clone(),
            interrupts,
            findings: findings.clone(),
            temper,
            seed: 7,
        };
        let unit = SmmuUnit::new(config, environment).expect("unit");
        Self {
            unit,
            ram,
            view,
            findings,
            sink,
            next_frame: AtomicU64::new(FIRST_FREE),
        }
    }

    /// A unit that is on, with one empty stage 1 domain of 39 bits for [`DEVICE`]; the root of its table.
    pub(super) fn translating(config: SmmuConfig) -> (Self, u64) {
        Self::tempered(config, Temper::Keep)
    }

    pub(super) fn tempered(config: SmmuConfig, temper: Temper) -> (Self, u64) {
        let bench = Self::with(config, temper, Snooping::On);
        let root = bench.frame();
        bench.attach(DEVICE, DOMAIN, root);
        bench.enable();
        (bench, root)
    }

    /// The same with a stage 2 domain.
    pub(super) fn translating_stage2(config: SmmuConfig) -> (Self, u64) {
        let bench = Self::new(config);
        let root = bench.frame();
        bench.attach_stage2(DEVICE, DOMAIN, root);
        bench.enable();
        (bench, root)
    }

    /// A zeroed frame.
    pub(super) fn frame(&self) -> u64 {
        self.next_frame.fetch_add(0x1000, Ordering::Relaxed)
    }

    pub(super) fn store(&self, phys: u64, value: u64) {
        self.ram.store_u64(phys, value).expect("in RAM");
    }

    pub(super) fn load(&self, phys: u64) -> u64 {
        self.ram.load_u64(phys).expect("in RAM")
    }

    pub(super) fn attach(&self, requester: u16, asid: u64, root: u64) {
        self.store(context_of(requester) + 8, root);
        self.store(context_of(requester) + 24, 0xff);
        self.store(context_of(requester), context_word(asid));
        self.store(entry_of(requester), stage1_entry(requester));
    }

    pub(super) fn attach_stage2(&self, requester: u16, vmid: u64, root: u64) {
        self.store(entry_of(requester) + 16, stage2_word(vmid));
        self.store(entry_of(requester) + 24, root);
        self.store(entry_of(requester), 0b1101);
    }

    /// Writes descriptors of 4 KiB granules that lead from `root`, a table of level 1, to a leaf at `leaf_level`;
    /// returns where the leaf is.
    pub(super) fn map(&self, root: u64, bus: u64, leaf_level: u64, leaf: u64) -> u64 {
        let at = |table: u64, level: u64| table + (bus >> (39 - 9 * level) & 511) * 8;
        let mut table = root;
        for level in 1..leaf_level {
            let entry = at(table, level);
            let mut word = self.load(entry);
            if word == 0 {
                word = self.frame() | TABLE;
                self.store(entry, word);
            }
            table = word & 0x0000_ffff_ffff_f000;
        }
        let entry = at(table, leaf_level);
        self.store(entry, leaf);
        entry
    }

    pub(super) fn read32(&self, offset: u64) -> u32 {
        self.unit.read_register(offset, Width::Dword) as u32
    }

    pub(super) fn write32(&self, offset: u64, value: u32) {
        self.unit.write_register(offset, Width::Dword, value.into());
    }

    pub(super) fn write64(&self, offset: u64, value: u64) {
        self.unit.write_register(offset, Width::Qword, value);
    }

    /// Polls until `done`, letting the unit work.
    #[track_caller]
    pub(super) fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(100);
        while !done() {
            assert!(
                Instant::now() < limit,
                "timed out: {:?}",
                self.findings.list()
            );
            self.unit.idle();
            std::thread::yield_now();
        }
    }

    #[track_caller]
    pub(super) fn control(&self, value: u32) {
        self.write32(CR0, value);
        self.wait_until(|| self.read32(CR0ACK) == value);
    }

    /// Tells the unit of the tables and queues; both queues are on, translation is not.
    pub(super) fn connect(&self) {
        self.write32(CR2, 2);
        self.write64(STRTAB_BASE, STREAMS);
        self.write32(STRTAB_BASE_CFG, 8);
        self.write64(CMDQ_BASE, COMMANDS | COMMANDS_LOG2);
        self.write64(EVENTQ_BASE, EVENTS | EVENTS_LOG2);
        self.control(CMDQEN | EVENTQEN);
    }

    pub(super) fn enable(&self) {
        self.connect();
        self.submit_and_wait(&[CFGI_ALL, NSNH_ALL]);
        self.control(CMDQEN | EVENTQEN | SMMUEN);
    }

    /// Puts commands into the queue without waiting.
    pub(super) fn submit(&self, commands: &[[u64; 2]]) {
        let mut index = u64::from(self.read32(CMDQ_PROD));
        for [low, high] in commands {
            let at = COMMANDS + (index & ((1 << COMMANDS_LOG2) - 1)) * 16;
            self.store(at, *low);
            self.store(at + 8, *high);
            index = (index + 1) & ((2 << COMMANDS_LOG2) - 1);
        }
        self.write32(CMDQ_PROD, index as u32);
    }

    /// Whether all commands were consumed.
    pub(super) fn is_done(&self) -> bool {
        self.read32(CMDQ_CONS) == self.read32(CMDQ_PROD)
    }

    /// Puts commands and a `CMD_SYNC` into the queue and waits for it.
    #[track_caller]
    pub(super) fn submit_and_wait(&self, commands: &[[u64; 2]]) {
        self.submit(commands);
        self.submit(&[SYNC]);
        self.wait_until(|| self.is_done());
    }

    /// The physical address that `requester` reaches, or the event code.
    pub(super) fn reach(&self, requester: u16, bus: u64, access: Access) -> Result<u64, u16> {
        match self.unit.translate(requester, bus, access) {
            Ok(in_flight) => match in_flight.destination() {
                Destination::Physical(phys) => Ok(phys),
                Destination::Untranslated(bus) => Ok(bus),
            },
            Err(fault) => {
                assert_eq!((fault.requester, fault.bus), (requester, bus));
                Err(fault.reason)
            }
        }
    }

    pub(super) fn read(&self, bus: u64) -> Result<u64, u16> {
        self.reach(DEVICE, bus, Access::Read)
    }

    pub(super) fn write(&self, bus: u64) -> Result<u64, u16> {
        self.reach(DEVICE, bus, Access::Write)
    }

    /// Takes the next event, if there is one.
    pub(super) fn event(&self) -> Option<[u64; 4]> {
        let mask = (2 << EVENTS_LOG2) - 1;
        let (producer, consumer) = (self.read32(EVENTQ_PROD), self.read32(EVENTQ_CONS));
        if producer & mask == consumer & mask {
            return None;
        }
        let at = EVENTS + u64::from(consumer & (mask >> 1)) * 32;
        let next = (consumer + 1) & mask | producer & 1 << 31;
        self.write32(EVENTQ_CONS, next);
        Some([0, 8, 16, 24].map(|offset| self.load(at + offset)))
    }

    /// How many findings of `kind` there are.
    pub(super) fn found(&self, kind: FindingKind) -> usize {
        self.findings
            .list()
            .iter()
            .filter(|finding| finding.kind == kind)
            .count()
    }

    #[track_caller]
    pub(super) fn assert_no_findings(&self) {
        assert_eq!(self.findings.list(), []);
    }

    /// Messages so far, after `count` of them arrived.
    #[track_caller]
    pub(super) fn messages(&self, count: usize) -> Vec<(u64, u32)> {
        self.wait_until(|| self.sink.0.lock().len() >= count);
        self.sink.0.lock().clone()
    }
}

pub(super) const SYNC: [u64; 2] = [0x46, 0];
pub(super) const CFGI_ALL: [u64; 2] = [0x04, 31];
pub(super) const NSNH_ALL: [u64; 2] = [0x30, 0];

/// With the first level's descriptor, if not `leaf`.
pub(super) fn cfgi_ste(stream: u64, leaf: u64) -> [u64; 2] {
    [0x03 | stream << 32, leaf]
}

pub(super) fn cfgi_cd(stream: u64) -> [u64; 2] {
    [0x05 | stream << 32, 1]
}

pub(super) fn nh_asid(asid: u64) -> [u64; 2] {
    [0x11 | asid << 48, 0]
}

pub(super) fn nh_va(asid: u64, bus: u64, leaf: u64) -> [u64; 2] {
    [0x12 | asid << 48, bus | leaf]
}

/// `(num + 1) << scale` granules of 4 KiB.
pub(super) fn nh_va_range(asid: u64, bus: u64, num: u64, scale: u64, ttl: u64) -> [u64; 2] {
    [
        0x12 | asid << 48 | num << 12 | scale << 20,
        bus | 1 << 10 | ttl << 8 | 1,
    ]
}

pub(super) fn s12_vmall(vmid: u64) -> [u64; 2] {
    [0x28 | vmid << 32, 0]
}

pub(super) fn s2_ipa(vmid: u64, ipa: u64, leaf: u64) -> [u64; 2] {
    [0x2a | vmid << 32, ipa | leaf]
}
