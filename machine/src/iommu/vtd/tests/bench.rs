//! A unit with a little memory, and a program that drives it by raw words.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use board::hardware::{InterruptSink, Width};
use board::ram::Ram;
use parking_lot::Mutex;

use super::super::{VtdConfig, VtdUnit};
use crate::bus::Access;
use crate::cache::{MemoryView, Snooping};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::translator::{Destination, Translator};
use crate::iommu::{Unit, UnitEnvironment};
use crate::temper::Temper;

pub(super) const RAM: Range<u64> = 0..0x80_0000;
pub(super) const ROOT: u64 = 0x1000;
pub(super) const CONTEXTS: u64 = 0x2000;
pub(super) const QUEUE: u64 = 0x3000;
pub(super) const STATUS: u64 = 0x4000;
const FIRST_FREE: u64 = 0x10000;

pub(super) const GCMD: u64 = 0x18;
pub(super) const GSTS: u64 = 0x1c;
pub(super) const RTADDR: u64 = 0x20;
pub(super) const CCMD: u64 = 0x28;
pub(super) const FSTS: u64 = 0x34;
pub(super) const FECTL: u64 = 0x38;
pub(super) const FEDATA: u64 = 0x3c;
pub(super) const FEADDR: u64 = 0x40;
pub(super) const IQH: u64 = 0x80;
pub(super) const IQT: u64 = 0x88;
pub(super) const IQA: u64 = 0x90;
pub(super) const ICS: u64 = 0x9c;
pub(super) const IECTL: u64 = 0xa0;
pub(super) const IEDATA: u64 = 0xa4;
pub(super) const IEADDR: u64 = 0xa8;
pub(super) const IQERCD: u64 = 0xb0;
pub(super) const IVA: u64 = 0x100;
pub(super) const IOTLB: u64 = 0x108;
pub(super) const FRCD: u64 = 0x220;

pub(super) const TE: u32 = 1 << 31;
pub(super) const SRTP: u32 = 1 << 30;
pub(super) const WBF: u32 = 1 << 27;
pub(super) const QIE: u32 = 1 << 26;

/// Descriptors of 256 bits (`IQA.DW`).
pub(super) const WIDE: u64 = 1 << 11;

pub(super) const R: u64 = 1;
pub(super) const W: u64 = 2;
pub(super) const RW: u64 = 3;
pub(super) const PS: u64 = 0x80;

/// 00:03.0.
pub(super) const DEVICE: u16 = 0x18;
pub(super) const DOMAIN: u16 = 5;

/// Messages that arrived.
#[derive(Default)]
pub(super) struct Sink(Mutex<Vec<(u64, u32)>>);

impl InterruptSink for Sink {
    fn deliver(&self, bus: u64, data: u32) {
        self.0.lock().push((bus, data));
    }
}

pub(super) struct Bench {
    pub(super) unit: Arc<VtdUnit>,
    pub(super) ram: Arc<Ram>,
    pub(super) view: Arc<MemoryView>,
    pub(super) findings: Findings,
    sink: Arc<Sink>,
    next_frame: AtomicU64,
}

impl Bench {
    pub(super) fn new(config: VtdConfig) -> Self {
        Self::with(config, Temper::Keep, Snooping::On)
    }

    pub(super) fn with(config: VtdConfig, temper: Temper, snooping: Snooping) -> Self {
        let ram = Ram::new(&[RAM]).expect("RAM");
        let view = Arc::new(MemoryView::new(ram.clone(), snooping, 1));
        let findings = Findings::new();
        let interrupts = Arc::new(Interrupts::new());
        let sink = Arc::new(Sink::default());
        interrupts.connect(sink.clone());
        let environment = UnitEnvironment {
            name: "dmar0".to_owned(),
            walks: view.clone(),
            ram: ram.clone(),
            interrupts,
            findings: findings.clone(),
            temper,
            seed: 7,
        };
        let unit = VtdUnit::new(config, environment).expect("unit");
        let next_frame = AtomicU64::new(FIRST_FREE);
        Self {
            unit,
            ram,
            view,
            findings,
            sink,
            next_frame,
        }
    }

