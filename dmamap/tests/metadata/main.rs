//! What mapping costs in memory: each mapping, each GiB of tables, and what stays behind after many of all sizes.

#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/random.rs"]
#[allow(dead_code, unreachable_pub)]
mod random;
#[path = "../support/rig.rs"]
mod rig;

mod churn;
mod mappings;
mod tables;
