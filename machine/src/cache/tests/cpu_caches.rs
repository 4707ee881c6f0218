//! Each way in which two copies of memory can part, and what brings them together again.
//!
//! The CPU here is whoever uses `bench.ram`; the device does what a device of the computer does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use board::ram::Ram;

use crate::bus::{Bus, BusRun, DmaPort, Requester};
use crate::cache::{CpuCaches, LINE_BYTES, POISON_BYTE, Snooping};
use crate::interrupts::Interrupts;
use crate::temper::Temper;

const BUFFER: u64 = 0x4000;
const BYTES: usize = 512;
const OLD: u8 = 1;
const NEW: u8 = 2;

struct Bench {
    /// As the CPU sees it.
    ram: Arc<Ram>,
    caches: Arc<CpuCaches>,
    device: DmaPort,
    snooping_device: DmaPort,
}

impl Bench {
    fn new(temper: Temper) -> Self {
        let ram = Ram::new(&[0..0x4_0000]).unwrap();
        let caches = CpuCaches::new(Arc::clone(&ram), temper, 5).unwrap();
        let interrupts = Arc::new(Interrupts::new());
        let bus = Bus::new(Arc::clone(&ram), Vec::new(), Vec::new(), interrupts);
        let requester = Arc::new(Requester::new(3, 0, 64, Vec::new()));
        requester.set_master(true);
        let device = DmaPort::new(Arc::new(bus), None, requester);
        Self {
            ram,
            device: device.clone().beside(Arc::clone(&caches)),
            snooping_device: device.through(Arc::clone(&caches)),
            caches,
        }
    }

    /// The CPU fills the buffer.
    fn store(&self, byte: u8) {
        self.ram.fill(BUFFER, BYTES, byte).unwrap();
    }

    fn clean(&self) {
        self.caches.clean(BUFFER, BYTES as u64);
    }

    fn invalidate(&self) {
        self.caches.invalidate(BUFFER, BYTES as u64);
    }

    /// What the CPU sees in the buffer.
    fn seen(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        self.ram.read(BUFFER, &mut bytes).unwrap();
        bytes
    }

    /// What the device sees in the buffer.
    fn fetched(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        self.device.read(BUFFER, &mut bytes).unwrap();
        bytes
    }

    fn device_writes(&self, byte: u8) {
        self.device.write(BUFFER, &[byte; BYTES]).unwrap();
    }
}

const ANY: [Temper; 3] = [Temper::Keep, Temper::Forget, Temper::Random(3)];

#[test]
fn with_every_sync_both_sides_see_what_the_other_stored() {
    for temper in ANY {
        let bench = Bench::new(temper);
        for round in 0..50 {
            bench.store(round);
            bench.clean();
            assert_eq!(bench.fetched(), [round; BYTES], "{temper:?}");
            bench.device_writes(!round);
            bench.invalidate();
            assert_eq!(bench.seen(), [!round; BYTES], "{temper:?}");
        }
        assert_eq!(bench.caches.report().invalidated_dirty_lines, 0);
    }
}

#[test]
fn what_was_not_cleaned_does_not_reach_a_device() {
    let bench = Bench::new(Temper::Keep);
    bench.store(OLD);
    assert_eq!(bench.fetched(), [POISON_BYTE; BYTES], "never written back");
    bench.clean();
    bench.store(NEW);
    assert_eq!(bench.fetched(), [OLD; BYTES]);
}

#[test]
fn without_invalidation_the_cpu_reads_what_it_had() {
    let bench = Bench::new(Temper::Keep);
    bench.store(OLD);
    bench.clean();
    bench.device_writes(NEW);
    assert_eq!(bench.seen(), [OLD; BYTES]);
    bench.invalidate();
    assert_eq!(bench.seen(), [NEW; BYTES]);
}

