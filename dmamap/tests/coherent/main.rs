//! Coherent memory of every kind, and what is like it: whole elements that two sides share, blocks of pools, memory in one
//! piece for the device alone, areas and declared memory.

#[allow(dead_code, unreachable_pub)]
mod area;
mod atomic;
mod attributes;
mod declared;
mod failures;
mod noncoherent;
mod noncontiguous;
mod on_device;
mod opaque;
mod pieces;
mod pool;
mod pool_oracle;
mod publish;
mod uncached;

use std::cell::RefCell;
use std::sync::Once;

use dmamap::addr::{BusRange, PhysRange};
use dmamap::platform::{FrameRequest, Platform};
use hosted::Hosted;
use machine::iommu::vtd::VtdConfig;
use machine::{Iommu, MachineConfig};

/// A machine whose memory is soon used up, its devices confined.
fn little_memory() -> MachineConfig {
    MachineConfig::default()
        .with_ram(16 << 20)
        .with_iommu(rig::vtd(VtdConfig::default()))
}

/// The same without an IOMMU.
fn little_memory_untranslated() -> MachineConfig {
    MachineConfig::default()
        .with_ram(16 << 20)
        .with_iommu(Iommu::None)
}

/// Frames of the kernel's that lie so that no two free ones are neighbours.
struct Fragmented {
    kernel: Hosted,
    kept: Vec<PhysRange>,
}

impl Fragmented {
    fn of(kernel: Hosted) -> Self {
        let mut frames = Vec::new();
        while let Ok(frame) = kernel.allocate_frames(FrameRequest::new(1)) {
            frames.push(frame);
        }
        let (kept, free): (Vec<_>, Vec<_>) = frames
            .into_iter()
            .partition(|frame| (frame.start().as_u64() / rig::PAGE).is_multiple_of(2));
        for frame in free {
            // SAFETY: nothing refers to it.
            unsafe { kernel.free_frames(frame) };
        }
        Self { kernel, kept }
    }
}

impl Drop for Fragmented {
    fn drop(&mut self) {
        for &frame in &self.kept {
            // SAFETY: nothing refers to it.
            unsafe { self.kernel.free_frames(frame) };
        }
    }
}

/// Whether two runs of bus addresses have one in common.
fn overlap(one: BusRange, other: BusRange) -> bool {
    one.start() <= other.last() && other.start() <= one.last()
}

thread_local! {
    static LOGGED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

struct Keeper;

impl log::Log for Keeper {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        LOGGED.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

/// What this thread logs while `f` runs.
fn logged_by<R>(f: impl FnOnce() -> R) -> (R, Vec<String>) {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        log::set_logger(&Keeper).expect("nobody else keeps the log");
        log::set_max_level(log::LevelFilter::Warn);
    });
    LOGGED.take();
    let outcome = f();
    (outcome, LOGGED.take())
}
