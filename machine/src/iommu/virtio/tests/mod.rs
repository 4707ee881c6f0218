//! Tests of one unit against queues and requests built from raw words: numbers here are typed from the manual, none
//! comes from `hw` or from a driver.

mod bench;
mod bypass;
mod concurrency;
mod faults;
mod freed;
mod malformed;
mod probe;
mod queue;
mod registers;
mod requests;
