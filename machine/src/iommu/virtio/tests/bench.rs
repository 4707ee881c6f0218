//! A unit with a little memory, and a program that drives it by raw words.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use board::hardware::Width;
use board::ram::Ram;

use super::super::{VirtioConfig, VirtioUnit};
use crate::bus::Access;
use crate::cache::{MemoryView, Snooping};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::translator::{Destination, Translator};
use crate::iommu::{Unit, UnitEnvironment};
use crate::temper::Temper;

pub(super) const RAM: Range<u64> = 0..0x80_0000;

/// Descriptors, available ring, used ring of both queues.
pub(super) const RINGS: [[u64; 3]; 2] = [[0x1000, 0x2000, 0x3000], [0x4000, 0x5000, 0x6000]];
/// Buffers for reports, 32 bytes apart.
pub(super) const REPORTS: u64 = 0x7000;
/// Requests, 1 KiB apart; what the device writes is 256 bytes further.
const REQUESTS: u64 = 0x1_0000;
pub(super) const SIZE: u16 = 64;

pub(super) const DEVICE_FEATURES: u64 = 0x10;
pub(super) const DEVICE_FEATURES_SEL: u64 = 0x14;
pub(super) const DRIVER_FEATURES: u64 = 0x20;
pub(super) const DRIVER_FEATURES_SEL: u64 = 0x24;
pub(super) const QUEUE_SEL: u64 = 0x30;
pub(super) const QUEUE_SIZE_MAX: u64 = 0x34;
pub(super) const QUEUE_SIZE: u64 = 0x38;
pub(super) const QUEUE_READY: u64 = 0x44;
pub(super) const NOTIFY: u64 = 0x50;
pub(super) const INTERRUPT_STATUS: u64 = 0x60;
pub(super) const INTERRUPT_ACK: u64 = 0x64;
pub(super) const STATUS: u64 = 0x70;
pub(super) const CONFIG: u64 = 0x100;
pub(super) const BYPASS: u64 = 0x124;

/// INPUT_RANGE, DOMAIN_RANGE, MAP_UNMAP, PROBE, MMIO, BYPASS_CONFIG.
pub(super) const FEATURES_LOW: u32 = 0x77;
/// VERSION_1, ACCESS_PLATFORM.
pub(super) const FEATURES_HIGH: u32 = 3;

pub(super) const OK: u8 = 0;
pub(super) const UNSUPPORTED: u8 = 2;
pub(super) const INVALID: u8 = 4;
pub(super) const RANGE: u8 = 5;
pub(super) const NO_ENTRY: u8 = 6;
pub(super) const NO_MEMORY: u8 = 8;

pub(super) const R: u32 = 1;
pub(super) const W: u32 = 2;
pub(super) const RW: u32 = 3;

/// 00:03.0.
pub(super) const DEVICE: u16 = 0x18;
pub(super) const DOMAIN: u32 = 5;

pub(super) struct Bench {
    pub(super) unit: Arc<VirtioUnit>,
    pub(super) ram: Arc<Ram>,
    pub(super) findings: Findings,
    available: [AtomicU16; 2],
    seen: [AtomicU16; 2],
}

impl Bench {
    /// A unit as after a reset of the machine.
    pub(super) fn with(config: VirtioConfig, temper: Temper) -> Self {
        let ram = Ram::new(&[RAM]).expect("RAM");
        let findings = Findings::new();
        let environment = UnitEnvironment {
            name: "viommu".to_owned(),
            walks: Arc::new(MemoryView::new(ram.clone(), Snooping::On, 1)),
            ram: ram.clone(),
            interrupts: Arc::new(Interrupts::new()),
            findings: findings.clone(),
            temper,
            seed: 7,
        };
        let unit = VirtioUnit::new(config, environment).expect("unit");
        Self {
            unit,
            ram,
            findings,
            available: Default::default(),
            seen: Default::default(),
        }
    }

    /// A unit that was started.
    pub(super) fn started(config: VirtioConfig) -> Self {
        let bench = Self::with(config, Temper::Keep);
        bench.start();
        bench
    }

    /// A unit with one empty domain that [`DEVICE`] is in.
    pub(super) fn attached(config: VirtioConfig) -> Self {
        let bench = Self::started(config);
        assert_eq!(bench.ask(&attach(DOMAIN, DEVICE)), OK);
        bench
    }

    pub(super) fn read32(&self, offset: u64) -> u32 {
        self.unit.read_register(offset, Width::Dword) as u32
    }

    pub(super) fn write32(&self, offset: u64, value: u32) {
        self.unit.write_register(offset, Width::Dword, value.into());
    }

    pub(super) fn read8(&self, offset: u64) -> u8 {
        self.unit.read_register(offset, Width::Byte) as u8
    }

