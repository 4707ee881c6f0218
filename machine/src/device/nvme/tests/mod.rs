//! The controller on a bench: memory, a unit that blocks what a test forbids, and a driver of raw words.

mod admin;
mod hostile;
mod io;
mod life;

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use board::hardware::{InterruptSink, Width};
use board::ram::Ram;
use hw::nvme::command::{
    CreateCompletionQueueDword11, CreateSubmissionQueueDword11, Dword0, QueueDword10,
    ReadWriteDword12, admin_opcode, io_opcode,
};
use hw::nvme::regs::{self, Configuration, ControllerStatus};
use hw::nvme::{CompletionEntry, Status, SubmissionEntry};
use hw::pci::msix::MessageControl;
use parking_lot::Mutex;
use zerocopy::{FromZeros, IntoBytes};

use super::{MSIX_BAR, Medium, NvmeConfig, NvmeController, REGISTERS_BAR};
use crate::audit::Audit;
use crate::bus::{Access, Bus, DmaPort, Requester};
use crate::findings::{FindingKind, Findings};
use crate::interrupts::Interrupts;
use crate::iommu::Unit;
use crate::iommu::translator::{InFlight, TranslationFault, Translator};
use crate::pci::function::{FunctionModel, FunctionPort};
use crate::pci::msix::Msix;

const RAM_BYTES: u64 = 64 << 20;
const PAGE: u64 = 4096;
/// Where the bench puts queues, lists and data.
const ADMIN_QUEUES: u64 = 0x10_0000;
const IO_QUEUES: u64 = 0x20_0000;
const LISTS: u64 = 0x80_0000;
const DATA: u64 = 0x100_0000;
/// Message data of vector `v` is this plus `v`.
const MESSAGE: u32 = 0x40;

/// Lets everything pass but what a test forbids.
#[derive(Default)]
struct Gatekeeper {
    /// Pages and accesses refused.
    forbidden: Mutex<HashSet<(u64, bool)>>,
    /// If set, only these pages pass, with these accesses.
    allowed: Mutex<Option<HashSet<(u64, bool)>>>,
}

impl Gatekeeper {
    fn forbid(&self, bus: u64, access: Access) {
        self.forbidden
            .lock()
            .insert((bus / PAGE, access == Access::Write));
    }
}

impl Translator for Gatekeeper {
    fn translate(
        &self,
        requester: u16,
        bus: u64,
        access: Access,
    ) -> Result<InFlight<'_>, TranslationFault> {
        let key = (bus / PAGE, access == Access::Write);
        let passes = self
            .allowed
            .lock()
            .as_ref()
            .is_none_or(|allowed| allowed.contains(&key));
        if !passes || self.forbidden.lock().contains(&key) {
            return Err(TranslationFault {
                requester,
                bus,
                reason: 5,
            });
        }
        Ok(InFlight::untranslated(bus, None))
    }
}

impl Unit for Gatekeeper {
    fn read_register(&self, _: u64, width: Width) -> u64 {
        width.ones()
    }
    fn write_register(&self, _: u64, _: Width, _: u64) {}
    fn frames_freed(&self, _: u64, _: u64) {}
    fn audit(&self, _: &mut Audit) {}
}

/// Counts messages by vector.
#[derive(Default)]
struct Messages([AtomicU64; 16]);

impl InterruptSink for Messages {
    fn deliver(&self, _: u64, data: u32) {
        self.0[(data - MESSAGE) as usize].fetch_add(1, Ordering::SeqCst);
    }
}

/// One queue pair as a driver sees it.
struct Pair {
    id: u16,
    submission: u64,
    completion: u64,
    entries: u32,
    tail: u32,
    head: u32,
    phase: bool,
    next_id: u16,
}

struct Bench {
    controller: Arc<NvmeController>,
    ram: Arc<Ram>,
    gatekeeper: Arc<Gatekeeper>,
    messages: Arc<Messages>,
    msix: Arc<Msix>,
    findings: Findings,
    admin: Pair,
}

