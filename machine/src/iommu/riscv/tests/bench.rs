//! A unit with a little memory, and a program that drives it by raw words.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use board::hardware::{InterruptSink, Width};
use board::ram::Ram;
use hw::riscv::directory::ContextFormat;
use parking_lot::Mutex;

use super::super::{RiscvConfig, RiscvUnit};
use crate::bus::Access;
use crate::cache::{MemoryView, Snooping};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::translator::{Destination, Translator};
use crate::iommu::{Unit, UnitEnvironment};
use crate::temper::Temper;

pub(super) const RAM: Range<u64> = 0..0x80_0000;
pub(super) const ROOT: u64 = 0x1000;
pub(super) const QUEUE: u64 = 0x3000;
pub(super) const STATUS: u64 = 0x4000;
pub(super) const FAULTS: u64 = 0x5000;
const FIRST_FREE: u64 = 0x10000;

pub(super) const FCTL: u64 = 8;
pub(super) const DDTP: u64 = 16;
pub(super) const CQB: u64 = 24;
pub(super) const CQH: u64 = 32;
pub(super) const CQT: u64 = 36;
pub(super) const FQB: u64 = 40;
pub(super) const FQH: u64 = 48;
pub(super) const FQT: u64 = 52;
pub(super) const CQCSR: u64 = 72;
pub(super) const FQCSR: u64 = 76;
pub(super) const IPSR: u64 = 84;
pub(super) const ICVEC: u64 = 760;
pub(super) const MSI: u64 = 768;

pub(super) const ON: u32 = 1 << 16;
pub(super) const BUSY: u32 = 1 << 17;
pub(super) const MEMORY_FAULT: u32 = 1 << 8;
pub(super) const ILLEGAL: u32 = 1 << 10;

/// Entries of the command queue: log₂ 8. Of the fault queue: log₂ 3.
const COMMANDS_LOG2: u64 = 8;
const RECORDS_LOG2: u64 = 3;

/// A leaf for user requests that is accessed and dirty: readable, and writable as well.
pub(super) const R: u64 = 0xd3;
pub(super) const RW: u64 = 0xd7;

/// 00:03.0.
pub(super) const DEVICE: u16 = 0x18;
pub(super) const SPACE: u32 = 5;

/// Messages that arrived.
#[derive(Default)]
pub(super) struct Sink(Mutex<Vec<(u64, u32)>>);

impl InterruptSink for Sink {
    fn deliver(&self, bus: u64, data: u32) {
        self.0.lock().push((bus, data));
    }
}

pub(super) struct Bench {
    pub(super) unit: Arc<RiscvUnit>,
    pub(super) ram: Arc<Ram>,
    pub(super) view: Arc<MemoryView>,
    pub(super) findings: Findings,
    format: ContextFormat,
    sink: Arc<Sink>,
    next_frame: AtomicU64,
}

/// The entry that points at `phys`, with the bits `flags`.
pub(super) fn entry(phys: u64, flags: u64) -> u64 {
    phys >> 2 | flags
}

impl Bench {
    pub(super) fn new(config: RiscvConfig) -> Self {
        Self::with(config, Temper::Keep, Snooping::On)
    }

    pub(super) fn with(config: RiscvConfig, temper: Temper, snooping: Snooping) -> Self {
        let ram = Ram::new(&[RAM]).expect("RAM");
        let view = Arc::new(MemoryView::new(ram.clone(), snooping, 1));
        let findings = Findings::new();
        let interrupts = Arc::new(Interrupts::new());
        let sink = Arc::new(Sink::default());
        interrupts.connect(sink.clone());
        let environment = UnitEnvironment {
            name: "iommu0".to_owned(),
            walks: view.clone(),
            ram: ram.clone(),
            interrupts,
            findings: findings.clone(),
            temper,
            seed: 7,
        };
        let format = config.context_format;
        let unit = RiscvUnit::new(config, environment).expect("unit");
        Self {
            unit,
            ram,
            view,
            findings,
            format,
            sink,
            next_frame: AtomicU64::new(FIRST_FREE),
        }
    }

