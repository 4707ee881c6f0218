//! Masks, limits and the streaming calls: what they promise, and what becomes of misuse that compiles.

mod attributes;
mod errors;
mod failures;
mod limits;
mod lists;
mod masks;
mod misuse;
mod placement;
mod two_step;
