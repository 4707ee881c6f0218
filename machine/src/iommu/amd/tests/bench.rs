//! A unit with a little memory, and a program that drives it by raw words.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use board::hardware::{InterruptSink, Width};
use board::ram::Ram;
use parking_lot::Mutex;

use super::super::{AmdConfig, AmdUnit};
use crate::bus::Access;
use crate::cache::{MemoryView, Snooping};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::translator::{Destination, Translator};
use crate::iommu::{Unit, UnitEnvironment};
use crate::temper::Temper;

pub(super) const RAM: Range<u64> = 0..0x100_0000;
/// Entries of 65536 devices.
pub(super) const DEVICES: u64 = 0x20_0000;
/// A ring of 256 commands.
pub(super) const COMMANDS: u64 = 0x1000;
/// A ring of 256 events.
pub(super) const EVENTS: u64 = 0x2000;
pub(super) const STORE: u64 = 0x3000;
const FIRST_FREE: u64 = 0x10000;
const RING_BYTES: u64 = 0x1000;

pub(super) const DEVICE_BASE: u64 = 0x00;
pub(super) const COMMAND_BASE: u64 = 0x08;
pub(super) const EVENT_BASE: u64 = 0x10;
pub(super) const CONTROL: u64 = 0x18;
pub(super) const EXCLUSION_BASE: u64 = 0x20;
pub(super) const EXCLUSION_LIMIT: u64 = 0x28;
pub(super) const FEATURES: u64 = 0x30;
pub(super) const MSI: u64 = 0x158;
pub(super) const MSI_LOW: u64 = 0x15c;
pub(super) const MSI_HIGH: u64 = 0x160;
pub(super) const MSI_DATA: u64 = 0x164;
pub(super) const INT_CAP_XT: u64 = 0x170;
pub(super) const COMMAND_HEAD: u64 = 0x2000;
pub(super) const COMMAND_TAIL: u64 = 0x2008;
pub(super) const EVENT_HEAD: u64 = 0x2010;
pub(super) const EVENT_TAIL: u64 = 0x2018;
pub(super) const STATUS: u64 = 0x2020;

pub(super) const ENABLE: u64 = 1;
pub(super) const LOG: u64 = 1 << 2;
pub(super) const LOG_INTERRUPT: u64 = 1 << 3;
pub(super) const WAIT_INTERRUPT: u64 = 1 << 4;
pub(super) const COHERENT: u64 = 1 << 10;
pub(super) const RING: u64 = 1 << 12;
pub(super) const INT_CAP_XT_ON: u64 = 1 << 51;

pub(super) const OVERFLOW: u64 = 1;
pub(super) const LOG_INT: u64 = 2;
pub(super) const WAIT_INT: u64 = 4;
pub(super) const LOG_RUNS: u64 = 8;
pub(super) const RING_RUNS: u64 = 16;

pub(super) const V: u64 = 1;
pub(super) const TV: u64 = 2;
pub(super) const PR: u64 = 1;
pub(super) const R: u64 = 1 << 61;
pub(super) const W: u64 = 1 << 62;
pub(super) const RW: u64 = R | W;

/// 00:03.0.
pub(super) const DEVICE: u16 = 0x18;
pub(super) const DOMAIN: u16 = 5;

/// A page-table entry for a table of `level` or, with level 0, a page.
pub(super) fn entry(phys: u64, level: u64) -> u64 {
    phys | level << 9 | PR | RW
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
    pub(super) unit: Arc<AmdUnit>,
    pub(super) ram: Arc<Ram>,
    pub(super) view: Arc<MemoryView>,
    pub(super) findings: Findings,
    sink: Arc<Sink>,
    next_frame: AtomicU64,
    coherent: u64,
}

impl Bench {
    pub(super) fn new(config: AmdConfig) -> Self {
        Self::with(config, Temper::Keep, Snooping::On)
    }

    pub(super) fn with(config: AmdConfig, temper: Temper, snooping: Snooping) -> Self {
        let ram = Ram::new(&[RAM]).expect("RAM");
        let view = Arc::new(MemoryView::new(ram.clone(), snooping, 1));
        let findings = Findings::new();
        let interrupts = Arc::new(Interrupts::new());
        let sink = Arc::new(Sink::default());
        interrupts.connect(sink.clone());
        let environment = UnitEnvironment {
            name: "ivhd0".to_owned(),
            walks: view.clone(),
            ram: ram.clone(),
            interrupts,
            findings: findings.clone(),
            temper,
            seed: 7,
        };
        let unit = AmdUnit::new(config, environment).expect("unit");
        Self {
            unit,
            ram,
            view,
            findings,
            sink,
            next_frame: AtomicU64::new(FIRST_FREE),
            coherent: if snooping == Snooping::On {
                COHERENT
            } else {
                0
            },
        }
    }

    /// A unit that is on, and one empty domain of `levels` for [`DEVICE`]; its top table.
    pub(super) fn translating(config: AmdConfig, levels: u64) -> (Self, u64) {
        let bench = Self::new(config);
        let top = bench.start(levels);
        (bench, top)
    }

