//! A unit that completes at once: whoever writes the tail of its invalidation queue returns when the queue is empty.
//!
//! The model's unit has a thread of its own, so that a driver's wait would take as many looks as the host pleases. Here the wait is
//! within the register write, and the driver finds its status word written at the first look.
//!
//! ```
//! use std::sync::Arc;
//!
//! use board::hardware::Hardware;
//! use machine::at_once::AtOnce;
//! use machine::{Machine, MachineConfig};
//!
//! let machine = Machine::boot(MachineConfig::default())?;
//! let board = AtOnce::new(machine.clone());
//! assert_eq!(board.name(), machine.name());
//! # machine.shutdown();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::sync::Arc;
use std::thread;

use board::between::Between;
use board::hardware::{Hardware, Width};
use hw::vtd::regs::{GSTS_REG, GlobalStatus, IQH_REG, IQT_REG, QueuePointer};

/// Bytes of a VT-d unit's registers; they begin at a multiple of that.
const UNIT_BYTES: u64 = 0x1000;
/// Where the first unit of the machine has its registers, and how many there are.
const FIRST_UNIT: u64 = 0xfed9_0000;
const UNITS: u64 = 2;

/// Between a kernel and a machine with VT-d units.
pub struct AtOnce {
    board: Arc<dyn Hardware>,
}

impl AtOnce {
    /// In front of `board`.
    pub fn new(board: Arc<dyn Hardware>) -> Self {
        Self { board }
    }

    /// Waits until the unit at `base` has read all that it was given, if it reads at all.
    fn settle(&self, base: u64) {
        let pointer = |register: u64| {
            let bits = self.board.read(base + register, Width::Qword);
            QueuePointer::from_bits(bits).offset()
        };
        let reads = || {
            let status = self.board.read(base + GSTS_REG, Width::Dword) as u32;
            GlobalStatus::from_bits(status).qies()
        };
        while reads() && pointer(IQH_REG) != pointer(IQT_REG) {
            thread::yield_now();
        }
    }
}

impl Between for AtOnce {
    fn board(&self) -> &dyn Hardware {
        &*self.board
    }

    fn on_write(&self, phys: u64, width: Width, value: u64) {
        self.board.write(phys, width, value);
        let base = phys / UNIT_BYTES * UNIT_BYTES;
        let is_unit = (FIRST_UNIT..FIRST_UNIT + UNITS * UNIT_BYTES).contains(&base);
        if is_unit && phys - base == IQT_REG {
            self.settle(base);
        }
    }
}
