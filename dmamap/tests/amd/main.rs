//! The driver of AMD-Vi units, on the machine model.

#[path = "../support/observed.rs"]
mod observed;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/storm.rs"]
mod storm;
#[path = "../support/waiting.rs"]
mod waiting;

mod device_table;
mod faults;
mod queue;
mod start;
mod units;
