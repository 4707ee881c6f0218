//! A controller that writes anything into its completion queues: the driver never panics, never hangs, and gives each
//! buffer back once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use board::between::Between;
use board::hardware::{Hardware, Width};
use dmamap::bridge::PeerForwarding;
use dmamap::buffer::DmaBuffer;
use dmamap::system::Protection;
use drivers::nvme::{Blocks, Completion, Nvme, Settings};
use hosted::Hosted;
use hw::nvme::command::{Dword0, QueueDword10, admin_opcode};
use hw::nvme::regs::{ACQ, AQA, ASQ, AdminQueueAttributes, DOORBELLS};
use hw::nvme::{SubmissionEntry, submission};
use journeys::boot::BootOptions;
use machine::{Iommu, Machine, MachineConfig};
use rig::boot_kernel;
use rig::disks::test_disk;
use zerocopy::{FromBytes, IntoBytes};

/// A machine whose disk lies: after each doorbell of an I/O queue, random entries appear in its completion queue.
///
/// There is no IOMMU, so that Z is Y and the liar finds the queues.
struct Liar {
    machine: Arc<Machine>,
    seed: AtomicU64,
    disk: Mutex<Seen>,
}

/// What the liar saw the driver tell the disk.
#[derive(Default)]
struct Seen {
    /// Where the disk's registers are.
    registers: Option<u64>,
    admin_queue: u64,
    admin_entries: u64,
    admin_tail: u64,
    /// Bus address and entries of each I/O completion queue.
    completion_queues: Vec<(u16, u64, u64)>,
}

impl Liar {
    fn random(&self) -> u64 {
        let seed = self
            .seed
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Follows the driver's writes; returns the I/O queue whose submission doorbell this was.
    fn watch(&self, offset: u64, value: u64) -> Option<(u64, u64)> {
        let mut seen = self.disk.lock().expect("the lock is sound");
        match offset {
            AQA => {
                let attributes = AdminQueueAttributes::from_bits(value as u32);
                seen.admin_entries = u64::from(attributes.asqs()) + 1;
            }
            ASQ => seen.admin_queue = value,
            ACQ => seen.admin_tail = 0,
            DOORBELLS => {
                while seen.admin_tail != value {
                    let at = seen.admin_queue + seen.admin_tail * submission::ENTRY_BYTES;
                    let mut bytes = [0; submission::ENTRY_BYTES as usize];
                    self.machine
                        .ram()
                        .read(at, &mut bytes)
                        .expect("the queue is in RAM");
                    let entry = SubmissionEntry::read_from_bytes(&bytes).expect("whole entry");
                    let queue = QueueDword10::from_bits(entry.cdw10);
                    if Dword0::from_bits(entry.cdw0).opc() == admin_opcode::CREATE_COMPLETION_QUEUE
                    {
                        let entries = u64::from(queue.qsize()) + 1;
                        seen.completion_queues
                            .push((queue.qid(), entry.prp1, entries));
                    }
                    seen.admin_tail = (seen.admin_tail + 1) % seen.admin_entries;
                }
            }
            _ if offset > DOORBELLS && (offset - DOORBELLS).is_multiple_of(8) => {
                let queue = ((offset - DOORBELLS) / 8) as u16;
                let found = seen.completion_queues.iter().find(|(id, ..)| *id == queue);
                return found.map(|&(_, at, entries)| (at, entries));
            }
            _ => {}
        }
        None
    }

    /// Writes entries that are almost right, or nothing like it.
    fn lie(&self, at: u64, entries: u64) {
        for _ in 0..self.random() % 4 {
            let index = self.random() % entries;
            let mut words: [u32; 4] = core::array::from_fn(|_| self.random() as u32);
            if self.random().is_multiple_of(2) {
                // The right queue, a plausible head, a plausible identifier, success.
                words[2] = 1 << 16 | (self.random() % entries) as u32;
                words[3] = (self.random() as u32 & 1) << 16 | (self.random() as u32 & 0x03ff);
            }
            let entry = at + index * 16;
            self.machine
                .ram()
                .write(entry, words.as_bytes())
                .expect("the queue is in RAM");
        }
    }
}

impl Between for Liar {
    fn board(&self) -> &dyn Hardware {
        &*self.machine
    }

    fn board_name(&self) -> &str {
        "a machine with a lying disk"
    }

