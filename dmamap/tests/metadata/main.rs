//! What mapping costs in memory: each mapping, each GiB of tables, and what stays behind after many of all sizes.

mod churn;
mod mappings;
mod tables;
