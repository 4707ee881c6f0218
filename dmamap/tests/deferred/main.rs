//! Unmaps that share an invalidation: how long a device is exposed to memory, and that nothing is reused before.

mod addresses;
mod allocation_failures;
mod buffer_pool;
mod ending;
mod exposure;
mod kinds;
mod own_lane;
mod protection;
mod remap;
mod reuse;
mod scarce;
mod sharing;
mod stages;
mod unconfirmed;
mod unmanaged;
mod window;

use dmamap::buffer::DmaBuffer;
use dmamap::device::Device;
use dmamap::map::{Bidirectional, Mapping, Retired};
use dmamap::platform::Platform;
use dmamap::system::{Protection, Settings};
use drivers::edu::Edu;
use hosted::Hosted;
use journeys::boot::BootOptions;
use rig::{EDU, PAGE, Rig, buffer_of};

/// A window that no test waits for.
const LONG_MS: u64 = 600_000;

type Lent<P = Hosted> = Mapping<P, DmaBuffer<P>, Bidirectional>;
type Gone = Retired<Hosted, DmaBuffer<Hosted>, Bidirectional>;

/// `options` with flushes of so many entries at most, and a timer that comes so soon.
fn flushing(options: BootOptions, entries: u32, window_ms: u64) -> BootOptions {
    let units = Settings {
        flush_entries: Some(entries),
        flush_window_ms: window_ms,
        ..options.units
    };
    BootOptions { units, ..options }
}

/// Attaches the educational device so that unmaps share flushes.
fn attach_deferred<P: Platform>(rig: &Rig<P>) -> Device<P> {
    let function = rig.function(EDU);
    rig.system()
        .attach(&function, Protection::Deferred)
        .expect("the device attaches")
}

/// The same, at work.
fn deferred_edu(rig: &mut Rig) -> Edu<Hosted> {
    let device = attach_deferred(rig);
    rig.edu_on(device)
}

/// That what threads retired beside each other was put off to flushes: all but a few, as whoever waits too long for the flush of another,
/// from which a busy host may have taken the CPU, unmaps for itself.
fn assert_put_off(retired: u64, total: u64) {
    assert!(
        (total - total / 20..=total).contains(&retired),
        "{retired} of {total} were put off"
    );
}

/// A page of `pattern`, lent to the device.
fn lend<P: Platform>(device: &Device<P>, pattern: u8) -> Lent<P> {
    lend_pages(device, 1, pattern)
}

fn lend_pages<P: Platform>(device: &Device<P>, pages: u64, pattern: u8) -> Lent<P> {
    let buffer = buffer_of(device.platform(), pages * PAGE, pattern);
    device
        .map_single(buffer, Bidirectional)
        .expect("it is mapped")
}

/// Fills the device's own buffer with `pattern`, by a transfer of its own.
fn load(edu: &mut Edu<Hosted>, pattern: u8) {
    let mapping = lend(edu.device(), pattern);
    edu.fetch(&mapping, 0, BYTES).expect("the device reads");
    // The memory of a trusted device comes back before the device has lost it.
    let buffer = mapping.unmap().expect("it is unmapped");
    edu.device().flush().expect("the unit answers");
    drop(buffer);
}

/// Bytes of the transfers of these tests.
const BYTES: u64 = 16;
