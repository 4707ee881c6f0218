//! One test alone in its process: it counts threads.

mod bench;

use std::thread;
use std::time::{Duration, Instant};

use machine::Machine;
use machine::device::nvme::{Medium, NvmeConfig};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// A joined thread leaves the host's list a moment later.
fn settles_at(count: usize) -> bool {
    let deadline = Instant::now() + Duration::from_secs(100);
    while threads() != count && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    threads() == count
}

#[test]
fn shutdown_and_drop_join_every_thread() {
    let before = threads();
    let boot = || {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let disk = NvmeConfig::new(file, 4096, Medium::ReadOnly);
        Machine::boot(bench::small().with_disk(disk)).unwrap()
    };
    let machine = boot();
    assert!(threads() > before, "devices run on threads of their own");
    machine.shutdown();
    assert!(settles_at(before));
    machine.shutdown();
    drop(machine);
    drop(boot());
    assert!(settles_at(before));
}