/// A file with recognisable bytes, none of them 0.
fn file_of(len_bytes: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&content(len_bytes), 0).unwrap();
    file
}

fn content(len_bytes: u64) -> Vec<u8> {
    (0..len_bytes).map(|i| (i % 251) as u8 + 1).collect()
}

fn read_only(len_bytes: u64) -> NvmeConfig {
    NvmeConfig::new(file_of(len_bytes), len_bytes, Medium::ReadOnly)
}

impl Bench {
    /// A machine with just this disk, its admin queues set up, enabled.
    fn new(config: NvmeConfig) -> Self {
        let mut bench = Self::power_on(config);
        bench.enable(16);
        bench
    }

    fn power_on(config: NvmeConfig) -> Self {
        let ram = Ram::new(&[0..RAM_BYTES]).unwrap();
        let interrupts = Arc::new(Interrupts::new());
        let messages = Arc::new(Messages::default());
        interrupts.connect(Arc::clone(&messages) as Arc<dyn InterruptSink>);
        let gatekeeper = Arc::new(Gatekeeper::default());
        let requester = Arc::new(Requester::new(0, 0, config.address_lines, vec![]));
        requester.set_master(true);
        let bus = Arc::new(Bus::new(Arc::clone(&ram), vec![], vec![], interrupts));
        let unit = Arc::clone(&gatekeeper) as Arc<dyn Unit>;
        let dma = DmaPort::new(bus, Some(unit), requester);
        let findings = Findings::new();
        let controller = Arc::new(NvmeController::new(config, findings.clone()).unwrap());
        let description = controller.description().msix.unwrap();
        let msix = Arc::new(Msix::new(description, dma.clone()));
        for vector in 0..description.vectors.min(16) {
            let entry = 16 * u64::from(vector);
            msix.write(MSIX_BAR, entry, Width::Qword, 0xfee0_0000);
            msix.write(
                MSIX_BAR,
                entry + 8,
                Width::Dword,
                (MESSAGE + u32::from(vector)).into(),
            );
            msix.write(MSIX_BAR, entry + 12, Width::Dword, 0);
        }
        msix.set_control(MessageControl::new().with_enable(true));
        Arc::clone(&controller).start(FunctionPort::new(dma, Some(Arc::clone(&msix))));
        let admin = Pair::new(0, ADMIN_QUEUES, 2);
        Self {
            controller,
            ram,
            gatekeeper,
            messages,
            msix,
            findings,
            admin,
        }
    }

    fn read(&self, offset: u64) -> u32 {
        self.controller.read(REGISTERS_BAR, offset, Width::Dword) as u32
    }

    fn write(&self, offset: u64, value: u32) {
        self.controller
            .write(REGISTERS_BAR, offset, Width::Dword, value.into());
    }

    fn status(&self) -> ControllerStatus {
        ControllerStatus::from_bits(self.read(regs::CSTS))
    }

    fn configuration() -> Configuration {
        Configuration::new()
            .with_en(true)
            .with_iosqes(6)
            .with_iocqes(4)
    }

    /// Fresh admin queues of `entries` entries, then `CC.EN` and waiting for `CSTS.RDY`.
    fn enable(&mut self, entries: u32) {
        self.admin = Pair::new(0, ADMIN_QUEUES, entries);
        self.ram.fill(ADMIN_QUEUES, 0x2_0000, 0).unwrap();
        self.write(regs::AQA, (entries - 1) << 16 | (entries - 1));
        self.controller.write(
            REGISTERS_BAR,
            regs::ASQ,
            Width::Qword,
            self.admin.submission,
        );
        self.controller.write(
            REGISTERS_BAR,
            regs::ACQ,
            Width::Qword,
            self.admin.completion,
        );
        self.write(regs::CC, Self::configuration().into_bits());
        self.wait_for(|status| status.rdy());
    }

