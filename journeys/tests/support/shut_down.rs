//! The end of a computer of models.

#![allow(unreachable_pub, reason = "each test crate has it in its place")]

use dmamap::platform::Platform;
use journeys::Computer;

/// Silences the devices, which nobody drives any more, and stops the units.
pub fn shut_down<P: Platform>(computer: &Computer<P>) {
    let silenced = computer.system().quiesce(computer.topology());
    silenced.expect("nobody is at work");
    // SAFETY: no device is attached, or they would not have been silenced, and models obey their bus-master bit.
    unsafe { computer.system().shutdown() }.expect("the units stop");
}
