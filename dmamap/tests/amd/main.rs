//! The driver of AMD-Vi units, on the machine model.

mod device_table;
mod faults;
mod queue;
mod start;
mod units;
