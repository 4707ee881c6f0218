//! The mapping calls, on the machine model.

#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/modes.rs"]
mod modes;
#[path = "../support/random.rs"]
#[allow(dead_code, unreachable_pub)]
mod random;
#[path = "../support/rig.rs"]
mod rig;
#[path = "../support/wide.rs"]
mod wide;

mod allocation_failures;
mod direct;
mod every_call_fails;
mod lanes;
mod order;
mod own_lane;
mod panics;
mod raw;
mod revocation;
mod short_ways;
mod sizes;
mod sync;
mod taken_back;
