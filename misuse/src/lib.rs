//! Misuse of `dmamap` that must not compile: a file of `tests/compile_fail` each, with what the compiler says of it.
//!
//! A package of its own: whatever a package's tests depend on is compiled once more for its cases, and these need the layer
//! alone.
