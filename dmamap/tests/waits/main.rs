//! What units are asked and how often they are waited for, as their models count it, for every kind of unit that walks tables.

#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/rig.rs"]
mod rig;

mod did;
mod per_mib;
mod shared;
