//! What stands before a device, and what firmware says of it.

#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/rig.rs"]
mod rig;

mod bus_master;
mod device_memory;
mod firmware_says;
mod gone;
mod one_machine;
mod reserved;
mod scopes;
mod untranslated;
