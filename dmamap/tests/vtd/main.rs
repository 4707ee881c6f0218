//! The driver of VT-d units, on the machine model, and what all units have in common, shown on them.

#[path = "../support/life.rs"]
mod life;
#[path = "../support/modes.rs"]
mod modes;
#[path = "../support/observed.rs"]
mod observed;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/storm.rs"]
mod storm;
#[path = "../support/waiting.rs"]
mod waiting;

mod device_tables;
mod faults;
mod full_queue;
mod in_flight;
mod remembered;
mod restart;
mod scalable;
mod strict_unmap;
mod units;
