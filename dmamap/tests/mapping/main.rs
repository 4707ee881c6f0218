//! The mapping calls, on the machine model.

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
