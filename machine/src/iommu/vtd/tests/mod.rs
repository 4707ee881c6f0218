//! Tests of one unit against tables and descriptors built from raw words: numbers here are typed from the manual,
//! none comes from `hw` or from a driver.

mod bench;
mod caching;
mod concurrency;
mod faults;
mod freed;
mod invalidation;
mod malformed;
mod queue;
mod registers;
mod scalable;
mod scalable_caching;
mod scalable_faults;
mod walks;