    pub(super) fn start(&self, levels: u64) -> u64 {
        let top = self.frame();
        self.attach(DEVICE, DOMAIN, top, levels);
        self.enable();
        top
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

    pub(super) fn attach(&self, device: u16, domain: u16, top: u64, levels: u64) {
        self.set_entry(
            device,
            [top | levels << 9 | V | TV | RW, domain.into(), 0, 0],
        );
    }

    pub(super) fn set_entry(&self, device: u16, words: [u64; 4]) {
        for (at, word) in (entry_at(device)..).step_by(8).zip(words) {
            self.store(at, word);
        }
    }

    /// Writes the entries that lead from `top` to a leaf at `leaf_level`; returns where the leaf entry is.
    pub(super) fn map(&self, top: u64, levels: u64, bus: u64, leaf_level: u64, leaf: u64) -> u64 {
        let mut table = top;
        for level in (leaf_level + 1..=levels).rev() {
            let at = table + (bus >> (12 + 9 * (level - 1)) & 511) * 8;
            let mut word = self.load(at);
            if word == 0 {
                word = entry(self.frame(), level - 1);
                self.store(at, word);
            }
            table = word & 0x000f_ffff_ffff_f000;
        }
        let at = table + (bus >> (12 + 9 * (leaf_level - 1)) & 511) * 8;
        self.store(at, leaf);
        at
    }

    pub(super) fn read64(&self, offset: u64) -> u64 {
        self.unit.read_register(offset, Width::Qword)
    }

    pub(super) fn read32(&self, offset: u64) -> u32 {
        self.unit.read_register(offset, Width::Dword) as u32
    }

    pub(super) fn write64(&self, offset: u64, value: u64) {
        self.unit.write_register(offset, Width::Qword, value);
    }

    pub(super) fn write32(&self, offset: u64, value: u32) {
        self.unit.write_register(offset, Width::Dword, value.into());
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

    /// Polls until these bits of the status register are `expected`.
    #[track_caller]
    pub(super) fn wait_status(&self, mask: u64, expected: u64) {
        self.wait_until(|| self.read64(STATUS) & mask == expected);
    }

    pub(super) fn set_bases(&self) {
        self.write64(DEVICE_BASE, DEVICES | 0x1ff);
        self.write64(COMMAND_BASE, COMMANDS | 8 << 56);
        self.write64(EVENT_BASE, EVENTS | 8 << 56);
    }

    /// Everything on, but for interrupts.
    pub(super) fn enable(&self) {
        self.set_bases();
        self.enable_with(0);
    }

    pub(super) fn enable_with(&self, more: u64) {
        self.write64(CONTROL, ENABLE | LOG | RING | self.coherent | more);
        self.wait_status(LOG_RUNS | RING_RUNS, LOG_RUNS | RING_RUNS);
    }

    pub(super) fn disable(&self) {
        self.write64(CONTROL, 0);
        self.wait_status(LOG_RUNS | RING_RUNS, 0);
    }

    /// Puts commands into the ring without waiting.
    pub(super) fn submit(&self, commands: &[[u64; 2]]) {
        let mut tail = self.read64(COMMAND_TAIL);
        for [low, high] in commands {
            self.store(COMMANDS + tail, *low);
            self.store(COMMANDS + tail + 8, *high);
            tail = (tail + 16) % RING_BYTES;
        }
        self.write64(COMMAND_TAIL, tail);
    }

    /// Puts commands and a completion wait into the ring and waits for it.
    #[track_caller]
    pub(super) fn submit_and_wait(&self, commands: &[[u64; 2]]) {
        self.store(STORE, 0);
        self.submit(commands);
        self.submit(&[wait(1)]);
        self.wait_until(|| self.load(STORE) == 1);
    }

    /// The physical address that `device` reaches, or the event code.
    pub(super) fn reach(&self, device: u16, bus: u64, access: Access) -> Result<u64, u16> {
        match self.unit.translate(device, bus, access) {
            Ok(in_flight) => match in_flight.destination() {
                Destination::Physical(phys) => Ok(phys),
                Destination::Untranslated(bus) => Ok(bus),
            },
            Err(fault) => {
                assert_eq!((fault.requester, fault.bus), (device, bus));
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

    /// The next event, which software reads and clears.
    #[track_caller]
    pub(super) fn event(&self) -> [u64; 2] {
        let head = self.read64(EVENT_HEAD);
        assert_ne!(head, self.read64(EVENT_TAIL), "no event");
        self.wait_until(|| self.load(EVENTS + head) >> 60 != 0);
        let words = [self.load(EVENTS + head), self.load(EVENTS + head + 8)];
        self.store(EVENTS + head, 0);
        self.store(EVENTS + head + 8, 0);
        self.write64(EVENT_HEAD, (head + 16) % RING_BYTES);
        words
    }

    #[track_caller]
    pub(super) fn assert_no_event(&self) {
        assert_eq!(self.read64(EVENT_HEAD), self.read64(EVENT_TAIL));
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

pub(super) fn entry_at(device: u16) -> u64 {
    DEVICES + u64::from(device) * 32
}

pub(super) const INVALIDATE_ALL: [u64; 2] = [8 << 60, 0];

pub(super) fn invalidate_device(device: u16) -> [u64; 2] {
    [2 << 60 | u64::from(device), 0]
}

/// One page of 4 KiB; `tables` is the PDE bit.
pub(super) fn invalidate_page(domain: u16, bus: u64, tables: u64) -> [u64; 2] {
    [3 << 60 | u64::from(domain) << 32, bus | tables << 1]
}

/// All pages and tables.
pub(super) fn invalidate_domain(domain: u16) -> [u64; 2] {
    [3 << 60 | u64::from(domain) << 32, 0x7fff_ffff_ffff_f003]
}

/// Stores `data` at [`STORE`].
pub(super) fn wait(data: u64) -> [u64; 2] {
    [1 << 60 | STORE | 1, data]
}