    pub(super) fn write8(&self, offset: u64, value: u8) {
        self.unit.write_register(offset, Width::Byte, value.into());
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

    pub(super) fn reset(&self) {
        self.write32(STATUS, 0);
        self.wait_until(|| self.read32(STATUS) == 0);
        for counter in self.available.iter().chain(&self.seen) {
            counter.store(0, Ordering::SeqCst);
        }
    }

    pub(super) fn accept(&self, low: u32, high: u32) {
        self.write32(STATUS, 1);
        self.write32(STATUS, 3);
        self.write32(DRIVER_FEATURES_SEL, 0);
        self.write32(DRIVER_FEATURES, low);
        self.write32(DRIVER_FEATURES_SEL, 1);
        self.write32(DRIVER_FEATURES, high);
        self.write32(STATUS, 11);
    }

    pub(super) fn place_queue(&self, index: u32) {
        self.write32(QUEUE_SEL, index);
        self.write32(QUEUE_SIZE, SIZE.into());
        for (ring, offset) in RINGS[index as usize].into_iter().zip([0x80, 0x90, 0xa0]) {
            self.ram.write(ring, &[0; 0x1000]).expect("in RAM");
            self.write32(offset, ring as u32);
            self.write32(offset + 4, (ring >> 32) as u32);
        }
        self.write32(QUEUE_READY, 1);
        assert_eq!(self.read32(QUEUE_READY), 1);
    }

    pub(super) fn start(&self) {
        self.reset();
        self.accept(FEATURES_LOW, FEATURES_HIGH);
        assert_eq!(self.read32(STATUS), 11);
        self.place_queue(0);
        self.place_queue(1);
        self.write32(STATUS, 15);
        self.write8(BYPASS, 0);
    }

    pub(super) fn store16(&self, phys: u64, value: u16) {
        self.ram.write(phys, &value.to_le_bytes()).expect("in RAM");
    }

    pub(super) fn load16(&self, phys: u64) -> u16 {
        let mut bytes = [0; 2];
        self.ram.read(phys, &mut bytes).expect("in RAM");
        u16::from_le_bytes(bytes)
    }

    pub(super) fn descriptor(
        &self,
        queue: usize,
        index: u16,
        (phys, len, flags, next): (u64, u32, u16, u16),
    ) {
        let at = RINGS[queue][0] + u64::from(index) * 16;
        self.ram.store_u64(at, phys).expect("in RAM");
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        self.ram.store_u64(at + 8, rest).expect("in RAM");
    }

    /// Puts the chain at `head` into the available ring, and notifies.
    pub(super) fn offer(&self, queue: usize, head: u16) {
        let index = self.available[queue].fetch_add(1, Ordering::SeqCst);
        let ring = RINGS[queue][1];
        self.store16(ring + 4 + 2 * u64::from(index % SIZE), head);
        std::sync::atomic::fence(Ordering::SeqCst);
        self.store16(ring + 2, index.wrapping_add(1));
        self.write32(NOTIFY, queue as u32);
    }

    /// Where request number `slot` lies.
    pub(super) fn request_at(slot: u16) -> u64 {
        REQUESTS + u64::from(slot) * 0x400
    }

    /// Submits a request of `words` in `slot`, with room for `writable` bytes of answer.
    pub(super) fn submit(&self, slot: u16, words: &[u32], writable: u32) {
        let at = Self::request_at(slot);
        for (word, phys) in words.iter().zip((at..).step_by(4)) {
            self.ram.store_u32(phys, *word).expect("in RAM");
        }
        self.ram
            .write(at + 0x100, &vec![0xee; writable as usize])
            .expect("in RAM");
        let head = 2 * slot;
        self.descriptor(0, head, (at, 4 * words.len() as u32, 1, head + 1));
        self.descriptor(0, head + 1, (at + 0x100, writable, 2, 0));
        self.offer(0, head);
    }

    pub(super) fn used(&self, queue: usize) -> u16 {
        self.load16(RINGS[queue][2] + 2)
    }

    /// The next entry of a used ring, once it is there: id and length.
    #[track_caller]
    pub(super) fn next_used(&self, queue: usize) -> (u32, u32) {
        let index = self.seen[queue].fetch_add(1, Ordering::SeqCst);
        self.wait_until(|| self.used(queue).wrapping_sub(index) as i16 > 0);
        let at = RINGS[queue][2] + 4 + 8 * u64::from(index % SIZE);
        (
            self.ram.load_u32(at).expect("in RAM"),
            self.ram.load_u32(at + 4).expect("in RAM"),
        )
    }

    /// Where the status of an answered request of `writable` bytes lies.
    pub(super) fn status_of(&self, slot: u16, writable: u32) -> u8 {
        let mut status = [0; 4];
        let at = Self::request_at(slot) + 0x100 + u64::from(writable) - 4;
        self.ram.read(at, &mut status).expect("in RAM");
        assert_eq!(status[1..], [0; 3]);
        status[0]
    }

    /// Submits a request and waits for its status.
    #[track_caller]
    pub(super) fn ask(&self, words: &[u32]) -> u8 {
        self.submit(0, words, 4);
        assert_eq!(self.next_used(0), (0, 4));
        self.status_of(0, 4)
    }

    /// Posts `count` buffers for reports.
    pub(super) fn post(&self, count: u16) {
        for n in 0..count {
            let phys = REPORTS + 32 * u64::from(n);
            self.descriptor(1, n, (phys, 24, 2, 0));
            self.offer(1, n);
        }
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
}

pub(super) fn attach(domain: u32, requester: u16) -> [u32; 5] {
    [1, domain, requester.into(), 0, 0]
}

pub(super) fn attach_bypass(domain: u32, requester: u16) -> [u32; 5] {
    [1, domain, requester.into(), 1, 0]
}

pub(super) fn detach(domain: u32, requester: u16) -> [u32; 5] {
    [2, domain, requester.into(), 0, 0]
}

pub(super) fn map(domain: u32, first: u64, last: u64, phys: u64, flags: u32) -> [u32; 9] {
    let [first, last, phys] = [first, last, phys].map(|word| [word as u32, (word >> 32) as u32]);
    [
        3, domain, first[0], first[1], last[0], last[1], phys[0], phys[1], flags,
    ]
}

pub(super) fn unmap(domain: u32, first: u64, last: u64) -> [u32; 7] {
    let [first, last] = [first, last].map(|word| [word as u32, (word >> 32) as u32]);
    [4, domain, first[0], first[1], last[0], last[1], 0]
}

pub(super) fn probe(requester: u16) -> [u32; 18] {
    let mut words = [0; 18];
    words[0] = 5;
    words[1] = requester.into();
    words
}