    fn disable(&self) {
        self.write(regs::CC, 0);
        self.wait_for(|status| !status.rdy());
    }

    fn wait_for(&self, wanted: impl Fn(ControllerStatus) -> bool) {
        eventually(|| wanted(self.status()).then_some(()));
    }

    fn ring_tail(&self, pair: &Pair) {
        self.write(regs::DOORBELLS + 8 * u64::from(pair.id), pair.tail);
    }

    fn ring_head(&self, pair: &Pair) {
        self.write(regs::DOORBELLS + 8 * u64::from(pair.id) + 4, pair.head);
    }

    /// Puts a command in the queue, without ringing. Returns its id.
    fn put(&self, pair: &mut Pair, opcode: u8, mut entry: SubmissionEntry) -> u16 {
        let id = pair.next_id;
        pair.next_id += 1;
        entry.cdw0 |= Dword0::new().with_opc(opcode).with_cid(id).into_bits();
        self.ram
            .write(
                pair.submission + 64 * u64::from(pair.tail),
                entry.as_bytes(),
            )
            .unwrap();
        pair.tail = (pair.tail + 1) % pair.entries;
        id
    }

    /// The next completion if it is there.
    fn poll(&self, pair: &mut Pair) -> Option<CompletionEntry> {
        let at = pair.completion + 16 * u64::from(pair.head);
        let mut entry = CompletionEntry::new_zeroed();
        entry.dw3 = self.ram.load_u32(at + 12).unwrap();
        if entry.result().p() != pair.phase {
            return None;
        }
        self.ram.read(at, entry.as_mut_bytes()).unwrap();
        pair.head = (pair.head + 1) % pair.entries;
        pair.phase ^= pair.head == 0;
        Some(entry)
    }

    fn reap(&self, pair: &mut Pair) -> CompletionEntry {
        let entry = eventually(|| self.poll(pair));
        self.ring_head(pair);
        assert_eq!(entry.queue().sqid(), pair.id);
        entry
    }

    fn run(&self, pair: &mut Pair, opcode: u8, entry: SubmissionEntry) -> CompletionEntry {
        let id = self.put(pair, opcode, entry);
        self.ring_tail(pair);
        let completion = self.reap(pair);
        assert_eq!(completion.result().cid(), id);
        assert_eq!(u32::from(completion.queue().sqhd()), pair.tail);
        completion
    }

    fn admin(&mut self, opcode: u8, entry: SubmissionEntry) -> CompletionEntry {
        let mut admin = std::mem::replace(&mut self.admin, Pair::new(0, 0, 2));
        let completion = self.run(&mut admin, opcode, entry);
        self.admin = admin;
        completion
    }

    /// Creates the pair `id` of `entries` entries, its interrupts on vector `id`.
    fn create_pair(&mut self, id: u16, entries: u32) -> Pair {
        let pair = Pair::new(id, IO_QUEUES + u64::from(id - 1) * 0x4_0000, entries);
        self.ram.fill(pair.submission, 0x4_0000, 0).unwrap();
        let cdw10 = QueueDword10::new()
            .with_qid(id)
            .with_qsize((entries - 1) as u16)
            .into_bits();
        let completion = CreateCompletionQueueDword11::new()
            .with_pc(true)
            .with_ien(true)
            .with_iv(id);
        let submission = CreateSubmissionQueueDword11::new()
            .with_pc(true)
            .with_cqid(id);
        for (opcode, prp1, cdw11) in [
            (
                admin_opcode::CREATE_COMPLETION_QUEUE,
                pair.completion,
                completion.into_bits(),
            ),
            (
                admin_opcode::CREATE_SUBMISSION_QUEUE,
                pair.submission,
                submission.into_bits(),
            ),
        ] {
            let done = self.admin(
                opcode,
                SubmissionEntry {
                    prp1,
                    cdw10,
                    cdw11,
                    ..Default::default()
                },
            );
            assert_eq!(status(&done), Status::Success);
        }
        pair
    }

