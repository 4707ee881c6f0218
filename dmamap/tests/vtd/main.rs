//! The driver of VT-d units, on the machine model, and what all units have in common, shown on them.

mod device_tables;
mod faults;
mod full_queue;
mod in_flight;
mod remembered;
mod restart;
mod scalable;
mod strict_unmap;
mod units;