#[test]
fn a_line_fetched_while_the_device_owns_it_is_stale_afterwards() {
    let bench = Bench::new(Temper::Random(1));
    bench.store(OLD);
    bench.clean();
    bench.invalidate();
    // Dropped before the device's turn only: lines come back by themselves, some before it writes, some after.
    let stale = |bench: &Bench| bench.seen().iter().filter(|byte| **byte == OLD).count();
    bench.device_writes(NEW);
    let left = stale(&bench);
    assert!(left > 0 && left < BYTES, "{left} bytes");
    assert!(bench.caches.report().fetched_lines > 0);
    bench.invalidate();
    assert_eq!(stale(&bench), 0);
}

#[test]
fn a_dirty_line_is_written_back_over_what_the_device_wrote() {
    let bench = Bench::new(Temper::Forget);
    bench.store(OLD);
    bench.device_writes(NEW);
    bench.invalidate();
    assert_eq!(bench.seen(), [OLD; BYTES], "the device's data is lost");
    assert_eq!(
        bench.caches.report().evicted_lines,
        BYTES as u64 / LINE_BYTES
    );

    let bench = Bench::new(Temper::Random(9));
    bench.store(OLD);
    bench.device_writes(NEW);
    for _ in 0..200 {
        bench.caches.idle();
    }
    bench.invalidate();
    let seen = bench.seen();
    assert!(seen.contains(&OLD), "some at any later moment");
}

#[test]
fn an_invalidation_may_write_a_dirty_line_back_first() {
    let lost = |temper| {
        let bench = Bench::new(temper);
        bench.store(OLD);
        bench.clean();
        bench.device_writes(NEW);
        bench.store(OLD + 5);
        bench.invalidate();
        let dirty = bench.caches.report().invalidated_dirty_lines;
        assert_eq!(dirty, BYTES as u64 / LINE_BYTES);
        bench.seen().contains(&(OLD + 5))
    };
    assert!(!lost(Temper::Keep));
    assert!(lost(Temper::Forget));
}

#[test]
fn a_neighbour_in_the_line_destroys_what_the_device_wrote_or_is_destroyed() {
    // 32 bytes of a line are the device's, the others the CPU's.
    let bench = Bench::new(Temper::Keep);
    let neighbour = BUFFER + 32;
    bench.store(OLD);
    bench.clean();
    bench.ram.store_u64(neighbour, 7).unwrap();
    bench.device.write(BUFFER, &[NEW; 32]).unwrap();
    // As the line also holds other bytes, it is written back before it is dropped.
    bench.caches.invalidate(BUFFER, 32);
    assert_eq!(bench.ram.load_u64(neighbour).unwrap(), 7);
    assert_eq!(
        bench.ram.load_u8(BUFFER).unwrap(),
        OLD,
        "the device's is lost"
    );

    // Dropping the whole line loses the neighbour.
    bench.store(OLD);
    bench.clean();
    bench.ram.store_u64(neighbour, 7).unwrap();
    bench.device.write(BUFFER, &[NEW; 32]).unwrap();
    bench.caches.invalidate(BUFFER, LINE_BYTES);
    assert_eq!(bench.ram.load_u8(BUFFER).unwrap(), NEW);
    assert_ne!(bench.ram.load_u64(neighbour).unwrap(), 7);
}

#[test]
fn maintenance_acts_on_the_lines_of_the_range_and_no_other() {
    let bench = Bench::new(Temper::Keep);
    bench.store(OLD);
    // From the middle of the second line to the first byte of the fourth.
    bench.caches.clean(BUFFER + 96, 97);
    let fetched = bench.fetched();
    assert_eq!(fetched[..64], [POISON_BYTE; 64]);
    assert_eq!(fetched[64..256], [OLD; 192]);
    assert_eq!(fetched[256..], [POISON_BYTE; BYTES - 256]);
    assert_eq!(bench.caches.report().cleaned_lines, 3);
    bench.caches.clean(BUFFER, 0);
    bench.caches.invalidate(u64::MAX - 3, 3);
    assert_eq!(bench.caches.report().cleaned_lines, 3);
}

