//! Between the crate virtio-drivers and its devices: what it is lent, and in what order memory and registers are touched.

mod hal;
mod order;
