//! The driver of RISC-V IOMMUs, on the machine model.

#[path = "../support/observed.rs"]
mod observed;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/riscv.rs"]
mod riscv;
#[path = "../support/storm.rs"]
mod storm;
#[path = "../support/waiting.rs"]
mod waiting;

mod device_table;
mod faults;
mod messages;
mod queue;
mod start;
mod units;