#[test]
fn a_device_that_snoops_sees_and_updates_the_cpus_lines() {
    for temper in ANY {
        let bench = Bench::new(temper);
        assert_eq!(bench.snooping_device.snooping(), Snooping::On);
        bench.store(OLD);
        let mut fetched = [0; BYTES];
        bench.snooping_device.read(BUFFER, &mut fetched).unwrap();
        assert_eq!(fetched, [OLD; BYTES]);
        bench.snooping_device.write(BUFFER, &[NEW; BYTES]).unwrap();
        assert_eq!(bench.seen(), [NEW; BYTES]);
        // And a CPU that stores and loads past its caches, none of whose lines is dirty.
        bench.clean();
        bench.invalidate();
        let memory = bench.caches.memory();
        memory.store_u64(BUFFER, 77).unwrap();
        let mut word = [0; 8];
        bench.snooping_device.read(BUFFER, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 77, "{temper:?}");
        bench.snooping_device.write(BUFFER + 8, &[9; 8]).unwrap();
        assert_eq!(memory.load_u64(BUFFER).unwrap(), 77);
        assert_eq!(
            memory.load_u64(BUFFER + 8).unwrap(),
            u64::from_le_bytes([9; 8])
        );
    }
}

#[test]
fn through_an_uncached_mapping_the_cpu_and_the_device_meet() {
    for temper in ANY {
        let bench = Bench::new(temper);
        bench.store(OLD);
        bench.clean();
        bench.invalidate();
        let uncached = bench.caches.memory();
        for round in 0..100 {
            uncached.store_u64(BUFFER, round).unwrap();
            let mut word = [0; 8];
            bench.device.read(BUFFER, &mut word).unwrap();
            assert_eq!(u64::from_le_bytes(word), round, "{temper:?}");
            bench.device.write(BUFFER + 8, &[round as u8; 8]).unwrap();
            let written = uncached.load_u64(BUFFER + 8).unwrap();
            assert_eq!(written.to_le_bytes(), [round as u8; 8], "{temper:?}");
        }
        assert_eq!(bench.caches.report().evicted_lines, 0, "no line is dirty");
    }
}

#[test]
fn files_move_beside_the_caches_as_other_data_does() {
    use std::io::{Read, Seek, Write};
    let bench = Bench::new(Temper::Keep);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[NEW; BYTES]).unwrap();
    let run = BusRun {
        bus: BUFFER,
        len_bytes: BYTES as u64,
    };
    bench.store(OLD);
    bench.clean();
    bench.device.write_from_file(&[run], &file, 0).unwrap();
    assert_eq!(bench.seen(), [OLD; BYTES]);
    bench.invalidate();
    assert_eq!(bench.seen(), [NEW; BYTES]);
    bench.store(OLD);
    bench.device.read_to_file(&[run], &file, 0).unwrap();
    let mut back = [0; BYTES];
    file.rewind().unwrap();
    file.read_exact(&mut back).unwrap();
    assert_eq!(
        back, [NEW; BYTES],
        "what was not cleaned is not on the disk"
    );
}

/// Tells another thread to stop when it is dropped.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_store_is_never_lost_while_lines_come_and_go() {
    // One CPU counts in a line of its own, another in a line beside a device's, which writes all the time.
    let bench = Bench::new(Temper::Random(4));
    bench.store(0);
    bench.clean();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Also when an assertion fails.
            let _stop = StopOnDrop(&done);
            for round in 0_u64..3000 {
                bench.ram.store_u64(BUFFER, round).unwrap();
                assert_eq!(bench.ram.load_u64(BUFFER).unwrap(), round);
                if round % 3 == 0 {
                    bench.clean_line(BUFFER);
                }
            }
        });
        scope.spawn(|| {
            let mut round = 0_u8;
            while !done.load(Ordering::Acquire) {
                round = round.wrapping_add(1);
                bench
                    .device
                    .write(BUFFER + LINE_BYTES, &[round; 128])
                    .unwrap();
                bench.device.read(BUFFER, &mut [0; 64]).unwrap();
                bench.caches.idle();
            }
        });
    });
    assert_eq!(bench.ram.load_u64(BUFFER).unwrap(), 2999);
    bench.clean_line(BUFFER);
    assert_eq!(bench.caches.memory().load_u64(BUFFER).unwrap(), 2999);
}

impl Bench {
    fn clean_line(&self, phys: u64) {
        self.caches.clean(phys, LINE_BYTES);
    }
}
