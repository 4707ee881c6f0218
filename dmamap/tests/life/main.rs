//! Life and death of devices: reset, pulled out, quiesced, put to sleep and woken.

mod controls;
mod quarantine;
mod quiesce;
mod removal;
mod reset;
mod sleep;
mod ways;
