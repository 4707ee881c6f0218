//! Links what a kernel links, and no standard library: `cargo build -p nostd-check --profile nostd`.
//!
//! Only that profile aborts on panic, which a program without the standard library has to. In all others this
//! is an empty program, so that builds of the whole workspace pass over it.

#![cfg_attr(panic = "abort", no_std)]
#![cfg_attr(panic = "abort", no_main)]

#[cfg(panic = "abort")]
mod bare;

#[cfg(not(panic = "abort"))]
fn main() {}
