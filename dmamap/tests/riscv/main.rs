//! The driver of RISC-V IOMMUs, on the machine model.

#[path = "../support/observed.rs"]
mod observed;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/riscv.rs"]
mod riscv;

mod device_table;
mod faults;
mod messages;
mod queue;
mod start;
mod units;
