//! A driver of raw words: queue pairs, commands, data pages.

use hw::nvme::command::{
    CreateCompletionQueueDword11, CreateSubmissionQueueDword11, Dword0, QueueDword10,
    ReadWriteDword12, admin_opcode, io_opcode,
};
use hw::nvme::{CompletionEntry, Status, SubmissionEntry, regs};
use zerocopy::{FromZeros, IntoBytes};

use super::bench::Bench;
use super::{DATA, IO_QUEUES, LISTS, PAGE, eventually};

/// One queue pair as a driver sees it.
pub(super) struct Pair {
    pub(super) id: u16,
    pub(super) submission: u64,
    pub(super) completion: u64,
    pub(super) entries: u32,
    pub(super) tail: u32,
    pub(super) head: u32,
    pub(super) phase: bool,
    pub(super) next_id: u16,
}

impl Pair {
    pub(super) fn new(id: u16, base: u64, entries: u32) -> Self {
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

impl Bench {
    pub(super) fn ring_tail(&self, pair: &Pair) {
        self.write(regs::DOORBELLS + 8 * u64::from(pair.id), pair.tail);
    }

    pub(super) fn ring_head(&self, pair: &Pair) {
        self.write(regs::DOORBELLS + 8 * u64::from(pair.id) + 4, pair.head);
    }

    /// Puts a command in the queue, without ringing. Returns its id.
    pub(super) fn put(&self, pair: &mut Pair, opcode: u8, mut entry: SubmissionEntry) -> u16 {
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
    pub(super) fn poll(&self, pair: &mut Pair) -> Option<CompletionEntry> {
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

    pub(super) fn reap(&self, pair: &mut Pair) -> CompletionEntry {
        let entry = eventually(|| self.poll(pair));
        self.ring_head(pair);
        assert_eq!(entry.queue().sqid(), pair.id);
        entry
    }

    pub(super) fn run(
        &self,
        pair: &mut Pair,
        opcode: u8,
        entry: SubmissionEntry,
    ) -> CompletionEntry {
        let id = self.put(pair, opcode, entry);
        self.ring_tail(pair);
        let completion = self.reap(pair);
        assert_eq!(completion.result().cid(), id);
        assert_eq!(u32::from(completion.queue().sqhd()), pair.tail);
        completion
    }

    pub(super) fn admin(&mut self, opcode: u8, entry: SubmissionEntry) -> CompletionEntry {
        let mut admin = std::mem::replace(&mut self.admin, Pair::new(0, 0, 2));
        let completion = self.run(&mut admin, opcode, entry);
        self.admin = admin;
        completion
    }

    /// Creates the pair `id` of `entries` entries, its interrupts on vector `id`.
    pub(super) fn create_pair(&mut self, id: u16, entries: u32) -> Pair {
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
    pub(super) fn prp(&self, offset: u64, len_bytes: u64) -> (u64, u64) {
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
    pub(super) fn data(&self, offset: u64, len_bytes: u64) -> Vec<u8> {
        let mut data = vec![0; len_bytes as usize];
        self.each_page(offset, len_bytes, |range, bus| {
            self.ram.read(bus, &mut data[range]).unwrap()
        });
        data
    }

    pub(super) fn set_data(&self, offset: u64, data: &[u8]) {
        self.each_page(offset, data.len() as u64, |range, bus| {
            self.ram.write(bus, &data[range]).unwrap()
        });
    }

    pub(super) fn each_page(
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
    pub(super) fn transfer(
        &self,
        pair: &mut Pair,
        opcode: u8,
        block: u64,
        count: u64,
        offset: u64,
    ) -> Status {
        let (prp1, prp2) = self.prp(offset, 512 * count);
        status(&self.run(pair, opcode, blocks(block, count, prp1, prp2)))
    }

    pub(super) fn read_blocks(&self, pair: &mut Pair, block: u64, count: u64) -> Vec<u8> {
        assert_eq!(
            self.transfer(pair, io_opcode::READ, block, count, 0),
            Status::Success
        );
        self.data(0, 512 * count)
    }
}

/// A read or write of `count` blocks of namespace 1.
pub(super) fn blocks(block: u64, count: u64, prp1: u64, prp2: u64) -> SubmissionEntry {
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

pub(super) fn status(completion: &CompletionEntry) -> Status {
    completion.result().sf().status().unwrap()
}
