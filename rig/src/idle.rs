//! A machine that counts who waits for it.

use std::cell::Cell;
use std::sync::Arc;

use board::between::Between;
use board::hardware::Hardware;
use hosted::Hosted;
use journeys::boot::BootOptions;
use machine::{Machine, MachineConfig};

use crate::Rig;

thread_local! {
    /// How often this thread waited for the hardware.
    pub static WAITS: Cell<u64> = const { Cell::new(0) };
}

struct Counting(Arc<Machine>);

impl Between for Counting {
    fn board(&self) -> &dyn Hardware {
        &*self.0
    }

    fn on_idle(&self) {
        WAITS.set(WAITS.get() + 1);
        self.0.idle();
    }
}

/// Boots a machine whose threads count their own waits in [`WAITS`].
pub fn boot_counting(config: MachineConfig, options: BootOptions) -> Rig {
    let machine = Machine::boot(config).expect("the machine is sound");
    let kernel = Hosted::boot(Arc::new(Counting(machine.clone()))).expect("the kernel boots");
    Rig::boot_on(machine, kernel, kernel, options).expect("the machine boots")
}
