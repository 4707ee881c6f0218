//! Between the crate virtio-drivers and its devices: what it is lent, and in what order memory and registers are touched.

mod hal;
#[path = "../../../dmamap/tests/support/observed.rs"]
mod observed;
mod order;
#[path = "../../../dmamap/tests/support/rig.rs"]
mod rig;
#[path = "../../../journeys/tests/support/mod.rs"]
mod support;
