//! The driver of AMD-Vi units, on the machine model.

#[path = "../support/observed.rs"]
mod observed;
#[path = "../support/rig.rs"]
mod rig;

mod device_table;
mod faults;
mod queue;
mod start;
mod units;