    /// A unit with a directory of three levels and both queues on, and one empty address space of a first stage of
    /// `levels` for [`DEVICE`]; its top table.
    pub(super) fn translating(config: RiscvConfig, levels: u64) -> (Self, u64) {
        let bench = Self::new(config);
        let top = bench.start(levels);
        (bench, top)
    }

    pub(super) fn start(&self, levels: u64) -> u64 {
        let top = self.frame();
        self.attach(DEVICE, SPACE, top, levels);
        self.enable();
        top
    }

    /// A zeroed frame.
    pub(super) fn frame(&self) -> u64 {
        self.frames(1)
    }

    /// Zeroed frames, aligned to their number.
    pub(super) fn frames(&self, count: u64) -> u64 {
        let bytes = count * 0x1000;
        let step = |at: u64| Some(at.next_multiple_of(bytes) + bytes);
        let before = self
            .next_frame
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .expect("always some");
        before.next_multiple_of(bytes)
    }

    pub(super) fn store(&self, phys: u64, value: u64) {
        self.ram.store_u64(phys, value).expect("in RAM");
    }

    pub(super) fn load(&self, phys: u64) -> u64 {
        self.ram.load_u64(phys).expect("in RAM")
    }

    /// Where the context of `device` is, in a directory of three levels.
    pub(super) fn context(&self, device: u16) -> u64 {
        let (leaf_bits, bytes) = match self.format {
            ContextFormat::Base => (7, 32),
            ContextFormat::Extended => (6, 64),
        };
        let device = u64::from(device);
        let mut table = ROOT;
        for index in [device >> (leaf_bits + 9), device >> leaf_bits & 511] {
            let at = table + index * 8;
            if self.load(at) == 0 {
                self.store(at, entry(self.frame(), 1));
            }
            table = self.load(at) >> 10 << 12;
        }
        table + (device & ((1 << leaf_bits) - 1)) * bytes
    }

    /// Attaches with a first stage.
    pub(super) fn attach(&self, device: u16, pscid: u32, top: u64, levels: u64) {
        let at = self.context(device);
        self.store(at + 8, 0);
        self.store(at + 16, u64::from(pscid) << 12);
        self.store(at + 24, (levels + 5) << 60 | top >> 12);
        self.store(at, 1);
    }

    /// Attaches with a second stage.
    pub(super) fn attach_guest(&self, device: u16, gscid: u16, top: u64, levels: u64) {
        let at = self.context(device);
        self.store(
            at + 8,
            (levels + 5) << 60 | u64::from(gscid) << 44 | top >> 12,
        );
        self.store(at + 16, 0);
        self.store(at + 24, 0);
        self.store(at, 1);
    }

    /// Writes the entries that lead from `top` to a leaf at `leaf_level`; returns where the leaf entry is.
    pub(super) fn map(&self, top: u64, levels: u64, bus: u64, leaf_level: u64, leaf: u64) -> u64 {
        let mut table = top;
        for level in (leaf_level + 1..=levels).rev() {
            let at = table + (bus >> (12 + 9 * (level - 1)) & 511) * 8;
            if self.load(at) == 0 {
                self.store(at, entry(self.frame(), 1));
            }
            table = self.load(at) >> 10 << 12;
        }
        let at = table + (bus >> (12 + 9 * (leaf_level - 1)) & 511) * 8;
        self.store(at, leaf);
        at
    }

    pub(super) fn read32(&self, offset: u64) -> u32 {
        self.unit.read_register(offset, Width::Dword) as u32
    }