    /// A unit with translation and queue on, and one empty domain of `levels` for [`DEVICE`]; its top table.
    pub(super) fn translating(config: VtdConfig, levels: u64) -> (Self, u64) {
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

    pub(super) fn attach(&self, requester: u16, did: u16, top: u64, levels: u64) {
        self.store(ROOT + u64::from(requester >> 8) * 16, CONTEXTS | 1);
        let entry = CONTEXTS + u64::from(requester & 0xff) * 16;
        self.store(entry + 8, u64::from(did) << 8 | (levels - 2));
        self.store(entry, top | 1);
    }

    /// Writes the entries that lead from `top` to a leaf at `leaf_level`; returns where the leaf entry is.
    pub(super) fn map(&self, top: u64, levels: u64, bus: u64, leaf_level: u64, leaf: u64) -> u64 {
        let mut table = top;
        for level in (leaf_level + 1..=levels).rev() {
            let entry = table + (bus >> (12 + 9 * (level - 1)) & 511) * 8;
            let mut word = self.ram.load_u64(entry).expect("in RAM");
            if word == 0 {
                word = self.frame() | RW;
                self.store(entry, word);
            }
            table = word & 0x000f_ffff_ffff_f000;
        }
        let entry = table + (bus >> (12 + 9 * (leaf_level - 1)) & 511) * 8;
        self.store(entry, leaf);
        entry
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

    /// One command beside the switches that are on, until status shows `shown`.
    #[track_caller]
    pub(super) fn command(&self, command: u32, shown: u32) {
        let switches = self.read32(GSTS) & (TE | QIE);
        self.write32(GCMD, switches | command);
        self.wait_until(|| self.read32(GSTS) & shown == shown);
    }

    pub(super) fn set_root(&self) {
        self.write64(RTADDR, ROOT);
        self.command(SRTP, SRTP);
    }

    pub(super) fn enable_queue(&self) {
        self.write64(IQT, 0);
        self.write64(IQA, QUEUE);
        self.command(QIE, QIE);
    }

    pub(super) fn enable(&self) {
        self.set_root();
        self.enable_queue();
        self.submit_and_wait(&[CONTEXT_GLOBAL, IOTLB_GLOBAL]);
        self.command(TE, TE);
    }

    /// Puts descriptors into the queue without waiting.
    pub(super) fn submit(&self, descriptors: &[[u64; 2]]) {
        let mut tail = self.read64(IQT);
        let wide = self.read64(IQA) & WIDE != 0;
        for [low, high] in descriptors {
            self.store(QUEUE + tail, *low);
            self.store(QUEUE + tail + 8, *high);
            tail = (tail + if wide { 32 } else { 16 }) % 0x1000;
        }
        self.write64(IQT, tail);
    }

    /// Puts descriptors and a wait into the queue and waits for it.
    #[track_caller]
    pub(super) fn submit_and_wait(&self, descriptors: &[[u64; 2]]) {
        self.store(STATUS, 0);
        self.submit(descriptors);
        self.submit(&[wait(1)]);
        self.wait_until(|| self.ram.load_u32(STATUS) == Ok(1));
    }

    /// The physical address that `requester` reaches, or the fault reason.
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

pub(super) const CONTEXT_GLOBAL: [u64; 2] = [0x11, 0];
/// Everything, reads and writes drained.
pub(super) const IOTLB_GLOBAL: [u64; 2] = [0xd2, 0];

/// Drains reads and writes.
pub(super) fn iotlb_domain(did: u16) -> [u64; 2] {
    [0xe2 | u64::from(did) << 16, 0]
}

/// Drains reads and writes.
pub(super) fn iotlb_pages(did: u16, bus: u64, mask: u64, hint: u64) -> [u64; 2] {
    [0xf2 | u64::from(did) << 16, bus | hint << 6 | mask]
}

pub(super) fn context_device(did: u16, sid: u16, function_mask: u64) -> [u64; 2] {
    [
        0x31 | u64::from(did) << 16 | u64::from(sid) << 32 | function_mask << 48,
        0,
    ]
}

/// Writes `data` to [`STATUS`].
pub(super) fn wait(data: u32) -> [u64; 2] {
    [0x25 | u64::from(data) << 32, STATUS]
}
