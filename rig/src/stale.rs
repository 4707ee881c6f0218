//! The judge is judged: with its flushes led astray a unit must be seen to use a translation that was taken away, and
//! without that never.

use std::sync::Arc;

use board::hardware::Hardware;
use dmamap::bridge::PeerForwarding;
use dmamap::buffer::DmaBuffer;
use dmamap::map::{FromDevice, ToDevice};
use dmamap::system::Protection;
use drivers::edu::Edu;
use hosted::Hosted;
use journeys::boot::BootOptions;

use crate::astray::Astray;
use crate::boot_kernel;

/// Shows on `hardware`, called `board`, that a flush that is left out lets a device reach memory it has lost.
pub fn a_flush_left_out_shows(board: &str, hardware: Arc<dyn Hardware>, options: BootOptions) {
    let astray = Astray::new(hardware);
    let kernel = Hosted::boot(astray.clone()).expect("the kernel boots");
    let rsdp = kernel.rsdp().expect("the board has ACPI");
    let tables =
        firmware::Tables::find(rsdp.as_u64(), &kernel).expect("firmware's tables are sound");
    astray.follow(&tables.iommus().expect("firmware's tables are sound"));
    let computer = boot_kernel(kernel, kernel, options, PeerForwarding::Unknown);
    let mut computer = computer.unwrap_or_else(|error| panic!("{board}: {error}"));

    let function = computer
        .edus()
        .next()
        .expect("the board has the device")
        .clone();
    let device = computer.system().attach(&function, Protection::Strict);
    let device = device.unwrap_or_else(|error| panic!("{board}: {error}"));
    let edu = Edu::start(device, &function, computer.resources_mut());
    let mut edu = edu.expect("the device comes up");
    // The device's buffer is full of a pattern.
    let sent = buffer(kernel, SENT);
    let sent = edu
        .device()
        .map_single(sent, ToDevice)
        .expect("it is mapped");
    edu.fetch(&sent, 0, BYTES).expect("the device reads");
    drop(sent);

    for (flushes_go_astray, arrives) in [(false, KEPT), (true, SENT)] {
        let lent = buffer(kernel, KEPT);
        let lent = edu
            .device()
            .map_single(lent, FromDevice)
            .expect("it is mapped");
        let bus = lent.bus_addr();
        edu.store(&lent, 0, BYTES).expect("the device writes");
        astray.lead_astray(flushes_go_astray);
        let gone = astray.gone();
        let mut lent = lent.unmap().expect("the unit says that it flushed");
        astray.lead_astray(false);
        assert_eq!(astray.gone() > gone, flushes_go_astray, "{board}");
        assert!(holds(&lent, SENT), "{board}");
        lent.as_mut_slice().fill(KEPT);
        // SAFETY: the buffer is this test's still, so whatever the device reaches there is.
        unsafe { edu.store_at(bus, BYTES) }.expect("the device tries");
        assert!(
            holds(&lent, arrives),
            "{board}: flushes astray: {flushes_go_astray}"
        );
        // Whatever the unit still remembers of it must not be memory of somebody else.
        std::mem::forget(lent);
    }
    drop(edu);
    drop(computer);
    kernel.shutdown();
}

/// Bytes the device moves.
const BYTES: u64 = 256;
/// What the device writes.
const SENT: u8 = 0x5a;
/// What memory holds before.
const KEPT: u8 = 0xc3;

fn buffer(kernel: Hosted, pattern: u8) -> DmaBuffer<Hosted> {
    let mut buffer = DmaBuffer::allocate(kernel, BYTES).expect("there is memory");
    buffer.as_mut_slice().fill(pattern);
    buffer
}

fn holds(buffer: &DmaBuffer<Hosted>, pattern: u8) -> bool {
    buffer.as_slice().iter().all(|&byte| byte == pattern)
}