    pub(super) fn read64(&self, offset: u64) -> u64 {
        self.unit.read_register(offset, Width::Qword)
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

    /// Writes `ddtp`, waits until it is not busy, and returns what it became.
    #[track_caller]
    pub(super) fn set_mode(&self, value: u64) -> u64 {
        self.write64(DDTP, value);
        self.wait_until(|| self.read64(DDTP) & 0x10 == 0);
        self.read64(DDTP)
    }

    /// Off, the root left as it is.
    #[track_caller]
    pub(super) fn set_off(&self) {
        let root = self.read64(DDTP) & !0x1f;
        self.set_mode(root);
    }

    pub(super) fn enable_queue(&self) {
        self.write64(CQB, entry(QUEUE, COMMANDS_LOG2 - 1));
        self.write32(CQT, 0);
        self.write32(CQCSR, 1);
        self.wait_until(|| self.read32(CQCSR) & (ON | BUSY) == ON);
    }

    pub(super) fn enable_fault_queue(&self, control: u32) {
        self.write64(FQB, entry(FAULTS, RECORDS_LOG2 - 1));
        self.write32(FQH, 0);
        self.write32(FQCSR, 1 | control);
        self.wait_until(|| self.read32(FQCSR) & (ON | BUSY) == ON);
    }

    pub(super) fn enable(&self) {
        self.enable_queue();
        self.enable_fault_queue(0);
        assert_eq!(self.set_mode(entry(ROOT, 4)), entry(ROOT, 4));
    }

    /// Puts commands into the queue without waiting.
    pub(super) fn submit(&self, commands: &[[u64; 2]]) {
        let mut tail = u64::from(self.read32(CQT));
        for [low, high] in commands {
            self.store(QUEUE + tail * 16, *low);
            self.store(QUEUE + tail * 16 + 8, *high);
            tail = (tail + 1) % (1 << COMMANDS_LOG2);
        }
        self.write32(CQT, tail as u32);
    }

    /// Puts commands and a fence into the queue and waits for it.
    #[track_caller]
    pub(super) fn submit_and_wait(&self, commands: &[[u64; 2]]) {
        self.store(STATUS, 0);
        self.submit(commands);
        self.submit(&[fence(1)]);
        self.wait_until(|| self.ram.load_u32(STATUS) == Ok(1));
    }

    /// The physical address that `requester` reaches, or the cause of its fault.
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

    /// The words of a fault record.
    pub(super) fn record(&self, index: u64) -> [u64; 4] {
        [0, 8, 16, 24].map(|offset| self.load(FAULTS + index * 32 + offset))
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

/// `IODIR.INVAL_DDT` of everything.
pub(super) const DIRECTORY: [u64; 2] = [0x3, 0];
/// `IOTINVAL.VMA` of every first stage.
pub(super) const FIRST_STAGES: [u64; 2] = [0x1, 0];
/// `IOTINVAL.GVMA` of every second stage.
pub(super) const SECOND_STAGES: [u64; 2] = [0x81, 0];

/// `IODIR.INVAL_DDT` of one device.
pub(super) fn device(id: u16) -> [u64; 2] {
    [0x3 | 1 << 33 | u64::from(id) << 40, 0]
}

/// `IOTINVAL.VMA` of one first stage.
pub(super) fn space(pscid: u32) -> [u64; 2] {
    [0x1 | 1 << 32 | u64::from(pscid) << 12, 0]
}

/// `IOTINVAL.VMA` of one page of a first stage.
pub(super) fn page(pscid: u32, bus: u64) -> [u64; 2] {
    [space(pscid)[0] | 1 << 10, bus >> 2]
}

/// `IOTINVAL.GVMA` of one second stage.
pub(super) fn guest(gscid: u16) -> [u64; 2] {
    [0x81 | 1 << 33 | u64::from(gscid) << 44, 0]
}

/// `IOTINVAL.GVMA` of one page of a second stage.
pub(super) fn guest_page(gscid: u16, bus: u64) -> [u64; 2] {
    [guest(gscid)[0] | 1 << 10, bus >> 2]
}

/// `IOFENCE.C` that orders reads and writes and writes `data` to [`STATUS`].
pub(super) fn fence(data: u32) -> [u64; 2] {
    [0x3402 | u64::from(data) << 32, STATUS >> 2]
}
