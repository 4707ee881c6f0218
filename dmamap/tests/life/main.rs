//! Life and death of devices: reset, pulled out, quiesced, put to sleep and woken.

#[path = "../support/idle.rs"]
mod idle;
#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/rig.rs"]
mod rig;

mod controls;
mod quarantine;
mod quiesce;
mod removal;
mod reset;
mod sleep;
mod ways;
