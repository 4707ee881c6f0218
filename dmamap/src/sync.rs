//! The atomics of what CPUs share without a lock: those of `core`.
//!
//! Files that say `super::sync` can be compiled a second time beside another `sync`: that is how the models of
//! `interleaved` run them in every order.

pub(crate) use core::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, Ordering, compiler_fence,
    fence,
};
