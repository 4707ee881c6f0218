//! The driver of RISC-V IOMMUs, on the machine model.

mod device_table;
mod faults;
mod messages;
mod queue;
mod start;
mod units;
