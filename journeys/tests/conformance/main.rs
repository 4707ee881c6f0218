//! The suite a port runs: right ports pass, and each promise that is broken is found by its name.

mod broken;
mod liar;
mod right;

use std::sync::Arc;
use std::thread;

use dmamap::addr::{PhysAddr, PhysRange};
use dmamap::platform::{Interrupt, Platform};
use hosted::Hosted;
use journeys::conformance::{Means, Report, ScratchRegister, Violation, conformance};
use machine::{Machine, MachineConfig};

use liar::{Liar, Lie};

const MIB: u64 = 1 << 20;

/// CPUs of the kernel, however many the host has.
const CPUS: usize = 4;

fn boot(ram_len_bytes: u64) -> (Arc<Machine>, Hosted) {
    boot_with_cpus(ram_len_bytes, CPUS)
}

fn boot_with_cpus(ram_len_bytes: u64, cpus: usize) -> (Arc<Machine>, Hosted) {
    let machine = Machine::boot(MachineConfig::default().with_ram(ram_len_bytes)).unwrap();
    let kernel = Hosted::boot_with_cpus(machine.clone(), cpus).unwrap();
    (machine, kernel)
}

/// The byte of the first function that holds a cache line size.
fn cache_line_size() -> ScratchRegister {
    let function = PhysRange::new(PhysAddr::new(0xe000_0000), 0x1000).unwrap();
    // SAFETY: the machine's configuration space begins there, and nobody uses it; the byte has no effect.
    unsafe { ScratchRegister::new(function, 0x0c, 0xff) }
}

/// The suite, on `threads` threads of `kernel`, where `online` CPUs are up.
fn check<P: Platform>(
    platform: P,
    kernel: Hosted,
    online: usize,
    threads: usize,
) -> Result<Report, Violation> {
    let on_threads = |work: &(dyn Fn() + Sync)| {
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    };
    let raise = |interrupt: Interrupt| kernel.raise(interrupt);
    let means = Means::new(online, &on_threads)
        .with_register(cache_line_size())
        .with_raise(&raise);
    conformance(platform, &means)
}

/// What the suite says of a port that does that, with a lock of that kind.
fn verdict<L>(lie: Lie, ram_len_bytes: u64) -> Result<Report, Violation>
where
    L: lock_api::RawMutex + Send + Sync + 'static,
{
    let (machine, inner) = boot(ram_len_bytes);
    let threads = match lie {
        Lie::CpuNeverRuns => CPUS - 1,
        _ => CPUS,
    };
    let found = check(Liar::<L>::new(inner, lie), inner, CPUS, threads);
    machine.shutdown();
    inner.shutdown();
    found
}
