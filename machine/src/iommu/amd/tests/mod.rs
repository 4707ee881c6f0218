//! The unit, driven by raw words.

mod bench;
mod caching;
mod concurrency;
mod events;
mod freed;
mod malformed;
mod queue;
mod registers;
mod walks;