    fn on_write(&self, phys: u64, width: Width, value: u64) {
        let registers = self.disk.lock().expect("the lock is sound").registers;
        let offset = registers.and_then(|registers| phys.checked_sub(registers));
        let target = offset.and_then(|offset| self.watch(offset, value));
        if let Some((at, entries)) = target
            && self.random().is_multiple_of(2)
        {
            self.lie(at, entries);
        }
        self.machine.write(phys, width, value);
        if let Some((at, entries)) = target {
            self.lie(at, entries);
        }
    }
}

/// How reads went on one lying machine.
#[derive(Default)]
struct Outcome {
    completed: usize,
    failed: usize,
}

fn read_from_a_liar(seed: u64, completion: Completion) -> Outcome {
    let config = MachineConfig::default()
        .with_iommu(Iommu::None)
        .with_ram(256 << 20);
    let machine = Machine::boot(config.with_disk(test_disk(1 << 20))).expect("it boots");
    let liar = Arc::new(Liar {
        machine: machine.clone(),
        seed: AtomicU64::new(seed),
        disk: Mutex::default(),
    });
    let hosted = Hosted::boot(liar.clone()).expect("the kernel boots");
    let (options, peers) = (BootOptions::default(), PeerForwarding::Unknown);
    let computer = boot_kernel(hosted, hosted, options, peers);
    let mut computer = computer.expect("the machine boots");
    let function = computer
        .disks()
        .next()
        .expect("the machine has a disk")
        .clone();
    let registers = function
        .bar(0)
        .and_then(|bar| bar.phys)
        .expect("it has registers");
    liar.disk.lock().expect("the lock is sound").registers = Some(registers.start().as_u64());

    // SAFETY: the liar lies in completion queues only; its data stays within live mappings: see below.
    let device = unsafe {
        computer
            .system()
            .attach_trusted(&function, Protection::Identity)
    };
    let device = device.expect("it attaches");
    let settings = Settings {
        queue_depth: 16,
        completion,
        command_timeout: Duration::from_millis(300),
        ..Settings::default()
    };
    let mut disk: Nvme<Hosted, DmaBuffer<Hosted>> =
        Nvme::start(device, &function, computer.resources_mut(), settings).expect("it comes up");
    let mut outcome = Outcome::default();
    // Buffers are kept until the end: a liar that completes a command early may still write its memory, which
    // only an IOMMU would prevent.
    let mut kept = Vec::new();
    let mut tickets = std::collections::VecDeque::new();
    for n in 0..200u64 {
        let buffer = DmaBuffer::allocate(hosted, 4096).expect("there is memory");
        let blocks = Blocks {
            first: n * 8 % 2048,
            count: 8,
        };
        match disk.submit_read(0, blocks, buffer) {
            Ok(ticket) => tickets.push_back(ticket),
            Err(failed) => {
                outcome.failed += 1;
                kept.push(failed.buffer.expect("nothing is quarantined"));
            }
        }
        if tickets.len() == 16 {
            finish(&mut disk, tickets.pop_front(), &mut outcome, &mut kept);
        }
    }
    while let Some(ticket) = tickets.pop_front() {
        finish(&mut disk, Some(ticket), &mut outcome, &mut kept);
    }
    assert_eq!(kept.len(), 200, "each buffer comes back, once");
    let mut places: Vec<u64> = kept
        .iter()
        .filter_map(|buffer| buffer.phys(0))
        .map(|phys| phys.as_u64())
        .collect();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), 200, "no two buffers are the same");
    assert_eq!(disk.outstanding(), 0);
    // The controller may or may not have been stopped by now.
    drop(disk);
    drop(kept);
    drop(function);
    drop(computer);
    machine.shutdown();
    let report = hosted.shutdown();
    assert!(report.is_clean(), "not given back: {report:?}");
    outcome
}

fn finish(
    disk: &mut Nvme<Hosted, DmaBuffer<Hosted>>,
    ticket: Option<drivers::nvme::Ticket>,
    outcome: &mut Outcome,
    kept: &mut Vec<DmaBuffer<Hosted>>,
) {
    let Some(ticket) = ticket else { return };
    match disk.complete(ticket) {
        Ok(buffer) => {
            outcome.completed += 1;
            kept.push(buffer);
        }
        Err(failed) => {
            outcome.failed += 1;
            kept.push(failed.buffer.expect("nothing is quarantined"));
        }
    }
}

#[test]
fn lies_in_completion_queues_cost_no_buffer_and_no_panic() {
    let (mut completed, mut failed) = (0, 0);
    for seed in 0..40 {
        let completion = [Completion::Interrupt, Completion::Polling][seed as usize % 2];
        let outcome = read_from_a_liar(seed, completion);
        completed += outcome.completed;
        failed += outcome.failed;
    }
    assert!(
        completed > 0 && failed > 0,
        "{completed} completed, {failed} failed"
    );
}