    /// PRP entries for `len_bytes` bytes from [`DATA`] + `offset` on, in pages that are a page apart.
    fn prp(&self, offset: u64, len_bytes: u64) -> (u64, u64) {
        let first = DATA + offset;
        let pages = (offset % PAGE + len_bytes).div_ceil(PAGE);
        let page = |index: u64| DATA + (offset / PAGE + 2 * index) * PAGE;
        match pages {
            0 | 1 => (first, 0),
            2 => (first, page(1)),
            _ => {
                let (mut slot, mut index) = (LISTS, 1);
                while index < pages {
                    if slot % PAGE == PAGE - 8 && index + 1 < pages {
                        self.ram.store_u64(slot, slot + 8).unwrap();
                        slot += 8;
                    }
                    self.ram.store_u64(slot, page(index)).unwrap();
                    slot += 8;
                    index += 1;
                }
                (first, LISTS)
            }
        }
    }

    /// The bytes that [`prp`](Self::prp) describes.
    fn data(&self, offset: u64, len_bytes: u64) -> Vec<u8> {
        let mut data = vec![0; len_bytes as usize];
        self.each_page(offset, len_bytes, |range, bus| {
            self.ram.read(bus, &mut data[range]).unwrap()
        });
        data
    }

    fn set_data(&self, offset: u64, data: &[u8]) {
        self.each_page(offset, data.len() as u64, |range, bus| {
            self.ram.write(bus, &data[range]).unwrap()
        });
    }

    fn each_page(
        &self,
        offset: u64,
        len_bytes: u64,
        mut visit: impl FnMut(std::ops::Range<usize>, u64),
    ) {
        let (mut done, mut bus) = (0, DATA + offset);
        while done < len_bytes {
            let here = (PAGE - bus % PAGE).min(len_bytes - done);
            visit(done as usize..(done + here) as usize, bus);
            bus = (bus + here).next_multiple_of(PAGE) + PAGE;
            done += here;
        }
    }

    /// A read or write of `count` blocks with data at `offset` of the data pages.
    fn transfer(&self, pair: &mut Pair, opcode: u8, block: u64, count: u64, offset: u64) -> Status {
        let (prp1, prp2) = self.prp(offset, 512 * count);
        status(&self.run(pair, opcode, blocks(block, count, prp1, prp2)))
    }

    fn read_blocks(&self, pair: &mut Pair, block: u64, count: u64) -> Vec<u8> {
        assert_eq!(
            self.transfer(pair, io_opcode::READ, block, count, 0),
            Status::Success
        );
        self.data(0, 512 * count)
    }

    fn interrupts(&self, vector: usize) -> u64 {
        self.messages.0[vector].load(Ordering::SeqCst)
    }

    fn found(&self, kind: FindingKind) -> usize {
        self.findings
            .list()
            .iter()
            .filter(|finding| finding.kind == kind)
            .count()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.controller.stop();
    }
}

impl Pair {
    fn new(id: u16, base: u64, entries: u32) -> Self {
        let completion = base + 0x1_0000;
        Self {
            id,
            submission: base,
            completion,
            entries,
            tail: 0,
            head: 0,
            phase: true,
            next_id: 0x100,
        }
    }
}

/// A read or write of `count` blocks of namespace 1.
fn blocks(block: u64, count: u64, prp1: u64, prp2: u64) -> SubmissionEntry {
    SubmissionEntry {
        nsid: 1,
        prp1,
        prp2,
        cdw10: block as u32,
        cdw11: (block >> 32) as u32,
        cdw12: ReadWriteDword12::new()
            .with_nlb((count - 1) as u16)
            .into_bits(),
        ..Default::default()
    }
}

fn status(completion: &CompletionEntry) -> Status {
    completion.result().sf().status().unwrap()
}

/// Waits until `poll` gives something; a controller that hangs fails the test.
fn eventually<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "the controller did not answer");
        std::thread::yield_now();
    }
}
